//! The commands on a stream that both ends have.

use super::{Role, Tunnel};
use crate::code::Side;
use crate::error::CommandError;
use crate::reason::StreamReason;
use crate::storage::Storage;
use crate::streams::{Flag, MessageRules, Slot, Stream, Terminal};
use crate::types::{Envelope, Key, Unread};
use crate::wire::{Extension, Revision};

impl<R: Role, S: Storage> Tunnel<R, S> {
    /// The stream, if it takes commands.
    #[inline(always)]
    pub(super) fn live(&self, stream: Key) -> Result<Slot, CommandError> {
        let slot = self.streams.slot(stream).ok_or(CommandError::Gone)?;
        let stream = self.streams.get(slot);
        if stream.has_ended() || stream.has(Flag::Released) {
            return Err(CommandError::Gone);
        }
        Ok(slot)
    }

    /// The same, with its record.
    #[inline(always)]
    fn live_mut(&mut self, stream: Key) -> Result<(Slot, &mut Stream), CommandError> {
        self.streams
            .find_mut(stream)
            .filter(|(_, stream)| !stream.has_ended() && !stream.has(Flag::Released))
            .ok_or(CommandError::Gone)
    }

    /// Begins a message of which `ready` bytes are at hand. Its bytes are named by
    /// `Part::Message` until the last one has left; then [`Event::Writable`] is raised and the
    /// memory is free.
    ///
    /// [`Event::Writable`]: crate::Event::Writable
    ///
    /// # Errors
    /// See [`CommandError`]; nothing changed.
    #[inline]
    pub fn send_message(
        &mut self,
        stream: Key,
        message: Envelope,
        ready: u32,
    ) -> Result<(), CommandError> {
        let transparent = self.handshake.agreed(Extension::Transparent);
        let (slot, record) = self.live_mut(stream)?;
        let single = match R::SIDE {
            Side::Client => record.kind.single_request(),
            Side::Server => record.kind.single_response(),
        };
        let rules = MessageRules {
            single,
            compressed: transparent,
        };
        record.send.begin(message, ready, rules)?;
        self.streams.queue_data(slot);
        Ok(())
    }

    /// Says that `bytes` more of the message are at hand.
    ///
    /// # Errors
    /// [`CommandError::TooManyBytes`] beyond its size, or where no message is being sent.
    pub fn provide(&mut self, stream: Key, bytes: u32) -> Result<(), CommandError> {
        let (slot, record) = self.live_mut(stream)?;
        record.send.provide(bytes)?;
        self.streams.queue_data(slot);
        Ok(())
    }

    /// Says that the reader took `bytes` of what `Input::Data` handed out; the peer gets credit
    /// for them. To be called as bytes are moved, not when a message is whole: a message may be
    /// larger than the window.
    ///
    /// # Errors
    /// [`CommandError::TooManyBytes`] if so many are not unread.
    #[inline]
    pub fn consumed(&mut self, stream: Key, bytes: u32) -> Result<(), CommandError> {
        let (slot, record) = self.live_mut(stream)?;
        if record.discards() {
            return Ok(());
        }
        let Ok(due) = record.receive.consume(bytes) else {
            return Err(CommandError::TooManyBytes);
        };
        match record.revision {
            Revision::Zero => {
                record.receive.take_grant();
                self.note_read(slot, bytes);
            }
            Revision::One if due => self.streams.queue_control(slot),
            Revision::One => {}
        }
        Ok(())
    }

    /// Says that nobody reads any more, while the writer goes on: what is held and what still
    /// comes is credited at once, and handed out with `discard` set. Again: nothing happens.
    ///
    /// # Errors
    /// [`CommandError::Gone`].
    pub fn stop_reading(&mut self, stream: Key) -> Result<(), CommandError> {
        let slot = self.live(stream)?;
        self.credit_unread(slot);
        self.streams.get_mut(slot).flags.set(Flag::Stopped);
        Ok(())
    }

    /// Ends a stream on which the caller itself found something wrong, as where the core had:
    /// a message that cannot be decoded, a receive buffer without room. The peer is told, and
    /// [`End::Violation`] with this reason follows as an event; what is whole may still be read.
    ///
    /// # Errors
    /// [`CommandError::Gone`].
    ///
    /// [`End::Violation`]: crate::End::Violation
    pub fn fail(&mut self, stream: Key, reason: StreamReason) -> Result<(), CommandError> {
        let slot = self.live(stream)?;
        self.counters.violations = self.counters.violations.saturating_add(1);
        self.end_with_event(slot, Terminal::Violation(reason), Unread::Deliver);
        Ok(())
    }

    /// Credits everything unread, because nobody will read it.
    pub(super) fn credit_unread(&mut self, slot: Slot) {
        let unread = self.streams.get(slot).receive.unread();
        self.credit(slot, unread);
        self.note_read(slot, unread);
    }

    /// Says that the handle, or the handler, and its receive buffer are gone. A stream counts
    /// against the limit until then. A call that has not ended is cancelled by its client, and
    /// closed with INTERNAL by its server unless `close` was called; its terminal event follows
    /// all the same.
    ///
    /// # Errors
    /// [`CommandError::Gone`] if it was released before, or the key is none of a stream.
    pub fn release(&mut self, stream: Key) -> Result<(), CommandError> {
        let slot = self.streams.slot(stream).ok_or(CommandError::Gone)?;
        let record = self.streams.get(slot);
        if record.has(Flag::Released) {
            return Err(CommandError::Gone);
        }
        let unfinished = !record.has_ended() && !record.send.is_closing();
        if unfinished {
            let why = match R::SIDE {
                Side::Client => Terminal::Cancelled,
                Side::Server => Terminal::Violation(StreamReason::HandlerGone),
            };
            self.end_with_event(slot, why, Unread::Discard);
        }
        self.streams.get_mut(slot).flags.set(Flag::Released);
        self.retire(slot);
        Ok(())
    }
}
