//! The receive buffer of one stream, for the messages that wait for their reader.
//!
//! The tunnel interprets incoming payload but does not store it. Most callers store it in a
//! [`ReceiveBuffer`] until the application reads it: [`push`](ReceiveBuffer::push) takes every
//! [`Input::Data`](crate::Input::Data) whose `discard` is not set, and
//! [`finish`](ReceiveBuffer::finish) takes the end of the stream.
//!
//! There are two ways to read. A reader may change between them after any message:
//!
//! - [`poll_read`](ReceiveBuffer::poll_read) streams: it returns the bytes of a message as they
//!   arrive. It suits messages of any size.
//! - [`poll_message`](ReceiveBuffer::poll_message) returns a message once it is complete. It suits
//!   messages that fit the receive window.
//!
//! **Credit.** The bytes taken out by [`consume`](ReceiveBuffer::consume) and
//! [`read`](ReceiveBuffer::read) must be reported to the tunnel with `consumed`, each time rather than
//! once a message. Otherwise a message larger than the window never completes. A [`Gatherer`]
//! collects such messages.
//!
//! ```
//! use grpctunnel_core::Envelope;
//! use grpctunnel_core::receive_buffer::{FixedStore, Gathered, Gatherer, ReceiveBuffer};
//!
//! let mut buffer = ReceiveBuffer::<FixedStore<16, 4>, &str>::new();
//! let mut gatherer = Gatherer::<heapless::Vec<u8, 32>>::default();
//! buffer.push(&[1; 16], Some(Envelope::new(20)), false)?;
//! assert_eq!(gatherer.poll(&mut buffer), (16, Gathered::Pending));
//! buffer.push(&[2; 4], None, true)?;
//! assert_eq!(gatherer.poll(&mut buffer), (4, Gathered::Message(Envelope::new(20))));
//! assert_eq!(gatherer.message().len(), 20);
//! # Ok::<(), grpctunnel_core::receive_buffer::PushError>(())
//! ```

mod boundaries;
mod gather;
mod read;
mod ring;
mod run;
mod store;
#[cfg(test)]
mod tests;

use core::fmt;

use crate::length::{in_memory, on_wire};
use crate::types::{Envelope, Unread};
use boundaries::Boundaries;
use read::Reading;
use ring::{Full, Ring};

pub(crate) use boundaries::SPARE;
pub use gather::{Gathered, Gatherer};
pub use read::{Read, Receive};
#[cfg(feature = "alloc")]
pub use store::GrowingStore;
pub use store::{FixedStore, Store};

/// Why [`ReceiveBuffer::push`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PushError {
    /// There is no room for the bytes or for the boundary. The same push may succeed once the reader
    /// has taken something out. A caller that does not wait for that should end the stream with
    /// `RESOURCE_EXHAUSTED`.
    Full,
    /// The payload does not continue what was pushed before: a message begins inside another one,
    /// there is no message to continue, the length contradicts the envelope, or the stream has
    /// ended. This does not happen if every [`Input::Data`](crate::Input::Data) of a tunnel is
    /// pushed in order.
    Misplaced,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the receive buffer is full",
            Self::Misplaced => "the payload does not continue what was received before",
        })
    }
}

impl core::error::Error for PushError {}

