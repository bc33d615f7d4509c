//! Whole messages out of a receive buffer, which may be larger than the receive window.

use super::ReceiveBuffer;
use super::read::Read;
use super::store::Store;
use crate::types::Envelope;
use crate::wire::Buffer;

/// What came of [`Gatherer::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what was gathered is reported once"]
pub enum Gathered<T> {
    /// A message is whole; [`Gatherer::message`] shows it until the next `poll`.
    Message(Envelope),
    /// A message has no room in `B`. What comes of it is dropped, and credited as it comes.
    TooLarge(Envelope),
    /// The stream is over. Returned once; a message that was not whole then has failed.
    Terminal(T),
    /// Nothing now.
    Pending,
}

/// Takes one message after the other out of a [`ReceiveBuffer`] as its bytes come, so that one
/// which is larger than the window gets through.
#[derive(Clone, Debug, Default)]
pub struct Gatherer<B> {
    envelope: Envelope,
    message: B,
    dropping: bool,
}

impl<B: Buffer> Gatherer<B> {
    /// Moves what has come, up to the end of one message.
    ///
    /// The number is the bytes that were moved, to be reported to the tunnel's `consumed`, whatever
    /// came of it: the peer gets credit for bytes, not for messages.
    #[must_use = "the peer gets no credit for bytes that are not reported as consumed"]
    pub fn poll<S: Store, T>(&mut self, buffer: &mut ReceiveBuffer<S, T>) -> (u32, Gathered<T>) {
        let mut moved = 0_u32;
        loop {
            match buffer.poll_read() {
                Read::Begin(envelope) => {
                    self.envelope = envelope;
                    self.dropping = false;
                    self.message.clear();
                }
                Read::Data { head, tail } => {
                    let len = head.len().saturating_add(tail.len());
                    let whole = self.envelope.size;
                    self.dropping = self.dropping
                        || self.message.append(head, whole).is_err()
                        || self.message.append(tail, whole).is_err();
                    moved = moved.saturating_add(buffer.consume(len));
                }
                Read::End if self.dropping => return (moved, Gathered::TooLarge(self.envelope)),
                Read::End => return (moved, Gathered::Message(self.envelope)),
                Read::Terminal(end) => return (moved, Gathered::Terminal(end)),
                Read::Pending | Read::Done => return (moved, Gathered::Pending),
            }
        }
    }

    /// The message that `poll` has returned as whole.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.message.as_ref()
    }

    /// The same, to be kept.
    #[must_use]
    pub fn take(&mut self) -> B {
        core::mem::take(&mut self.message)
    }
}

#[cfg(feature = "alloc")]
impl Gatherer<alloc::vec::Vec<u8>> {
    /// Bytes of memory held.
    pub(crate) const fn memory(&self) -> usize {
        self.message.capacity()
    }
}
