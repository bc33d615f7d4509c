//! The reading side of a receive buffer: streaming, or message by message.

use super::ring::Ring;
use super::store::Store;
use super::{Ending, ReceiveBuffer};
use crate::length::{in_memory, on_wire};
use crate::types::Envelope;

/// The message being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    envelope: Envelope,
    /// Bytes of it that were not taken out, received or not.
    left: u32,
    /// Whether `poll_message` has returned it. Then the reader has all of it, and no `Read::End`
    /// follows.
    shown: bool,
}

impl Reading {
    const fn is_over(self) -> bool {
        self.left == 0
    }
}

/// The next item for a streaming reader, from [`ReceiveBuffer::poll_read`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is handed out is not handed out again"]
pub enum Read<'b, T> {
    /// A message begins.
    Begin(Envelope),
    /// Received bytes of the message: `head`, then `tail`, not both empty. They stay in the buffer
    /// until they are taken out with [`ReceiveBuffer::consume`] or [`ReceiveBuffer::read`].
    Data {
        /// The first bytes.
        head: &'b [u8],
        /// The rest, if the memory wraps around.
        tail: &'b [u8],
    },
    /// The message is complete: all its bytes were taken out.
    End,
    /// The stream has ended. Returned once. In the middle of a message it means that the rest of the
    /// message will never arrive: the message is truncated and must not be used.
    Terminal(T),
    /// Nothing to read until the next push or the end of the stream.
    Pending,
    /// Nothing to read ever again: the terminal value was returned.
    Done,
}

/// The next item for a reader of whole messages, from [`ReceiveBuffer::poll_message`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is handed out is not handed out again"]
pub enum Receive<'b, T> {
    /// A complete message: `head`, then `tail`. They stay in the buffer until they are taken out
    /// with [`ReceiveBuffer::consume`] or [`ReceiveBuffer::read`].
    Message {
        /// Its envelope.
        envelope: Envelope,
        /// The first bytes.
        head: &'b [u8],
        /// The rest, if the memory wraps around.
        tail: &'b [u8],
    },
    /// The stream has ended. Returned once.
    Terminal(T),
    /// No complete message until the next push or the end of the stream.
    Pending,
    /// Nothing to read ever again: the terminal value was returned.
    Done,
}

impl<S: Store, T> ReceiveBuffer<S, T> {
    /// Reads as bytes arrive: [`Read::Begin`], [`Read::Data`] and [`Read::End`] for each message, and
    /// [`Read::Terminal`] after the last one.
    pub fn poll_read(&mut self) -> Read<'_, T> {
        self.reading = self.reading.filter(|it| !(it.is_over() && it.shown));
        match self.reading {
            Some(reading) if reading.is_over() => {
                self.reading = None;
                Read::End
            }
            Some(_) => match self.as_slices() {
                ([], []) => Read::Pending,
                (head, tail) => Read::Data { head, tail },
            },
            None => match self.begin_whole().or_else(|| self.begin_arriving()) {
                Some(reading) => Read::Begin(reading.envelope),
                None => match self.take_ending() {
                    Ending::Open => Read::Pending,
                    Ending::Ended(terminal) => Read::Terminal(terminal),
                    Ending::Returned => Read::Done,
                },
            },
        }
    }

    /// Reads the next complete message, or the end of the stream after the last one.
    ///
    /// If bytes of a message are left in the buffer, the next call returns it again, with those
    /// bytes. Once all were taken out, or if the message is empty, the next call moves on. If the
    /// stream ends with [`Unread::Discard`](crate::Unread::Discard), what is left is lost.
    ///
    /// The bytes of a message stay in the buffer, without credit for the peer, until it is complete.
    /// So a message larger than the receive window never completes: read such messages with
    /// [`poll_read`](Self::poll_read).
    pub fn poll_message(&mut self) -> Receive<'_, T> {
        self.reading = self.reading.filter(|reading| !reading.is_over());
        let Some(mut reading) = self.reading.or_else(|| self.begin_whole()) else {
            return match self.take_ending() {
                Ending::Open => Receive::Pending,
                Ending::Ended(terminal) => Receive::Terminal(terminal),
                Ending::Returned => Receive::Done,
            };
        };
        // A message that `poll_read` has begun may be incomplete.
        if in_memory(reading.left) > self.bytes.len() {
            return Receive::Pending;
        }
        reading.shown = true;
        self.reading = Some(reading);
        let (head, tail) = self.as_slices();
        Receive::Message {
            envelope: reading.envelope,
            head,
            tail,
        }
    }

    /// The received bytes of the message being read, in two parts, as in [`Read::Data`] and
    /// [`Receive::Message`]. Empty if no message is being read.
    #[must_use]
    pub fn as_slices(&self) -> (&[u8], &[u8]) {
        let received = self.received();
        let (head, tail) = self.bytes.as_slices();
        match head.get(..received) {
            Some(head) => (head, &[]),
            None => {
                let rest = received.saturating_sub(head.len());
                (head, tail.get(..rest).unwrap_or_default())
            }
        }
    }

    /// Takes out `count` bytes of the message being read, or all received ones if there are fewer,
    /// but none of the next message.
    ///
    /// Returns the number of bytes, which must be reported to the tunnel with `consumed`.
    #[must_use = "the peer gets no credit for bytes that are not reported as consumed"]
    pub fn consume(&mut self, count: usize) -> u32 {
        let count = count.min(self.received());
        let taken = on_wire(count);
        if let Some(reading) = &mut self.reading {
            reading.left = reading.left.saturating_sub(taken);
            self.bytes.drop_front(count);
        }
        taken
    }

    /// Copies received bytes of the message being read to the start of `into`, as many as fit, and
    /// takes them out.
    ///
    /// Returns the number of bytes, which must be reported to the tunnel with `consumed`.
    #[must_use = "the peer gets no credit for bytes that are not reported as consumed"]
    pub fn read(&mut self, into: &mut [u8]) -> u32 {
        let (head, tail) = self.as_slices();
        let copied = copy(head, into);
        let rest = into.get_mut(copied..).unwrap_or_default();
        let copied = copied.saturating_add(copy(tail, rest));
        self.consume(copied)
    }

    /// Number of received bytes of the message being read. If it is incomplete, all bytes in the
    /// buffer are its own; if not, there may be other messages behind it.
    fn received(&self) -> usize {
        let left = self.reading.map_or(0, |reading| in_memory(reading.left));
        left.min(self.bytes.len())
    }

    fn begin_whole(&mut self) -> Option<Reading> {
        let envelope = self.whole.pop()?;
        self.begin(envelope)
    }

    fn begin_arriving(&mut self) -> Option<Reading> {
        let arriving = self.arriving.as_mut()?;
        arriving.begun = true;
        let envelope = arriving.envelope;
        self.begin(envelope)
    }

    fn begin(&mut self, envelope: Envelope) -> Option<Reading> {
        self.reading = Some(Reading {
            envelope,
            left: envelope.size,
            shown: false,
        });
        self.reading
    }

    /// How the stream ended, once.
    fn take_ending(&mut self) -> Ending<T> {
        if self.is_finished() {
            core::mem::replace(&mut self.ending, Ending::Returned)
        } else {
            Ending::Open
        }
    }
}

/// Copies as many bytes as fit, and returns their number.
fn copy(from: &[u8], into: &mut [u8]) -> usize {
    let len = from.len().min(into.len());
    if let (Some(from), Some(into)) = (from.get(..len), into.get_mut(..len)) {
        into.copy_from_slice(from);
    }
    len
}
