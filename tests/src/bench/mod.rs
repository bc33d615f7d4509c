//! Tunnels beside direct connections: the same calls, caller and callee as two pinned processes.
//!
//! What is measured is a [`Row`], a way to call is a [`Column`]. The loads and the words that the
//! processes exchange need no runtime, so the program of async-std shares them.

#[cfg(feature = "net")]
mod args;
#[cfg(feature = "net")]
mod column;
#[cfg(feature = "net")]
mod compare;
#[cfg(feature = "net")]
pub mod idle;
#[cfg(feature = "net")]
mod launch;
mod load;
#[cfg(feature = "net")]
mod noise;
#[cfg(feature = "net")]
mod pin;
#[cfg(feature = "net")]
mod proxy;
#[cfg(feature = "net")]
mod role;
mod row;
#[cfg(feature = "net")]
mod table;
#[cfg(feature = "net")]
mod tcp;
mod words;

pub use row::{Direction, Figure, Load, Row};
pub use words::{End, Way, measure};

#[cfg(feature = "net")]
pub use args::Args;
#[cfg(feature = "net")]
pub use column::Column;
#[cfg(feature = "net")]
pub use compare::compare;
#[cfg(feature = "net")]
pub use role::play;
#[cfg(feature = "net")]
pub use table::Table;
