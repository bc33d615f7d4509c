//! What a runtime's crate brings: TCP, and TLS on it.

use std::future::Future;
use std::io;

use grpctunnel_driver::{ConnectInfo, Executor, Runtime, Timer};
use http::Extensions;
use hyper::rt::{Read, Write};

/// A runtime with TCP. `grpctunnel-tokio` and `grpctunnel-async-std` have one each.
///
/// Connections are made with what suits tunnels: without Nagle's algorithm, with which window
/// updates would wait 40 ms for a delayed acknowledgement, and closed when a peer has vanished.
pub trait Network: Executor + Timer + Default {
    /// A listening socket, as the runtime's users have it.
    type Listener: Send;
    /// The same, ready to accept connections.
    type Acceptor: Send + Sync;
    /// A connection.
    type Stream: Read + Write + Unpin + Send + 'static;

    /// Connects to the first address of a host that takes the connection. `host` is a name, or an
    /// address without brackets.
    fn connect(host: &str, port: u16) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Prepares a listener.
    ///
    /// # Errors
    /// If it cannot be used with the runtime.
    fn listen(listener: Self::Listener) -> io::Result<Self::Acceptor>;

    /// The next connection.
    fn accept(acceptor: &Self::Acceptor) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The addresses of a connection.
    fn connect_info(stream: &Self::Stream) -> ConnectInfo;

    /// Attaches what else the runtime's users look for in a request: nothing by default.
    fn attach(info: &ConnectInfo, extensions: &mut Extensions) {
        let _ = (info, extensions);
    }
}

/// The runtime of tunnels and connections.
pub(crate) fn runtime<N: Network>() -> Runtime {
    Runtime::new(N::default(), N::default())
}
