//! What this end sends on a stream: a head, messages, the end.
//!
//! Each of them has a state of its own, and every transition is a method here. A frame is sent in
//! the order of [`SendHalf::next`].

use core::ops::Range;

use crate::error::{CommandError, MessageIncomplete, TooManyBytes};
use crate::types::Envelope;
use crate::window::{SendWindow, WindowError};
use crate::wire::{Encoded, Prefix, Revision, prefix};

/// No peer takes a head near its frame limit of 4 MiB.
const MAX_HEAD: u32 = 1 << 20;

/// `new_stream` of a client, `response_headers` of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Head {
    #[default]
    None,
    Pending,
    Sent,
}

/// The messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Message {
    /// None was ever begun.
    #[default]
    None,
    /// The envelope is to be sent.
    Begins { compressed: bool },
    /// The envelope was sent, the message not wholly.
    Continues,
    /// The last one was sent, or abandoned.
    Done,
}

/// The end: `half_close` of a client, `close_stream` of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Finish {
    #[default]
    Open,
    HalfClosePending,
    HalfClosed,
    /// OK, waiting for the client's half-close.
    CloseHeld,
    ClosePending,
    Closed,
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(crate) struct SendHalf {
    window: SendWindow<u32>,
    /// The message that is being sent: its size, the bytes provided, the bytes sent.
    size: u32,
    ready: u32,
    sent: u32,
    head_len: u32,
    close_len: u32,
    message: Message,
    head: Head,
    finish: Finish,
}

/// The next frame that a stream has to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A chunk of at most so many bytes.
    Chunk(u32),
    Whole(Whole),
}

/// A frame that is not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// The head of `open` or `respond`, and its length.
    Head(u32),
    HalfClose,
    /// The head of `close`, and its length.
    Close(u32),
}

/// What is asked of a message before it is begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageRules {
    /// The method has one message in this direction.
    pub(crate) single: bool,
    /// The peer takes compressed messages.
    pub(crate) compressed: bool,
}

impl SendHalf {
    pub(crate) fn new(window: u32) -> Self {
        Self {
            window: SendWindow::new(window),
            ..Self::default()
        }
    }

    /// Bytes that the peer's credit still allows.
    #[cfg(feature = "search")]
    pub(crate) const fn credit(&self) -> u32 {
        self.window.available()
    }

    /// The peer grants so many more bytes.
    pub(crate) fn grant(&mut self, bytes: u32) -> Result<(), WindowError> {
        self.window.grant(bytes)
    }

    /// Has the head of `open` sent.
    pub(crate) fn open(&mut self, head: Encoded) {
        self.head = Head::Pending;
        self.head_len = head.len();
    }

    /// Has response headers sent.
    pub(crate) fn respond(&mut self, head: Encoded) -> Result<(), CommandError> {
        if self.finish != Finish::Open {
            return Err(CommandError::SendSideClosed);
        }
        if self.head != Head::None || self.message != Message::None {
            return Err(CommandError::HeadersLate);
        }
        if is_too_large(head) {
            return Err(CommandError::HeadTooLarge);
        }
        self.open(head);
        Ok(())
    }

    /// Begins a message of which `ready` bytes are at hand.
    #[inline]
    pub(crate) fn begin(
        &mut self,
        message: Envelope,
        ready: u32,
        rules: MessageRules,
    ) -> Result<(), CommandError> {
        if self.finish != Finish::Open {
            return Err(CommandError::SendSideClosed);
        }
        if self.is_inside() {
            return Err(CommandError::Busy);
        }
        if rules.single && self.message != Message::None {
            return Err(CommandError::SecondMessage);
        }
        if message.compressed && !rules.compressed {
            return Err(CommandError::CompressionNotAgreed);
        }
        if ready > message.size {
            return Err(CommandError::TooManyBytes);
        }
        self.message = Message::Begins {
            compressed: message.compressed,
        };
        (self.size, self.ready, self.sent) = (message.size, ready, 0);
        Ok(())
    }

    /// So many more bytes of the message are at hand.
    #[inline]
    pub(crate) fn provide(&mut self, bytes: u32) -> Result<(), TooManyBytes> {
        match self.ready.checked_add(bytes) {
            Some(ready) if self.is_inside() && ready <= self.size => {
                self.ready = ready;
                Ok(())
            }
            _ => Err(TooManyBytes),
        }
    }

    /// Has the half-close sent. Again: nothing happens.
    pub(crate) fn half_close(&mut self) -> Result<(), MessageIncomplete> {
        if self.finish != Finish::Open {
            return Ok(());
        }
        if self.is_incomplete() {
            return Err(MessageIncomplete);
        }
        self.finish = Finish::HalfClosePending;
        Ok(())
    }

