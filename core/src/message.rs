//! Judges what arrives as message data: envelopes, chunks and ends, without holding a byte.

use crate::reason::StreamReason;
use crate::types::Envelope;

/// What a piece of payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) begins: Option<Envelope>,
    pub(crate) ends: bool,
}

/// The incoming messages of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Incoming {
    /// Bytes of the current message that have not come.
    need: u32,
    /// Whether a message has begun and is not whole.
    inside: bool,
    /// Empty chunks since the last byte.
    empty_chunks: u8,
    /// Messages begun: none, one, more.
    messages: u8,
}

impl Incoming {
    /// Whether a message has begun on this stream.
    pub(crate) const fn any(&self) -> bool {
        self.messages > 0
    }

    /// `*_message { size, data }`, with `len` bytes of data.
    #[inline(always)]
    pub(crate) fn envelope(
        &mut self,
        envelope: Envelope,
        len: usize,
    ) -> Result<Piece, StreamReason> {
        if self.inside {
            return Err(StreamReason::MessageInterrupted);
        }
        let len = u32::try_from(len).map_err(|_| StreamReason::DataBeyondSize)?;
        self.need = envelope
            .size
            .checked_sub(len)
            .ok_or(StreamReason::DataBeyondSize)?;
        self.inside = self.need > 0;
        self.empty_chunks = 0;
        self.messages = self.messages.saturating_add(1).min(2);
        Ok(Piece {
            begins: Some(envelope),
            ends: !self.inside,
        })
    }

    /// `more_*_data` of `len` bytes. `None`: an empty chunk, nothing to hand on.
    #[inline(always)]
    pub(crate) fn more(
        &mut self,
        len: usize,
        max_empty: u8,
    ) -> Result<Option<Piece>, StreamReason> {
        if !self.inside {
            return Err(StreamReason::DataWithoutMessage);
        }
        if len == 0 {
            if self.empty_chunks >= max_empty {
                return Err(StreamReason::TooManyEmptyChunks);
            }
            self.empty_chunks = self.empty_chunks.saturating_add(1);
            return Ok(None);
        }
        let len = u32::try_from(len).map_err(|_| StreamReason::DataBeyondSize)?;
        self.need = self
            .need
            .checked_sub(len)
            .ok_or(StreamReason::DataBeyondSize)?;
        self.inside = self.need > 0;
        self.empty_chunks = 0;
        Ok(Some(Piece {
            begins: None,
            ends: !self.inside,
        }))
    }

    /// The peer ended its side with success.
    pub(crate) const fn end(&self) -> Result<(), StreamReason> {
        if self.inside {
            Err(StreamReason::Truncated)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn piece(begins: Option<u32>, ends: bool) -> Piece {
        let begins = match begins {
            Some(size) => Some(Envelope::new(size)),
            None => None,
        };
        Piece { begins, ends }
    }

    #[test]
    fn a_message_in_any_two_splits() {
        for size in 1..=64_u32 {
            for first in 0..=size {
                let mut incoming = Incoming::default();
                let begun = incoming.envelope(Envelope::new(size), first as usize);
                assert_eq!(begun, Ok(piece(Some(size), first == size)));
                assert_eq!(incoming.end().is_ok(), first == size);
                if first < size {
                    let rest = incoming.more((size - first) as usize, 0);
                    assert_eq!(rest, Ok(Some(piece(None, true))));
                }
                assert_eq!(incoming.end(), Ok(()));
                assert_eq!(incoming.more(1, 0), Err(StreamReason::DataWithoutMessage));
            }
        }
    }

    #[test]
    fn every_rule_has_its_reason() {
        let mut incoming = Incoming::default();
        let too_much = incoming.envelope(Envelope::new(0), 2);
        assert_eq!(too_much, Err(StreamReason::DataBeyondSize));
        let mut incoming = Incoming::default();
        incoming.envelope(Envelope::new(10), 1).unwrap();
        let again = incoming.envelope(Envelope::new(10), 1);
        assert_eq!(again, Err(StreamReason::MessageInterrupted));
        assert_eq!(incoming.more(10, 0), Err(StreamReason::DataBeyondSize));
        assert_eq!(incoming.end(), Err(StreamReason::Truncated));
        assert_eq!(incoming.more(0, 1), Ok(None));
        assert_eq!(incoming.more(0, 1), Err(StreamReason::TooManyEmptyChunks));
    }
}
