//! What is sent next: control frames first, then one quantum a stream, round and round.

use core::ops::Range;

use super::{Phase, Rejection, Role, Tunnel};
use crate::budget::Earned;
use crate::error::{Reason, Side};
use crate::storage::{Queue, Storage};
use crate::stream::{Close, Flag, Next, Once, Sending, Stream, Terminal};
use crate::time::Time;
use crate::types::{Body, Part, Transmit, Unread};
use crate::wire::{Extension, Prefix, Revision, prefix};

/// Payload bytes of the largest chunk that known peers send, and that we do.
pub(crate) const MAX_CHUNK: u32 = 16_384;
/// Bytes that a stream sends before it is the next one's turn.
const QUANTUM: u32 = 16_384;
/// A chunk is not cut below this only because the quantum ends.
const MIN_CUT: u32 = 1_024;

/// A frame that a stream sends once.
#[derive(Clone, Copy)]
enum Single {
    Head,
    HalfClose,
    Close,
}

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
        } else if self.data.front().is_some() {
            self.next_data(now)
        } else {
            None
        };
        if transmit.is_some() {
            self.alive.said = now;
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
        if let Some(rejection) = self.rejections.pop_front() {
            return Some(self.rejection_frame(rejection));
        }
        while let Some(slot) = self.control.front() {
            if let Some(transmit) = self.control_frame(now, slot) {
                return Some(transmit);
            }
        }
        let transmit = self.next_data(now);
        if transmit.is_none() && self.alive.heartbeat_due {
            return self.heartbeat_frame(now);
        }
        transmit
    }

    fn rejection_frame(&self, rejection: Rejection) -> Transmit {
        let Rejection { id, reason } = rejection;
        if reason.is_curable() && self.extensions.contains(Extension::Unprocessed) {
            close_unprocessed(id, reason)
        } else {
            close_with(id, reason)
        }
    }

    #[inline(never)]
    fn next_data(&mut self, now: Time) -> Option<Transmit> {
        while let Some(slot) = self.data.front() {
            let transmit = self.data_frame(now, slot);
            if transmit.is_some() {
                return transmit;
            }
        }
        None
    }

    #[cold]
    fn tunnel_frame(&mut self, now: Time) -> Option<Transmit> {
        if core::mem::take(&mut self.settings_due) {
            self.watch_settings(now);
            let window = self.limits.receive_window.initial;
            let (revisions, _) = self.supported();
            let offer = (!self.own_extensions.is_empty()).then_some(self.own_extensions);
            return Some(control(prefix::settings(window, revisions, offer)));
        }
        if core::mem::take(&mut self.extensions_due) {
            return Some(control(prefix::extensions(self.own_extensions)));
        }
        if core::mem::take(&mut self.drain_due) && R::SIDE == Side::Server {
            return Some(control(prefix::drain(self.drain_last)));
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

    /// Whether something stands in line to be sent.
    pub(crate) fn has_frames(&self) -> bool {
        self.phase == Phase::Open && (self.has_other_than_data() || self.data.front().is_some())
    }

    #[inline]
    fn has_other_than_data(&self) -> bool {
        self.urgent
            || self.alive.heartbeat_due
            || !self.rejections.is_empty()
            || self.control.front().is_some()
    }

    /// The next control frame of the stream at the front, which leaves when it has no other.
    fn control_frame(&mut self, now: Time, slot: u32) -> Option<Transmit> {
        let stream = self.slab.get_mut(slot)?;
        let id = stream.id;
        let transmit = if stream.flags.take(Flag::CancelDue) {
            Some(control(prefix::cancel(id)))
        } else if let Some(reason) = stream.close_due.take() {
            Some(close_with(id, reason))
        } else if stream.grant_is_due() {
            return self.grant_frame(now, slot);
        } else {
            None
        };
        if !self.slab.get(slot)?.has_control() {
            self.control.remove(&mut self.slab, slot);
            self.retire(slot);
        }
        transmit
    }

    /// The grant of the stream at the front, which has nothing else to say and has not ended.
    #[inline]
    fn grant_frame(&mut self, now: Time, slot: u32) -> Option<Transmit> {
        self.grow_as_learned(slot);
        self.watch_grant(now, slot, false);
        self.control.remove(&mut self.slab, slot);
        let stream = self.slab.get_mut(slot)?;
        let grant = stream.receive.take_grant();
        let mut prefix = Prefix::EMPTY;
        prefix::put_window_update(&mut prefix, stream.id, grant);
        Some(control(prefix))
    }

    /// The next frame of the stream at the front, or `None` if it is another's turn.
    #[inline]
    fn data_frame(&mut self, now: Time, slot: u32) -> Option<Transmit> {
        let Some(next) = self.slab.get(slot).and_then(|stream| stream.next()) else {
            self.leave_data(slot);
            return None;
        };
        let left = QUANTUM.saturating_sub(self.spent);
        let fresh = self.spent == 0;
        let single = match next {
            Next::Chunk(ready) => {
                let allowed = ready.min(MAX_CHUNK);
                let bytes = if fresh { allowed } else { allowed.min(left) };
                if left == 0 || (bytes < allowed && bytes < MIN_CUT) {
                    self.next_turn();
                    return None;
                }
                return self.chunk(slot, bytes, bytes == ready);
            }
            _ if left == 0 => {
                self.next_turn();
                return None;
            }
            Next::Head => {
                let len = self.slab.get(slot)?.send.head_len;
                if !fresh && len > left {
                    self.next_turn();
                    return None;
                }
                Single::Head
            }
            Next::HalfClose => Single::HalfClose,
            Next::Close => Single::Close,
        };
        self.single_frame(now, slot, single)
    }

    /// Kept apart from the chunks, which are to be quick.
    #[inline(never)]
    fn single_frame(&mut self, now: Time, slot: u32, single: Single) -> Option<Transmit> {
        let transmit = match single {
            Single::Head => self.head(now, slot),
            Single::HalfClose => self.half_close_frame(slot),
            Single::Close => self.close_frame(slot),
        };
        match &transmit {
            Some(sent) => self.spend(slot, sent.body_len(), &sent.prefix),
            None => self.give_up(slot),
        }
        transmit
    }

    /// Without an id, or without a record, the stream cannot go on.
    #[cold]
    fn give_up(&mut self, slot: u32) {
        self.leave_data(slot);
        self.end_with_event(
            slot,
            Terminal::Violation(Reason::TooManyStreams),
            Unread::Discard,
        );
    }

    #[inline]
    fn next_turn(&mut self) {
        self.spent = 0;
        self.data.rotate(&mut self.slab);
    }

    /// Charges the front stream's quantum. A stream that ran dry within it keeps its place until
    /// the next poll, so that it may be fed again.
    #[inline]
    fn spend(&mut self, slot: u32, body: u32, prefix: &Prefix) {
        if self.data.front() != Some(slot) {
            return;
        }
        self.spent = self.spent.saturating_add(prefix.frame_len(body));
        if self.spent >= QUANTUM {
            self.next_turn();
        }
    }

    /// A quantum is used up, perhaps with all that the stream had to send: then it leaves.
    #[inline]
    fn end_turn(&mut self, slot: u32, all: bool) {
        let next = |stream: &Stream| stream.next().is_some();
        if all && !self.slab.get(slot).is_some_and(next) {
            self.leave_data(slot);
        } else {
            self.next_turn();
        }
    }

    /// The next bytes of a message; `next` allowed no more than these, if they are all.
    #[inline]
    fn chunk(&mut self, slot: u32, bytes: u32, all: bool) -> Option<Transmit> {
        let key = self.slab.key(slot);
        let mut prefix = Prefix::EMPTY;
        let Some(range) = self.take_chunk(slot, bytes, &mut prefix) else {
            self.give_up(slot);
            return None;
        };
        if R::SIDE == Side::Client && range.start == 0 {
            self.grow_as_learned(slot);
        }
        self.budget.earn(Earned::DataFrame);
        self.spent = self.spent.saturating_add(prefix.frame_len(bytes));
        if self.spent >= QUANTUM {
            self.end_turn(slot, all);
        }
        Some(Transmit {
            prefix,
            body: caller(key, Part::Message, range),
        })
    }

    #[inline(always)]
    fn take_chunk(&mut self, slot: u32, bytes: u32, prefix: &mut Prefix) -> Option<Range<u32>> {
        let stream = self.slab.get_mut(slot)?;
        let (id, send) = (stream.id, &mut stream.send);
        if stream.revision == Revision::One {
            send.window.take(bytes).ok()?;
        }
        let start = send.sent;
        let end = start.checked_add(bytes)?;
        send.sent = end;
        if let Sending::Begins { compressed } = send.sending {
            send.sending = Sending::Continues;
            prefix::put_message(prefix, id, send.size, bytes, compressed);
        } else {
            prefix::put_more(prefix, id, bytes);
        }
        if end == send.size {
            send.sending = Sending::Done;
            stream.flags.set(Flag::WritableDue);
            self.events.push_back(&mut self.slab, slot);
        }
        Some(start..end)
    }

    fn head(&mut self, now: Time, slot: u32) -> Option<Transmit> {
        let key = self.slab.key(slot);
        let id = match R::SIDE {
            Side::Client => self.give_id(slot)?,
            Side::Server => self.slab.get(slot)?.id,
        };
        let initial = self.limits.receive_window.initial;
        let stream = self.slab.get_mut(slot)?;
        stream.send.head = Once::Sent;
        let len = stream.send.head_len;
        let (prefix, part) = match R::SIDE {
            Side::Client => {
                let timeout =
                    (stream.deadline != Time::MAX).then(|| stream.deadline.saturating_since(now));
                let revision = stream.revision;
                let prefix = prefix::new_stream(id, len, initial, revision, timeout);
                self.watch_grant(now, slot, true);
                (prefix, Part::Open)
            }
            Side::Server => (prefix::headers(id, len), Part::Headers),
        };
        Some(Transmit {
            prefix,
            body: caller(key, part, 0..len),
        })
    }

    /// Gives a client's stream the next id, now that its `new_stream` leaves.
    fn give_id(&mut self, slot: u32) -> Option<i64> {
        let stream = self.slab.get_mut(slot)?;
        if !self.index.push(self.next_id, slot) {
            return None;
        }
        stream.id = self.next_id;
        self.unsent = self.unsent.saturating_sub(1);
        Some(self.take_id())
    }

    /// Whether there is an id that no open call will need.
    pub(super) fn has_spare_id(&self) -> bool {
        self.next_id.checked_add(i64::from(self.unsent)).is_some()
    }

    /// Uses up the next id.
    pub(super) const fn take_id(&mut self) -> i64 {
        let id = self.next_id;
        self.highest = id;
        // Past the last id, `open` answers `IdsExhausted` for ever.
        match id.checked_add(1) {
            Some(next) => self.next_id = next,
            None => self.unsent = self.unsent.saturating_add(1),
        }
        id
    }

    fn half_close_frame(&mut self, slot: u32) -> Option<Transmit> {
        let stream = self.slab.get_mut(slot)?;
        stream.send.half_close = Once::Sent;
        Some(control(prefix::half_close(stream.id)))
    }

    fn close_frame(&mut self, slot: u32) -> Option<Transmit> {
        let key = self.slab.key(slot);
        let stream = self.slab.get_mut(slot)?;
        stream.send.close = Close::Open;
        let (id, len) = (stream.id, stream.send.close_len);
        self.end_with_event(slot, Terminal::Closed, Unread::Discard);
        Some(Transmit {
            prefix: prefix::close(id, len),
            body: caller(key, Part::Close, 0..len),
        })
    }
}

impl Transmit {
    fn body_len(&self) -> u32 {
        match &self.body {
            Body::Caller { range, .. } => range.end.saturating_sub(range.start),
            Body::None | Body::Static(_) => 0,
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
