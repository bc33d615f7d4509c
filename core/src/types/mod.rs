//! The values that are given to a tunnel, or taken from it.

mod call;
mod config;
mod event;
mod input;
mod transmit;

pub use call::{Envelope, Hold, Key, MethodKind, OpenOptions};
pub use config::{Config, Negotiation, Opening};
pub use event::{Carrier, Cause, Counters, Event, Timer};
pub use input::{End, Input, Unread};
pub use transmit::{Body, Part, Transmit};
