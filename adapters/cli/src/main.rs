//! x
use clap::Parser;
use grpctunnel_cli::args::{Cli, Command};
fn main(){ 
    match Cli::parse().command { Command::Demo(a) => { let rt = tokio::runtime::Runtime::new().unwrap(); if let Err(e) = rt.block_on(grpctunnel_cli::demo::run(u64::from(a.upload)<<20)) { eprintln!("{e}"); std::process::exit(1) } } , _ => {} }
}
