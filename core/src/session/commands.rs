//! What an application does with the calls of a session.

use alloc::vec::Vec;

use super::Session;
use super::call::{Behind, Call};
use super::event::{
    CallKey, CloseError, IncomingCall, OpenCallError, Received, RespondError, SendError,
};
use super::owned::{OwnedMetadata, OwnedStatus};
use super::trace::Trace;
use crate::code::Side;
use crate::error::{CommandError, Gone};
use crate::receive_buffer::Gathered;
use crate::storage::Growing;
use crate::tunnel::{Server, StreamMut};
use crate::types::{Envelope, MethodKind, OpenOptions};
use crate::wire::{ExtensionSet, HeadOptions, encode_close, encode_headers, encode_open};

/// Does something with the tunnel of one side, if there is one.
macro_rules! on_side {
    ($session:expr, $side:expr, $tunnel:ident => $what:expr) => {
        match $side {
            Side::Client => $session.pipe.client_mut().map(|$tunnel| $what),
            Side::Server => $session.pipe.server_mut().map(|$tunnel| $what),
        }
    };
}

impl<T: Trace> Session<T> {
    /// Opens a call of `service/method`.
    ///
    /// # Errors
    /// See [`OpenCallError`]. After [`OpenError::NotSettled`](crate::OpenError::NotSettled) and
    /// [`OpenError::Full`](crate::OpenError::Full) [`SessionEvent::MayOpen`] tells when to try
    /// again.
    ///
    /// [`SessionEvent::MayOpen`]: super::SessionEvent::MayOpen
    pub fn open(
        &mut self,
        method: &str,
        metadata: &OwnedMetadata,
        options: OpenOptions,
    ) -> Result<CallKey, OpenCallError> {
        let mut head = Vec::new();
        let head_options = self.head_options(Side::Client);
        let encoded = encode_open(&mut head, method, metadata.iter(), &head_options)
            .map_err(OpenCallError::Head)?;
        let tunnel = self.pipe.client_mut().ok_or(OpenCallError::NoClient)?;
        let opened = tunnel.open(self.now, encoded, options);
        self.pump();
        let stream = opened.map_err(OpenCallError::Tunnel)?;
        let side = Side::Client;
        let mut call = Call::new(CallKey { side, stream }, options.kind);
        call.head = head;
        self.calls.insert(call);
        Ok(CallKey { side, stream })
    }

    /// The next call that came in.
    #[must_use = "a call that nobody closes stays open until its client gives up"]
    pub fn accept(&mut self) -> Option<IncomingCall> {
        let key = self.incoming.pop_front()?;
        let incoming = self.calls.get(key)?.incoming.take();
        self.readable(key);
        incoming
    }

    /// Tells the kind of the method of a call that came in, right after `accept`: the tunnel then
    /// holds the client, and `send` this end, to the number of messages.
    ///
    /// # Errors
    /// The call is over.
    pub fn set_method_kind(&mut self, key: CallKey, kind: MethodKind) -> Result<(), Gone> {
        self.open_call(key, Side::Server).ok_or(Gone)?.kind = kind;
        self.server_stream(key)?.set_method_kind(kind);
        Ok(())
    }

    /// Sends response headers, ahead of any message.
    ///
    /// # Errors
    /// See [`RespondError`].
    pub fn respond(&mut self, key: CallKey, metadata: &OwnedMetadata) -> Result<(), RespondError> {
        let mut head = Vec::new();
        let options = self.head_options(key.side);
        let call = self
            .open_call(key, Side::Server)
            .ok_or(RespondError::Gone)?;
        if call.sent_message {
            return Err(RespondError::Late);
        }
        let encoded =
            encode_headers(&mut head, metadata.iter(), &options).map_err(RespondError::Head)?;
        let responded = match self.server_stream(key) {
            Ok(mut stream) => stream.respond(encoded),
            Err(gone) => Err(gone.into()),
        };
        match responded {
            Ok(()) => {
                if let Some(call) = self.calls.get(key) {
                    call.head = head;
                }
                Ok(())
            }
            Err(CommandError::HeadersLate) => Err(RespondError::Late),
            Err(_) => Err(RespondError::Gone),
        }
    }

