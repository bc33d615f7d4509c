//! The messages of a stream that wait to be sent, as the segments in which they were read.

use std::collections::VecDeque;

use bytes::Bytes;
use grpctunnel_core::{CommandError, Envelope, Growing, Key, Role, Tunnel};

use crate::body::batch::Batch;
use crate::body::send_queue::QueueShare;
use crate::deferred::Deferred;
use crate::options::Options;

/// Bytes that a waiting message counts in addition to its own, so that empty ones are bounded.
pub(crate) const MESSAGE_COST: usize = 16;

/// Segments and messages for which an empty outbox keeps room.
const KEPT: usize = 4;

/// A part of the messages of a body, without gRPC's length prefix.
#[derive(Debug)]
pub(crate) enum Fragment {
    /// The beginning of a message.
    Begin(Envelope),
    /// Bytes of the message.
    Data(Bytes),
}

/// A message that the core does not know yet.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    envelope: Envelope,
    /// Bytes of it that were read.
    ready: u32,
}

/// The messages of one stream that wait to be sent. The core knows the first of them; the bytes of
/// all are here.
#[derive(Debug)]
pub(crate) struct Outbox {
    segments: VecDeque<Bytes>,
    /// The bytes that wait, with `MESSAGE_COST` for each message.
    share: QueueShare,
    waiting: VecDeque<Waiting>,
    /// Whether the core has a message that was not sent.
    sending: bool,
    /// Bytes of that message that the core was not told of.
    fresh: u32,
}

impl Outbox {
    pub(crate) fn new(share: QueueShare) -> Self {
        Self {
            segments: VecDeque::new(),
            share,
            waiting: VecDeque::new(),
            sending: false,
            fresh: 0,
        }
    }

    /// Bytes that wait to be sent.
    pub(crate) const fn bytes(&self) -> usize {
        self.share.bytes()
    }

    /// Makes an empty outbox that of another stream.
    pub(crate) fn begin(&mut self, share: QueueShare) {
        self.share = share;
    }

    /// Appends fragments, and takes over their share of the queue.
    pub(crate) fn extend(
        &mut self,
        fragments: impl IntoIterator<Item = Fragment>,
        share: &mut QueueShare,
    ) {
        for fragment in fragments {
            self.push(fragment);
        }
        self.share.take_over(share);
    }

    fn push(&mut self, fragment: Fragment) {
        match fragment {
            Fragment::Begin(envelope) => self.waiting.push_back(Waiting { envelope, ready: 0 }),
            Fragment::Data(bytes) => {
                let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let ready = match self.waiting.back_mut() {
                    Some(waiting) => &mut waiting.ready,
                    None => &mut self.fresh,
                };
                *ready = ready.saturating_add(len);
                if !bytes.is_empty() {
                    self.segments.push_back(bytes);
                }
            }
        }
    }

    /// Tells the core about new bytes, and about the next message if it has none.
    pub(crate) fn feed<R: Role>(
        &mut self,
        tunnel: &mut Tunnel<R, Growing>,
        stream: Key,
    ) -> Result<(), CommandError> {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh > 0 {
            tunnel.stream(stream)?.provide(fresh)?;
        }
        if !self.sending
            && let Some(next) = self.waiting.pop_front()
        {
            self.share.remove(MESSAGE_COST);
            tunnel
                .stream(stream)?
                .send_message(next.envelope, next.ready)?;
            self.sending = true;
        }
        Ok(())
    }

    /// Notes that the core has sent its message.
    pub(crate) const fn sent(&mut self) {
        self.sending = false;
    }

    /// Whether the core was told about everything.
    pub(crate) fn is_fed(&self) -> bool {
        self.waiting.is_empty() && self.fresh == 0
    }

    /// The bytes that wait, with `MESSAGE_COST` for each message.
    pub(crate) const fn cost(&self) -> usize {
        self.share.bytes()
    }

    /// Whether a sender that was held back may go on: when half of the queue is free, so that it is
    /// not woken for every byte.
    pub(crate) fn has_room_again(&self, options: &Options) -> bool {
        let limit = (options.send_queue / 2).saturating_add(1);
        self.share.has_room(self.cost(), limit, options)
    }

    /// Moves the next `len` bytes of the message that is being sent.
    pub(crate) fn take(&mut self, mut len: usize, into: &mut Batch) {
        self.share.remove(len);
        while len > 0
            && let Some(segment) = self.segments.front_mut()
        {
            let part = if segment.len() <= len {
                self.segments.pop_front().unwrap_or_default()
            } else {
                segment.split_to(len)
            };
            len = len.saturating_sub(part.len());
            into.push_payload(part);
        }
        debug_assert_eq!(len, 0, "the core named bytes that were not provided");
        if len > 0 {
            into.push_head(&vec![0; len]);
        }
    }

    /// Drops the messages that the core does not know.
    pub(crate) fn stop(&mut self) {
        let messages = self.waiting.len().saturating_mul(MESSAGE_COST);
        self.share.remove(messages);
        self.waiting.clear();
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self, deferred: &mut Deferred) {
        deferred.drop_bytes(self.segments.drain(..));
        self.share.remove(self.cost());
        self.waiting.clear();
        self.segments.shrink_to(KEPT);
        self.waiting.shrink_to(KEPT);
        self.sending = false;
        self.fresh = 0;
    }
}
