//! How much of the carrier's buffers is held by payload that was not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of the carrier's buffers that the readers of a tunnel hold, at most, by slices of them that
/// were not read. Clones share the count.
///
/// A slice of 8 KiB keeps the whole buffer that it is a part of, which a slow reader could use to
/// hold many times its window. Beyond this bound payload is copied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pins(Arc<AtomicUsize>);

impl Pins {
    /// The bound.
    pub(crate) const MOST: usize = 4 << 20;
    /// What a buffer counts at least: HTTP stacks read small frames into larger buffers.
    const LEAST: usize = 64 << 10;

    /// Holds a buffer of `len` bytes, unless that is too much.
    pub(crate) fn pin(&self, len: usize) -> Option<Pin> {
        let bytes = len.max(Self::LEAST);
        let held = self.0.fetch_add(bytes, Ordering::Relaxed);
        let pin = Pin {
            pins: self.clone(),
            bytes,
        };
        // Else it is dropped at once.
        Some(pin).filter(|_| held.saturating_add(bytes) <= Self::MOST)
    }

    /// What is held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A buffer that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Pins,
    bytes: usize,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
