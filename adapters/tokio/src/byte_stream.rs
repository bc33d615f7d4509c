//! Tunnels on tokio's streams of bytes.

use grpctunnel_driver::PipeEnd;
use grpctunnel_tonic::ByteStream;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::runtime::runtime;

/// A stream of bytes in both directions that carries tunnels without HTTP/2, between two ends of
/// this implementation: a pipe, a Unix socket, a WebSocket, a serial line.
///
/// One of its two ends is the [`PipeEnd::Opener`], the other the [`PipeEnd::Acceptor`], by whatever the
/// application decides. See [`ByteStream`] for what it does, and the examples `pipe` and
/// `websocket`.
pub fn byte_stream<T>(io: T, end: PipeEnd) -> ByteStream<TokioIo<T>>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    ByteStream::new(TokioIo::new(io), end, runtime())
}
