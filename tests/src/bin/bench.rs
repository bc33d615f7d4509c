//! Measures tunnels beside direct connections. Its columns of other programs are built by
//! `.ci/bench`.

use clap::Parser;
use grpctunnel_tests::bench::{Args, End, Table, compare, play};
use grpctunnel_tests::interop::Outcome;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(end) = End::parse(&words)? {
        return play(&end);
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    print!("{}", Table::notes());
    runtime.block_on(compare(&args))?;
    Ok(())
}
