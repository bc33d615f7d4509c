//! gRPC tunnels (`grpctunnel.v1`) as pure state machines.

#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod budget;
mod error;
mod limits;
mod links;
mod message;
pub mod receive_buffer;
mod storage;
mod stream;
mod table;
mod time;
mod timers;
mod tunnel;
mod types;
pub mod window;
pub mod wire;

pub use error::{
    Code, CommandError, MISSING_RESPONSE, OpenError, Reason, Scope, Side, TunnelError,
};
pub use limits::{Bucket, Limits, ReceiveWindowPolicy, RevisionZeroLimits};
#[cfg(feature = "alloc")]
pub use storage::Growing;
pub use storage::{Fixed, List, Storage};
pub use time::Time;
pub use tunnel::{Client, Role, Server, Tunnel, TunnelClient, TunnelServer};
pub use types::{
    Body, Carrier, Cause, Config, Counters, End, Envelope, Event, Hold, Input, Key, MethodKind,
    Negotiation, OpenOptions, Opening, Part, Transmit, Unread,
};
