//! Searches the states of two tunnels to the end: `search --scope ci` or `search --scope large`.

use std::io;
use std::process::ExitCode;

use grpctunnel_tests::search::{ci, large, run};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let scopes = match words.as_slice() {
        ["--scope", "ci"] => ci(),
        ["--scope", "large"] => large(),
        _ => {
            eprintln!("usage: search --scope ci|large");
            return ExitCode::from(2);
        }
    };
    match run(&scopes, &mut io::stdout()) {
        Ok(states) => {
            println!("{states} states, no fault");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
