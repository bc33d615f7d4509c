//! A tunnel client alone, as a device has it that only calls: how much code it takes. `.ci/code-size`
//! builds it and says so.
//!
//! It is optimised as a whole, so that only counts what can be reached: whatever the peer may send,
//! and every verb that a caller has. Where bytes and orders would come from is hidden from the compiler;
//! when it runs there are none, and the tunnel's opening times out.

#![no_std]
#![no_main]

#[cfg_attr(target_os = "none", path = "../cortex_m.rs")]
#[cfg_attr(not(target_os = "none"), path = "../linux.rs")]
mod bare;

use core::fmt::Write as _;
use core::hint::black_box;
use core::time::Duration;

use grpctunnel_core::receive_buffer::{FixedStore, Read, ReceiveBuffer};
use grpctunnel_core::wire::{FixedAssembler, HeadOptions, PREFIX_LEN, SliceSink, encode_open};
use grpctunnel_core::{
    Cause, Config, End, Envelope, Event, Fixed, Input, Key, Negotiation, OpenOptions, Opening,
    Part, Time, TunnelClient, boundary_bytes, frame_bytes,
};

/// Calls at once.
const CALLS: usize = 4;
/// Bytes of each receive window.
const WINDOW: usize = 1_024;
const FRAME: usize = frame_bytes(WINDOW);

struct Call {
    key: Key,
    head: [u8; 64],
    buffer: ReceiveBuffer<FixedStore<WINDOW, { boundary_bytes(WINDOW) }>, i32>,
}

struct Device {
    tunnel: TunnelClient<Fixed<CALLS, 1>>,
    frames: FixedAssembler<FRAME>,
    calls: [Option<Call>; CALLS],
    over: bool,
}

impl Device {
    fn receive(&mut self, now: Time, mut bytes: &[u8]) {
        while let Ok((taken, Some(frame))) = self.frames.next(bytes) {
            bytes = bytes.get(taken..).unwrap_or_default();
            match self.tunnel.handle_frame(now, frame.bytes) {
                Ok(Input::Data {
                    stream,
                    bytes,
                    begins,
                    ends,
                    discard: false,
                }) => {
                    if let Some(Some(call)) = self.calls.get_mut(stream.index()) {
                        black_box(call.buffer.push(bytes, begins, ends).is_ok());
                    }
                }
                Ok(Input::Headers { metadata, .. }) => {
                    for entry in metadata {
                        black_box((entry.key(), entry.values().next()));
                    }
                }
                Ok(Input::Ended {
                    stream,
                    why,
                    unread,
                }) => {
                    let code = match why {
                        End::Status { status, .. } => status.code,
                        _ => 2,
                    };
                    if let Some(Some(call)) = self.calls.get_mut(stream.index()) {
                        call.buffer.finish(code, unread);
                    }
                }
                Ok(_) => {}
                Err(error) => drop(black_box(error)),
            }
        }
    }

    fn order(&mut self, now: Time, order: u8, slot: usize) {
        let key = match self.calls.get(slot) {
            Some(Some(call)) => Some(call.key),
            _ => None,
        };
        match (order, key) {
            (0, None) => self.open(now),
            (1..=3, Some(key)) => {
                if let Ok(mut stream) = self.tunnel.stream(key) {
                    match order {
                        1 => drop(black_box(stream.send_message(Envelope::new(9), 9).is_ok())),
                        2 => drop(black_box(stream.half_close().is_ok())),
                        _ => stream.cancel(),
                    }
                }
            }
            (4, Some(key)) => {
                black_box(self.tunnel.release(key).is_ok());
                if let Some(call) = self.calls.get_mut(slot) {
                    *call = None;
                }
            }
            (5, _) => self.tunnel.drain(now, Duration::from_secs(5)),
            (6, _) => self.tunnel.handle_opened(now, Negotiation::On),
            (7, _) => self.tunnel.handle_end(now, Cause::Finished),
            _ => {}
        }
    }

    fn open(&mut self, now: Time) {
        let mut head = [0; 64];
        let metadata = [("key", &b"value"[..])].into_iter();
        let options = HeadOptions::default();
        let encoded = encode_open(
            &mut SliceSink::new(&mut head),
            "svc/method",
            metadata,
            &options,
        );
        let opened = encoded.map(|head| self.tunnel.open(now, head, OpenOptions::default()));
        if let Ok(Ok(key)) = opened
            && let Some(slot) = self.calls.get_mut(key.index())
        {
            *slot = Some(Call {
                key,
                head,
                buffer: ReceiveBuffer::new(),
            });
        }
    }

    fn work(&mut self, now: Time, out: &mut [u8]) {
        self.tunnel.handle_timeout(now);
        for call in self.calls.iter_mut().flatten() {
            while let Read::Begin(_) | Read::Data { .. } = call.buffer.poll_read() {
                let taken = call.buffer.read(out);
                if let Ok(mut stream) = self.tunnel.stream(call.key) {
                    black_box(stream.consumed(taken).is_ok());
                }
            }
        }
        while let Some(transmit) = self.tunnel.poll_transmit(now) {
            let calls = &self.calls;
            let sent = transmit.write_to(&mut SliceSink::new(out), |stream, part| {
                match (calls.get(stream.index()), part) {
                    (Some(Some(call)), Part::Open) => &call.head,
                    _ => b"a message",
                }
            });
            black_box((sent.is_ok(), &*out));
        }
        while let Some(event) = self.tunnel.poll_event() {
            self.over |= matches!(event, Event::Carrier(_));
        }
    }
}

/// The exit code.
fn run() -> i32 {
    let mut now = Time::ZERO;
    let config = Config::small(CALLS as u32, WINDOW as u32);
    let frames = FixedAssembler::fixed(config.limits.max_frame);
    let Ok(tunnel) = TunnelClient::new(now, config, Opening::Requested) else {
        return 2;
    };
    let mut device = Device {
        frames,
        tunnel,
        calls: [const { None }; CALLS],
        over: false,
    };
    let mut out = [0; FRAME + PREFIX_LEN];
    while !device.over && device.tunnel.poll_timeout().is_some() {
        device.receive(now, black_box(&[]));
        device.order(now, black_box(255), black_box(0));
        device.work(now, &mut out);
        now = device.tunnel.poll_timeout().unwrap_or(now);
    }
    let over = i32::from(!device.over);
    // A literal, so that the client is measured without `core::fmt`, which it has no need of.
    let said = bare::Output.write_str("the client has ended\n");
    over + i32::from(said.is_err())
}
