//! Several tunnels as one service.

mod call;
mod needs;
mod pick;
mod ready;
mod tunnels;

pub use call::GroupResponseFuture;
pub use pick::{Candidate, Candidates, LeastLoaded, Pick, RoundRobin};
pub(crate) use tunnels::Tunnels;
pub use tunnels::{Expected, Membership, TunnelGroup};