impl From<Full> for PushError {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

/// The message that is incomplete.
#[derive(Clone, Copy, Debug)]
struct Arriving {
    envelope: Envelope,
    /// Bytes that have not arrived. Not zero.
    missing: u32,
    /// Whether it is being read. Then there is no other message in the buffer.
    begun: bool,
}

/// Whether the stream has ended.
#[derive(Debug)]
enum Ending<T> {
    Open,
    /// The terminal value is still to be read.
    Ended(T),
    /// The terminal value was read.
    Returned,
}

/// The receive buffer of one stream, in memory of type `S`. `T` is the terminal value, which the caller
/// makes from the end of the stream.
///
/// The reader always gets a sequence of complete messages, each as long as its envelope says, then
/// exactly one terminal value. Only a message that is already being read can be truncated, by the
/// terminal value. See the [module](self) for an example.
pub struct ReceiveBuffer<S: Store, T> {
    /// The rest of the message being read, then complete messages, then what has arrived of the
    /// incomplete one.
    bytes: S::Bytes,
    whole: Boundaries<S::Boundaries>,
    reading: Option<Reading>,
    arriving: Option<Arriving>,
    ending: Ending<T>,
}

impl<S: Store, T> ReceiveBuffer<S, T> {
    /// An empty buffer. It does not allocate.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: S::Bytes::EMPTY,
            whole: Boundaries::EMPTY,
            reading: None,
            arriving: None,
            ending: Ending::Open,
        }
    }

    /// Stores payload, with the fields of [`Input::Data`](crate::Input::Data): `begins` is the
    /// envelope of a message that begins here, and `ends` is whether a message ends here.
    ///
    /// Memory is used for what has arrived, never for what an envelope announces. A chunk takes its
    /// bytes and nothing else. Consecutive messages of equal size and compression take one boundary,
    /// whatever their number; see [`FixedStore`] for its size.
    ///
    /// # Errors
    /// See [`PushError`]. The buffer does not change.
    pub fn push(
        &mut self,
        bytes: &[u8],
        begins: Option<Envelope>,
        ends: bool,
    ) -> Result<(), PushError> {
        let arriving = self.arriving_with(bytes, begins, ends)?;
        let before = self.bytes.len();
        // Windows and credit are 32 bits wide, so what is buffered must be countable in them.
        u32::try_from(before.saturating_add(bytes.len())).map_err(|_| PushError::Full)?;
        self.bytes.append(bytes)?;
        if !ends {
            self.arriving = Some(arriving);
            return Ok(());
        }
        if !arriving.begun
            && let Err(full) = self.whole.push(arriving.envelope)
        {
            self.bytes.truncate(before);
            return Err(full.into());
        }
        self.arriving = None;
        Ok(())
    }

    /// The state of the current message after `bytes`, if they belong to it.
    fn arriving_with(
        &self,
        bytes: &[u8],
        begins: Option<Envelope>,
        ends: bool,
    ) -> Result<Arriving, PushError> {
        let mut arriving = match (self.arriving, begins) {
            (None, Some(envelope)) => Arriving {
                envelope,
                missing: envelope.size,
                begun: false,
            },
            (Some(arriving), None) => arriving,
            (None, None) | (Some(_), Some(_)) => return Err(PushError::Misplaced),
        };
        arriving.missing = u32::try_from(bytes.len())
            .ok()
            .and_then(|len| arriving.missing.checked_sub(len))
            .ok_or(PushError::Misplaced)?;
        if self.is_finished() || ends != (arriving.missing == 0) {
            return Err(PushError::Misplaced);
        }
        Ok(arriving)
    }

    /// Records that the stream has ended. The reader gets `terminal` after the messages that `unread`
    /// leaves to it. Only the first call has an effect.
    ///
    /// - [`Unread::Deliver`]: all complete messages. The bytes of an incomplete one are dropped.
    /// - [`Unread::Discard`]: none, not even the rest of the message being read.
    ///
    /// Returns the number of bytes dropped, which will never be read.
    pub fn finish(&mut self, terminal: T, unread: Unread) -> u32 {
        if self.is_finished() {
            return 0;
        }
        self.ending = Ending::Ended(terminal);
        let before = self.bytes.len();
        let cut = self.arriving.take();
        let discard = matches!(unread, Unread::Discard);
        if discard || cut.is_some_and(|cut| cut.begun) {
            self.reading = None;
            self.whole.clear();
            self.bytes.truncate(0);
        } else if let Some(cut) = cut {
            let arrived = in_memory(cut.envelope.size.saturating_sub(cut.missing));
            self.bytes.truncate(before.saturating_sub(arrived));
        }
        // The reader may take its time with the rest, while another stream uses the window.
        self.bytes.shrink();
        self.whole.shrink();
        on_wire(before.saturating_sub(self.bytes.len()))
    }

    /// Whether [`finish`](Self::finish) was called. There may still be something to read.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        !matches!(self.ending, Ending::Open)
    }

    /// Bytes of payload in the buffer.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory for payload and boundaries, spare capacity included. With a fixed store it is
    /// constant; with a growing one it does not include `size_of` the buffer itself.
    ///
    /// A growing store has room for the next power of two of its payload, and for nine eighths of its
    /// boundaries. Those take at most 4,096 bytes and two for each byte of payload: a push that
    /// needs more fails with [`PushError::Full`]. Only unusual sequences need more, such as empty
    /// messages that alternate between compressed and uncompressed, or several empty messages
    /// between messages of one byte. The store shrinks with [`finish`](Self::finish), and when it
    /// becomes empty: then it keeps at most 1,024 bytes for payload and 64 for boundaries.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.capacity().saturating_add(self.whole.memory())
    }
}

impl<S: Store, T> Default for ReceiveBuffer<S, T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Prints amounts only, since payload may be confidential.
impl<S: Store, T> fmt::Debug for ReceiveBuffer<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveBuffer")
            .field("buffered", &self.buffered())
            .field("memory", &self.memory())
            .field("reading", &self.reading)
            .field("arriving", &self.arriving)
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
