//! The service: `example.Echo/Echo` sends every message back, `example.Echo/Fail` fails.

use std::collections::HashMap;

use grpctunnel_core::bare::Pipe;
use grpctunnel_core::receive_buffer::{GrowingStore, ReceiveBuffer};
use grpctunnel_core::wire::{HeadOptions, StatusHead, encode_close};
use grpctunnel_core::{Code, End, Envelope, Event, Growing, Input, Key, Part, Time, TunnelServer};

use crate::connection::App;
use crate::gather::{Gather, Gathered};

/// One call.
struct Call {
    key: Key,
    buffer: ReceiveBuffer<GrowingStore, ()>,
    gather: Gather,
    /// The message that is being sent.
    reply: Vec<u8>,
    busy: bool,
    half_closed: bool,
    close: Vec<u8>,
}

/// All calls.
#[derive(Default)]
pub(crate) struct Echo {
    calls: HashMap<Key, Call>,
}

impl Call {
    fn new(key: Key) -> Self {
        Self {
            key,
            buffer: ReceiveBuffer::new(),
            gather: Gather::default(),
            reply: Vec::new(),
            busy: false,
            half_closed: false,
            close: Vec::new(),
        }
    }

    /// Goes on with what can go on. A message is read only when the last one is out: so a caller
    /// that does not read its replies is not read from either.
    ///
    /// A command that is refused meets a call that has just ended, whose event is on its way.
    fn advance(&mut self, server: &mut TunnelServer<Growing>, now: Time) {
        if self.busy || !self.close.is_empty() {
            return;
        }
        let (moved, gathered) = self.gather.next(&mut self.buffer);
        let _ = server.consumed(self.key, moved);
        match gathered {
            Gathered::Message(message) => {
                let len = message.len() as u32;
                self.reply = message;
                self.busy = server
                    .send_message(self.key, Envelope::new(len), len)
                    .is_ok();
            }
            Gathered::Pending if self.half_closed => self.close(server, now, Code::Ok, ""),
            Gathered::Pending | Gathered::Ended(()) => {}
        }
    }

    fn close(&mut self, server: &mut TunnelServer<Growing>, now: Time, code: Code, message: &str) {
        let status = StatusHead {
            code: code.as_i32(),
            message,
            details: &[],
        };
        let none = std::iter::empty::<(&str, &[u8])>();
        let encoded = encode_close(&mut self.close, status, none, &HeadOptions::default());
        let Ok(encoded) = encoded else {
            return;
        };
        let _ = server.close(now, self.key, encoded, None);
    }
}

impl Echo {
    fn ended(&mut self, server: &mut TunnelServer<Growing>, key: Key) {
        server.release(key);
        self.calls.remove(&key);
    }
}

impl App for Echo {
    fn input(&mut self, pipe: &mut Pipe<Growing>, now: Time, input: Input<'_>) {
        let Some(server) = pipe.server_mut() else {
            return;
        };
        match input {
            Input::Opened { stream, method, .. } => {
                let call = self.calls.entry(stream).or_insert(Call::new(stream));
                match method {
                    "example.Echo/Echo" => {}
                    "example.Echo/Fail" => {
                        call.close(server, now, Code::FailedPrecondition, "it was to fail");
                    }
                    _ => call.close(server, now, Code::Unimplemented, "no such method"),
                }
            }
            Input::Data {
                stream,
                bytes,
                begins,
                ends,
                discard: false,
            } => {
                if let Some(call) = self.calls.get_mut(&stream) {
                    // It grows as far as the receive window, so there is always room.
                    let _ = call.buffer.push(bytes, begins, ends);
                    call.advance(server, now);
                }
            }
            Input::HalfClosed { stream } => {
                if let Some(call) = self.calls.get_mut(&stream) {
                    call.half_closed = true;
                    call.advance(server, now);
                }
            }
            Input::Ended { stream, .. } => self.ended(server, stream),
            _ => {}
        }
    }

    fn event(&mut self, pipe: &mut Pipe<Growing>, now: Time, event: Event) {
        let Some(server) = pipe.server_mut() else {
            return;
        };
        match event {
            Event::Writable(key) => {
                if let Some(call) = self.calls.get_mut(&key) {
                    call.busy = false;
                    call.advance(server, now);
                }
            }
            Event::Ended { stream, why, .. } => {
                if !matches!(why, End::Closed) {
                    println!("a call ended: {why:?}");
                }
                self.ended(server, stream);
            }
            _ => {}
        }
    }

    fn part(&self, stream: Key, part: Part) -> &[u8] {
        match (self.calls.get(&stream), part) {
            (Some(call), Part::Message) => &call.reply,
            (Some(call), Part::Close) => &call.close,
            _ => &[],
        }
    }
}
