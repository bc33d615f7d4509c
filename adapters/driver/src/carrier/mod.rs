//! The carrier: the gRPC stream that carries a tunnel.

pub(crate) mod abort;
pub(crate) mod driver;
pub(crate) mod opening;
pub(crate) mod receive;
pub(crate) mod transmit;
