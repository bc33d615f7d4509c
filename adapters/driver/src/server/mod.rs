//! The tunnel server: calls come out, as HTTP requests.

mod admit;
mod half;
mod handler;
mod request;
mod reverse;
mod service;
mod task;

pub use handler::{Handler, NoHandler};
pub use request::RequestBody;
pub use reverse::{ServerHandle, serve_reverse};
pub use service::{ReverseTunnel, TunnelService};
