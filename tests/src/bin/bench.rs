//! Measures tunnels beside a direct connection.

use std::error::Error;

use clap::Parser;
use grpctunnel_tests::bench::{Args, compare, play};

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    if let Some(role) = &args.role {
        return play(&args, role);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    println!("{}", runtime.block_on(compare(&args))?);
    Ok(())
}
