//! What a tunnel sends next for its streams, chunks of messages above all.

use super::send::{Next, Whole};
use super::slab::Slab;
use super::stream::Mark;
use super::turns::Turns;
use super::{Slot, Streams};
use crate::storage::Storage;
use crate::types::{Body, Part};
use crate::wire::Prefix;

/// What is sent next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// A chunk, which is written. `begins`: it is the first one of its message.
    Chunk {
        slot: Slot,
        body: Body,
        begins: bool,
    },
    /// Another frame, which the tunnel writes.
    Due { slot: Slot, frame: Whole },
}

impl<S: Storage> Streams<S> {
    /// Takes what is sent next. The prefix of a chunk is written in place.
    ///
    /// Its record is looked up once, which is why everything that a chunk changes is done here.
    #[inline(always)]
    pub(crate) fn send_next(&mut self, prefix: &mut Prefix) -> Option<Sent> {
        let Self {
            slab,
            turns,
            events,
            ..
        } = self;
        loop {
            let slot = turns.front()?;
            let stream = slab.get_mut(slot);
            let Some(next) = stream.next() else {
                turns.leave(slab);
                continue;
            };
            let Some(bytes) = turns.allows(next) else {
                // The next turn has just begun, and allows something of everything.
                turns.end_turn(slab);
                continue;
            };
            let ready = match next {
                Next::Chunk(ready) => ready,
                Next::Whole(frame) => {
                    let slot = Slot(slot);
                    return Some(Sent::Due { slot, frame });
                }
            };
            let key = stream.key(Slot(slot));
            let range = stream
                .send
                .take_chunk(stream.id, stream.revision, bytes, prefix);
            let begins = range.start == 0;
            let body = if bytes == 0 {
                Body::None
            } else {
                Body::Caller {
                    stream: key,
                    part: Part::Message,
                    range,
                }
            };
            let joined = if stream.send.is_inside() {
                None
            } else {
                stream.marks.set(Mark::WritableDue);
                events.join(stream, slot)
            };
            // One that has run dry keeps its place while its quantum lasts, so that it may be fed
            // again; it leaves when that is used up.
            if turns.spend(prefix.frame_len(bytes)) {
                let dry = bytes == ready && stream.next().is_none();
                end_turn(turns, slab, slot, dry);
            }
            if let Some(joined) = joined {
                events.link_up(slab, joined);
            }
            let slot = Slot(slot);
            return Some(Sent::Chunk { slot, body, begins });
        }
    }

    /// Counts another frame of the stream whose turn it is.
    pub(crate) fn spend(&mut self, slot: Slot, frame: u32) {
        if self.turns.spend(frame) {
            end_turn(&mut self.turns, &mut self.slab, slot.0, false);
        }
    }
}

/// The quantum of a stream is used up. `dry`: it has nothing more to send, and leaves.
#[inline(always)]
fn end_turn<S: Storage>(turns: &mut Turns, slab: &mut Slab<S>, slot: u32, dry: bool) {
    if dry {
        turns.remove(slab, slot);
    } else {
        turns.end_turn(slab);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Fixed;
    use crate::streams::send::MessageRules;
    use crate::streams::{Ended, Notice, Report, Stream, Terminal};
    use crate::types::{Envelope, Unread};
    use crate::wire::Revision;

    fn begin(streams: &mut Streams<Fixed<4, 1>>, slot: u32, size: u32) {
        let rules = MessageRules {
            single: false,
            compressed: false,
        };
        let stream = streams.get_mut(Slot(slot));
        let begun = stream.send.begin(Envelope::new(size), size, rules);
        assert_eq!(begun, Ok(()));
        streams.queue_data(Slot(slot));
    }

    /// Streams with messages of these sizes, all of them at hand.
    fn streams(sizes: &[u32]) -> Streams<Fixed<4, 1>> {
        let mut streams = Streams::new();
        for (size, slot) in sizes.iter().zip(0..) {
            let stream = Stream::new(slot.into(), Revision::Zero, 0, 0);
            assert_eq!(streams.insert(stream), Some(Slot(slot)));
            begin(&mut streams, slot, *size);
        }
        streams
    }

    fn chunk(streams: &mut Streams<Fixed<4, 1>>) -> Option<(u32, u32)> {
        let mut prefix = Prefix::EMPTY;
        match streams.send_next(&mut prefix)? {
            Sent::Chunk {
                body: Body::Caller { stream, range, .. },
                ..
            } => Some((stream.slot, range.end - range.start)),
            other => panic!("{other:?}"),
        }
    }

    /// Sends all there is: whose chunks they are, and their sizes.
    fn chunks(streams: &mut Streams<Fixed<4, 1>>) -> std::vec::Vec<(u32, u32)> {
        core::iter::from_fn(|| chunk(streams)).collect()
    }

    #[test]
    fn streams_take_turns_of_a_quantum() {
        let mut streams = streams(&[40_000, 20_000]);
        let expected = [
            (0, 16_384),
            (1, 16_384),
            (0, 16_384),
            (1, 3_616),
            (0, 7_232),
        ];
        assert_eq!(chunks(&mut streams), expected);
        assert!(!streams.has_data());
    }

    #[test]
    fn a_chunk_is_not_cut_small_because_the_quantum_ends() {
        let mut streams = streams(&[16_000, 5]);
        assert_eq!(chunk(&mut streams), Some((0, 16_000)));
        begin(&mut streams, 0, 2_000);
        assert_eq!(chunks(&mut streams), [(1, 5), (0, 2_000)]);
    }

    #[test]
    fn a_head_of_a_quantum_ends_the_turn() {
        let mut streams = streams(&[10, 5]);
        streams.spend(Slot(0), 16_384);
        assert_eq!(chunks(&mut streams), [(1, 5), (0, 10)]);
    }

    #[test]
    fn one_that_ends_in_its_turn_leaves_a_whole_quantum() {
        let mut streams = streams(&[10, 20_000]);
        assert!(!streams.turns.spend(16_383));
        let end = Ended {
            why: Terminal::Cancelled,
            unread: Unread::Discard,
            report: Report::Nothing,
            notice: Notice::Nothing,
        };
        streams.end(Slot(0), end);
        assert_eq!(chunks(&mut streams), [(1, 16_384), (1, 3_616)]);
    }
}
