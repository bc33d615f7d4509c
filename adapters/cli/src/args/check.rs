//! The command lines of `check` and `bench`.

use std::time::Duration;

use clap::Args;

use super::{ConnectArgs, LocalCredentialArgs, served, setup::check_way};
use crate::{
    agent::Served,
    args::SetupError,
    auth::Credentials,
    check::{Check, CheckedLocal, PresentedTo},
    name::Name,
    origin::Origin,
};

/// The command line of `grpctunnel check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The gateway, as https://HOST:PORT, or http://HOST:PORT without TLS; may be repeated
    #[arg(long, value_name = "URL", required = true)]
    pub gateway: Vec<Origin>,
    /// The name of the agent [default: the gateway gives one]
    #[arg(long)]
    pub name: Option<Name>,
    /// The local gRPC server, which is looked at, too
    #[arg(long, value_name = "URL")]
    pub local: Option<Origin>,
    /// A name and its local server; may be repeated
    #[arg(long, value_name = "NAME=URL", value_parser = served)]
    pub serve: Vec<Served>,
    /// How it connects.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// What is presented to local servers.
    #[command(flatten)]
    pub local_credentials: LocalCredentialArgs,
    /// Present a token also to servers elsewhere that speak no TLS
    #[arg(long)]
    pub insecure: bool,
    /// How long the tunnel has to live without traffic, in seconds; 0 leaves that out
    ///
    /// What stands between may end idle connections only after minutes.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(0..=86_400)
    )]
    pub idle: u64,
    /// How long each step may take, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=600)
    )]
    pub timeout: u64,
    /// Print one JSON document in place of lines
    #[arg(long)]
    pub json: bool,
}

impl CheckArgs {
    /// What to check: each gateway, for each name.
    ///
    /// # Errors
    ///
    /// When the credentials cannot be read, or when a token could be read on its way.
    pub fn checks(self) -> Result<Vec<Check>, SetupError> {
        let proxy = self.connect.proxy();
        let (settings, locals) = (
            self.connect.credentials.settings(),
            self.local_credentials.settings(),
        );
        let served = self.serve.into_iter();
        let served = served.map(|served| (Some(served.name), Some(served.local)));
        let mut served: Vec<_> = served.collect();
        if self.name.is_some() || self.local.is_some() || served.is_empty() {
            served.insert(0, (self.name, self.local));
        }
        if !self.insecure {
            check_way(&settings, &self.gateway)?;
            let locals_of = served.iter().filter_map(|(_, local)| local.as_ref());
            check_way(&locals, locals_of)?;
        }
        let presented = PresentedTo::new(&settings);
        let credentials = Credentials::load(&settings)?;
        let local_credentials = Credentials::load(&locals)?;
        let mut checks = Vec::new();
        for gateway in self.gateway {
            for (name, local) in &served {
                checks.push(Check {
                    gateway: gateway.clone(),
                    name: name.clone(),
                    proxy: proxy.clone(),
                    credentials: credentials.clone(),
                    presented: presented.clone(),
                    local: local.clone().map(|origin| CheckedLocal {
                        origin,
                        credentials: local_credentials.clone(),
                    }),
                    limit: Duration::from_secs(self.timeout),
                    idle: Duration::from_secs(self.idle),
                });
            }
        }
        Ok(checks)
    }
}
