//! Options that several commands share.

use std::time::Duration;

use clap::Args;

use super::trust::CredentialArgs;
use crate::{MAX_STREAMS, address::Address, connect::Proxy};

/// The options of everything that listens.
#[derive(Debug, Args)]
pub struct ListenArgs {
    /// Where to listen: HOST:PORT, :PORT for all addresses, or unix:PATH; port 0 takes a free one
    ///
    /// The address is printed on stdout as `listening on ADDR`.
    #[arg(long, value_name = "ADDR")]
    pub listen: Address,
    /// Listen also where other machines reach it, although nobody has to authenticate or what
    /// passes can be read on the way; present a token where it can be read
    #[arg(long)]
    pub insecure: bool,
}

/// The options of everything that connects to a gateway.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// The HTTP proxy on the way there: http://HOST:PORT or http://USER:PASSWORD@HOST:PORT
    ///
    /// It is asked to CONNECT. Without this option HTTPS_PROXY, ALL_PROXY and NO_PROXY count.
    #[arg(long, value_name = "URL")]
    pub proxy: Option<Proxy>,
    /// The longest pause before reconnecting, in seconds
    #[arg(
        long = "retry-limit",
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub retry_seconds: u64,
    /// What is presented to it.
    #[command(flatten)]
    pub credentials: CredentialArgs,
}

impl ConnectArgs {
    /// The proxy that was named, or the environment's.
    #[must_use]
    pub fn proxy(&self) -> Proxy {
        self.proxy.clone().unwrap_or(Proxy::Environment)
    }

    /// The limit as a duration.
    #[must_use]
    pub const fn retry_limit(&self) -> Duration {
        Duration::from_secs(self.retry_seconds)
    }
}

/// The limit of calls on a tunnel.
#[derive(Debug, Args)]
pub struct StreamsArgs {
    /// Calls that may be open at once on a tunnel
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = MAX_STREAMS,
        value_parser = clap::value_parser!(u32).range(1..=65_536)
    )]
    pub max_streams: u32,
}

/// The option of everything that listens, of how it begins to end.
#[derive(Debug, Args)]
pub struct DelayArgs {
    /// How long calls are still taken after SIGTERM, in seconds, so that load balancers notice
    ///
    /// Health checks fail from the signal on. Then it drains. Ctrl-C drains at once.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(0..=3_600)
    )]
    pub drain_delay: u64,
}

impl DelayArgs {
    /// The delay as a duration.
    #[must_use]
    pub const fn delay(&self) -> Duration {
        Duration::from_secs(self.drain_delay)
    }
}

/// The option that everything shares that is ended by a signal.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// How long open calls may go on once it drains after Ctrl-C or SIGTERM, in seconds
    ///
    /// New calls are refused meanwhile. A second signal ends the open ones at once.
    #[arg(
        long = "drain-limit",
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(0..=86_400)
    )]
    pub seconds: u64,
}

impl DrainArgs {
    /// The limit as a duration.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
