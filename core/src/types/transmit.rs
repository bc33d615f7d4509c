//! A frame to send, named by ranges of the caller's memory.

use core::ops::Range;

use super::call::Key;
use crate::wire::{Prefix, Sink, SinkFull};

/// Where a range of bytes lies in the caller's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The head given to `open`.
    Open,
    /// The head given to `respond`.
    Headers,
    /// The message given to `send_message`.
    Message,
    /// The head given to `close`.
    Close,
}

/// The rest of a frame, behind its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    None,
    /// A text of the core's own.
    Static(&'static str),
    /// Bytes of the caller's. Where the range ends at the part's length, its memory is free.
    Caller {
        /// The stream whose memory it is.
        stream: Key,
        /// The part of it that the range is in.
        part: Part,
        /// The range.
        range: Range<u32>,
    },
}

/// One frame to send: its prefix (gRPC's length prefix included), then its body.
#[derive(Clone, Debug)]
#[must_use = "a frame that is not sent is lost, and the tunnel with it"]
pub struct Transmit {
    /// The first bytes.
    pub prefix: Prefix,
    /// The rest.
    pub body: Body,
}

impl Transmit {
    /// Adds the frame to `out`, its length prefix first. `memory` is asked at most once for the
    /// bytes of a part, all of them: the head or the message that the caller gave to the tunnel.
    ///
    /// # Errors
    /// `out` has no room for the whole frame, or the part is shorter than the caller said. Nothing
    /// was added.
    pub fn write_to<'m>(
        &self,
        out: &mut impl Sink,
        memory: impl FnOnce(Key, Part) -> &'m [u8],
    ) -> Result<(), SinkFull> {
        let body = match &self.body {
            Body::None => &[],
            Body::Static(text) => text.as_bytes(),
            Body::Caller {
                stream,
                part,
                range,
            } => {
                let range = usize::try_from(range.start)
                    .ok()
                    .zip(usize::try_from(range.end).ok());
                let part = memory(*stream, *part);
                range
                    .and_then(|(start, end)| part.get(start..end))
                    .ok_or(SinkFull)?
            }
        };
        out.reserve(self.prefix.len().saturating_add(body.len()))?;
        out.put(&self.prefix)?;
        out.put(body)
    }
}
