//! An exhaustive search over the core as it is shipped: two ends, a carrier of a few frames, one
//! to three calls and everything that can happen to them, in every order.
//!
//! In every state the books of credit balance, no end accuses the other, each call ends once and
//! only after what was sent; and from every state some schedule finishes all calls without any
//! disturbance (cancel, deadline, end of the carrier, drain): there is no deadlock, and no state
//! that cannot finish. States are told apart by [`Tunnel::fingerprint`] and by what the
//! application and the carrier hold, so a scope whose calls are opened again and again is searched
//! to its end as well.
//!
//! [`Tunnel::fingerprint`]: grpctunnel_core::Tunnel::fingerprint

mod call;
mod frames;
mod graph;
mod link;
mod moves;
mod run;
mod scope;
mod scopes;
mod state;
mod step;
mod trace;

pub use graph::{Report, search, search_twice};
pub use run::run;
pub use scope::{CALLS, Disturbance, Policy, Scope};
pub use scopes::{ci, large};
pub use trace::Fault;
