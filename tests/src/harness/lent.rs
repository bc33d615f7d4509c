//! The bytes that a caller lends to its tunnel: heads and messages.

use std::ops::Range;

use grpctunnel_core::Part;

use super::fail;

/// What one call has lent, by part. What the tunnel no longer needs is gone at once, so that
/// naming it again is found out.
#[derive(Debug, Default)]
pub(super) struct Lent {
    parts: [Option<Blob>; 4],
}

#[derive(Debug)]
struct Blob {
    bytes: Vec<u8>,
    /// Length once everything was provided.
    size: usize,
}

const fn index(part: Part) -> usize {
    match part {
        Part::Open => 0,
        Part::Headers => 1,
        Part::Message => 2,
        Part::Close => 3,
    }
}

impl Lent {
    fn slot(&mut self, part: Part) -> &mut Option<Blob> {
        let Some(slot) = self.parts.get_mut(index(part)) else {
            fail("four parts");
        };
        slot
    }

    /// Lends `bytes`, the beginning of a part of `size` bytes.
    pub(super) fn lend(&mut self, part: Part, bytes: Vec<u8>, size: usize) {
        // Nothing of an empty part is ever named.
        *self.slot(part) = (size > 0).then_some(Blob { bytes, size });
    }

    /// Lends more of a message.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        if let Some(blob) = self.slot(Part::Message) {
            blob.bytes.extend_from_slice(bytes);
        }
    }

    /// Copies out what a transmit names, and forgets the part with its last byte.
    pub(super) fn copy(&mut self, part: Part, range: Range<u32>) -> Vec<u8> {
        let slot = self.slot(part);
        let Some(blob) = slot else {
            fail(format_args!("{part:?} is named, which is not lent"));
        };
        let range = range.start as usize..range.end as usize;
        let Some(bytes) = blob.bytes.get(range.clone()) else {
            fail(format_args!(
                "{part:?} is named beyond what was provided: {range:?}"
            ));
        };
        let bytes = bytes.to_vec();
        if range.end == blob.size {
            *slot = None;
        }
        bytes
    }

    /// Takes a message back whose rest will not be sent.
    pub(super) fn abandon(&mut self) {
        *self.slot(Part::Message) = None;
    }

    /// Takes everything back: the stream has ended.
    pub(super) fn clear(&mut self) {
        self.parts = Default::default();
    }
}
