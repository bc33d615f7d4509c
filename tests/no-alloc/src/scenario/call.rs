//! What an application keeps of one call.

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
pub(crate) fn content(offset: u32) -> u8 {
    (offset % 251).to_le_bytes()[0]
}

/// A head.
pub(crate) struct Blob {
    bytes: [u8; 96],
    pub(crate) head: Encoded,
}

impl Blob {
    const EMPTY: Self = Self {
        bytes: [0; 96],
        head: Encoded::EMPTY,
    };

    /// What this encodes.
    pub(crate) fn encode(
        encode: impl FnOnce(&mut SliceSink<'_>) -> Result<Encoded, EncodeError>,
    ) -> Maybe<Self> {
        let mut blob = Self::EMPTY;
        blob.head = encode(&mut SliceSink::new(&mut blob.bytes)).map_err(|_| Fault::Head)?;
        Ok(blob)
    }

    fn bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.head.len() as usize)
            .unwrap_or_default()
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

    /// A head that a transmit names.
    pub(crate) fn head(&self, part: Part) -> &[u8] {
        match part {
            Part::Open => self.open.bytes(),
            Part::Close => self.close.bytes(),
            Part::Headers | Part::Message => &[],
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
