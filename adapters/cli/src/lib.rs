//! The `grpctunnel` program: a gateway, an agent, and a demo of both.
//!
//! Its place among the crates of grpctunnel: it stands on `grpctunnel-tokio`; none stands on it.
//!
//! An *agent* runs beside a gRPC server that nobody can reach, behind a NAT or a firewall, and
//! opens a tunnel to a *gateway* that everybody can reach. A call to the gateway goes through
//! the tunnel to the server and comes back, as raw bytes: neither end knows the services, and
//! callers and servers in any language are what they were.
//!
//! This is the program as a library, for tests and for programs that want the same in-process:
//! [`Gateway`](gateway::Gateway), [`Agent`](agent::Agent), [`Dial`](dial::Dial), and
//! [`Stop`](stop::Stop) to end them, [`Readiness`](ready::Readiness) to ask whether they take calls.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use grpctunnel_cli::{gateway::{Gateway, GatewayEvent, GatewaySettings}, stop::Stop};
//!
//! let settings = GatewaySettings::new("127.0.0.1:0".parse()?);
//! let gateway = Gateway::bind(settings, |event| match event {
//!     GatewayEvent::Joined { name, peer, .. } => eprintln!("{name} joined from {peer}"),
//!     _ => {}
//! })
//! .await?;
//! println!("listening on {}", gateway.endpoint());
//! let stop = Stop::new();
//! stop.on_signals(Duration::from_secs(5), |stage| eprintln!("{stage:?}"))?;
//! gateway.run(stop).await;
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

pub mod address;
pub mod admin;
mod admission;
pub mod agent;
mod answer;
pub mod args;
pub mod audit;
pub mod auth;
mod calls;
mod carrier;
pub mod check;
pub mod config;
pub mod connect;
pub mod demo;
pub mod dial;
mod echo;
pub mod files;
mod front;
pub mod gateway;
mod health;
mod held;
#[cfg(unix)]
pub mod inherited;
pub mod init;
pub mod limits;
pub mod listener;
mod local;
pub mod log;
pub mod ls;
pub mod metrics;
pub mod name;
pub mod origin;
mod pace;
pub mod ready;
mod refusal;
mod registry;
pub mod retry;
mod router;
pub mod routing;
mod serve;
pub mod shell;
pub mod stop;
#[cfg(unix)]
pub mod systemd;
pub mod target;
pub mod tls;
mod words;

/// The metadata of a tunnel's opening that names the agent.
pub const NAME: &str = "x-tunnel-name";

/// The metadata of a call that names the agent it is for, or the way there: see
/// [`Target`](target::Target). A gateway takes its own step out.
pub const TARGET: &str = "x-tunnel-target";

/// The metadata of a call that counts the gateways it passed, so that no call goes round in a
/// circle for ever. It is all that a gateway adds to a call.
pub const HOPS: &str = "x-tunnel-hops";

/// The metadata by which a gateway tells itself from others, where a tunnel is opened and where it
/// is asked for its own health.
pub const INSTANCE: &str = "x-tunnel-instance";

/// What all metadata of ours begins with. Nothing of it reaches a local server but what is left of
/// [`TARGET`], and [`HOPS`].
const PREFIX: &str = "x-tunnel-";

/// Calls that may be open at once on a tunnel, and streams on a connection.
const MAX_STREAMS: u32 = 1_024;

/// How long a connection may have neither a call nor a tunnel.
pub(crate) const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// Connections of a gateway that may begin their handshakes in a second.
const HANDSHAKE_RATE: usize = 300;

/// Bytes that the connections of callers may hold of what nobody has read.
const MEMORY: usize = 256 << 20;

/// How a tunnel ended, in one line and in the words of whoever runs the program.
#[must_use]
pub fn tunnel_end(end: &grpctunnel_driver::TunnelEnd) -> String {
    words::end(end)
}

/// By how much the end of what was cut off comes after the limit that cut it off, so that
/// those who wait for it are still told.
const SLACK: Duration = Duration::from_millis(100);
