//! Taking messages out of a receive buffer: cutting through, or whole.

use super::ring::{Ring, Store};
use super::{Ending, ReceiveBuffer, in_memory, in_window};
use crate::Envelope;

/// The message being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    envelope: Envelope,
    /// Bytes of it that were not taken, whether they have come or not.
    left: u32,
    /// Whether `poll_message` has shown it: then a reader has all of it, and is told of no end.
    shown: bool,
}

impl Reading {
    const fn is_over(self) -> bool {
        self.left == 0
    }
}

/// What a reader that cuts through gets next, from [`ReceiveBuffer::poll_read`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is handed out is not handed out again"]
pub enum Read<'b, T> {
    /// A message begins.
    Begin(Envelope),
    /// Bytes of it that are here: `head`, then `tail`. Together they are not empty. They stay
    /// until they are taken with [`ReceiveBuffer::consume`] or [`ReceiveBuffer::read`].
    Data {
        /// The first of them.
        head: &'b [u8],
        /// The others, if the content of the ring wraps around.
        tail: &'b [u8],
    },
    /// The message is over: all its bytes were taken.
    End,
    /// The stream is over. Said once. If it comes in the middle of a message, the rest of that
    /// message will never come: it has failed, and is not to be taken for a short one.
    Terminal(T),
    /// Nothing now: there will be something after a push or the end of the stream.
    Pending,
    /// Nothing ever: the terminal value was handed out.
    Done,
}

/// What a reader of whole messages gets next, from [`ReceiveBuffer::poll_message`].
#[derive(Debug, PartialEq, Eq)]
pub enum Receive<'b, T> {
    /// A whole message: `head`, then `tail`. They stay until they are taken with
    /// [`ReceiveBuffer::consume`] or [`ReceiveBuffer::read`].
    Message {
        /// Its envelope.
        envelope: Envelope,
        /// The first of its bytes.
        head: &'b [u8],
        /// The others, if the content of the ring wraps around.
        tail: &'b [u8],
    },
    /// The stream is over. Said once.
    Terminal(T),
    /// No whole message now.
    Pending,
    /// Nothing ever: the terminal value was handed out.
    Done,
}

impl<S: Store, T> ReceiveBuffer<S, T> {
    /// What comes next, as soon as any of it is here: for each message [`Read::Begin`], the data,
    /// [`Read::End`]; behind the last one [`Read::Terminal`].
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
                    Ending::Told => Read::Done,
                },
            },
        }
    }

    /// The next whole message, or the end of the stream behind the last one.
    ///
    /// A message of which bytes are left is shown again, with those that are left; when all were
    /// taken (of an empty message: at once), the next call goes on. If the stream ends with
    /// [`Unread::Discard`](crate::Unread::Discard), that rest is gone.
    ///
    /// The bytes of a message stay in the buffer, without credit for the peer, until it is whole.
    /// So one that is larger than the receive window never becomes whole: read such messages with
    /// [`poll_read`](Self::poll_read).
    pub fn poll_message(&mut self) -> Receive<'_, T> {
        self.reading = self.reading.filter(|reading| !reading.is_over());
        let Some(mut reading) = self.reading.or_else(|| self.begin_whole()) else {
            return match self.take_ending() {
                Ending::Open => Receive::Pending,
                Ending::Ended(terminal) => Receive::Terminal(terminal),
                Ending::Told => Receive::Done,
            };
        };
        // One that `poll_read` has begun may still be arriving.
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

    /// The bytes of the message being read that are here, in two parts: what [`Read::Data`] or
    /// [`Receive::Message`] showed. Empty if no message has been begun.
    #[must_use]
    pub fn as_slices(&self) -> (&[u8], &[u8]) {
        let here = self.here();
        let (head, tail) = self.bytes.as_slices();
        match head.get(..here) {
            Some(head) => (head, &[]),
            None => {
                let rest = here.saturating_sub(head.len());
                (head, tail.get(..rest).unwrap_or_default())
            }
        }
    }

    /// Takes `count` bytes of the message being read, or those that are here if there are fewer.
    /// Never bytes of the next message.
    ///
    /// Returns how many: to be reported to the tunnel's `consumed`.
    #[must_use = "the peer gets no credit for bytes that are not reported as consumed"]
    pub fn consume(&mut self, count: usize) -> u32 {
        let count = count.min(self.here());
        let taken = in_window(count);
        if let Some(reading) = &mut self.reading {
            reading.left = reading.left.saturating_sub(taken);
            self.bytes.drop_front(count);
        }
        taken
    }

    /// Copies bytes of the message being read to the beginning of `into`, as many as are here
    /// and fit, and takes them.
    ///
    /// Returns how many: to be reported to the tunnel's `consumed`.
    #[must_use = "the peer gets no credit for bytes that are not reported as consumed"]
    pub fn read(&mut self, into: &mut [u8]) -> u32 {
        let (head, tail) = self.as_slices();
        let copied = copy(head, into);
        let rest = into.get_mut(copied..).unwrap_or_default();
        let copied = copied.saturating_add(copy(tail, rest));
        self.consume(copied)
    }

    /// Bytes of the message being read that are here. If it is whole, messages behind it are held
    /// too; if not, all that is held is its own.
    fn here(&self) -> usize {
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

    /// How the stream ended, handed out once.
    fn take_ending(&mut self) -> Ending<T> {
        if self.is_finished() {
            core::mem::replace(&mut self.ending, Ending::Told)
        } else {
            Ending::Open
        }
    }
}

/// Copies as much as fits, and says how much that was.
fn copy(from: &[u8], into: &mut [u8]) -> usize {
    let len = from.len().min(into.len());
    if let (Some(from), Some(into)) = (from.get(..len), into.get_mut(..len)) {
        into.copy_from_slice(from);
    }
    len
}
