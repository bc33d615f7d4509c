//! Commands that ask an admin port.

use std::path::PathBuf;

use clap::Args;

use super::{observe::ADMIN_TOKEN, trust::token};
use crate::{auth::CredentialSettings, ls::At, name::Name, tls::ClientFiles};

/// Which admin port is asked, and how.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The admin port: HOST:PORT, https://HOST:PORT or unix:PATH
    #[arg(long, value_name = "URL", env = "GRPCTUNNEL_ADMIN", hide_env = true)]
    pub admin: At,
    /// The file with the token that it wants
    ///
    /// The variable GRPCTUNNEL_ADMIN_TOKEN holds the same text.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The authorities that its certificate may come from, as PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

impl AskArgs {
    /// What is presented to it.
    #[must_use]
    pub fn credentials(&self) -> CredentialSettings {
        CredentialSettings {
            tls: ClientFiles {
                ca: self.ca.clone(),
                ..ClientFiles::default()
            },
            token: token(self.token_file.clone(), ADMIN_TOKEN),
        }
    }
}

/// The command line of `grpctunnel ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Which admin port is asked.
    #[command(flatten)]
    pub ask: AskArgs,
    /// Print JSON, one object a line, as /tunnels answers
    #[arg(long)]
    pub json: bool,
    /// Print again every 2 seconds, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// The command line of `grpctunnel drain`.
#[derive(Debug, Args)]
pub struct DrainAgentArgs {
    /// The agent
    pub name: Name,
    /// Take its tunnels again
    #[arg(long)]
    pub undo: bool,
    /// Which admin port is asked.
    #[command(flatten)]
    pub ask: AskArgs,
}
