//! The tunnel server: calls come out, as HTTP requests.

mod acceptor;
mod handle;
mod handler;
mod request_body;
mod respond;
mod task;

pub(crate) use acceptor::HandlerAcceptor;
pub use handle::ServerHandle;
pub use handler::{Handler, NoHandler};
pub use request_body::RequestBody;
