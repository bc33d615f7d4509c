//! The task of a byte stream: it joins what its tunnels send, and sorts what they receive.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_channel::mpsc;
use futures_util::stream::Stream;
use futures_util::task::AtomicWaker;
use grpctunnel_core::Side;
use grpctunnel_core::wire::{Deframer, PREFIX_LEN, Piece, length_prefix};
use grpctunnel_driver::{ConnectError, PipeEnd, TransmitBody};
use http_body::{Body, Frame};
use hyper::rt::{Read, Write};

use crate::error::Error;
use crate::io::poll_read_some;

/// Bytes that are asked for at once: at least, and at most.
const MIN_READ: usize = 8 << 10;
const MAX_READ: usize = 64 << 10;
/// Steps of reading and writing before other tasks have a turn.
const TURN: usize = 32;

/// What the task of a byte stream and its tunnels share.
#[derive(Debug, Default)]
struct Shared {
    /// How the input ended; nothing is known of a task that was dropped.
    ended: OnceLock<Result<(), Error>>,
    /// Tunnels that read no more.
    gone: AtomicUsize,
    task: AtomicWaker,
}

/// What a tunnel receives.
#[derive(Debug)]
pub(crate) struct Incoming {
    chunks: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let chunk = ready!(Pin::new(&mut self.chunks).poll_next(cx));
        Poll::Ready(match (chunk, self.shared.ended.get()) {
            (Some(chunk), _) => Some(Ok(Frame::data(chunk))),
            (None, Some(Ok(()))) => None,
            (None, Some(Err(error))) => Some(Err(error.clone())),
            (None, None) => Some(Err(Error::lost(io::Error::from(io::ErrorKind::BrokenPipe)))),
        })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.shared.gone.fetch_add(1, Ordering::AcqRel);
        self.shared.task.wake();
    }
}

/// One of the tunnels.
struct Lane {
    /// The first byte of its frames.
    flags: u8,
    /// What it receives: none of it after the end of the input.
    chunks: Option<mpsc::Sender<Bytes>>,
    received: BytesMut,
    /// What it sends, until it has finished.
    body: Option<TransmitBody>,
    /// Finds its frames in what it sends.
    deframer: Deframer,
    /// Bytes that it has sent.
    sent: u64,
}

/// The task of a byte stream. It ends with the stream.
pub(crate) struct Carrier<T> {
    io: T,
    end: PipeEnd,
    lanes: Vec<Lane>,
    shared: Arc<Shared>,
    deframer: Deframer,
    /// The lane of the frame that is being received.
    current: usize,
    space: Vec<u8>,
    /// Bytes to ask for.
    size: usize,
    reading: bool,
    unsent: Bytes,
    unflushed: bool,
    shut_down: bool,
}

/// Whether a step did something.
type Progress = Result<bool, Error>;

impl<T> Carrier<T> {
    pub(crate) fn new(io: T, end: PipeEnd) -> Self {
        Self {
            io,
            end,
            lanes: Vec::with_capacity(2),
            shared: Arc::default(),
            // What a frame may have, its tunnel knows.
            deframer: Deframer::new(u32::MAX),
            current: 0,
            space: Vec::new(),
            size: MIN_READ,
            reading: true,
            unsent: Bytes::new(),
            unflushed: false,
            shut_down: false,
        }
    }

    /// Adds a tunnel of this end. `make` makes its handle, and what it sends, of what it receives.
    pub(crate) fn add<H>(
        &mut self,
        side: Side,
        make: impl FnOnce(Incoming) -> Result<(H, TransmitBody), ConnectError>,
    ) -> Result<H, ConnectError> {
        // One chunk at a time: what its tunnel does not read stops the reading.
        let (sender, chunks) = mpsc::channel(0);
        let shared = Arc::clone(&self.shared);
        let (handle, body) = make(Incoming { chunks, shared })?;
        self.lanes.push(Lane {
            flags: self.end.flags(side),
            chunks: Some(sender),
            received: BytesMut::new(),
            body: Some(body),
            deframer: Deframer::new(u32::MAX),
            sent: 0,
        });
        Ok(handle)
    }

    fn finish_input(&mut self, ended: Result<(), Error>) {
        self.reading = false;
        self.shared.ended.get_or_init(|| ended);
        for lane in &mut self.lanes {
            lane.chunks = None;
        }
    }

    fn are_gone(&self) -> bool {
        self.shared.gone.load(Ordering::Acquire) >= self.lanes.len()
    }

    /// Whether each tunnel has taken what came before.
    fn poll_taken(&mut self, cx: &mut Context<'_>) -> bool {
        let mut lanes = self.lanes.iter_mut();
        lanes.all(|lane| match &mut lane.chunks {
            // What comes for a tunnel that is over is dropped.
            Some(chunks) => chunks.poll_ready(cx).is_ready(),
            None => true,
        })
    }

    /// Hands what was received to the tunnels.
    fn hand_out(&mut self) {
        for lane in &mut self.lanes {
            if let Some(chunks) = &mut lane.chunks
                && !lane.received.is_empty()
            {
                // There is room, unless the tunnel is over.
                let _ = chunks.try_send(lane.received.split().freeze());
            }
        }
    }

