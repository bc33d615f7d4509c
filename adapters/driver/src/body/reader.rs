//! Reading the messages of an HTTP body.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use grpctunnel_core::wire::{Deframer, Piece};
use grpctunnel_core::{Code, Envelope};
use http::HeaderMap;
use http_body::Body;

use crate::body::outbox::{Fragment, MESSAGE_COST, Outbox};
use crate::body::send_queue::QueueShare;
use crate::error::BoxError;
use crate::grpc::status::Status;
use crate::options::Options;

/// How a body ended.
pub(crate) enum BodyEnd {
    /// Without trailers.
    NoTrailers,
    Trailers(HeaderMap),
    /// With an error of its own.
    Failed(BoxError),
    /// With data that is not gRPC, or that no tunnel can carry.
    Invalid(Status),
    /// With a compressed message, which this tunnel cannot carry.
    Compressed,
}

/// Reads a body and keeps what was read until it is moved to an outbox.
#[derive(Debug)]
pub(crate) struct BodyReader {
    deframer: Deframer,
    fragments: Vec<Fragment>,
    /// The bytes of `fragments` in the queue.
    share: QueueShare,
    /// The bytes that waited on the stream when fragments were last moved there.
    waiting: usize,
    /// Reading has stopped for want of room.
    stopped: bool,
    /// Compressed messages end the body.
    refuses_compressed: bool,
    /// Whether the first message is compressed, once it is known.
    first_flag: Option<bool>,
}

impl BodyReader {
    /// The bytes that were read and not sent.
    pub(crate) const fn queued(&self) -> usize {
        self.share.bytes()
    }

    pub(crate) fn new(share: QueueShare) -> Self {
        Self {
            deframer: Deframer::new(u32::MAX),
            fragments: Vec::new(),
            share,
            waiting: 0,
            stopped: false,
            refuses_compressed: false,
            first_flag: None,
        }
    }

    /// Ends the body at the next compressed message, which the tunnel cannot carry. Returns whether
    /// there was one before.
    pub(crate) fn refuse_compressed(&mut self) -> bool {
        self.refuses_compressed = true;
        let is_compressed =
            |fragment: &Fragment| matches!(fragment, Fragment::Begin(begin) if begin.compressed);
        self.fragments.iter().any(is_compressed)
    }

    /// Whether the first message is compressed, if it has begun.
    pub(crate) const fn first_flag(&self) -> Option<bool> {
        self.first_flag
    }

    /// Reads until the body is pending, has ended, or there is no room for more. Also `Pending`
    /// when something was read that can be moved.
    pub(crate) fn poll_read<B>(
        &mut self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut B>,
        options: &Options,
    ) -> Poll<BodyEnd>
    where
        B: Body<Error: Into<BoxError>>,
    {
        while self.has_room(options) {
            let frame = match body.as_mut().poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(self.end(BodyEnd::NoTrailers)),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(BodyEnd::Failed(error.into()));
                }
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            match frame.into_data() {
                Ok(mut data) => {
                    let len = data.remaining();
                    if let Err(end) = self.deframe(&data.copy_to_bytes(len)) {
                        return Poll::Ready(end);
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Poll::Ready(self.end(BodyEnd::Trailers(trailers)));
                }
            }
        }
        Poll::Pending
    }

    /// Whether there is room to read more; remembers if not.
    fn has_room(&mut self, options: &Options) -> bool {
        let own = self.waiting.saturating_add(self.share.bytes());
        let room = self.share.has_room(own, options.send_queue, options);
        self.stopped = !room;
        room
    }

    fn end(&self, end: BodyEnd) -> BodyEnd {
        let cut = !self.deframer.is_between_messages();
        // An error status counts, even in the middle of a message.
        let failed = match &end {
            BodyEnd::Trailers(trailers) => {
                Status::from_headers(trailers).is_some_and(|status| status.code() != Code::Ok)
            }
            _ => false,
        };
        if cut && !failed {
            let text = "the body ended in the middle of a message";
            return BodyEnd::Invalid(Status::new(Code::Internal, text));
        }
        end
    }

    fn deframe(&mut self, data: &Bytes) -> Result<(), BodyEnd> {
        let mut offset = 0_usize;
        let mut cost = 0_usize;
        loop {
            let rest = data.get(offset..).unwrap_or_default();
            let (consumed, piece) = self.deframer.next(rest).map_err(|error| {
                BodyEnd::Invalid(Status::new(Code::ResourceExhausted, error.to_string()))
            })?;
            let end = offset.saturating_add(consumed);
            match piece {
                None => {
                    self.share.add(cost);
                    return Ok(());
                }
                Some(Piece::Begin { flags: 1, .. }) if self.refuses_compressed => {
                    return Err(BodyEnd::Compressed);
                }
                Some(Piece::Begin {
                    flags: flags @ (0 | 1),
                    len,
                }) => {
                    let mut envelope = Envelope::new(len);
                    envelope.compressed = flags == 1;
                    self.first_flag.get_or_insert(envelope.compressed);
                    self.fragments.push(Fragment::Begin(envelope));
                    cost = cost.saturating_add(MESSAGE_COST);
                }
                Some(Piece::Begin { flags, .. }) => {
                    let text = format!("message flags {flags:#x} are not gRPC: expected 0 or 1");
                    return Err(BodyEnd::Invalid(Status::new(Code::Internal, text)));
                }
                Some(Piece::Data { bytes, .. }) => {
                    if !bytes.is_empty() {
                        cost = cost.saturating_add(bytes.len());
                        self.fragments.push(Fragment::Data(data.slice(offset..end)));
                    }
                }
            }
            offset = end;
        }
    }

    /// Whether any message has begun.
    pub(crate) const fn has_begun(&self) -> bool {
        self.first_flag.is_some()
    }

    /// Moves what was read to the stream's outbox. Returns whether reading had stopped for want of
    /// room.
    pub(crate) fn move_to(&mut self, outbox: &mut Outbox) -> bool {
        outbox.extend(self.fragments.drain(..), &mut self.share);
        self.stopped
    }

    /// Whether there is room to read more while so much waits on the stream.
    pub(crate) fn has_room_beside(&mut self, waiting: usize, options: &Options) -> bool {
        self.waiting = waiting;
        self.has_room(options)
    }
}

/// The status of a compressed message where the extension `TRANSPARENT` is not in effect.
pub(crate) fn compression_refused() -> Status {
    Status::new(
        Code::Unimplemented,
        "this tunnel cannot carry compressed messages: its peer does not offer the extension \
         TRANSPARENT",
    )
}
