//! What this end receives on a stream: a head, messages, the end.
//!
//! Each of them has a state of its own, and every transition is a method here. No byte is held.

use crate::reason::StreamReason;
use crate::types::Envelope;
use crate::window::{ReceiveWindow, WindowError};

/// What a piece of payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) begins: Option<Envelope>,
    pub(crate) ends: bool,
}

/// What the peer had sent when it ended its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// No message.
    Nothing,
    /// A message that is not whole.
    Truncated,
    /// Whole messages.
    Whole,
}

/// What is asked of a message that begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    /// Where the method has one message in this direction, the reason against a second one.
    pub(crate) single: Option<StreamReason>,
    pub(crate) max_size: u32,
}

/// The metadata ahead of the messages, as far as it decides what may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Head {
    /// It may still come.
    #[default]
    Pending,
    /// It came, or can no longer come.
    Plain,
    /// It came and named an encoding, so that messages may be compressed.
    Encoded,
}

/// The messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Message {
    /// None was ever begun.
    #[default]
    None,
    /// The last one is not whole.
    Partial,
    /// The last one is whole.
    Whole,
    /// No more will come: the peer has half-closed, or closed.
    Finished,
}

/// Who takes what is received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Reader {
    #[default]
    Reading,
    /// Nobody, while the stream goes on: what comes is credited at once.
    Stopped,
    /// Nobody, and nobody has the stream's handle.
    Released,
}

/// See the [module](self).
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct ReceiveHalf {
    window: ReceiveWindow<u32>,
    /// Bytes of the message that have not come.
    missing: u32,
    /// Empty chunks since the last byte.
    empty_chunks: u8,
    message: Message,
    head: Head,
    reader: Reader,
}

impl ReceiveHalf {
    pub(crate) fn new(window: u32) -> Self {
        Self {
            window: ReceiveWindow::new(window),
            ..Self::default()
        }
    }

    /// The window, to be looked at.
    #[inline(always)]
    pub(crate) const fn window(&self) -> &ReceiveWindow<u32> {
        &self.window
    }

    /// The window, to be granted and grown.
    #[inline(always)]
    pub(crate) const fn window_mut(&mut self) -> &mut ReceiveWindow<u32> {
        &mut self.window
    }

    /// The head comes. `encoded`: it names an encoding. False: it is late.
    pub(crate) fn take_head(&mut self, encoded: bool) -> bool {
        let in_time = self.head == Head::Pending;
        if in_time {
            self.head = if encoded { Head::Encoded } else { Head::Plain };
        }
        in_time
    }

    /// So many bytes of payload come.
    #[inline(always)]
    pub(crate) fn take_credit(&mut self, bytes: usize) -> Result<(), StreamReason> {
        u32::try_from(bytes)
            .map_err(|_| WindowError)
            .and_then(|bytes| self.window.receive(bytes))
            .map_err(|_| StreamReason::WindowExceeded)
    }

    /// A message begins, so that no head comes any more.
    #[inline(always)]
    pub(crate) fn skip_head(&mut self) {
        if self.head == Head::Pending {
            self.head = Head::Plain;
        }
    }

    /// `*_message { size, data }`, with `len` bytes of data.
    #[inline(always)]
    pub(crate) fn begin(
        &mut self,
        envelope: Envelope,
        len: usize,
        expected: Expected,
    ) -> Result<Piece, StreamReason> {
        if envelope.compressed && self.head != Head::Encoded {
            return Err(StreamReason::CompressedWithoutEncoding);
        }
        if self.message == Message::Partial {
            return Err(StreamReason::MessageInterrupted);
        }
        let Some(missing) = missing(envelope.size, len) else {
            return Err(StreamReason::DataBeyondSize);
        };
        if let Some(reason) = expected.single
            && self.message != Message::None
        {
            return Err(reason);
        }
        if envelope.size > expected.max_size {
            return Err(StreamReason::MessageTooLarge);
        }
        Ok(self.advance(missing, Some(envelope)))
    }

    /// `more_*_data` of `len` bytes. `None`: an empty chunk, nothing to hand on.
    #[inline(always)]
    pub(crate) fn go_on(
        &mut self,
        len: usize,
        max_empty: u8,
    ) -> Result<Option<Piece>, StreamReason> {
        if self.message != Message::Partial {
            return Err(StreamReason::DataWithoutMessage);
        }
        if len == 0 {
            if self.empty_chunks >= max_empty {
                return Err(StreamReason::TooManyEmptyChunks);
            }
            self.empty_chunks = self.empty_chunks.saturating_add(1);
            return Ok(None);
        }
        let Some(missing) = missing(self.missing, len) else {
            return Err(StreamReason::DataBeyondSize);
        };
        Ok(Some(self.advance(missing, None)))
    }

