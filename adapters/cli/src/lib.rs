//! The `grpctunnel` program: a gateway, an agent, and a demo of both.
//!
//! An *agent* runs beside a gRPC server that nobody can reach, behind a NAT or a firewall, and
//! opens a tunnel to a *gateway* that everybody can reach. A call to the gateway goes through
//! the tunnel to the server and comes back, as raw bytes: neither end knows the services, and
//! callers and servers in any language are what they were.
//!
//! This is the program as a library, for tests and for programs that want the same in-process:
//! [`Gateway`](gateway::Gateway), [`Agent`](agent::Agent), and [`Stop`](stop::Stop) to end
//! them. Everything listens and connects with plain HTTP/2 (prior knowledge), without TLS.
//!
//! ```
//! # async fn example() -> std::io::Result<()> {
//! use std::time::Duration;
//! use grpctunnel_cli::{gateway::Gateway, stop::Stop};
//!
//! let gateway = Gateway::bind("127.0.0.1:0", |event| eprintln!("{event:?}")).await?;
//! println!("listening on {}", gateway.address());
//! let stop = Stop::new();
//! stop.on_signals(|_| eprintln!("draining"))?;
//! gateway.run(Duration::from_secs(30), stop).await;
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

pub mod agent;
pub mod args;
pub mod demo;
pub mod gateway;
mod local;
pub mod name;
pub mod origin;
mod proxy;
mod refusal;
mod registry;
mod serve;
pub mod stop;

/// The metadata of a tunnel's opening that names the agent.
pub const NAME: &str = "x-tunnel-name";

/// The metadata of a call that names the agent it is for. The gateway takes it out.
pub const TARGET: &str = "x-tunnel-target";

/// By how much the end of what was cut off comes after the limit that cut it off, so that
/// those who wait for it are still told.
const SLACK: Duration = Duration::from_millis(100);
