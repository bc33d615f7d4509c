//! The received messages of a stream that were not read yet, each with gRPC's length prefix.

use bytes::{BufMut, Bytes, BytesMut};
use grpctunnel_core::receive_buffer::{GrowingStore, PushError, Read, ReceiveBuffer};
use grpctunnel_core::wire::{PREFIX_LEN, length_prefix};
use grpctunnel_core::{Envelope, Unread};

/// Bytes of prefixes in `ready` from which on further messages go to `behind`, where a run of equal
/// messages costs no more than one.
const PREFIXES: usize = 64 << 10;
/// Bytes that are moved from `behind` to `ready` at once.
const REFILL: usize = 64 << 10;
/// Chunks of at least this size are expected to be followed by others.
const LARGE: usize = 4 << 10;

type Behind = ReceiveBuffer<GrowingStore, ()>;

/// The payload of one stream that was not read yet.
///
/// For a reader that keeps up, bytes are copied once, from the carrier's buffer. For a slower one,
/// messages are kept in the core's receive buffer, whose memory is bounded by the window whatever
/// the sizes of the messages.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    ready: BytesMut,
    /// Bytes of payload in `ready`.
    payload: u32,
    /// Bytes of prefixes in `ready`.
    prefixes: usize,
    /// Where in `ready` an incomplete message begins, if there is one: 0 if its beginning was read
    /// already.
    open: Option<usize>,
    behind: Option<Box<Behind>>,
    /// Whether a message of `behind` was read in part.
    inside: bool,
}

impl Inbox {
    /// Appends payload, as the core describes it.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        begins: Option<Envelope>,
        ends: bool,
    ) -> Result<(), PushError> {
        if let Some(behind) = &mut self.behind {
            return behind.push(bytes, begins, ends);
        }
        if begins.is_some() && self.prefixes >= PREFIXES {
            return self.behind.insert(Box::default()).push(bytes, begins, ends);
        }
        self.reserve(bytes.len());
        if let Some(envelope) = begins {
            self.open = Some(self.ready.len());
            self.prefixes = self.prefixes.saturating_add(PREFIX_LEN);
            self.ready.put_slice(&envelope_prefix(envelope));
        }
        self.ready.extend_from_slice(bytes);
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.payload = self.payload.saturating_add(len);
        if ends {
            self.open = None;
        }
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) {
        let needed = PREFIX_LEN.saturating_add(bytes);
        let room = self.ready.capacity().saturating_sub(self.ready.len());
        if room < needed {
            let ahead = if bytes >= LARGE {
                bytes.saturating_mul(4).min(REFILL)
            } else {
                0
            };
            self.ready.reserve(needed.max(ahead));
        }
    }

    /// Takes bytes to read, and how much payload is in them, which must be reported as consumed.
    /// Empty: there is nothing to read now.
    pub(crate) fn take(&mut self) -> (Bytes, u32) {
        if self.ready.is_empty() {
            self.refill();
        }
        if self.open.is_some() {
            self.open = Some(0);
        }
        self.prefixes = 0;
        (
            self.ready.split().freeze(),
            std::mem::take(&mut self.payload),
        )
    }

    fn refill(&mut self) {
        let Some(behind) = &mut self.behind else {
            return;
        };
        while self.ready.len() < REFILL {
            match behind.poll_read() {
                Read::Begin(envelope) => {
                    self.inside = true;
                    self.prefixes = self.prefixes.saturating_add(PREFIX_LEN);
                    self.ready.put_slice(&envelope_prefix(envelope));
                }
                Read::Data { head, tail } => {
                    let len = head.len().saturating_add(tail.len());
                    self.ready.reserve(len);
                    self.ready.extend_from_slice(head);
                    self.ready.extend_from_slice(tail);
                    let taken = behind.consume(len);
                    self.payload = self.payload.saturating_add(taken);
                }
                Read::End => self.inside = false,
                Read::Pending => {
                    // The rest of a message must come the same way.
                    if !self.inside {
                        self.behind = None;
                    }
                    return;
                }
                Read::Terminal(()) | Read::Done => {
                    self.behind = None;
                    return;
                }
            }
        }
    }

    /// Ends the stream's payload. An incomplete message is dropped unless its beginning was read.
    pub(crate) fn finish(&mut self, unread: Unread) {
        if let Some(behind) = &mut self.behind {
            behind.finish((), unread);
        }
        match unread {
            Unread::Discard => self.clear(),
            Unread::Deliver => {
                if let Some(open) = self.open.take() {
                    self.ready.truncate(open);
                }
            }
        }
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        self.ready = BytesMut::new();
        self.payload = 0;
        self.prefixes = 0;
        self.open = None;
        self.behind = None;
        self.inside = false;
    }

    /// Whether there is nothing to read now.
    pub(crate) fn is_empty(&mut self) -> bool {
        if self.ready.is_empty() {
            self.refill();
        }
        self.ready.is_empty()
    }
}

