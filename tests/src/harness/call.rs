//! What an application keeps of one call.

use grpctunnel_core::receive_buffer::{Read, ReceiveBuffer};
use grpctunnel_core::{Envelope, Key, Unread};

use super::fail;
use super::lent::Lent;
use super::seen::Over;
use super::sent::Headers;
use super::store::Store;

/// One call, at one end.
pub(super) struct Call<S: Store> {
    pub(super) key: Key,
    /// Its number: the stream id at a server, the order of opening at a client.
    pub(super) number: i64,
    pub(super) lent: Lent,
    /// Bytes of the message being sent that were not provided yet.
    pub(super) rest: Vec<u8>,
    pub(super) buffer: Box<ReceiveBuffer<S::Buffer, Over>>,
    /// Bytes of the message that is coming which have not come.
    pub(super) to_come: u32,
    /// What was read of a message that is not whole.
    reading: Vec<u8>,
    pub(super) headers: Option<Headers>,
    pub(super) half_closed: bool,
    pub(super) over: Option<Over>,
    /// Whether the reader has been notified of the end.
    pub(super) told: bool,
    pub(super) released: bool,
}

/// What one look into the receive buffer gave.
pub(super) enum Piece {
    /// So many bytes, to be reported as consumed.
    Bytes(u32),
    /// A whole message.
    Message(Vec<u8>),
    /// The end.
    Over(Over),
    /// Nothing now.
    Nothing,
}

impl<S: Store> Call<S> {
    pub(super) fn new(key: Key, number: i64) -> Self {
        Self {
            key,
            number,
            lent: Lent::default(),
            rest: Vec::new(),
            buffer: Box::default(),
            to_come: 0,
            reading: Vec::new(),
            headers: None,
            half_closed: false,
            over: None,
            told: false,
            released: false,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], begins: Option<Envelope>, ends: bool) {
        if let Err(error) = self.buffer.push(bytes, begins, ends) {
            fail(format_args!("call {}: {error}", self.number));
        }
    }

    /// Notes the end. No byte of the call is the tunnel's from now on.
    pub(super) fn end(&mut self, over: Over, unread: Unread) {
        if let Some(first) = &self.over {
            fail(format_args!(
                "call {} ended twice: {first:?}, {over:?}",
                self.number
            ));
        }
        self.lent.clear();
        self.rest.clear();
        self.buffer.finish(over.clone(), unread);
        self.over = Some(over);
    }

    /// Reads on, at most `max` bytes.
    pub(super) fn read(&mut self, max: usize) -> Piece {
        loop {
            match self.buffer.poll_read() {
                Read::Begin(_) => self.reading.clear(),
                Read::Data { .. } if max == 0 => return Piece::Nothing,
                Read::Data { head, .. } => {
                    let head = head.get(..max.min(head.len())).unwrap_or_default();
                    let len = head.len();
                    self.reading.extend_from_slice(head);
                    return Piece::Bytes(self.buffer.consume(len));
                }
                Read::End => return Piece::Message(core::mem::take(&mut self.reading)),
                Read::Terminal(over) => {
                    self.told = true;
                    return Piece::Over(over);
                }
                Read::Pending | Read::Done => return Piece::Nothing,
            }
        }
    }
}
