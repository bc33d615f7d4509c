//! What a tunnel sends next: control frames first, then one quantum a stream, round after round.

use core::ops::Range;

use super::refusals::Refusal;
use super::stream_end::close_reason;
use super::{Phase, Role, Tunnel};
use crate::budget::Earned;
use crate::code::Side;
use crate::reason::{Reason, StreamReason};
use crate::storage::Storage;
use crate::streams::{Notice, Sent, Slot, Terminal, Whole};
use crate::time::Time;
use crate::types::{Body, Part, Transmit, Unread};
use crate::wire::{Extension, Prefix, prefix};

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// The next frame, or `None` if nothing can be sent now, or any more. To be polled again after
    /// every other call, and for the next frame when the carrier can take one; the ranges of the caller's memory that it names must be read before the next
    /// command on that stream.
    #[inline]
    #[must_use = "a frame that is not sent is lost, and the tunnel with it"]
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        if self.is_due(now) {
            return self.wake_and_transmit(now);
        }
        self.transmit(now)
    }

    /// What is due comes first. Apart, so that the usual way needs no registers for it.
    #[cold]
    #[inline(never)]
    fn wake_and_transmit(&mut self, now: Time) -> Option<Transmit> {
        self.handle_timeout(now);
        self.transmit(now)
    }

    #[inline(always)]
    fn transmit(&mut self, now: Time) -> Option<Transmit> {
        if self.phase != Phase::Open {
            return None;
        }
        // Every second poll finds nothing, and most others data with nothing ahead of it.
        let transmit = if self.has_other_than_data() {
            self.next_frame(now)
        } else if self.streams.has_data() {
            self.next_data(now)
        } else {
            None
        };
        if transmit.is_some() {
            self.liveness.sent(now);
        } else {
            self.finish_if_drained(now);
        }
        transmit
    }

    /// What is about the tunnel goes first, and a heartbeat only where nothing else does.
    #[inline(never)]
    fn next_frame(&mut self, now: Time) -> Option<Transmit> {
        if self.urgent {
            let transmit = self.tunnel_frame(now);
            self.settle_urgency();
            if transmit.is_some() {
                return transmit;
            }
        }
        // A client refuses no stream, and has none of the texts that tell why.
        if R::SIDE == Side::Server
            && let Some(refusal) = self.refusals.pop()
        {
            return Some(self.refusal_frame(refusal));
        }
        while let Some(slot) = self.streams.pop_control() {
            if self.streams.get(slot).grant_is_due() {
                return Some(self.grant_frame(now, slot));
            }
            if let Some(transmit) = self.notice_frame(slot) {
                return Some(transmit);
            }
        }
        let transmit = self.next_data(now);
        if transmit.is_none() && self.liveness.is_heartbeat_due() {
            return self.heartbeat_frame(now);
        }
        transmit
    }

    fn refusal_frame(&self, refusal: Refusal) -> Transmit {
        let Refusal { id, reason } = refusal;
        if reason.is_curable() && self.handshake.agreed(Extension::Unprocessed) {
            close_unprocessed(id, reason.into())
        } else {
            close_with(id, reason.into())
        }
    }

    #[inline(never)]
    fn next_data(&mut self, now: Time) -> Option<Transmit> {
        let mut prefix = Prefix::EMPTY;
        match self.streams.send_next(&mut prefix)? {
            Sent::Chunk { slot, body, begins } => {
                if R::SIDE == Side::Client && begins {
                    self.grow_as_learned(slot);
                }
                self.budget.earn(Earned::DataFrame);
                Some(Transmit { prefix, body })
            }
            Sent::Due { slot, frame } => self.whole_frame(now, slot, frame),
        }
    }

    /// A frame that goes out in the order of data, and is no chunk.
    #[inline(never)]
    fn whole_frame(&mut self, now: Time, slot: Slot, frame: Whole) -> Option<Transmit> {
        match frame {
            Whole::Head(len) => self.head(now, slot, len),
            Whole::HalfClose => Some(self.half_close_frame(slot)),
            Whole::Close(len) => Some(self.close_frame(slot, len)),
        }
    }

    #[cold]
    fn tunnel_frame(&mut self, now: Time) -> Option<Transmit> {
        if self.handshake.take_settings() {
            self.watch_settings(now);
            let window = self.limits.receive_window.initial;
            let (revisions, _) = self.handshake.supported();
            let offer = self.handshake.offer();
            return Some(control(prefix::settings(window, revisions, offer)));
        }
        if let Some(own) = self.handshake.take_answer() {
            return Some(control(prefix::extensions(own)));
        }
        if let Some(last) = self.drain.take_notice()
            && R::SIDE == Side::Server
        {
            return Some(control(prefix::drain(last)));
        }
        self.liveness_frame(now)
    }

    /// Whether `poll_transmit` may have something to do: a frame to send, or the end of a drain.
    /// False is certain until the time of `poll_timeout`. For a caller that wakes its carrier only
    /// when there is a reason.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        self.has_frames() || self.may_finish()
    }

    /// Whether something is queued to be sent.
    pub(crate) fn has_frames(&self) -> bool {
        self.phase == Phase::Open && (self.has_other_than_data() || self.streams.has_data())
    }

    #[inline]
    fn has_other_than_data(&self) -> bool {
        self.urgent
            || self.liveness.is_heartbeat_due()
            || !self.refusals.is_empty()
            || self.streams.has_control()
    }

    /// What a stream's peer is told of its end. A stream has one frame ahead of data at a time: it is
    /// granted credit until it ends.
    #[inline(never)]
    fn notice_frame(&mut self, slot: Slot) -> Option<Transmit> {
        let stream = self.streams.get_mut(slot);
        let id = stream.id();
        let transmit = match stream.take_notice()? {
            (Notice::Cancel, _) => Some(control(prefix::cancel(id))),
            // A tunnel client closes no stream. This keeps the code for it out of a client's program.
            (Notice::Close, why) if R::SIDE == Side::Server => {
                close_reason(why).map(|reason| close_with(id, reason))
            }
            (Notice::Close | Notice::Nothing, _) => None,
        };
        self.retire(slot);
        transmit
    }

    /// The grant of a stream that has not ended.
    #[inline]
    fn grant_frame(&mut self, now: Time, slot: Slot) -> Transmit {
        self.grow_as_learned(slot);
        self.watch_grant(now, slot, false);
        let stream = self.streams.get_mut(slot);
        let grant = stream.receive.window_mut().take_grant();
        let mut prefix = Prefix::EMPTY;
        prefix::put_window_update(&mut prefix, stream.id(), grant);
        control(prefix)
    }

    /// `None`: there is no memory for the stream's id.
    #[inline(never)]
    fn head(&mut self, now: Time, slot: Slot, len: u32) -> Option<Transmit> {
        let key = self.streams.key(slot);
        if R::SIDE == Side::Client && !self.give_id(slot) {
            self.end_with_event(
                slot,
                Terminal::Violation(StreamReason::TooManyStreams),
                Unread::Discard,
            );
            return None;
        }
        let initial = self.limits.receive_window.initial;
        let stream = self.streams.get_mut(slot);
        stream.send.head_sent();
        let id = stream.id();
        let (prefix, part) = match R::SIDE {
            Side::Client => {
                let deadline = stream.deadline();
                let timeout = (deadline != Time::MAX).then(|| deadline.saturating_since(now));
                let revision = stream.revision;
                let prefix = prefix::new_stream(id, len, initial, revision, timeout);
                self.watch_grant(now, slot, true);
                (prefix, Part::Open)
            }
            Side::Server => (prefix::headers(id, len), Part::Headers),
        };
        self.streams.spend(slot, prefix.frame_len(len));
        Some(Transmit {
            prefix,
            body: caller(key, part, 0..len),
        })
    }

    /// Gives a client's stream the next id, now that its `new_stream` leaves.
    fn give_id(&mut self, slot: Slot) -> bool {
        let given = self.streams.give_id(slot, self.ids.next());
        if given {
            self.ids.take();
        }
        given
    }

    /// Whether there is an id that no open call will need.
    pub(super) fn has_spare_id(&self) -> bool {
        self.ids.has_spare(self.streams.unsent())
    }

    #[inline(never)]
    fn half_close_frame(&mut self, slot: Slot) -> Transmit {
        let stream = self.streams.get_mut(slot);
        stream.send.half_close_sent();
        let prefix = prefix::half_close(stream.id());
        self.streams.spend(slot, prefix.frame_len(0));
        control(prefix)
    }

    /// The stream ends with it, and its turn with the stream.
    #[inline(never)]
    fn close_frame(&mut self, slot: Slot, len: u32) -> Transmit {
        let key = self.streams.key(slot);
        let stream = self.streams.get_mut(slot);
        stream.send.close_sent();
        let id = stream.id();
        self.end_with_event(slot, Terminal::Closed, Unread::Discard);
        Transmit {
            prefix: prefix::close(id, len),
            body: caller(key, Part::Close, 0..len),
        }
    }
}

pub(super) fn control(prefix: Prefix) -> Transmit {
    Transmit {
        prefix,
        body: Body::None,
    }
}

fn close_with(id: i64, reason: Reason) -> Transmit {
    let text = reason.text();
    let len = u32::try_from(text.len()).unwrap_or(0);
    let prefix = prefix::close_reason(id, reason.code(Side::Server).as_i32(), len);
    with_text(prefix, text)
}

/// The same, of a call that no handler saw and that another try may find a place for.
fn close_unprocessed(id: i64, reason: Reason) -> Transmit {
    let text = reason.text();
    let len = u32::try_from(text.len()).unwrap_or(0);
    let prefix = prefix::close_unprocessed(id, reason.code(Side::Server).as_i32(), len);
    with_text(prefix, text)
}

pub(super) const fn with_text(prefix: Prefix, text: &'static str) -> Transmit {
    Transmit {
        prefix,
        body: Body::Static(text),
    }
}

fn caller(stream: crate::types::Key, part: Part, range: Range<u32>) -> Body {
    if range.is_empty() {
        return Body::None;
    }
    Body::Caller {
        stream,
        part,
        range,
    }
}
