//! Payload through both cores, chunk by chunk, beside a memcpy of the same bytes.

use std::hint::black_box;

use grpctunnel_core::wire::{Deframer, Piece};
use grpctunnel_core::{Envelope, Input, Key};

use super::ends::{Client, NOW, Server, client, open, server};
use super::{Rounds, right, rounds, there};
use crate::harness::fail;

/// Bytes of the largest chunk that is sent.
const CHUNK: u32 = 16_384;
const CHUNK_LEN: usize = CHUNK as usize;
/// Room in front of each chunk of memory for the prefix of its frame.
const ROOM: usize = 64;
/// A message of as many whole chunks as a message can have.
const LONG: u32 = u32::MAX / CHUNK * CHUNK;

/// How the chunks belong to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// Each is one of a long message, provided as it comes.
    Chunks,
    /// Each is a message.
    Messages,
}

/// What the reader does with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// It leaves the bytes where they are.
    None,
    /// It copies them, as most readers do once.
    Once,
}

/// Chunks in memory, used one after another, each with room for a prefix.
struct Ring {
    memory: Vec<u8>,
    next: usize,
}

impl Ring {
    /// As many chunks as make up `bytes`.
    fn new(bytes: usize) -> Self {
        let chunks = bytes / CHUNK_LEN;
        Self {
            memory: vec![1; chunks * (ROOM + CHUNK_LEN)],
            next: 0,
        }
    }

    /// The next chunk, behind its room.
    fn take(&mut self) -> &mut [u8] {
        let start = self.next;
        let end = start + ROOM + CHUNK_LEN;
        self.next = if end == self.memory.len() { 0 } else { end };
        there(self.memory.get_mut(start..end))
    }
}

/// Writes a prefix in front of the chunk: the frame, with no byte of its payload moved.
fn frame<'c>(chunk: &'c mut [u8], prefix: &[u8]) -> &'c [u8] {
    let start = ROOM.saturating_sub(prefix.len());
    there(chunk.get_mut(start..ROOM)).copy_from_slice(prefix);
    there(chunk.get(start..))
}

struct Relay {
    client: Client,
    server: Server,
    call: Key,
    handler: Key,
    deframers: [Deframer; 2],
    how: Relayed,
    /// Bytes of the long message that were not provided yet.
    left: u32,
    source: Ring,
    target: Option<Ring>,
}

impl Relay {
    fn provide(&mut self) {
        match self.how {
            Relayed::Messages => {
                right(
                    self.client
                        .send_message(self.call, Envelope::new(CHUNK), CHUNK),
                );
            }
            Relayed::Chunks => {
                if self.left == 0 {
                    right(self.client.send_message(self.call, Envelope::new(LONG), 0));
                    self.left = LONG;
                }
                right(self.client.provide(self.call, CHUNK));
                self.left -= CHUNK;
            }
        }
    }

    /// One chunk from the client's caller to the server's, with the credit for it.
    fn chunk(&mut self) {
        self.provide();
        let [up, down] = &mut self.deframers;
        while let Some(transmit) = self.client.poll_transmit(NOW) {
            let received = deframe(up, frame(self.source.take(), &transmit.prefix));
            match right(self.server.handle_frame(NOW, received)) {
                Input::Data { stream, bytes, .. } if stream == self.handler => {
                    if let Some(target) = &mut self.target {
                        there(target.take().get_mut(ROOM..)).copy_from_slice(bytes);
                    }
                    black_box(bytes);
                }
                other => fail(format_args!("{other:?}")),
            }
            right(self.server.consumed(self.handler, CHUNK));
        }
        while let Some(transmit) = self.server.poll_transmit(NOW) {
            let received = deframe(down, &transmit.prefix);
            right(self.client.handle_frame(NOW, received));
        }
        while let Some(event) = self.client.poll_event() {
            black_box(&event);
        }
        while let Some(event) = self.server.poll_event() {
            black_box(&event);
        }
    }
}

/// The frame in `bytes`, which are one with its length prefix.
fn deframe<'b>(deframer: &mut Deframer, bytes: &'b [u8]) -> &'b [u8] {
    let (used, piece) = right(deframer.next(bytes));
    match (piece, right(deframer.next(there(bytes.get(used..))))) {
        (Some(Piece::Begin { .. }), (_, Some(Piece::Data { bytes, ends: true }))) => bytes,
        other => fail(format_args!("{other:?}")),
    }
}

/// Relays a chunk of 16 KiB each round; the chunks lie in `working_set` bytes.
///
/// A round is all that the core does for a chunk: the client's caller provides it, the frame is
/// polled, found among the received bytes and handled, the server's caller consumes it, and the
/// window updates go back.
#[must_use]
pub fn relay(how: Relayed, copy: Copy, working_set: usize) -> Rounds {
    let mut client = client(1, 65_536);
    let mut server = server(1);
    let (call, handler) = open(&mut client, &mut server);
    let mut relay = Relay {
        client,
        server,
        call,
        handler,
        deframers: [Deframer::new(u32::MAX), Deframer::new(u32::MAX)],
        how,
        left: 0,
        source: Ring::new(working_set),
        target: (copy == Copy::Once).then(|| Ring::new(working_set)),
    };
    rounds(move || relay.chunk())
}

/// Copies a chunk of 16 KiB each round, from and to `working_set` bytes.
#[must_use]
pub fn memcpy(working_set: usize) -> Rounds {
    let mut source = Ring::new(working_set);
    let mut target = Ring::new(working_set);
    rounds(move || {
        let source = there(source.take().get(ROOM..));
        let target = there(target.take().get_mut(ROOM..));
        target.copy_from_slice(source);
        black_box(target);
    })
}
