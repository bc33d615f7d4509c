//! The receive buffer of one stream: payload in a ring, message boundaries in runs, and how the
//! stream ended, behind its last whole message.
//!
//! The tunnel says what incoming payload is and keeps none of it. A [`ReceiveBuffer`] is where
//! most callers put it until a reader takes it: every [`Input::Data`](crate::Input::Data) that is
//! not to be dropped goes to [`push`](ReceiveBuffer::push), and the stream's end to
//! [`finish`](ReceiveBuffer::finish).
//!
//! There are two ways to read, which may be changed between messages:
//!
//! - [`poll_read`](ReceiveBuffer::poll_read) cuts through: the beginning of a message as soon as
//!   it is known, its bytes as they come, then its end. It suits messages of any size.
//! - [`poll_message`](ReceiveBuffer::poll_message) shows a message when all of it is here. It
//!   suits messages that fit the receive window.
//!
//! **Credit.** Bytes that [`consume`](ReceiveBuffer::consume) or [`read`](ReceiveBuffer::read)
//! took out are to be reported to the tunnel's `consumed`, each time and not once a message:
//! with less, a message larger than the window never ends. A [`Gatherer`] puts such messages
//! together.
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
mod code;
mod gather;
mod read;
mod ring;
#[cfg(test)]
mod tests;

use core::fmt;

use crate::{Envelope, Unread};
use boundaries::Boundaries;
use read::Reading;

pub use boundaries::Boundary;
pub(crate) use boundaries::SPARE;
pub use gather::{Gathered, Gatherer};
pub use read::{Read, Receive};
pub use ring::{Cell, FixedRing, FixedStore, Full, Ring, Store};
#[cfg(feature = "alloc")]
pub use ring::{GrowingRing, GrowingStore};

/// Why [`ReceiveBuffer::push`] did not take payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PushError {
    /// There is no room for the bytes or for the boundary. The same push may succeed when the
    /// reader has taken something; a caller that does not wait for that ends the stream with
    /// `RESOURCE_EXHAUSTED`.
    Full,
    /// The payload does not continue what was pushed before: a beginning inside a message, more
    /// of no message, another length than the envelope said, or anything after the end of the
    /// stream. Never so for what a tunnel says, pushed in its order.
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

/// The message that has begun and is not whole.
#[derive(Clone, Copy, Debug)]
struct Arriving {
    envelope: Envelope,
    /// Bytes that have not come; above zero.
    missing: u32,
    /// Whether the reader has begun it too. Then no other message is held.
    begun: bool,
}

/// How the stream ended. Written once by `finish`, and once when it is handed out.
#[derive(Debug)]
enum Ending<T> {
    Open,
    Ended(T),
    Told,
}

/// The receive buffer of one stream, in the memory of `S`. `T` is what the reader gets at the
/// end: whatever the caller makes of the stream's terminal event.
///
/// What the reader gets is always a sequence of whole messages, each as long as its envelope
/// says, and then exactly one terminal value; a message whose reading has begun may be cut short
/// by that value, and by nothing else. See the [module](self) for its use.
pub struct ReceiveBuffer<S: Store, T> {
    /// What is left of the message being read, then whole messages, then what has come of the
    /// one that is not whole.
    bytes: S::Bytes,
    whole: Boundaries<S::Boundaries>,
    reading: Option<Reading>,
    arriving: Option<Arriving>,
    ending: Ending<T>,
}

impl<S: Store, T> ReceiveBuffer<S, T> {
    /// An empty buffer. It has allocated nothing.
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

    /// Takes payload, as [`Input::Data`](crate::Input::Data) describes it: `begins` is the
    /// envelope if a message begins here, `ends` is whether it ends here.
    ///
    /// Memory is taken for what has come, never for what an envelope announces. Chunks of one
    /// message cost their bytes only; messages of equal size and compression in a row cost one
    /// boundary, whatever their number. A [`Boundary`] says how many bytes that takes.
    ///
    /// # Errors
    /// See [`PushError`]. Nothing has changed then.
    pub fn push(
        &mut self,
        bytes: &[u8],
        begins: Option<Envelope>,
        ends: bool,
    ) -> Result<(), PushError> {
        let arriving = self.arriving_with(bytes, begins, ends)?;
        let before = self.bytes.len();
        // What is held is counted in 32 bits everywhere: in windows and in reports of credit.
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

    /// The current message as it will be with `bytes`, if they belong to it.
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

    /// The stream ended: `terminal` is what the reader gets behind the messages that are left to
    /// it, and `unread` says which those are. Only the first call counts.
    ///
    /// - [`Unread::Deliver`]: all whole messages. What has come of one that is not whole is cut.
    /// - [`Unread::Discard`]: none, not even the rest of one that is being read.
    ///
    /// Returns how many bytes were thrown away: they are gone, and nobody will take them out.
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
        // A reader may be long with the rest, and the window is another stream's by then.
        self.bytes.shrink();
        self.whole.shrink();
        in_window(before.saturating_sub(self.bytes.len()))
    }

    /// Whether the stream has ended: [`finish`](Self::finish) was called, and nothing more will
    /// come. There may be something to read still.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        !matches!(self.ending, Ending::Open)
    }

    /// Bytes of payload held.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory held for payload and boundaries, unused room included, besides the size of
    /// the buffer itself with a growing store. With a fixed store it is a constant.
    ///
    /// A growing store grows to the next power of two of the bytes held, and for boundaries to
    /// nine eighths of what they take, which is at most 4,096 bytes and 2 for each byte held: a
    /// push that needs more is refused with [`PushError::Full`]. Only messages that no service
    /// sends get there: empty ones, compressed and not in turn, or dozens of them between
    /// messages of one byte. It keeps what it has grown to until [`finish`](Self::finish), or
    /// until all was taken; then it gives its memory back, but for [`Cell::KEEP`] cells of
    /// either kind.
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

/// Amounts only: the payload is nobody's business.
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

/// A length of the protocol, as one in memory.
fn in_memory(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// A length in memory, as one of the protocol. `push` holds what is buffered within it.
fn in_window(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
