//! Several tunnels as one service.

mod call;
mod members;
mod needs;
mod pick;
mod ready;
mod tunnels;

pub use call::GroupResponseFuture;
pub(crate) use members::Tunnels;
pub use members::{Expected, Membership};
pub use pick::{Candidate, Candidates, LeastLoaded, Pick, RoundRobin};
pub use tunnels::TunnelGroup;
