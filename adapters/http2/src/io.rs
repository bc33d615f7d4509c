//! hyper's IO traits as the ones that h2 uses, and turns for those who read what was received.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use grpctunnel_driver::Runtime;
use hyper::rt::{Read, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::backlog::Pause;
use crate::error::ErrorKind;
use crate::frames::Frames;
use crate::shared::Shared;

/// Bytes that h2 gets before whoever reads its streams has a turn.
const TURN: usize = 256 << 10;
/// What the small frames of a turn may cost: some 4,000 of them.
const TURN_COST: usize = 1 << 20;
/// Bytes that are asked for at once: at least, and at most.
const MIN_READ: usize = 8 << 10;
const MAX_READ: usize = 256 << 10;

/// The transport below h2.
pub(crate) struct Io<T> {
    inner: T,
    shared: Arc<Shared>,
    frames: Frames,
    /// Checks the first bytes of a server.
    greeting: bool,
    /// Bytes to ask for: space that h2 provides must be cleared before it can be lent to `inner`,
    /// so no more than is likely to be filled.
    size: usize,
    turn: usize,
    cost: usize,
    pause: Pause,
}

impl<T> Io<T> {
    /// A transport whose input begins with `skip` bytes before the first frame.
    pub(crate) fn new(
        inner: T,
        shared: Arc<Shared>,
        runtime: &Runtime,
        skip: usize,
        max_header_block: usize,
    ) -> Self {
        Self {
            inner,
            shared,
            frames: Frames::new(skip, max_header_block),
            greeting: skip == 0,
            size: MIN_READ,
            turn: TURN,
            cost: 0,
            pause: Pause::new(runtime.clone()),
        }
    }

    fn end_turn(&mut self) {
        self.turn = TURN;
        self.cost = 0;
    }

    /// Notes what was received. Returns what its small frames cost.
    fn received(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.greeting && !bytes.is_empty() {
            self.greeting = false;
            if let Some(kind) = stranger(bytes) {
                self.shared.control().stranger = Some(kind);
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        self.shared
            .received
            .fetch_add(bytes.len(), Ordering::Relaxed);
        self.turn = self.turn.saturating_sub(bytes.len());
        let cost = self.frames.observe(bytes, &self.shared)?;
        self.cost += cost;
        Ok(cost)
    }
}

/// What a server speaks whose first bytes cannot begin HTTP/2's first frame. That is SETTINGS, of
/// less than 64 KiB by any sense, so it begins with a zero byte.
fn stranger(bytes: &[u8]) -> Option<ErrorKind> {
    match bytes {
        [0, ..] => None,
        [b'H', ..] => Some(ErrorKind::Http1),
        // An alert.
        [0x15, ..] => Some(ErrorKind::Tls),
        _ => Some(ErrorKind::NotHttp2),
    }
}

impl<T: Read + Unpin> AsyncRead for Io<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.turn == 0 || me.cost >= TURN_COST {
            me.end_turn();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }

        ready!(me.pause.poll(cx, &me.shared.backlog));
        let want = buf.remaining().min(me.size).min(me.turn);
        let (read, cost) = {
            let mut space = hyper::rt::ReadBuf::new(buf.initialize_unfilled_to(want));
            match Pin::new(&mut me.inner).poll_read(cx, space.unfilled()) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    me.end_turn();
                    return Poll::Pending;
                }
            }
            (space.filled().len(), me.received(space.filled())?)
        };
        buf.advance(read);
        if cost > read {
            // Small steps through small frames, so that a turn ends soon after it should.
            me.size = MIN_READ;
        } else if read == me.size {
            me.size = (me.size * 2).min(MAX_READ);
        } else if read < me.size / 4 {
            me.size = (me.size / 2).max(MIN_READ);
        }
        Poll::Ready(Ok(()))
    }
}

/// Implements hyper's or tokio's trait of output, which look the same, by the inner transport's.
macro_rules! forward_write {
    ($trait:ident for $type:ident) => {
        impl<T: Write + Unpin> $trait for $type<T> {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                Write::poll_write(Pin::new(&mut self.inner), cx, buf)
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Write::poll_flush(Pin::new(&mut self.inner), cx)
            }

            fn poll_shutdown(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                Write::poll_shutdown(Pin::new(&mut self.inner), cx)
            }

            fn is_write_vectored(&self) -> bool {
                Write::is_write_vectored(&self.inner)
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Write::poll_write_vectored(Pin::new(&mut self.inner), cx, bufs)
            }
        }
    };
}
pub(crate) use forward_write;

forward_write!(AsyncWrite for Io);

/// Reads at least one byte into `buf`; none at the end of the input.
pub(crate) fn poll_read_some<T: Read + Unpin>(
    io: &mut T,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut space = hyper::rt::ReadBuf::new(buf);
    ready!(Pin::new(io).poll_read(cx, space.unfilled()))?;
    Poll::Ready(Ok(space.filled().len()))
}