    #[inline(always)]
    fn advance(&mut self, missing: u32, begins: Option<Envelope>) -> Piece {
        let ends = missing == 0;
        self.missing = missing;
        self.empty_chunks = 0;
        self.message = if ends {
            Message::Whole
        } else {
            Message::Partial
        };
        Piece { begins, ends }
    }

    /// The peer ends its side.
    pub(crate) const fn finish(&mut self) -> Received {
        self.missing = 0;
        self.empty_chunks = 0;
        match core::mem::replace(&mut self.message, Message::Finished) {
            Message::None => Received::Nothing,
            Message::Partial => Received::Truncated,
            Message::Whole | Message::Finished => Received::Whole,
        }
    }

    /// Whether the peer has ended its side.
    #[inline(always)]
    pub(crate) fn is_finished(&self) -> bool {
        self.message == Message::Finished
    }

    /// Nobody reads any more, while the stream goes on.
    pub(crate) fn stop_reading(&mut self) {
        if self.reader == Reader::Reading {
            self.reader = Reader::Stopped;
        }
    }

    /// Nobody has the stream's handle any more.
    pub(crate) const fn release(&mut self) {
        self.reader = Reader::Released;
    }

    #[inline(always)]
    pub(crate) fn is_released(&self) -> bool {
        self.reader == Reader::Released
    }

    /// Whether somebody reads.
    #[inline(always)]
    pub(crate) fn is_reading(&self) -> bool {
        self.reader == Reader::Reading
    }
}

/// What is missing of `size` bytes behind `len` of them. `None`: they are more.
#[inline(always)]
fn missing(size: u32, len: usize) -> Option<u32> {
    size.checked_sub(u32::try_from(len).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Expected = Expected {
        single: None,
        max_size: u32::MAX,
    };

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
                let mut half = ReceiveHalf::new(0);
                assert_eq!(half.clone().finish(), Received::Nothing);
                let begun = half.begin(Envelope::new(size), first as usize, ANY);
                assert_eq!(begun, Ok(piece(Some(size), first == size)));
                if first < size {
                    assert_eq!(half.clone().finish(), Received::Truncated);
                    let rest = half.go_on((size - first) as usize, 0);
                    assert_eq!(rest, Ok(Some(piece(None, true))));
                }
                assert_eq!(half.go_on(1, 0), Err(StreamReason::DataWithoutMessage));
                assert_eq!(half.finish(), Received::Whole);
                assert!(half.is_finished());
            }
        }
    }

    #[test]
    fn every_rule_has_its_reason() {
        let mut half = ReceiveHalf::new(0);
        let too_much = half.begin(Envelope::new(0), 2, ANY);
        assert_eq!(too_much, Err(StreamReason::DataBeyondSize));
        let small = Expected { max_size: 9, ..ANY };
        let too_large = half.begin(Envelope::new(10), 1, small);
        assert_eq!(too_large, Err(StreamReason::MessageTooLarge));
        half.begin(Envelope::new(10), 1, ANY).unwrap();
        let again = half.begin(Envelope::new(10), 1, ANY);
        assert_eq!(again, Err(StreamReason::MessageInterrupted));
        assert_eq!(half.go_on(10, 0), Err(StreamReason::DataBeyondSize));
        assert_eq!(half.go_on(0, 1), Ok(None));
        assert_eq!(half.go_on(0, 1), Err(StreamReason::TooManyEmptyChunks));
        half.go_on(9, 1).unwrap();
        let single = Some(StreamReason::SecondRequest);
        let second = half.begin(Envelope::new(0), 0, Expected { single, ..ANY });
        assert_eq!(second, Err(StreamReason::SecondRequest));
    }

    #[test]
    fn messages_are_compressed_behind_a_head_that_names_an_encoding() {
        let compressed = Envelope {
            size: 0,
            compressed: true,
        };
        let begin = |half: &mut ReceiveHalf| half.begin(compressed, 0, ANY).map(|_| ());
        let refused = Err(StreamReason::CompressedWithoutEncoding);
        let mut half = ReceiveHalf::new(0);
        assert_eq!(begin(&mut half), refused);
        assert!(half.take_head(true) && !half.take_head(false));
        assert_eq!(begin(&mut half), Ok(()));
        let mut half = ReceiveHalf::new(0);
        half.skip_head();
        assert!(!half.take_head(true));
        assert_eq!(begin(&mut half), refused);
    }

    #[test]
    fn a_reader_that_has_stopped_can_only_let_go() {
        let mut half = ReceiveHalf::new(0);
        assert!(half.is_reading());
        half.stop_reading();
        assert!(!half.is_reading() && !half.is_released());
        half.release();
        half.stop_reading();
        assert!(!half.is_reading() && half.is_released());
    }
}
