//! One stream of a tunnel, borrowed from it: the commands of its caller.

use core::fmt;

use super::view::StreamRef;
use super::{Client, Role, Server, Tunnel};
use crate::code::Side;
use crate::error::{CommandError, Gone, MessageIncomplete, TooManyBytes};
use crate::reason::StreamReason;
use crate::storage::Storage;
use crate::streams::{MessageRules, Slot, Stream, Terminal};
use crate::time::Time;
use crate::types::{Envelope, Hold, Key, MethodKind, Unread};
use crate::wire::{Encoded, Extension};

/// A stream that takes commands, borrowed from its tunnel by [`Tunnel::stream`].
///
/// A command that is refused changes nothing. After the commands, poll the tunnel.
#[must_use = "the stream is only looked up, nothing happens to it"]
pub struct StreamMut<'t, R: Role, S: Storage> {
    tunnel: &'t mut Tunnel<R, S>,
    slot: Slot,
}

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// Looks a stream up, for any number of commands.
    ///
    /// # Errors
    /// It has ended or was released, or the key is none of this tunnel's.
    #[inline(always)]
    pub fn stream(&mut self, key: Key) -> Result<StreamMut<'_, R, S>, Gone> {
        match self.streams.live(key) {
            Some(slot) => Ok(StreamMut { tunnel: self, slot }),
            None => Err(Gone),
        }
    }

    /// Says that the handle, or the handler, and its receive buffer are gone. A stream counts
    /// against the limit until then. A call that has not ended is cancelled by its client, and
    /// closed with INTERNAL by its server unless `close` was called; its terminal event follows
    /// all the same.
    ///
    /// # Errors
    /// It was released before, or the key is none of this tunnel's.
    pub fn release(&mut self, key: Key) -> Result<(), Gone> {
        let slot = self.streams.slot(key).ok_or(Gone)?;
        let record = self.streams.get(slot);
        if record.receive.is_released() {
            return Err(Gone);
        }
        let unfinished = !record.has_ended() && !record.send.is_closing();
        if unfinished {
            let why = match R::SIDE {
                Side::Client => Terminal::Cancelled,
                Side::Server => Terminal::Violation(StreamReason::HandlerGone),
            };
            self.end_with_event(slot, why, Unread::Discard);
        }
        self.streams.get_mut(slot).receive.release();
        self.retire(slot);
        Ok(())
    }
}

impl<R: Role, S: Storage> StreamMut<'_, R, S> {
    #[inline(always)]
    fn record(&mut self) -> &mut Stream {
        self.tunnel.streams.get_mut(self.slot)
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> Key {
        self.tunnel.streams.key(self.slot)
    }

    /// What there is to know of it.
    #[must_use]
    pub fn view(&self) -> StreamRef<'_> {
        StreamRef::new(self.tunnel.streams.get(self.slot))
    }

    /// Begins a message of which `ready` bytes are at hand. Its bytes are named by
    /// `Part::Message` until the last one has left; then [`Event::Writable`] is raised and the
    /// memory is free.
    ///
    /// [`Event::Writable`]: crate::Event::Writable
    ///
    /// # Errors
    /// [`CommandError::SendSideClosed`], [`Busy`](CommandError::Busy) with the message before,
    /// [`SecondMessage`](CommandError::SecondMessage),
    /// [`CompressionNotAgreed`](CommandError::CompressionNotAgreed), or
    /// [`TooManyBytes`](CommandError::TooManyBytes) where `ready` is beyond its size.
    #[inline(always)]
    pub fn send_message(&mut self, message: Envelope, ready: u32) -> Result<(), CommandError> {
        let transparent = self.tunnel.handshake.agreed(Extension::Transparent);
        self.tunnel.streams.feed(self.slot, |record| {
            let single = match R::SIDE {
                Side::Client => record.kind.single_request(),
                Side::Server => record.kind.single_response(),
            };
            let rules = MessageRules {
                single,
                compressed: transparent,
            };
            record.send.begin(message, ready, rules)
        })
    }

    /// Says that `bytes` more of the message are at hand.
    ///
    /// # Errors
    /// They are beyond its size, or no message is being sent.
    #[inline(always)]
    pub fn provide(&mut self, bytes: u32) -> Result<(), TooManyBytes> {
        let streams = &mut self.tunnel.streams;
        streams.feed(self.slot, |record| record.send.provide(bytes))
    }

    /// Says that the reader took `bytes` of what `Input::Data` handed out; the peer gets credit
    /// for them. To be called as bytes are moved, not when a message is whole: a message may be
    /// larger than the window.
    ///
    /// # Errors
    /// Fewer are unread.
    #[inline(always)]
    pub fn consumed(&mut self, bytes: u32) -> Result<(), TooManyBytes> {
        let granted = self.tunnel.streams.consume(self.slot, bytes)?;
        if !granted {
            self.tunnel.note_read(self.slot, bytes);
        }
        Ok(())
    }

    /// Says that nobody reads any more, while the writer goes on: what is held and what still
    /// comes is credited at once, and handed out with `discard` set. Again: nothing happens.
    pub fn stop_reading(&mut self) {
        self.tunnel.credit_unread(self.slot);
        self.record().receive.stop_reading();
    }

    /// Ends a stream on which the caller itself found something wrong, as where the core had:
    /// a message that cannot be decoded, a receive buffer without room. The peer is told, and
    /// [`End::Violation`] with this reason follows as an event; what is whole may still be read.
    ///
    /// [`End::Violation`]: crate::End::Violation
    pub fn fail(self, reason: StreamReason) {
        let Self { tunnel, slot } = self;
        tunnel.counters.violations = tunnel.counters.violations.saturating_add(1);
        tunnel.end_with_event(slot, Terminal::Violation(reason), Unread::Deliver);
    }
}

