//! What frame headers tell, seen on their way to h2, which does not tell it.

use std::io;
use std::sync::atomic::Ordering;

use crate::backlog::SMALL;
use crate::shared::Shared;

/// Bytes of a frame's header.
const HEADER: usize = 9;
/// Frame kinds, RFC 9113, section 6.
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const CONTINUATION: u8 = 0x9;

/// Follows the frames of a byte stream.
#[derive(Debug)]
pub(crate) struct Frames {
    header: [u8; HEADER],
    have: usize,
    /// Bytes until the next frame's header.
    skip: usize,
    /// Bytes of the header block that is being received.
    block: usize,
    max_block: usize,
}

impl Frames {
    /// Follows frames that begin after `skip` bytes.
    pub(crate) const fn new(skip: usize, max_block: usize) -> Self {
        Self {
            header: [0; HEADER],
            have: 0,
            skip,
            block: 0,
            max_block,
        }
    }

    /// Takes the next bytes, notes in `shared` what they tell, and returns what their small DATA
    /// frames cost.
    ///
    /// # Errors
    /// If a header block is longer than is tolerated.
    pub(crate) fn observe(&mut self, mut bytes: &[u8], shared: &Shared) -> io::Result<usize> {
        let mut cost = 0;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(cost);
            }
            let missing = HEADER - self.have;
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            if let Some(space) = self.header.get_mut(self.have..self.have + taken.len()) {
                space.copy_from_slice(taken);
            }
            self.have += taken.len();
            bytes = rest;
            if self.have == HEADER {
                self.have = 0;
                cost += self.frame(shared)?;
            }
        }
    }

    fn frame(&mut self, shared: &Shared) -> io::Result<usize> {
        let [a, b, c, kind, ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        self.skip = length;
        match kind {
            DATA => {
                shared.backlog.received(length);
                return Ok(SMALL.saturating_sub(length));
            }
            HEADERS => self.block = length,
            CONTINUATION => self.block = self.block.saturating_add(length),
            // The first frame of all is one of them.
            SETTINGS => shared.established.store(true, Ordering::Release),
            GOAWAY => shared.draining.store(true, Ordering::Release),
            _ => {}
        }
        if self.block > self.max_block {
            let text = format!(
                "the peer sent a head or trailers of more than {} bytes",
                self.max_block
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::Frames;
    use crate::shared::Shared;

    fn frame(kind: u8, length: u32) -> Vec<u8> {
        let [_, a, b, c] = length.to_be_bytes();
        let mut bytes = vec![a, b, c, kind, 0, 0, 0, 0, 1];
        bytes.resize(bytes.len() + length as usize, 0);
        bytes
    }

    #[test]
    fn frames_are_seen_however_they_are_cut() {
        let mut bytes = vec![7; 24];
        for (kind, length) in [(4, 6), (0, 1), (0, 256), (0, 0), (7, 8)] {
            bytes.extend(frame(kind, length));
        }
        for size in 1..bytes.len() {
            let (mut frames, shared) = (Frames::new(24, 100), Shared::default());
            let mut cost = 0;
            for piece in bytes.chunks(size) {
                cost += frames.observe(piece, &shared).unwrap();
            }
            assert_eq!(cost, 255 + 256, "in pieces of {size}");
            assert!(shared.established.load(Ordering::Acquire));
            assert!(shared.draining.load(Ordering::Acquire));
        }
    }

    #[test]
    fn a_header_block_is_counted_over_its_frames() {
        let (mut frames, shared) = (Frames::new(0, 100), Shared::default());
        assert!(frames.observe(&frame(1, 60), &shared).is_ok());
        assert!(frames.observe(&frame(1, 60), &shared).is_ok());
        assert!(frames.observe(&frame(9, 40), &shared).is_ok());
        assert!(frames.observe(&frame(9, 1), &shared).is_err());
    }
}
