//! The output of encoders.

use core::fmt;

/// The output has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkFull;

impl fmt::Display for SinkFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the output buffer has no room")
    }
}

impl core::error::Error for SinkFull {}

/// An output for encoded bytes.
pub trait Sink {
    /// Ensures that there is room for `len` bytes, before any of them is written.
    ///
    /// # Errors
    /// There is no room.
    fn reserve(&mut self, len: usize) -> Result<(), SinkFull>;

    /// Appends bytes.
    ///
    /// # Errors
    /// There is no room.
    fn put(&mut self, bytes: &[u8]) -> Result<(), SinkFull>;
}

impl<const N: usize> Sink for heapless::Vec<u8, N> {
    fn reserve(&mut self, len: usize) -> Result<(), SinkFull> {
        match N.checked_sub(self.len()) {
            Some(room) if room >= len => Ok(()),
            _ => Err(SinkFull),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        self.extend_from_slice(bytes).map_err(|_| SinkFull)
    }
}

#[cfg(feature = "alloc")]
impl Sink for alloc::vec::Vec<u8> {
    fn reserve(&mut self, len: usize) -> Result<(), SinkFull> {
        self.try_reserve(len).map_err(|_| SinkFull)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        self.try_reserve(bytes.len()).map_err(|_| SinkFull)?;
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// A [`Sink`] that is emptied and filled again and again: where frames and messages are put
/// together.
pub trait Buffer: Sink + AsRef<[u8]> + Default {
    /// Removes all bytes.
    fn clear(&mut self);

    /// Adds bytes of something that has `whole` bytes in all: memory is taken for what has come, and
    /// never for more than `whole`.
    ///
    /// # Errors
    /// They have no room.
    fn append(&mut self, bytes: &[u8], whole: u32) -> Result<(), SinkFull>;
}

impl<const N: usize> Buffer for heapless::Vec<u8, N> {
    fn clear(&mut self) {
        heapless::Vec::clear(self);
    }

    fn append(&mut self, bytes: &[u8], _: u32) -> Result<(), SinkFull> {
        self.put(bytes)
    }
}

#[cfg(feature = "alloc")]
impl Buffer for alloc::vec::Vec<u8> {
    fn clear(&mut self) {
        alloc::vec::Vec::clear(self);
    }

    fn append(&mut self, bytes: &[u8], whole: u32) -> Result<(), SinkFull> {
        let needed = self.len().saturating_add(bytes.len());
        if needed > self.capacity() {
            let most = usize::try_from(whole).unwrap_or(usize::MAX);
            let doubled = self.capacity().saturating_mul(2).min(most).max(needed);
            let more = doubled.saturating_sub(self.len());
            self.try_reserve_exact(more).map_err(|_| SinkFull)?;
        }
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// A [`Sink`] over a slice.
#[derive(Debug)]
pub struct SliceSink<'b> {
    free: &'b mut [u8],
}

impl<'b> SliceSink<'b> {
    /// A sink that fills `slice` from its start.
    #[must_use]
    pub const fn new(slice: &'b mut [u8]) -> Self {
        Self { free: slice }
    }

    /// Bytes that still fit.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.free.len()
    }
}

impl Sink for SliceSink<'_> {
    fn reserve(&mut self, len: usize) -> Result<(), SinkFull> {
        if len <= self.free.len() {
            Ok(())
        } else {
            Err(SinkFull)
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        let free = core::mem::take(&mut self.free);
        match free.split_at_mut_checked(bytes.len()) {
            Some((target, rest)) => {
                target.copy_from_slice(bytes);
                self.free = rest;
                Ok(())
            }
            None => Err(SinkFull),
        }
    }
}