/// gRPC's prefix of a message.
fn envelope_prefix(envelope: Envelope) -> [u8; PREFIX_LEN] {
    length_prefix(u8::from(envelope.compressed), envelope.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_message(inbox: &mut Inbox, message: &[u8]) {
        let size = u32::try_from(message.len()).unwrap();
        inbox
            .push(message, Some(Envelope::new(size)), true)
            .unwrap();
    }

    /// Takes everything out: the framed bytes and the payload reported.
    fn drain(inbox: &mut Inbox) -> (Vec<u8>, usize) {
        let mut all = Vec::new();
        let mut payload = 0;
        while !inbox.is_empty() {
            let (bytes, taken) = inbox.take();
            all.extend_from_slice(&bytes);
            payload += usize::try_from(taken).unwrap();
        }
        (all, payload)
    }

    fn framed(messages: &[&[u8]]) -> Vec<u8> {
        let mut all = Vec::new();
        for message in messages {
            all.extend_from_slice(&length_prefix(0, u32::try_from(message.len()).unwrap()));
            all.extend_from_slice(message);
        }
        all
    }

    #[test]
    fn messages_come_out_framed() {
        let mut inbox = Inbox::default();
        push_message(&mut inbox, b"hello");
        push_message(&mut inbox, b"");
        inbox.push(b"ab", Some(Envelope::new(4)), false).unwrap();
        assert_eq!(
            drain(&mut inbox),
            (framed(&[b"hello", b"", b"ab??"])[..22].to_vec(), 7)
        );
        inbox.push(b"cd", None, true).unwrap();
        assert_eq!(drain(&mut inbox), (b"cd".to_vec(), 2));
    }

    #[test]
    fn conf_077_a_million_empty_messages_take_no_memory_and_all_come_out() {
        let mut inbox = Inbox::default();
        for _ in 0..1_000_000 {
            push_message(&mut inbox, b"");
        }
        assert!(inbox.ready.capacity() <= 4 * PREFIXES);
        assert!(inbox.behind.as_ref().unwrap().memory() < 1024);
        let (all, payload) = drain(&mut inbox);
        assert_eq!((all.len(), payload), (5_000_000, 0));
        assert!(all.iter().all(|byte| *byte == 0));
    }

    /// As many messages as are kept ready.
    fn fill(inbox: &mut Inbox) -> usize {
        let mut count = 0;
        while inbox.behind.is_none() {
            push_message(inbox, b"");
            count += 1;
        }
        count
    }

    #[test]
    fn a_reader_that_keeps_up_is_never_behind() {
        let mut inbox = Inbox::default();
        for _ in 0..3 * PREFIXES / PREFIX_LEN {
            push_message(&mut inbox, b"m");
            assert!(inbox.behind.is_none());
            assert_eq!(inbox.take().0.len(), PREFIX_LEN + 1);
        }
        // One that catches up neither.
        fill(&mut inbox);
        push_message(&mut inbox, b"behind");
        drain(&mut inbox);
        push_message(&mut inbox, b"m");
        assert!(inbox.behind.is_none());
    }

    #[test]
    fn a_slow_reader_gets_the_same_bytes() {
        let large = vec![7; 300_000];
        let mut inbox = Inbox::default();
        let empty = fill(&mut inbox);
        push_message(&mut inbox, &large);
        push_message(&mut inbox, b"second");
        inbox
            .push(&large[..10], Some(Envelope::new(300_000)), false)
            .unwrap();
        let (mut all, mut payload) = drain(&mut inbox);
        inbox.push(&large[10..], None, true).unwrap();
        push_message(&mut inbox, b"last");
        let (rest, taken) = drain(&mut inbox);
        all.extend_from_slice(&rest);
        payload += taken;
        let mut expected = vec![&b""[..]; empty];
        expected.extend([&large, &b"second"[..], &large, b"last"]);
        assert!(all == framed(&expected));
        assert_eq!(payload, 600_010);
        assert!(inbox.behind.is_none());
    }

    #[test]
    fn an_end_cuts_the_message_that_is_not_whole() {
        for spilled in [false, true] {
            let mut inbox = Inbox::default();
            let empty = if spilled { fill(&mut inbox) } else { 0 };
            push_message(&mut inbox, b"whole");
            inbox.push(b"par", Some(Envelope::new(9)), false).unwrap();
            inbox.finish(Unread::Deliver);
            let mut expected = vec![&b""[..]; empty];
            expected.push(b"whole");
            assert!(drain(&mut inbox).0 == framed(&expected));
        }
    }

    #[test]
    fn an_end_that_discards_leaves_nothing() {
        let mut inbox = Inbox::default();
        fill(&mut inbox);
        push_message(&mut inbox, b"behind");
        inbox.finish(Unread::Discard);
        assert!(inbox.is_empty());
    }
}
