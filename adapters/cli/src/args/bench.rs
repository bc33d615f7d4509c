//! The command line of `bench`.

use std::time::Duration;

use clap::Args;

use super::{ConnectArgs, SetupError, setup::check_way};
use crate::{
    address::Address,
    auth::{CredentialSettings, Credentials},
    bench::{Bench, Load},
    origin::Origin,
    target::Target,
    tls::ClientFiles,
};

/// The command line of `grpctunnel bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The gateway, as https://HOST:PORT, or http://HOST:PORT without TLS
    #[arg(long, value_name = "URL", required_unless_present = "listen")]
    pub gateway: Option<Origin>,
    /// The agent, or the way there: names with / between them; . is the gateway itself
    #[arg(long, required_unless_present = "listen")]
    pub name: Option<Target>,
    /// The same server, where it can be reached without the tunnel
    #[arg(long, value_name = "URL")]
    pub direct: Option<Origin>,
    /// Be the server that is measured with, in place of a local server; nothing else is done then
    #[arg(long, value_name = "ADDR", conflicts_with = "direct")]
    pub listen: Option<Address>,
    /// How long each figure is measured, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 3,
        value_parser = clap::value_parser!(u64).range(1..=600)
    )]
    pub seconds: u64,
    /// The most calls for each figure
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000)
    )]
    pub calls: u64,
    /// Calls at once, for the figure of calls a second
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=1_024)
    )]
    pub in_flight: u16,
    /// How it connects.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Listen also where other machines reach it; present a token where it can be read
    #[arg(long)]
    pub insecure: bool,
    /// Print one JSON document in place of a table
    #[arg(long)]
    pub json: bool,
}

impl BenchArgs {
    /// What to measure; nothing where it is the server.
    ///
    /// # Errors
    ///
    /// When the credentials cannot be read, or when a token could be read on its way.
    pub fn bench(self) -> Result<Option<Bench>, SetupError> {
        let (Some(gateway), Some(name)) = (self.gateway, self.name) else {
            return Ok(None);
        };
        let proxy = self.connect.proxy();
        let settings = self.connect.credentials.settings();
        if !self.insecure {
            check_way(&settings, [&gateway])?;
        }
        // What a gateway is told is nobody else's business.
        let of_direct = CredentialSettings {
            tls: ClientFiles {
                ca: settings.tls.ca.clone(),
                ..ClientFiles::default()
            },
            token: None,
        };
        let of_direct = Credentials::load(&of_direct)?;
        Ok(Some(Bench {
            gateway,
            name,
            proxy,
            credentials: Credentials::load(&settings)?,
            direct: self.direct.map(|origin| (origin, of_direct)),
            load: Load {
                time: Duration::from_secs(self.seconds),
                calls: self.calls,
                in_flight: self.in_flight,
            },
        }))
    }
}
