//! The commands on a stream that both ends have.

use super::{Role, Tunnel};
use crate::error::{CommandError, Reason, Scope, Side};
use crate::storage::Storage;
use crate::stream::{Close, Flag, Once, Sending, Stream, Terminal};
use crate::types::{Envelope, Key, Unread};
use crate::wire::Extension;

impl<R: Role, S: Storage> Tunnel<R, S> {
    pub(super) fn live_mut(&mut self, stream: Key) -> Result<&mut Stream, CommandError> {
        self.slab
            .find_mut(stream)
            .filter(|stream| stream.ended.is_none() && !stream.has(Flag::Released))
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
    pub fn send_message(
        &mut self,
        stream: Key,
        message: Envelope,
        ready: u32,
    ) -> Result<(), CommandError> {
        let transparent = self.extensions.contains(Extension::Transparent);
        let record = self.live_mut(stream)?;
        let single = match R::SIDE {
            Side::Client => record.kind.single_request(),
            Side::Server => record.kind.single_response(),
        };
        let send = &mut record.send;
        if send.half_close != Once::Open || send.close != Close::Open {
            return Err(CommandError::SendSideClosed);
        }
        if send.is_inside() {
            return Err(CommandError::Busy);
        }
        if single && send.any_message() {
            return Err(CommandError::SecondMessage);
        }
        if message.compressed && !transparent {
            return Err(CommandError::CompressionNotAgreed);
        }
        if ready > message.size {
            return Err(CommandError::TooManyBytes);
        }
        send.sending = Sending::Begins {
            compressed: message.compressed,
        };
        send.size = message.size;
        send.ready = ready;
        send.sent = 0;
        self.schedule(stream.slot);
        Ok(())
    }

    /// Says that `bytes` more of the message are at hand.
    ///
    /// # Errors
    /// [`CommandError::TooManyBytes`] beyond its size, or where no message is being sent.
    pub fn provide(&mut self, stream: Key, bytes: u32) -> Result<(), CommandError> {
        let send = &mut self.live_mut(stream)?.send;
        let ready = send.ready.checked_add(bytes);
        match ready {
            Some(ready) if send.is_inside() && ready <= send.size => send.ready = ready,
            _ => return Err(CommandError::TooManyBytes),
        }
        self.schedule(stream.slot);
        Ok(())
    }

    /// Says that the reader took `bytes` of what `Input::Data` handed out; the peer gets credit
    /// for them. To be called as bytes are moved, not when a message is whole: a message may be
    /// larger than the window.
    ///
    /// # Errors
    /// [`CommandError::TooManyBytes`] if so many are not unread.
    pub fn consumed(&mut self, stream: Key, bytes: u32) -> Result<(), CommandError> {
        let record = self.live_mut(stream)?;
        if record.discards() {
            return Ok(());
        }
        if bytes > record.receive.unread() {
            return Err(CommandError::TooManyBytes);
        }
        self.credit(stream.slot, bytes);
        self.note_read(stream.slot, bytes);
        Ok(())
    }

    /// Says that nobody reads any more, while the writer goes on: what is held and what still
    /// comes is credited at once, and handed out with `discard` set. Again: nothing happens.
    ///
    /// # Errors
    /// [`CommandError::Gone`].
    pub fn stop_reading(&mut self, stream: Key) -> Result<(), CommandError> {
        self.live_mut(stream)?;
        self.credit_unread(stream.slot);
        self.live_mut(stream)?.flags.set(Flag::Stopped);
        Ok(())
    }

    /// Ends a stream on which the caller itself found something wrong, as where the core had:
    /// a message that cannot be decoded, a receive buffer without room. The peer is told, and
    /// [`End::Violation`] with this reason follows as an event; what is whole may still be read.
    ///
    /// # Errors
    /// [`CommandError::Gone`], or [`CommandError::NotOfAStream`] for a reason that ends tunnels.
    ///
    /// [`End::Violation`]: crate::End::Violation
    pub fn fail(&mut self, stream: Key, reason: Reason) -> Result<(), CommandError> {
        if reason.scope() != Scope::Stream {
            return Err(CommandError::NotOfAStream);
        }
        self.live_mut(stream)?;
        self.counters.violations = self.counters.violations.saturating_add(1);
        self.end_with_event(stream.slot, Terminal::Violation(reason), Unread::Deliver);
        Ok(())
    }

    /// Credits everything unread, because nobody will read it.
    pub(super) fn credit_unread(&mut self, slot: u32) {
        let Some(stream) = self.slab.get(slot) else {
            return;
        };
        let unread = stream.receive.unread();
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
        let record = self.slab.find_mut(stream);
        let record = record
            .filter(|record| !record.has(Flag::Released))
            .ok_or(CommandError::Gone)?;
        let unfinished = record.ended.is_none() && record.send.close == Close::Open;
        if unfinished {
            let why = match R::SIDE {
                Side::Client => Terminal::Cancelled,
                Side::Server => Terminal::Violation(Reason::HandlerGone),
            };
            self.end_with_event(stream.slot, why, Unread::Discard);
        }
        if let Some(record) = self.slab.find_mut(stream) {
            record.flags.set(Flag::Released);
        }
        self.retire(stream.slot);
        Ok(())
    }

    /// Puts the stream in line if it has something to send.
    pub(super) fn schedule(&mut self, slot: u32) {
        let Some(stream) = self.slab.get(slot) else {
            return;
        };
        if stream.next().is_some() {
            self.data.push_back(&mut self.slab, slot);
        }
    }
}
