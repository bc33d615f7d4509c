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
