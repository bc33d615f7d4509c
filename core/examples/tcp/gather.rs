//! Whole messages out of a receive buffer, which may be larger than the receive window.

use grpctunnel_core::receive_buffer::{GrowingStore, Read, ReceiveBuffer};

/// Where a message is put together.
#[derive(Default)]
pub(crate) struct Gather(Vec<u8>);

/// What came of it.
pub(crate) enum Gathered<T> {
    /// A whole message.
    Message(Vec<u8>),
    /// How the stream ended.
    Ended(T),
    /// Nothing yet.
    Pending,
}

impl Gather {
    /// Moves what has come. The number is for the tunnel's `consumed`, whatever came of it: the
    /// peer gets credit for bytes, not for messages.
    pub(crate) fn next<T>(
        &mut self,
        buffer: &mut ReceiveBuffer<GrowingStore, T>,
    ) -> (u32, Gathered<T>) {
        let mut moved = 0;
        loop {
            match buffer.poll_read() {
                Read::Begin(_) => self.0.clear(),
                Read::Data { head, tail } => {
                    let len = head.len() + tail.len();
                    self.0.extend_from_slice(head);
                    self.0.extend_from_slice(tail);
                    moved += buffer.consume(len);
                }
                Read::End => return (moved, Gathered::Message(std::mem::take(&mut self.0))),
                Read::Terminal(end) => return (moved, Gathered::Ended(end)),
                Read::Pending | Read::Done => return (moved, Gathered::Pending),
            }
        }
    }
}