impl<S: Storage> StreamMut<'_, Client, S> {
    /// Says that no further message follows. Again: nothing happens.
    ///
    /// # Errors
    /// The message that is being sent is not wholly provided.
    pub fn half_close(&mut self) -> Result<(), MessageIncomplete> {
        let streams = &mut self.tunnel.streams;
        streams.feed(self.slot, |record| record.send.half_close())
    }

    /// Cancels the call. [`End::Cancelled`] follows as an event; no later transmit names any
    /// part of the stream. A call whose `new_stream` has not left sends nothing and uses no id.
    ///
    /// [`End::Cancelled`]: crate::End::Cancelled
    pub fn cancel(self) {
        let Self { tunnel, slot } = self;
        tunnel.end_with_event(slot, Terminal::Cancelled, Unread::Discard);
    }
}

impl<S: Storage> StreamMut<'_, Server, S> {
    /// Tells the kind of the method. To be called right after [`Input::Opened`], where the kind is
    /// known: it bounds the number of messages from then on.
    ///
    /// [`Input::Opened`]: crate::Input::Opened
    pub fn set_method_kind(&mut self, kind: MethodKind) {
        self.record().kind = kind;
    }

    /// Sends response headers: `head` is what `wire::encode_headers` wrote, which `Part::Headers`
    /// names.
    ///
    /// # Errors
    /// [`CommandError::SendSideClosed`], [`HeadersLate`](CommandError::HeadersLate), or
    /// [`HeadTooLarge`](CommandError::HeadTooLarge).
    pub fn respond(&mut self, head: Encoded) -> Result<(), CommandError> {
        let streams = &mut self.tunnel.streams;
        streams.feed(self.slot, |record| record.send.respond(head))
    }

    /// Ends the call: `head`, which `wire::encode_close` wrote and `Part::Close` names, goes out
    /// behind the last whole message. Where its status is OK it may wait for the client's
    /// half-close: so long as `hold` says, or, without it, as [`Hold::of`] says for the kind of the
    /// method. It never does towards a peer that has answered the offer of extensions, which loses
    /// nothing. A message that is not wholly provided is abandoned by an error.
    /// From now on incoming data is discarded. [`End::Closed`] follows when it has left.
    ///
    /// [`End::Closed`]: crate::End::Closed
    ///
    /// # Errors
    /// [`CommandError::Gone`] where its deadline is due at `now`,
    /// [`SendSideClosed`](CommandError::SendSideClosed),
    /// [`HeadTooLarge`](CommandError::HeadTooLarge), or
    /// [`MessageIncomplete`](CommandError::MessageIncomplete) with the status OK.
    pub fn close(
        &mut self,
        now: Time,
        head: Encoded,
        hold: Option<Hold>,
    ) -> Result<(), CommandError> {
        let Self { tunnel, slot } = self;
        let slot = *slot;
        tunnel.handle_timeout(now);
        let peer_extends = tunnel.handshake.peer_answered();
        let record = tunnel.streams.get_mut(slot);
        if record.has_ended() {
            return Err(CommandError::Gone);
        }
        let hold = hold.unwrap_or(Hold::of(record.kind));
        let hold = record
            .must_hold(hold)
            .filter(|_| head.is_ok() && !peer_extends);
        record.send.close(head, hold.is_some())?;
        if let Some(max) = hold {
            let deadline = record.deadline();
            let until = now.saturating_add(max);
            tunnel.streams.set_timers(slot, deadline, until);
            tunnel.no_timer_before = Time::ZERO;
        }
        tunnel.credit_unread(slot);
        tunnel.streams.queue_data(slot);
        Ok(())
    }
}

impl<R: Role, S: Storage> fmt::Debug for StreamMut<'_, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamMut")
            .field("key", &self.key())
            .field("view", &self.view())
            .finish_non_exhaustive()
    }
}
