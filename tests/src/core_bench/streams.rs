//! The cost of a frame where many streams are open.

use std::hint::black_box;

use grpctunnel_core::wire::{HeadOptions, Revision, encode_open, prefix};
use grpctunnel_core::{Envelope, Input, Key};

use super::ends::{
    Client, LARGE_WINDOW, METHOD, NOW, Server, WINDOW, client, open_at, server, without_length,
};
use super::{Rounds, right, rounds, there};
use crate::harness::fail;

/// Bytes of each message.
const MESSAGE: u32 = 16;
/// Room for one frame that holds such a message.
const STRIDE: usize = 32;
/// Streams that are opened before nine of ten of them are retired.
const BLOCK: usize = 10_000;

/// Which streams the frames are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One after another, by id; every id from 1 on is open.
    InOrder,
    /// At random; every id from 1 on is open.
    Random,
    /// At random; nine of ten ids, at random, are retired.
    Retired,
}

/// Pseudo-random numbers, the same in every run.
struct Random(u64);

impl Random {
    const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Opens streams at a server, as a client would that numbers them from 1.
struct Opener {
    server: Server,
    head: Vec<u8>,
    wire: Vec<u8>,
    id: i64,
}

impl Opener {
    fn new(streams: u32) -> Self {
        let mut head = Vec::new();
        let options = HeadOptions::default();
        let _ = right(encode_open(&mut head, METHOD, std::iter::empty(), &options));
        Self {
            server: server(streams, WINDOW),
            head,
            wire: Vec::new(),
            id: 0,
        }
    }

    fn open(&mut self) -> (i64, Key) {
        self.id += 1;
        let len = right(u32::try_from(self.head.len()));
        let prefix = prefix::new_stream(self.id, len, WINDOW, Revision::One, None);
        self.wire.clear();
        self.wire.extend_from_slice(without_length(&prefix));
        self.wire.extend_from_slice(&self.head);
        match right(self.server.handle_frame(NOW, &self.wire)) {
            Input::Opened { stream, .. } => (self.id, stream),
            other => fail(format_args!("{other:?}")),
        }
    }

    fn retire(&mut self, id: i64, stream: Key) {
        let _ = right(
            self.server
                .handle_frame(NOW, without_length(&prefix::cancel(id))),
        );
        drop(there(self.server.poll_transmit(NOW)));
        right(self.server.release(stream));
    }

    /// Opens ten times as many and retires the rest, block by block.
    fn open_retired(&mut self, open: usize, random: &mut Random) -> Vec<i64> {
        let mut kept = Vec::with_capacity(open);
        while kept.len() < open {
            let keep = (open - kept.len()).min(BLOCK / 10);
            let mut block: Vec<_> = (0..keep * 10).map(|_| self.open()).collect();
            random.shuffle(&mut block);
            for (id, stream) in block.split_off(keep) {
                self.retire(id, stream);
            }
            kept.extend(block.iter().map(|(id, _)| *id));
        }
        kept
    }
}

/// A frame with a whole message for stream `id`, in a piece of memory of its own.
fn message(id: i64) -> [u8; STRIDE] {
    let prefix = prefix::message(id, MESSAGE, MESSAGE, false);
    let prefix = without_length(&prefix);
    let mut frame = [0; STRIDE];
    let len = right(u8::try_from(prefix.len() + MESSAGE as usize));
    // The last byte is the length.
    let [body @ .., last] = &mut frame;
    *last = len;
    there(body.get_mut(..prefix.len())).copy_from_slice(prefix);
    frame
}

/// One small message is received each round by a server with so many open streams, and read.
#[must_use]
pub fn receive(open: usize, order: Order) -> Rounds {
    let mut random = Random::new();
    let room = right(u32::try_from(open + BLOCK));
    let mut opener = Opener::new(room);
    let mut ids: Vec<i64> = match order {
        Order::InOrder | Order::Random => (0..open).map(|_| opener.open().0).collect(),
        Order::Retired => opener.open_retired(open, &mut random),
    };
    if order != Order::InOrder {
        random.shuffle(&mut ids);
    }
    let frames: Vec<_> = ids.into_iter().map(message).collect();
    let mut server = opener.server;
    let mut next = 0;
    rounds(move || {
        let [frame @ .., len] = there(frames.get(next));
        next += 1;
        if next == frames.len() {
            next = 0;
        }
        let frame = there(frame.get(..usize::from(*len)));
        match right(server.handle_frame(NOW, frame)) {
            Input::Data { stream, bytes, .. } => {
                black_box(bytes);
                right(right(server.stream(stream)).consumed(MESSAGE));
            }
            other => fail(format_args!("{other:?}")),
        }
        black_box(&server.poll_transmit(NOW));
        black_box(&server.poll_event());
    })
}

/// One small message is sent each round by a client with so many open streams.
#[must_use]
pub fn send(open: usize, order: Order) -> Rounds {
    let mut client: Client = client(right(u32::try_from(open)), LARGE_WINDOW);
    let mut keys: Vec<Key> = (0..open).map(|_| open_at(&mut client).0).collect();
    if order != Order::InOrder {
        Random::new().shuffle(&mut keys);
    }
    let mut next = 0;
    rounds(move || {
        let key = *there(keys.get(next));
        next += 1;
        if next == keys.len() {
            next = 0;
        }
        right(right(client.stream(key)).send_message(Envelope::new(MESSAGE), MESSAGE));
        black_box(&there(client.poll_transmit(NOW)));
        black_box(&client.poll_transmit(NOW));
        black_box(&there(client.poll_event()));
        black_box(&client.poll_event());
    })
}
