//! The tunnel client: calls go in, as HTTP requests.

mod call;
mod channel;
mod encoding;
mod request_sender;
mod response_body;
mod response_future;
mod waiting;

pub(crate) use call::NoAcceptor;
pub use channel::Channel;
pub use response_body::ResponseBody;
pub use response_future::ResponseFuture;
pub(crate) use waiting::{deadline, deadline_exceeded};
