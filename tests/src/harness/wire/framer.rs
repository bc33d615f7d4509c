//! Holds the framer against a reading of the whole input at once.

use grpctunnel_core::wire::{Deframer, FrameTooLarge, PREFIX_LEN, Piece};

/// What a stream of length-prefixed messages holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Read {
    /// Flags, announced length, and the bytes that came of each message.
    messages: Vec<(u8, u32, Vec<u8>)>,
    /// The last message is whole, and nothing is left of its prefix.
    between: bool,
    refused: Option<FrameTooLarge>,
}

fn at_once(max: u32, input: &[u8]) -> Read {
    let mut read = Read::default();
    let mut rest = input;
    while let Some((prefix, behind)) = rest.split_first_chunk::<PREFIX_LEN>() {
        let [flags, len @ ..] = *prefix;
        let len = u32::from_be_bytes(len);
        if len > max {
            read.refused = Some(FrameTooLarge { len, max });
            return read;
        }
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        let (message, after) = behind.split_at(wanted.min(behind.len()));
        read.messages.push((flags, len, message.to_vec()));
        if message.len() < wanted {
            return read;
        }
        rest = after;
    }
    read.between = rest.is_empty();
    read
}

/// Feeds one chunk. False once a message was refused.
fn feed(deframer: &mut Deframer, mut chunk: &[u8], read: &mut Read) -> bool {
    loop {
        let (consumed, piece) = match deframer.next(chunk) {
            Ok(step) => step,
            Err(refused) => {
                read.refused = Some(refused);
                return false;
            }
        };
        chunk = chunk.get(consumed..).unwrap_or_default();
        match piece {
            None => {
                assert!(chunk.is_empty(), "bytes are left behind");
                return true;
            }
            Some(Piece::Begin { flags, len }) => {
                read.messages.push((flags, len, Vec::new()));
            }
            Some(Piece::Data { bytes, ends }) => {
                let Some((_, len, message)) = read.messages.last_mut() else {
                    super::super::fail("data of no message");
                };
                message.extend_from_slice(bytes);
                assert_eq!(ends, message.len() == *len as usize, "the end of a message");
                assert_eq!(bytes.len(), consumed, "data is what was consumed");
            }
        }
    }
}

/// Takes `input` apart in chunks of these sizes, round and round, and then byte by byte and whole:
/// each time the messages are those of one look at all of it, and a message above `max` is refused
/// before any of its bytes is looked at. Returns how many messages there are.
///
/// # Panics
/// When it is not so.
pub fn check_framer(max: u32, sizes: &[u8], input: &[u8]) -> usize {
    let expected = at_once(max, input);
    for sizes in [sizes, &[1], &[]] {
        let mut deframer = Deframer::new(max);
        let mut read = Read::default();
        let mut rest = input;
        let mut going = true;
        let mut sizes = sizes.iter().cycle();
        while going && !rest.is_empty() {
            let size = sizes.next().map_or(rest.len(), |size| usize::from(*size));
            let (chunk, after) = rest.split_at(size.clamp(1, rest.len()));
            going = feed(&mut deframer, chunk, &mut read);
            rest = after;
        }
        // An empty message at the very end is told without another byte.
        read.between = going && deframer.is_between_messages();
        assert_eq!(read, expected, "a split shows");
    }
    expected.messages.len()
}