    /// Whether [`send`](Self::send) has room for a message of any size. If not,
    /// [`SessionEvent::Writable`](super::SessionEvent::Writable) follows. True for a call that is over,
    /// too: `send` says so.
    pub fn may_send(&mut self, key: CallKey) -> bool {
        let room = self.send_buffer;
        self.open_call(key, key.side).is_none_or(|call| {
            call.full = !call.has_room(room);
            !call.full
        })
    }

    /// Sends a message: takes all of it, or nothing. It waits its turn behind those before it.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&mut self, key: CallKey, message: &[u8]) -> Result<(), SendError> {
        let room = self.send_buffer;
        let call = self.open_call(key, key.side).ok_or(SendError::Gone)?;
        if !matches!(call.behind, Behind::Messages) {
            return Err(SendError::HalfClosed);
        }
        if call.sent_message && call.single() {
            return Err(SendError::SecondMessage);
        }
        if u32::try_from(message.len()).is_err() {
            return Err(SendError::TooLarge);
        }
        if !call.has_room(room) {
            call.full = true;
            return Err(SendError::Full);
        }
        call.outgoing.push_back(message.to_vec());
        call.queued = call.queued.saturating_add(message.len());
        call.sent_message = true;
        if call.outgoing.len() == 1 {
            self.go_on(key);
        }
        Ok(())
    }

    /// The next thing that was received on a call; `None`: nothing now, and
    /// [`SessionEvent::Readable`](super::SessionEvent::Readable) follows. Each message that is taken
    /// lets the peer send as many bytes more.
    #[must_use = "what was received is not handed out again"]
    pub fn recv(&mut self, key: CallKey) -> Option<Received> {
        let call = self.live(key).filter(|call| call.incoming.is_none())?;
        if let Some(headers) = call.headers.take() {
            return Some(Received::Headers(headers));
        }
        let (moved, gathered) = call.gatherer.poll(&mut call.buffer);
        let received = match gathered {
            Gathered::Message(_) => Some(Received::Message(call.gatherer.take())),
            Gathered::Terminal(end) => {
                self.let_go(key);
                return Some(Received::Ended(end));
            }
            // The tunnel bounds messages, and memory grows as far.
            Gathered::TooLarge(_) | Gathered::Pending => {
                let half_closed = core::mem::take(&mut call.half_closed);
                half_closed.then_some(Received::HalfClosed)
            }
        };
        call.readable = received.is_some();
        if moved > 0 && !call.over {
            let _ = on_side!(self, key.side, tunnel => {
                tunnel.stream(key.stream).map(|mut stream| stream.consumed(moved))
            });
        }
        received
    }

    /// Says that no further message follows.
    ///
    /// # Errors
    /// The call is over, or one that this end serves.
    pub fn half_close(&mut self, key: CallKey) -> Result<(), Gone> {
        let call = self.open_call(key, Side::Client).ok_or(Gone)?;
        if matches!(call.behind, Behind::Messages) {
            call.behind = Behind::HalfClose;
            self.go_on(key);
        }
        Ok(())
    }

    /// Gives a call up, and its key with it. One that this end serves ends with INTERNAL: to end it
    /// in another way is what [`close`](Self::close) is for.
    ///
    /// # Errors
    /// The call is over.
    pub fn cancel(&mut self, key: CallKey) -> Result<(), Gone> {
        self.live(key)
            .filter(|call| call.incoming.is_none())
            .ok_or(Gone)?;
        self.let_go(key);
        Ok(())
    }

    /// Ends a call that this end serves, and gives up its key. The status goes out behind all
    /// messages that were sent. What is still received is dropped.
    ///
    /// # Errors
    /// The call is over, or one that this end opened.
    pub fn close(&mut self, key: CallKey, status: &OwnedStatus) -> Result<(), Gone> {
        // Without trailers there is nothing that cannot be sent.
        self.close_with(key, status, &OwnedMetadata::new())
            .map_err(|_| Gone)
    }

    /// The same, with trailers.
    ///
    /// # Errors
    /// See [`CloseError`].
    pub fn close_with(
        &mut self,
        key: CallKey,
        status: &OwnedStatus,
        trailers: &OwnedMetadata,
    ) -> Result<(), CloseError> {
        let call = self.live(key).filter(|_| key.side == Side::Server);
        let call = call
            .filter(|call| call.incoming.is_none())
            .ok_or(CloseError::Gone)?;
        if call.over {
            self.let_go(key);
            return Err(CloseError::Gone);
        }
        self.finish(key, status, trailers)?;
        if let Some(call) = self.calls.get(key) {
            call.dismiss();
        }
        self.pump();
        Ok(())
    }

    pub(super) fn finish(
        &mut self,
        key: CallKey,
        status: &OwnedStatus,
        trailers: &OwnedMetadata,
    ) -> Result<(), CloseError> {
        let mut head = Vec::new();
        let options = self.head_options(key.side);
        let encoded = encode_close(&mut head, status.head(), trailers.iter(), &options)
            .map_err(CloseError::Head)?;
        if let Some(call) = self.calls.get(key) {
            call.close = head;
            call.behind = Behind::Close(encoded);
        }
        if let Ok(mut stream) = self.server_stream(key) {
            stream.stop_reading();
        }
        self.go_on(key);
        Ok(())
    }

    /// Hands the tunnel what follows the message that has left, or the one that leaves.
    pub(super) fn go_on(&mut self, key: CallKey) {
        let now = self.now;
        let Some(call) = self.calls.get(key) else {
            return;
        };
        let waiting = call.outgoing.len();
        let behind = if waiting > 1 {
            Behind::Nothing
        } else {
            call.behind
        };
        if let Some(message) = call.outgoing.front()
            && !core::mem::replace(&mut call.sending, true)
        {
            let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
            let _ = on_side!(self, key.side, tunnel => {
                tunnel
                    .stream(key.stream)
                    .map(|mut stream| stream.send_message(Envelope::new(len), len))
            });
        }
        match behind {
            Behind::HalfClose => {
                let client = self.pipe.client_mut();
                if let Some(Ok(mut stream)) = client.map(|client| client.stream(key.stream)) {
                    // Each message is given whole, so this one is.
                    let _ = stream.half_close();
                }
            }
            Behind::Close(head) => {
                if let Ok(mut stream) = self.server_stream(key) {
                    // Its deadline may be due, which ends it all the same.
                    let _ = stream.close(now, head, None);
                }
            }
            Behind::Messages | Behind::Nothing => return,
        }
        if let Some(call) = self.calls.get(key) {
            call.behind = Behind::Nothing;
        }
    }

    /// The stream of a call that came in, while it takes commands.
    fn server_stream(&mut self, key: CallKey) -> Result<StreamMut<'_, Server, Growing>, Gone> {
        let server = self.pipe.server_mut().filter(|_| key.side == Side::Server);
        server.ok_or(Gone)?.stream(key.stream)
    }

    /// A call that the application has not let go of.
    pub(super) fn live(&mut self, key: CallKey) -> Option<&mut Call> {
        self.calls.get(key).filter(|call| !call.dismissed)
    }

    /// One that was accepted or opened, and has not ended, on this side.
    fn open_call(&mut self, key: CallKey, side: Side) -> Option<&mut Call> {
        self.live(key)
            .filter(|call| key.side == side && !call.over && call.incoming.is_none())
    }

    /// The application has done with a call. What it still has to send keeps its memory.
    fn let_go(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(key) else {
            return;
        };
        call.dismiss();
        if call.ended {
            self.remove(key);
        } else {
            self.release(key);
        }
        // Its stream may have been the one that `open` was refused for.
        self.pump();
    }

    /// Tells the tunnel that nobody is left who reads. What is open ends.
    pub(super) fn release(&mut self, key: CallKey) {
        let _ = on_side!(self, key.side, tunnel => tunnel.release(key.stream));
    }

    pub(super) fn remove(&mut self, key: CallKey) {
        self.release(key);
        self.calls.remove(key);
    }

    fn head_options(&self, side: Side) -> HeadOptions<'static> {
        let extensions = match side {
            Side::Client => self.pipe.client().map(|client| client.extensions()),
            Side::Server => self.pipe.server().map(|server| server.extensions()),
        };
        HeadOptions {
            extensions: extensions.unwrap_or(ExtensionSet::EMPTY),
            bin_dialect: self.bin_dialect,
            ..HeadOptions::default()
        }
    }
}
