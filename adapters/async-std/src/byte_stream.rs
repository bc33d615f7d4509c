//! Tunnels on streams of bytes of futures-io.

use futures_io::{AsyncRead, AsyncWrite};
use grpctunnel_driver::{Executor, PipeEnd, Runtime, Timer};
use grpctunnel_tonic::ByteStream;

use crate::io::FuturesIo;

/// A stream of bytes in both directions that carries tunnels without HTTP/2, between two ends of
/// this implementation: a pipe, a Unix socket, a WebSocket, a serial line.
///
/// One of its two ends is the [`PipeEnd::Opener`], the other the [`PipeEnd::Acceptor`], by whatever the
/// application decides. See [`ByteStream`] for what it does, and the example `pipe`.
pub fn byte_stream<R, T>(io: T, end: PipeEnd) -> ByteStream<FuturesIo<T>>
where
    R: Executor + Timer + Default,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let runtime = Runtime::new(R::default(), R::default());
    ByteStream::new(FuturesIo::new(io), end, runtime)
}