    /// Has `close_stream` sent, behind what is at hand; `held`: not before
    /// [`release_hold`](Self::release_hold).
    pub(crate) fn close(&mut self, head: Encoded, held: bool) -> Result<(), CommandError> {
        if self.finish != Finish::Open {
            return Err(CommandError::SendSideClosed);
        }
        if is_too_large(head) {
            return Err(CommandError::HeadTooLarge);
        }
        if self.is_incomplete() {
            if head.is_ok() {
                return Err(CommandError::MessageIncomplete);
            }
            self.message = Message::Done;
        }
        self.close_len = head.len();
        self.finish = if held {
            Finish::CloseHeld
        } else {
            Finish::ClosePending
        };
        Ok(())
    }

    /// Lets a held `close_stream` go. False: none was.
    pub(crate) fn release_hold(&mut self) -> bool {
        let held = self.is_held();
        if held {
            self.finish = Finish::ClosePending;
        }
        held
    }

    /// The head leaves.
    pub(crate) const fn head_sent(&mut self) {
        self.head = Head::Sent;
    }

    /// The half-close leaves.
    pub(crate) const fn half_close_sent(&mut self) {
        self.finish = Finish::HalfClosed;
    }

    /// `close_stream` leaves.
    pub(crate) const fn close_sent(&mut self) {
        self.finish = Finish::Closed;
    }

    /// The next bytes of the message leave, no more than [`next`](Self::next) allowed, in a frame of
    /// stream `id`: their range.
    #[inline(always)]
    pub(crate) fn take_chunk(
        &mut self,
        id: i64,
        revision: Revision,
        bytes: u32,
        prefix: &mut Prefix,
    ) -> Range<u32> {
        if revision == Revision::One {
            // The window has as many.
            let _ = self.window.take(bytes);
        }
        match self.message {
            Message::Begins { compressed } => {
                prefix::put_message(prefix, id, self.size, bytes, compressed);
            }
            _ => prefix::put_more(prefix, id, bytes),
        }
        let start = self.sent;
        self.sent = start.saturating_add(bytes);
        self.message = if self.sent == self.size {
            Message::Done
        } else {
            Message::Continues
        };
        start..self.sent
    }

    /// Whether a message was begun and not wholly sent.
    pub(crate) const fn is_inside(&self) -> bool {
        matches!(self.message, Message::Begins { .. } | Message::Continues)
    }

    /// Whether bytes of a message that was begun are yet to be provided.
    const fn is_incomplete(&self) -> bool {
        self.is_inside() && self.ready < self.size
    }

    /// Whether `close` was called.
    #[inline]
    pub(crate) const fn is_closing(&self) -> bool {
        matches!(
            self.finish,
            Finish::CloseHeld | Finish::ClosePending | Finish::Closed
        )
    }

    /// Whether a `close_stream` waits for the client's half-close.
    pub(crate) fn is_held(&self) -> bool {
        self.finish == Finish::CloseHeld
    }

    /// Whether only `close_stream`, or a head before it, is to be sent.
    pub(crate) fn is_all_but_closed(&self) -> bool {
        self.finish == Finish::ClosePending && !self.is_inside()
    }

    /// What can be sent now. `None`: nothing, or nothing without credit or bytes.
    #[inline(always)]
    pub(crate) fn next(&self, revision: Revision) -> Option<Next> {
        if self.head == Head::Pending {
            return Some(Next::Whole(Whole::Head(self.head_len)));
        }
        if self.is_inside() {
            if self.size == 0 {
                return Some(Next::Chunk(0));
            }
            let ready = self.ready.saturating_sub(self.sent);
            let allowed = match revision {
                Revision::Zero => ready,
                Revision::One => ready.min(self.window.available()),
            };
            return (allowed > 0).then_some(Next::Chunk(allowed));
        }
        match self.finish {
            Finish::HalfClosePending => Some(Next::Whole(Whole::HalfClose)),
            Finish::ClosePending => Some(Next::Whole(Whole::Close(self.close_len))),
            Finish::Open | Finish::HalfClosed | Finish::CloseHeld | Finish::Closed => None,
        }
    }

    /// Whether bytes are at hand and only credit is missing.
    pub(crate) fn is_blocked_on_credit(&self, revision: Revision) -> bool {
        revision == Revision::One
            && self.head != Head::Pending
            && self.is_inside()
            && self.ready > self.sent
            && self.window.available() == 0
    }

    /// Writes what decides what is sent from now on.
    #[cfg(feature = "search")]
    pub(super) fn fingerprint<H: core::hash::Hasher>(&self, state: &mut H) {
        use core::hash::Hash as _;

        let Self {
            window,
            size,
            ready,
            sent,
            head_len,
            close_len,
            message,
            head,
            finish,
        } = self;
        (window, head_len, close_len, message).hash(state);
        (head, finish).hash(state);
        // What the last message was decides nothing.
        if self.is_inside() {
            (size, ready, sent).hash(state);
        }
    }
}

/// Whether a head is larger than any peer takes.
pub(crate) const fn is_too_large(head: Encoded) -> bool {
    head.len() > MAX_HEAD
}
