//! The messages of HTTP bodies, on their way into and out of a tunnel.

pub(crate) mod batch;
pub(crate) mod inbox;
pub(crate) mod outbox;
pub(crate) mod pins;
pub(crate) mod reader;
pub(crate) mod send_queue;
