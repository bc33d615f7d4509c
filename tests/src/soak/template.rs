//! Frames that differ in their stream id alone.

use super::FIRST;
use crate::harness::fail;
use crate::harness::frames::Frame;

/// Bytes of an id from [`FIRST`] on.
const ID_LEN: usize = 6;

/// A frame of which only the stream id is still to be written, again and again: to write some billions
/// of frames anew would take longer than to read them.
#[derive(Clone, Debug)]
pub struct Template(Frame);

impl Template {
    /// From a frame of stream [`FIRST`].
    pub fn new(frame: impl Into<Frame>) -> Self {
        let frame = frame.into();
        let mut template = Self(frame.clone());
        if template.at(0) != frame {
            fail("a template is a frame of the first stream");
        }
        template
    }

    /// The frame of the stream whose id is `call` above [`FIRST`].
    pub fn at(&mut self, call: u64) -> &[u8] {
        let mut id = FIRST.cast_unsigned() + call;
        for (at, byte) in self.0.iter_mut().skip(1).take(ID_LEN).enumerate() {
            let [low, ..] = id.to_le_bytes();
            *byte = low & 0x7f | if at + 1 < ID_LEN { 0x80 } else { 0 };
            id >>= 7;
        }
        &self.0
    }
}
