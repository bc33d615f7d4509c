//! A pipe of bytes in memory.

use grpctunnel_core::wire::{Sink, SinkFull};

use super::fault::{Fault, Maybe};

/// Room for a frame with a whole chunk, and some.
const ROOM: usize = 20_000;

/// Bytes on their way.
pub(crate) struct Pipe {
    bytes: [u8; ROOM],
    len: usize,
}

impl Pipe {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; ROOM],
            len: 0,
        }
    }

    /// Whether all bytes have arrived.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Room for so many more bytes.
    pub(crate) fn room(&mut self, len: usize) -> Maybe<&mut [u8]> {
        let end = self.len.checked_add(len).ok_or(Fault::PipeFull)?;
        let room = self.bytes.get_mut(self.len..end).ok_or(Fault::PipeFull)?;
        self.len = end;
        Ok(room)
    }

    /// The bytes that have arrived, at most `most`: they come in pieces that no frame chose.
    pub(crate) fn arrived(&self, most: usize) -> &[u8] {
        self.bytes.get(..self.len.min(most)).unwrap_or_default()
    }

    /// Takes bytes off the front.
    pub(crate) fn take(&mut self, len: usize) {
        let len = len.min(self.len);
        self.bytes.copy_within(len..self.len, 0);
        self.len -= len;
    }
}

impl Sink for Pipe {
    fn reserve(&mut self, len: usize) -> Result<(), SinkFull> {
        if len <= ROOM - self.len {
            Ok(())
        } else {
            Err(SinkFull)
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        self.room(bytes.len())
            .map_err(|_| SinkFull)?
            .copy_from_slice(bytes);
        Ok(())
    }
}
