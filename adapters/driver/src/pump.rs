//! Reading an HTTP body that is gRPC, into the pieces that a tunnel sends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use grpctunnel_core::wire::{self, Deframer};
use grpctunnel_core::{Code, Key};
use http::HeaderMap;
use http_body::Body;

use crate::after::After;
use crate::error::BoxError;
use crate::options::Options;
use crate::outbox::{MESSAGE_COST, Piece};
use crate::queue::Share;
use crate::state::{Half, State};
use crate::status::Status;
use crate::stream::Finish;

/// How a body ended.
pub(crate) enum BodyEnd {
    /// Without trailers.
    Plain,
    Trailers(HeaderMap),
    /// With an error of its own.
    Failed(BoxError),
    /// It is not gRPC that a tunnel can carry.
    Unfit(Status),
}

/// Reads a body, and keeps what it read until the tunnel takes it.
#[derive(Debug)]
pub(crate) struct Pump {
    deframer: Deframer,
    pieces: Vec<Piece>,
    /// What `pieces` add to what waits.
    share: Share,
    /// What waited on the stream when something was last handed over.
    waiting: usize,
    /// Reading has stopped for want of room.
    stopped: bool,
}

impl Pump {
    pub(crate) fn new(share: Share) -> Self {
        Self {
            deframer: Deframer::new(u32::MAX),
            pieces: Vec::new(),
            share,
            waiting: 0,
            stopped: false,
        }
    }

    /// Reads until the body has nothing more, has ended, or there is enough for now. `Pending` says
    /// that there is something to take, or nothing to do before a wake-up.
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
                Poll::Ready(None) => return Poll::Ready(self.end(BodyEnd::Plain)),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(BodyEnd::Failed(error.into()));
                }
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            match frame.into_data() {
                Ok(mut data) => {
                    let len = data.remaining();
                    if let Err(status) = self.deframe(&data.copy_to_bytes(len)) {
                        return Poll::Ready(BodyEnd::Unfit(status));
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

    /// Whether more may be read. Notes if not.
    fn has_room(&mut self, options: &Options) -> bool {
        let own = self.waiting.saturating_add(self.share.bytes());
        let room = self.share.has_room(own, options.send_queue, options);
        self.stopped = !room;
        room
    }

    fn end(&self, end: BodyEnd) -> BodyEnd {
        let cut = !self.deframer.is_between_messages();
        // An error is told as what it is, whatever was being sent.
        let failed = match &end {
            BodyEnd::Trailers(trailers) => {
                Status::from_headers(trailers).is_some_and(|status| status.code() != Code::Ok)
            }
            _ => false,
        };
        if cut && !failed {
            let text = "the body ended in the middle of a message";
            return BodyEnd::Unfit(Status::new(Code::Internal, text));
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
                Some(wire::Piece::Begin { flags: 0, len }) => {
                    self.pieces.push(Piece::Begin(len));
                    cost = cost.saturating_add(MESSAGE_COST);
                }
                Some(wire::Piece::Begin { flags: 1, .. }) => {
                    let text = "compressed messages cannot cross this tunnel";
                    return Err(Status::new(Code::Unimplemented, text));
                }
                Some(wire::Piece::Begin { flags, .. }) => {
                    let text = format!("a message with the flags {flags:#x}, which gRPC has not");
                    return Err(Status::new(Code::Internal, text));
                }
                Some(wire::Piece::Data { bytes, .. }) => {
                    if !bytes.is_empty() {
                        cost = cost.saturating_add(bytes.len());
                        self.pieces.push(Piece::Data(data.slice(offset..end)));
                    }
                }
            }
            offset = end;
        }
    }

    /// Gives what was read to the stream, under the lock, with what follows it if that is known.
    /// If there is no room for more, the task is woken when there is.
    pub(crate) fn hand_over<R: Half>(
        &mut self,
        cx: &Context<'_>,
        state: &mut State<R>,
        stream: Key,
        finish: Option<Finish>,
        after: &mut After,
    ) -> Handed {
        let Some(entry) = state.streams.get(stream) else {
            return Handed::Gone;
        };
        if entry.ending.is_some() {
            return Handed::Gone;
        }
        let was_stopped = self.stopped;
        entry.outbox.extend(self.pieces.drain(..), &mut self.share);
        if finish.is_some() {
            entry.finish = finish;
        }
        after.register(&mut entry.writer, cx.waker());
        state.feed(stream, after);
        let Some(entry) = state.streams.get(stream) else {
            return Handed::Gone;
        };
        self.waiting = entry.outbox.cost();
        let room = self.has_room(&state.options);
        entry.wants_room = !room;
        if was_stopped && room {
            Handed::ReadOn
        } else {
            Handed::Wait
        }
    }
}

/// What is to be done after something was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handed {
    /// There is room again, and reading had stopped for want of it.
    ReadOn,
    /// The task is woken when there is something to do.
    Wait,
    /// The stream has ended.
    Gone,
}
