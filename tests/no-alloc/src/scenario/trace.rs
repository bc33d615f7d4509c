//! A hash of everything that was sent, by FNV-1a.

/// The frames so far.
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// One more frame. Its length counts too, so that no two traces run together.
    pub(crate) fn add(&mut self, frame: &[u8]) {
        let len = (frame.len() as u64).to_le_bytes();
        for byte in len.iter().chain(frame) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.0
    }
}