    /// Sorts what was received by tunnels. A frame of none of them goes to all as it is: it ends
    /// them. Returns whether more may be read.
    fn sort(&mut self, mut bytes: &[u8]) -> bool {
        // It has no limit, so it fails never.
        while let Ok((consumed, Some(piece))) = self.deframer.next(bytes) {
            match piece {
                Piece::Begin { flags, len } => {
                    let lane = self.lanes.iter().position(|lane| lane.flags == flags);
                    let Some(lane) = lane else {
                        // Its length does not matter any more.
                        let prefix = length_prefix(flags, 0);
                        for lane in &mut self.lanes {
                            lane.received.extend_from_slice(&prefix);
                        }
                        return false;
                    };
                    self.current = lane;
                    self.receive(&length_prefix(0, len));
                }
                Piece::Data { bytes, .. } => self.receive(bytes),
            }
            bytes = bytes.get(consumed..).unwrap_or_default();
        }
        true
    }

    fn receive(&mut self, bytes: &[u8]) {
        if let Some(lane) = self.lanes.get_mut(self.current) {
            lane.received.extend_from_slice(bytes);
        }
    }

    /// The next frames to send, of the tunnel that has sent less.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Progress {
        let mut order: [usize; 2] = [0, 1];
        order.sort_by_key(|lane| self.lanes.get(*lane).map(|lane| lane.sent));
        for lane in order {
            let Some(lane) = self.lanes.get_mut(lane) else {
                continue;
            };
            let Some(body) = &mut lane.body else {
                continue;
            };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => {}
                Poll::Ready(None) => {
                    lane.body = None;
                    return Ok(true);
                }
                Poll::Ready(Some(Err(error))) => return Err(Error::lost(error)),
                Poll::Ready(Some(Ok(frame))) => {
                    let frames = frame.into_data().unwrap_or_default();
                    // A tunnel that had nothing to send saves nothing up.
                    let least = lane.sent;
                    lane.sent = least.saturating_add(frames.len() as u64);
                    self.unsent = with_flags(frames, lane.flags, &mut lane.deframer);
                    for lane in &mut self.lanes {
                        lane.sent = lane.sent.max(least);
                    }
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Frames with their first bytes set. They have the flag 0, which is not copied.
fn with_flags(frames: Bytes, flags: u8, deframer: &mut Deframer) -> Bytes {
    if flags == 0 {
        return frames;
    }
    let mut flagged = BytesMut::with_capacity(frames.len() + PREFIX_LEN);
    let mut rest: &[u8] = &frames;
    while let Ok((consumed, Some(piece))) = deframer.next(rest) {
        match piece {
            Piece::Begin { len, .. } => flagged.extend_from_slice(&length_prefix(flags, len)),
            Piece::Data { bytes, .. } => flagged.extend_from_slice(bytes),
        }
        rest = rest.get(consumed..).unwrap_or_default();
    }
    flagged.freeze()
}

impl<T: Read + Write + Unpin> Carrier<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Progress {
        if !self.reading || !self.poll_taken(cx) {
            return Ok(false);
        }
        let mut space = std::mem::take(&mut self.space);
        space.resize(self.size, 0);
        let read = poll_read_some(&mut self.io, cx, &mut space);
        let progress = match read {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => Err(Error::lost(error)),
            Poll::Ready(Ok(0)) => {
                let whole = self.deframer.is_between_messages();
                let truncated = || Error::lost(io::Error::from(io::ErrorKind::UnexpectedEof));
                self.finish_input(whole.then_some(()).ok_or_else(truncated));
                Ok(true)
            }
            Poll::Ready(Ok(read)) => {
                self.reading = self.sort(space.get(..read).unwrap_or_default());
                self.hand_out();
                if read == self.size {
                    self.size = (self.size * 2).min(MAX_READ);
                } else if read < self.size / 4 {
                    self.size = (self.size / 2).max(MIN_READ);
                    space.truncate(self.size);
                    space.shrink_to_fit();
                }
                Ok(true)
            }
        };
        self.space = space;
        progress
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Progress {
        if self.unsent.is_empty() && self.poll_outgoing(cx)? {
            return Ok(true);
        }
        if !self.unsent.is_empty() {
            return match Pin::new(&mut self.io).poll_write(cx, &self.unsent) {
                Poll::Pending => Ok(false),
                Poll::Ready(Ok(0)) => Err(Error::lost(io::Error::from(io::ErrorKind::WriteZero))),
                Poll::Ready(Ok(written)) => {
                    self.unsent.advance(written);
                    self.unflushed = true;
                    Ok(true)
                }
                Poll::Ready(Err(error)) => Err(Error::lost(error)),
            };
        }
        if self.unflushed {
            if let Poll::Ready(flushed) = Pin::new(&mut self.io).poll_flush(cx) {
                flushed.map_err(Error::lost)?;
                self.unflushed = false;
            }
            return Ok(!self.unflushed);
        }
        if !self.shut_down
            && self.lanes.iter().all(|lane| lane.body.is_none())
            && let Poll::Ready(shut) = Pin::new(&mut self.io).poll_shutdown(cx)
        {
            shut.map_err(Error::lost)?;
            self.shut_down = true;
            return Ok(true);
        }
        Ok(false)
    }
}

impl<T> Unpin for Carrier<T> {}

impl<T: Read + Write + Unpin> Future for Carrier<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = self.get_mut();
        me.shared.task.register(cx.waker());
        for _ in 0..TURN {
            let step = me
                .poll_read(cx)
                .and_then(|read| Ok(me.poll_write(cx)? || read));
            match step {
                Err(error) => {
                    me.finish_input(Err(error));
                    return Poll::Ready(());
                }
                Ok(_) if me.shut_down && !me.reading => return Poll::Ready(()),
                Ok(true) => {}
                // What cannot be sent any more has nobody who waits for it.
                Ok(false) if me.are_gone() => return Poll::Ready(()),
                Ok(false) => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T> fmt::Debug for Carrier<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carrier").finish_non_exhaustive()
    }
}
