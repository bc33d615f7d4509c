//! Frames on their way from the tunnel to the carrier.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

/// Payload of at least this size leaves as it is; smaller pieces are copied into one buffer, since
/// each piece costs the HTTP stack more than its copy.
const SEGMENT: usize = 8 << 10;
/// Bytes that a tunnel without traffic keeps for its next frames.
const IDLE_CAPACITY: usize = 2 << 10;
/// Pieces of payload for which a tunnel without traffic keeps room.
const IDLE_PIECES: usize = 8;

/// Frames that were gathered under the tunnel's lock. Payload is not copied there.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// What stands between payload: prefixes and heads.
    heads: Vec<u8>,
    payload: Vec<Payload>,
    /// Bytes of payload.
    payload_len: usize,
}

#[derive(Debug)]
struct Payload {
    /// Bytes of `heads` that come before it.
    behind: usize,
    bytes: Bytes,
}

impl Batch {
    /// The bytes of all frames.
    pub(crate) const fn len(&self) -> usize {
        self.heads.len().saturating_add(self.payload_len)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends what is not payload.
    pub(crate) fn push_head(&mut self, bytes: &[u8]) {
        self.heads.extend_from_slice(bytes);
    }

    /// Appends payload.
    pub(crate) fn push_payload(&mut self, bytes: Bytes) {
        self.payload_len = self.payload_len.saturating_add(bytes.len());
        self.payload.push(Payload {
            behind: self.heads.len(),
            bytes,
        });
    }

    /// Forgets everything, and gives large memory back.
    fn clear(&mut self) {
        self.heads.clear();
        self.heads.shrink_to(IDLE_CAPACITY);
        self.payload.clear();
        self.payload.shrink_to(IDLE_PIECES);
        self.payload_len = 0;
    }
}

/// Puts frames together, without the tunnel's lock.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    /// What is kept of the buffer for small pieces.
    buffer: BytesMut,
    /// What was put together and not taken.
    ready: VecDeque<Bytes>,
}

impl Packer {
    /// The next piece, if there is one. Never empty.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let next = self.ready.pop_front();
        if self.ready.is_empty() {
            self.ready.shrink_to(IDLE_PIECES);
        }
        next
    }

    /// Puts the frames of a batch together, and empties it: in one piece, or, with `segments`, in
    /// pieces of which large payload is no copy.
    pub(crate) fn pack(&mut self, batch: &mut Batch, segments: bool) {
        let is_segment = |payload: &Payload| segments && payload.bytes.len() >= SEGMENT;
        let large: usize = batch
            .payload
            .iter()
            .filter(|payload| is_segment(payload))
            .map(|payload| payload.bytes.len())
            .sum();
        self.reserve(batch.len().saturating_sub(large));
        let mut done = 0;
        for payload in &mut batch.payload {
            self.copy(batch.heads.get(done..payload.behind));
            done = payload.behind;
            if is_segment(payload) {
                self.seal();
                self.ready.push_back(std::mem::take(&mut payload.bytes));
            } else {
                self.copy(Some(&payload.bytes));
            }
        }
        self.copy(batch.heads.get(done..));
        self.seal();
        if self.buffer.capacity() == 0 || self.buffer.capacity() > IDLE_CAPACITY {
            // Even a part without bytes would hold the whole allocation.
            self.buffer = BytesMut::new();
        }
        batch.clear();
    }

    /// Makes room for `len` bytes, so that they are not moved within the buffer even while the HTTP
    /// stack still holds what was taken before.
    fn reserve(&mut self, len: usize) {
        if self.buffer.capacity() >= len || self.buffer.try_reclaim(len) {
            return;
        }
        // Exactly as many as are needed, where they are many: nothing is kept of such a buffer.
        self.buffer = BytesMut::with_capacity(len.max(IDLE_CAPACITY));
    }

    fn copy(&mut self, bytes: Option<&[u8]>) {
        self.buffer.put_slice(bytes.unwrap_or_default());
    }

    fn seal(&mut self) {
        if !self.buffer.is_empty() {
            self.ready.push_back(self.buffer.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packs a batch, and takes all pieces.
    fn packed(packer: &mut Packer, batch: &mut Batch, segments: bool) -> Vec<Bytes> {
        packer.pack(batch, segments);
        assert!(batch.is_empty());
        std::iter::from_fn(|| packer.take()).collect()
    }

    #[test]
    fn frames_come_out_in_order_in_one_piece_or_with_large_payload_as_it_is() {
        for segments in [false, true] {
            let mut packer = Packer::default();
            let mut held = Vec::new();
            for round in 0..50_u8 {
                let mut batch = Batch::default();
                let mut expected = Vec::new();
                let mut large = Vec::new();
                for frame in 0..round % 5 {
                    let head = vec![frame; usize::from(round)];
                    let len = usize::from(round) * 401 * usize::from(frame);
                    let payload = Bytes::from(vec![round; len]);
                    batch.push_head(&head);
                    expected.extend_from_slice(&head);
                    expected.extend_from_slice(&payload);
                    large.extend((len >= SEGMENT).then(|| payload.as_ptr()));
                    batch.push_payload(payload);
                }
                batch.push_head(b"tail");
                expected.extend_from_slice(b"tail");
                assert_eq!(batch.len(), expected.len());
                let pieces = packed(&mut packer, &mut batch, segments);
                assert!(pieces.concat() == expected);
                assert!(pieces.iter().all(|piece| !piece.is_empty()));
                if segments {
                    let kept =
                        |begin: &*const u8| pieces.iter().any(|piece| piece.as_ptr() == *begin);
                    assert!(large.iter().all(kept), "large payload is not copied");
                } else {
                    assert_eq!(pieces.len(), 1);
                }
                // Some pieces are held for a while.
                held.extend(pieces.into_iter().filter(|_| round % 3 == 0));
                held.truncate(7);
            }
        }
    }

    #[test]
    fn what_is_idle_keeps_little() {
        for segments in [false, true] {
            let mut packer = Packer::default();
            let mut batch = Batch::default();
            for frame in 0..1_000 {
                batch.push_head(&[1; 100]);
                batch.push_payload(Bytes::from(vec![2; 100 * (frame % 100)]));
            }
            drop(packed(&mut packer, &mut batch, segments));
            let kept = batch.heads.capacity() + batch.payload.capacity() * size_of::<Payload>();
            assert!(kept <= IDLE_CAPACITY + IDLE_PIECES * size_of::<Payload>());
            assert!(packer.buffer.capacity() <= IDLE_CAPACITY);
            assert!(packer.ready.capacity() <= IDLE_PIECES);
        }
    }
}
