//! Payload through both cores, chunk by chunk, beside a memcpy of the same bytes.

use std::hint::black_box;

use grpctunnel_core::wire::{Deframer, PREFIX_LEN, length_prefix, prefix};
use grpctunnel_core::{Envelope, Input, Key};

use super::ends::{Client, NOW, Server, client, open, server, without_length};
use super::{Rounds, right, rounds, there};
use crate::harness::fail;

/// Bytes of the largest chunk that is sent.
const CHUNK: u32 = 16_384;
const CHUNK_LEN: usize = CHUNK as usize;
/// Room in front of each chunk of memory for the prefix of its frame.
const ROOM: usize = 64;
/// A message of as many whole windows as a message can have.
const LONG: u32 = u32::MAX / (1 << 20) * (1 << 20);

/// How the chunks belong to messages, and how many are on their way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// 16 of a long message at a time, in a window of 1 MiB.
    Grown,
    /// Four of a long message at a time: a window full, as a transfer begins.
    Windows,
    /// One of a long message at a time: the tunnels run dry after each.
    Chunks,
    /// One message of one chunk at a time.
    Messages,
}

impl Relayed {
    const fn at_once(self) -> u32 {
        match self {
            Self::Grown => 16,
            Self::Windows => 4,
            Self::Chunks | Self::Messages => 1,
        }
    }

    const fn window(self) -> u32 {
        match self {
            Self::Grown => 1 << 20,
            Self::Windows | Self::Chunks | Self::Messages => 65_536,
        }
    }
}

/// What the reader does with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// It leaves the bytes where they are.
    None,
    /// It copies them, as most readers do once.
    Once,
}

/// A chunk in memory, with room in front of it for the prefix of its frame.
type Slot = [u8; ROOM + CHUNK_LEN];

/// Chunks in memory, used one after another.
struct Ring {
    slots: Vec<Slot>,
    next: usize,
}

impl Ring {
    /// As many chunks as make up `bytes`.
    fn new(bytes: usize) -> Self {
        Self {
            slots: vec![[1; ROOM + CHUNK_LEN]; bytes / CHUNK_LEN],
            next: 0,
        }
    }

    fn take(&mut self) -> &mut Slot {
        let at = self.next;
        let after = at + 1;
        self.next = if after == self.slots.len() { 0 } else { after };
        there(self.slots.get_mut(at))
    }
}

/// Writes a prefix in front of the chunk: the frame, with no byte of its payload moved.
fn frame<'c>(chunk: &'c mut Slot, prefix: &[u8]) -> &'c [u8] {
    let prefix = without_length(prefix);
    let start = ROOM.saturating_sub(prefix.len());
    there(chunk.get_mut(start..ROOM)).copy_from_slice(prefix);
    there(chunk.get(start..))
}

struct Relay {
    client: Client,
    server: Server,
    call: Key,
    handler: Key,
    how: Relayed,
    /// Bytes of the long message that were not provided yet.
    left: u32,
    source: Ring,
    target: Option<Ring>,
}

impl Relay {
    fn provide(&mut self, bytes: u32) {
        match self.how {
            Relayed::Messages => {
                right(
                    right(self.client.stream(self.call)).send_message(Envelope::new(bytes), bytes),
                );
            }
            Relayed::Grown | Relayed::Windows | Relayed::Chunks => {
                if self.left == 0 {
                    right(
                        right(self.client.stream(self.call)).send_message(Envelope::new(LONG), 0),
                    );
                    self.left = LONG;
                }
                right(right(self.client.stream(self.call)).provide(bytes));
                self.left -= bytes;
            }
        }
    }

    /// Some chunks from the client's caller to the server's, with the credit for them.
    fn turn(&mut self, chunks: u32) {
        self.provide(chunks * CHUNK);
        // What is returned is looked at where it is: moving it costs the caller, not the core.
        while let Some(transmit) = &self.client.poll_transmit(NOW) {
            let received = frame(self.source.take(), &transmit.prefix);
            match &self.server.handle_frame(NOW, received) {
                Ok(Input::Data { stream, bytes, .. }) if *stream == self.handler => {
                    if let Some(target) = &mut self.target {
                        there(target.take().get_mut(ROOM..)).copy_from_slice(bytes);
                    }
                    black_box(bytes);
                }
                other => fail(format_args!("{other:?}")),
            }
            right(right(self.server.stream(self.handler)).consumed(CHUNK));
        }
        while let Some(transmit) = &self.server.poll_transmit(NOW) {
            let received = without_length(&transmit.prefix);
            if let Err(error) = &self.client.handle_frame(NOW, received) {
                fail(error);
            }
        }
        while let Some(event) = &self.client.poll_event() {
            black_box(event);
        }
        while let Some(event) = &self.server.poll_event() {
            black_box(event);
        }
    }
}

/// Finds a frame of 16 KiB each round, among bytes that hold one.
#[must_use]
pub fn deframe() -> Rounds {
    let mut deframer = Deframer::new(CHUNK);
    let mut bytes = length_prefix(0, CHUNK).to_vec();
    bytes.resize(PREFIX_LEN + CHUNK_LEN, 1);
    rounds(move || {
        let mut rest = black_box(&bytes[..]);
        while let (used, Some(piece)) = right(deframer.next(rest)) {
            black_box(&piece);
            rest = there(rest.get(used..));
        }
    })
}

/// Relays a chunk of 16 KiB each round; the chunks lie in `working_set` bytes.
///
/// It is all that both tunnels do for them: the client's caller provides them, the frames are
/// polled and handled, the server's caller consumes them, the window updates go back, and both
/// are polled until they have nothing more to say. What carries the frames from one to the other
/// is [`place`].
#[must_use]
pub fn relay(how: Relayed, copy: Copy, working_set: usize) -> Rounds {
    let mut client = client(1, how.window());
    let mut server = server(1, how.window());
    let (call, handler) = open(&mut client, &mut server);
    let mut relay = Relay {
        client,
        server,
        call,
        handler,
        how,
        left: 0,
        source: Ring::new(working_set),
        target: (copy == Copy::Once).then(|| Ring::new(working_set)),
    };
    Box::new(move |rounds| {
        for _ in 0..rounds / how.at_once() {
            relay.turn(how.at_once());
        }
    })
}

/// Puts a prefix in front of a chunk each round: what `relay` does itself, besides the tunnels.
#[must_use]
pub fn place(working_set: usize) -> Rounds {
    let mut source = Ring::new(working_set);
    let prefix = prefix::more(1, CHUNK);
    rounds(move || {
        black_box(frame(source.take(), black_box(&prefix)));
    })
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
