//! Whole calls through both cores, heads included.

use std::hint::black_box;

use grpctunnel_core::wire::{
    HeadOptions, StatusHead, encode_close, encode_headers, encode_open, prefix,
};
use grpctunnel_core::{
    Body, End, Envelope, Event, Hold, Input, Key, MethodKind, OpenOptions, Part, Transmit,
};

use super::codec::pairs;
use super::ends::{
    Client, LARGE_WINDOW, METHOD, NOW, Server, WINDOW, assemble, client, open, server,
    without_length,
};
use super::{Rounds, right, rounds, there};
use crate::harness::fail;

/// Bytes of the request and of the response.
const MESSAGE: u32 = 16;

/// Both ends, and the memory that their callers use again for every call.
struct Calls {
    client: Client,
    server: Server,
    /// Heads of `open`, `respond` and `close`.
    heads: [Vec<u8>; 3],
    message: [u8; MESSAGE as usize],
    wire: Vec<u8>,
}

impl Calls {
    fn new() -> Self {
        Self {
            client: client(16, WINDOW),
            server: server(16, WINDOW),
            heads: [const { Vec::new() }; 3],
            message: [1; MESSAGE as usize],
            wire: Vec::new(),
        }
    }

    fn open(&mut self) -> Key {
        let options = HeadOptions::default();
        let [head, ..] = &mut self.heads;
        head.clear();
        let encoded = right(encode_open(head, METHOD, pairs(2), &options));
        let options = OpenOptions {
            kind: MethodKind::Unary,
            ..OpenOptions::default()
        };
        right(self.client.open(NOW, encoded, options))
    }

    /// The client's frames arrive at the server, which reads what they hold.
    fn up(&mut self) -> Option<Key> {
        let mut handler = None;
        while let Some(transmit) = self.client.poll_transmit(NOW) {
            let memory = memory(&self.heads, &self.message, &transmit);
            let frame = assemble(&mut self.wire, &transmit, memory);
            match right(self.server.handle_frame(NOW, frame)) {
                Input::Opened { stream, .. } => {
                    right(self.server.stream(stream)).set_method_kind(MethodKind::Unary);
                    handler = Some(stream);
                }
                Input::Data { stream, bytes, .. } => {
                    black_box(bytes);
                    right(right(self.server.stream(stream)).consumed(MESSAGE));
                }
                other => drop(black_box(other)),
            }
        }
        handler
    }

    /// The server's frames arrive at the client. True when the call has ended.
    fn down(&mut self) -> bool {
        let mut ended = false;
        while let Some(transmit) = self.server.poll_transmit(NOW) {
            let memory = memory(&self.heads, &self.message, &transmit);
            let frame = assemble(&mut self.wire, &transmit, memory);
            match right(self.client.handle_frame(NOW, frame)) {
                Input::Data { stream, bytes, .. } => {
                    black_box(bytes);
                    right(right(self.client.stream(stream)).consumed(MESSAGE));
                }
                Input::Ended { why, .. } => ended = matches!(why, End::Status { .. }),
                other => drop(black_box(other)),
            }
        }
        ended
    }

    fn events(&mut self) {
        while let Some(event) = self.client.poll_event() {
            black_box(&event);
        }
        while let Some(event) = self.server.poll_event() {
            black_box(&event);
        }
    }

    fn answer(&mut self, handler: Key) {
        let options = HeadOptions::default();
        let [_, headers, close] = &mut self.heads;
        headers.clear();
        let encoded = right(encode_headers(headers, pairs(0), &options));
        right(right(self.server.stream(handler)).respond(encoded));
        let message = Envelope::new(MESSAGE);
        right(right(self.server.stream(handler)).send_message(message, MESSAGE));
        close.clear();
        let status = StatusHead::default();
        let encoded = right(encode_close(close, status, pairs(0), &options));
        let closed = right(self.server.stream(handler)).close(NOW, encoded, Some(Hold::Never));
        right(closed);
    }

    fn unary(&mut self) {
        let call = self.open();
        right(right(self.client.stream(call)).send_message(Envelope::new(MESSAGE), MESSAGE));
        right(right(self.client.stream(call)).half_close());
        let handler = there(self.up());
        self.answer(handler);
        if !self.down() {
            fail("the call did not end with a status");
        }
        self.events();
        self.finish(call, handler);
    }

    fn cancelled(&mut self) {
        let call = self.open();
        let handler = there(self.up());
        right(self.client.stream(call)).cancel();
        self.up();
        self.down();
        self.events();
        self.finish(call, handler);
    }

    fn finish(&mut self, call: Key, handler: Key) {
        right(self.client.release(call));
        right(self.server.release(handler));
        if self.client.streams() + self.server.streams() > 0 {
            fail("something is left of the call");
        }
    }
}

/// The caller's memory that a frame names.
fn memory<'m>(heads: &'m [Vec<u8>; 3], message: &'m [u8], transmit: &Transmit) -> &'m [u8] {
    let [open, headers, close] = heads;
    match &transmit.body {
        Body::None | Body::Static(_) => &[],
        Body::Caller { part, .. } => match part {
            Part::Open => open,
            Part::Headers => headers,
            Part::Message => message,
            Part::Close => close,
        },
    }
}

/// One unary call each round: six frames, with two metadata entries, messages of 16 bytes and an
/// OK, from the encoding of its head to its release at both ends.
#[must_use]
pub fn unary_call() -> Rounds {
    let mut calls = Calls::new();
    rounds(move || calls.unary())
}

/// One call each round that its client cancels when the server has got it.
#[must_use]
pub fn cancelled_call() -> Rounds {
    let mut calls = Calls::new();
    rounds(move || calls.cancelled())
}

/// One `window_update` received each round for a stream that waits for credit, which then sends a
/// byte.
#[must_use]
pub fn window_update() -> Rounds {
    let mut client = client(1, 0);
    let mut server = server(1, WINDOW);
    let (call, _) = open(&mut client, &mut server);
    let mut left = 0;
    rounds(move || {
        if left == 0 {
            left = LARGE_WINDOW;
            right(right(client.stream(call)).send_message(Envelope::new(left), left));
        }
        left -= 1;
        let update = prefix::window_update(1, 1);
        let _ = right(client.handle_frame(NOW, without_length(&update)));
        black_box(&there(client.poll_transmit(NOW)));
        black_box(&client.poll_transmit(NOW));
        if let Some(Event::Writable(key)) = client.poll_event() {
            black_box(key);
        }
    })
}
