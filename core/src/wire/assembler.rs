//! Whole frames out of bytes in any pieces.

use super::deframer::{Deframer, FrameTooLarge, Piece};
use super::sink::Buffer;

/// A whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a frame that is not handled is lost, and the tunnel with it"]
pub struct Frame<'a> {
    /// The first byte of its prefix.
    pub flags: u8,
    /// Its bytes, without the prefix.
    pub bytes: &'a [u8],
}

/// Puts frames together. A frame that lies whole in the input is handed on where it is; only one
/// that comes in parts is copied, into `B`; see [`FixedAssembler`] and `GrowingAssembler`.
///
/// ```
/// use grpctunnel_core::wire::FixedAssembler;
///
/// let mut frames = FixedAssembler::<64>::fixed(4 << 20);
/// let mut seen = 0;
/// for mut input in [&[0, 0, 0, 0, 2, b'h'][..], &[b'i', 2, 0, 0, 0, 0]] {
///     while let (taken, Some(frame)) = frames.next(input)? {
///         input = &input[taken..];
///         seen += 1;
///         assert!(matches!((frame.flags, frame.bytes), (0, b"hi") | (2, b"")));
///     }
/// }
/// assert_eq!(seen, 2);
/// # Ok::<(), grpctunnel_core::wire::FrameTooLarge>(())
/// ```
#[derive(Clone, Debug)]
pub struct Assembler<B> {
    deframer: Deframer,
    flags: u8,
    len: u32,
    parts: B,
}

/// One in place, for frames of up to `N` bytes.
pub type FixedAssembler<const N: usize> = Assembler<heapless::Vec<u8, N>>;

/// One in memory that grows as the bytes of a frame come.
#[cfg(feature = "alloc")]
pub type GrowingAssembler = Assembler<alloc::vec::Vec<u8>>;

impl<const N: usize> FixedAssembler<N> {
    /// For frames of up to `max_frame` bytes, and of up to `N`.
    #[must_use]
    pub fn fixed(max_frame: u32) -> Self {
        Self::new(max_frame.min(u32::try_from(N).unwrap_or(u32::MAX)))
    }
}

#[cfg(feature = "alloc")]
impl GrowingAssembler {
    /// For frames of up to `max_frame` bytes.
    #[must_use]
    pub fn growing(max_frame: u32) -> Self {
        Self::new(max_frame)
    }

    /// Bytes of memory held.
    pub(crate) const fn memory(&self) -> usize {
        self.parts.capacity()
    }
}

impl<B: Buffer> Assembler<B> {
    fn new(max: u32) -> Self {
        Self {
            deframer: Deframer::new(max),
            flags: 0,
            len: 0,
            parts: B::default(),
        }
    }

    /// The next frame of `input`, and how many bytes of `input`
    /// are done with. `None`: all of them are, and more are needed.
    ///
    /// # Errors
    /// A frame is longer than the limit. The same error is returned from then on.
    pub fn next<'a>(
        &'a mut self,
        input: &'a [u8],
    ) -> Result<(usize, Option<Frame<'a>>), FrameTooLarge> {
        let mut taken = 0_usize;
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            let (bytes, piece) = self.deframer.next(rest)?;
            taken = taken.saturating_add(bytes);
            match piece {
                None => return Ok((taken, None)),
                Some(Piece::Begin { flags, len }) => {
                    (self.flags, self.len) = (flags, len);
                    self.parts.clear();
                }
                Some(Piece::Data { bytes, ends }) => {
                    if ends && self.parts.as_ref().is_empty() {
                        let flags = self.flags;
                        return Ok((taken, Some(Frame { flags, bytes })));
                    }
                    // Only where there is no memory: the deframer has compared the length.
                    if self.parts.append(bytes, self.len).is_err() {
                        let max = u32::try_from(self.parts.as_ref().len()).unwrap_or(u32::MAX);
                        return Err(self.deframer.refuse(self.len, max));
                    }
                    if ends {
                        let flags = self.flags;
                        let bytes = self.parts.as_ref();
                        return Ok((taken, Some(Frame { flags, bytes })));
                    }
                }
            }
        }
    }

    /// Whether the input so far ends between two frames: no part of one is missing.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.deframer.is_between_messages()
    }
}
