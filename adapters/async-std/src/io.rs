//! The IO traits of futures-io as those of hyper.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};

/// Bytes that are read at once, at most.
const SCRATCH: usize = 64 << 10;

/// IO of futures-io, for `grpctunnel_http2` and for hyper.
///
/// Bytes are read into memory of its own first, up to 64 KiB, since hyper's buffers may be
/// uninitialised. Vectored writes are passed on as such.
pub struct FuturesIo<T> {
    inner: T,
    scratch: Vec<u8>,
}

impl<T> FuturesIo<T> {
    /// Wraps `inner`.
    pub const fn new(inner: T) -> Self {
        Self {
            inner,
            scratch: Vec::new(),
        }
    }

    /// What is wrapped.
    pub const fn get_ref(&self) -> &T {
        &self.inner
    }

    /// What was wrapped.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: AsyncRead + Unpin> Read for FuturesIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let want = buf.remaining().min(SCRATCH);
        if me.scratch.len() < want {
            me.scratch.resize(want, 0);
        }
        let space = me.scratch.get_mut(..want).unwrap_or_default();
        let len = ready!(Pin::new(&mut me.inner).poll_read(cx, space))?;
        let read = space.get(..len).ok_or(io::ErrorKind::InvalidData)?;
        buf.put_slice(read);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> Write for FuturesIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

impl<T> fmt::Debug for FuturesIo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FuturesIo").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives bytes, and takes them.
    struct Bytes(Vec<u8>);

    impl AsyncRead for Bytes {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let len = buf.len().min(self.0.len());
            for (to, from) in buf.iter_mut().zip(self.0.drain(..len)) {
                *to = from;
            }
            Poll::Ready(Ok(len))
        }
    }

    impl AsyncWrite for Bytes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.extend_from_slice(buf);
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let before = self.0.len();
            for buf in bufs {
                self.0.extend_from_slice(buf);
            }
            Poll::Ready(Ok(self.0.len() - before))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn read(io: &mut FuturesIo<Bytes>, space: &mut [u8]) -> usize {
        let mut space = hyper::rt::ReadBuf::new(space);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let read = Pin::new(io).poll_read(cx, space.unfilled());
        assert!(matches!(read, Poll::Ready(Ok(()))));
        space.filled().len()
    }

    #[test]
    fn what_is_read_is_what_there_was_whatever_the_space() {
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut io = FuturesIo::new(Bytes(sent.clone()));
        let mut received = Vec::new();
        for size in [1, 10, 300_000, 5, 300_000, 1] {
            let mut space = vec![0; size];
            let len = read(&mut io, &mut space);
            received.extend_from_slice(&space[..len]);
        }
        assert_eq!(received, sent);
    }

    #[test]
    fn slices_are_written_together() {
        let mut io = FuturesIo::new(Bytes(Vec::new()));
        assert!(io.is_write_vectored());
        let slices = [IoSlice::new(b"ab"), IoSlice::new(b"c")];
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let written = Pin::new(&mut io).poll_write_vectored(cx, &slices);
        assert!(matches!(written, Poll::Ready(Ok(3))));
        assert_eq!(io.into_inner().0, b"abc");
    }
}
