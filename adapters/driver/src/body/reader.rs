//! Reading the messages of an HTTP body.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use grpctunnel_core::Code;
use grpctunnel_core::wire::{Deframer, Piece};
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
    /// With data that is not gRPC, or that a tunnel cannot carry.
    Invalid(Status),
}

/// Reads a body and keeps what was read until it is moved to an outbox.
#[derive(Debug)]
pub(crate) struct BodyReader {
    deframer: Deframer,
    fragments: Vec<Fragment>,
    /// A message has begun.
    begun: bool,
    /// The bytes of `fragments` in the queue.
    share: QueueShare,
    /// The bytes that waited on the stream when fragments were last moved there.
    waiting: usize,
    /// Reading has stopped for want of room.
    stopped: bool,
}

impl BodyReader {
    pub(crate) fn new(share: QueueShare) -> Self {
        Self {
            deframer: Deframer::new(u32::MAX),
            fragments: Vec::new(),
            begun: false,
            share,
            waiting: 0,
            stopped: false,
        }
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
        B: Body<Data: Buf, Error: Into<BoxError>>,
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
                    if let Err(status) = self.deframe(&data.copy_to_bytes(len)) {
                        return Poll::Ready(BodyEnd::Invalid(status));
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

    fn deframe(&mut self, data: &Bytes) -> Result<(), Status> {
        let mut offset = 0_usize;
        let mut cost = 0_usize;
        loop {
            let rest = data.get(offset..).unwrap_or_default();
            let (consumed, piece) = self
                .deframer
                .next(rest)
                .map_err(|error| Status::new(Code::ResourceExhausted, error.to_string()))?;
            let end = offset.saturating_add(consumed);
            match piece {
                None => {
                    self.share.add(cost);
                    return Ok(());
                }
                Some(Piece::Begin { flags: 0, len }) => {
                    self.begun = true;
                    self.fragments.push(Fragment::Begin(len));
                    cost = cost.saturating_add(MESSAGE_COST);
                }
                Some(Piece::Begin { flags: 1, .. }) => {
                    let text = "compressed messages cannot be sent through this tunnel";
                    return Err(Status::new(Code::Unimplemented, text));
                }
                Some(Piece::Begin { flags, .. }) => {
                    let text = format!("message flags {flags:#x} are not gRPC: expected 0 or 1");
                    return Err(Status::new(Code::Internal, text));
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
        self.begun
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
