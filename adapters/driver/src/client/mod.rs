//! The tunnel client: calls go in, as HTTP requests.

mod call;
mod channel;
mod connect;
mod half;
mod response;
mod sender;

pub use call::ResponseFuture;
pub use channel::Channel;
pub use connect::connect;
pub(crate) use connect::{NoCalls, start};
pub use response::ResponseBody;
