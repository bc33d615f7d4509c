//! The command lines of what does not serve: demo, init, completions and man.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use crate::name::Name;

/// The command line of `grpctunnel init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The directory, which is made; nothing in it is overwritten
    #[arg(long, value_name = "DIR", default_value = "grpctunnel")]
    pub dir: PathBuf,
    /// The host by which agents and callers reach the gateway; may be repeated
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    pub host: Vec<String>,
    /// The name of the agent
    #[arg(long, value_name = "NAME", default_value = "home")]
    pub name: Name,
}

/// The command line of `grpctunnel demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Size of the upload, in MiB
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=4096)
    )]
    pub upload: u32,
    /// Keep everything running afterwards, with a call a second, until Ctrl-C
    #[arg(long)]
    pub stay: bool,
}

/// The command line of `grpctunnel completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// The command line of `grpctunnel man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The directory, which is made; pages in it are replaced
    pub dir: Option<PathBuf>,
}
