//! What an application keeps of one call.

use core::ops::Range;

use grpctunnel_core::receive_buffer::{Read, ReceiveBuffer};
use grpctunnel_core::wire::{EncodeError, Encoded, SliceSink};
use grpctunnel_core::{End, Key, Part};

use super::Memory;
use super::fault::{Fault, Maybe, hold};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it should.
    Ok,
    /// In any other way.
    Failed,
}

impl Outcome {
    pub(crate) fn of(end: &End<'_>) -> Self {
        match end {
            End::Status { status, .. } if status.code == 0 => Self::Ok,
            End::Closed => Self::Ok,
            _ => Self::Failed,
        }
    }
}

/// The byte at `offset` of every message. None is ever held as a whole.
fn content(offset: u32) -> u8 {
    (offset % 251).to_le_bytes()[0]
}

/// A head.
pub(crate) struct Blob {
    bytes: [u8; 96],
    len: u32,
}

impl Blob {
    const EMPTY: Self = Self {
        bytes: [0; 96],
        len: 0,
    };

    /// What this encodes.
    pub(crate) fn encode(
        encode: impl FnOnce(&mut SliceSink<'_>) -> Result<Encoded, EncodeError>,
    ) -> Maybe<Self> {
        let mut blob = Self::EMPTY;
        let encoded = encode(&mut SliceSink::new(&mut blob.bytes));
        blob.len = encoded.map_err(|_| Fault::Head)?.len;
        Ok(blob)
    }

    /// Its length.
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    fn copy(&self, range: Range<u32>, to: &mut [u8]) -> Maybe<()> {
        hold(range.end <= self.len, Fault::Memory)?;
        let range = range.start as usize..range.end as usize;
        let bytes = self.bytes.get(range).ok_or(Fault::Memory)?;
        hold(bytes.len() == to.len(), Fault::Memory)?;
        to.copy_from_slice(bytes);
        Ok(())
    }
}

/// One call at one end.
pub(crate) struct Call<M: Memory> {
    pub(crate) key: Key,
    pub(crate) buffer: ReceiveBuffer<M::Buffer, Outcome>,
    /// Bytes read of the current message.
    offset: u32,
    /// Sizes of the messages that were read: of the last one, and how many.
    pub(crate) last: u32,
    pub(crate) messages: u32,
    pub(crate) half_closed: bool,
    pub(crate) headers: bool,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) open: Blob,
    pub(crate) close: Blob,
}

impl<M: Memory> Call<M> {
    pub(crate) const fn new(key: Key) -> Self {
        Self {
            key,
            buffer: ReceiveBuffer::new(),
            offset: 0,
            last: 0,
            messages: 0,
            half_closed: false,
            headers: false,
            outcome: None,
            open: Blob::EMPTY,
            close: Blob::EMPTY,
        }
    }

    /// Copies what a transmit names.
    pub(crate) fn copy(&self, part: Part, range: Range<u32>, to: &mut [u8]) -> Maybe<()> {
        match part {
            Part::Open => self.open.copy(range, to),
            Part::Close => self.close.copy(range, to),
            Part::Headers => Err(Fault::Memory),
            Part::Message => {
                for (byte, offset) in to.iter_mut().zip(range) {
                    *byte = content(offset);
                }
                Ok(())
            }
        }
    }

    /// Reads all that is here, and returns how many bytes that was.
    pub(crate) fn read(&mut self) -> Maybe<u32> {
        let mut taken = 0;
        loop {
            match self.buffer.poll_read() {
                Read::Begin(envelope) => {
                    self.offset = 0;
                    self.last = envelope.size;
                }
                Read::Data { head, tail } => {
                    let len = head.len() + tail.len();
                    for byte in head.iter().chain(tail) {
                        hold(*byte == content(self.offset), Fault::Content)?;
                        self.offset += 1;
                    }
                    taken += self.buffer.consume(len);
                }
                Read::End => {
                    hold(self.offset == self.last, Fault::Content)?;
                    self.messages += 1;
                }
                Read::Terminal(outcome) => self.outcome = Some(outcome),
                Read::Pending | Read::Done => return Ok(taken),
            }
        }
    }
}
