//! Both ends of a tunnel over byte pipes in memory: a unary call, and bidi calls whose messages are
//! larger than the window.
//!
//! The same source runs in the program without an allocator and in a test with `std` and memory
//! that grows; what it traces must be the same.

mod call;
mod end;
mod fault;
mod pipe;
mod trace;

use core::time::Duration;

use grpctunnel_core::receive_buffer::{FixedStore, Store};
use grpctunnel_core::wire::{Encoded, HeadOptions, StatusHead, encode_close, encode_open};
use grpctunnel_core::{
    Cause, Client, Config, Envelope, Fixed, Key, MethodKind, Negotiation, OpenOptions, Opening,
    Server, Storage, Time, Tunnel,
};

use call::Blob;
use end::{End, STREAMS};
use fault::{Fault, Maybe, hold};
use pipe::Pipe;
use trace::Trace;

/// More than three windows.
const LARGE: u32 = 200_000;
/// Rounds within which everything comes to rest.
const ROUNDS: usize = 10_000;

/// Where an end keeps its streams and what they receive.
pub(crate) trait Memory {
    /// Streams.
    type Streams: Storage;
    /// Payload.
    type Buffer: Store;
}

/// In place.
pub(crate) enum InPlace {}

impl Memory for InPlace {
    type Streams = Fixed<STREAMS, 4>;
    type Buffer = FixedStore<65_536, 64>;
}

struct Tunnels<M: Memory> {
    client: End<Client, M>,
    server: End<Server, M>,
    up: Pipe,
    down: Pipe,
    now: Time,
    trace: Trace,
}

/// All of it. Returns a hash of all frames in their order, or the number of a fault.
pub(crate) fn run<M: Memory>() -> Result<u64, i32> {
    all::<M>().map_err(|fault| fault as i32)
}

fn all<M: Memory>() -> Maybe<u64> {
    let now = Time::from_millis(1);
    let accepted = Opening::Accepted(Negotiation::On);
    // The window is the receive buffers' size.
    let config = Config::small(STREAMS as u32, 65_536);
    let mut tunnels = Tunnels::<M> {
        client: End::new(
            Tunnel::new(now, config.clone(), Opening::Requested).map_err(|_| Fault::Config)?,
        ),
        server: End::new(Tunnel::new(now, config, accepted).map_err(|_| Fault::Config)?),
        up: Pipe::new(),
        down: Pipe::new(),
        now,
        trace: Trace::new(),
    };
    tunnels.client.tunnel.handle_opened(now, Negotiation::On);
    tunnels.rest()?;
    hold(tunnels.client.tunnel.is_open(), Fault::Tunnel)?;
    tunnels.unary()?;
    tunnels.bidi()?;
    tunnels.bidi()?;
    tunnels.end()?;
    Ok(tunnels.trace.hash())
}

impl<M: Memory> Tunnels<M> {
    /// Lets both ends work until nothing moves.
    fn rest(&mut self) -> Maybe<()> {
        let now = self.now;
        for _ in 0..ROUNDS {
            let client = self
                .client
                .work(now, &mut self.down, &mut self.up, &mut self.trace)?;
            let server = self
                .server
                .work(now, &mut self.up, &mut self.down, &mut self.trace)?;
            if !client && !server {
                return Ok(());
            }
        }
        Err(Fault::NoRest)
    }

    /// The client opens a call, and the server gets it.
    fn open(&mut self, kind: MethodKind) -> Maybe<(Key, Key)> {
        let metadata = [("key", &b"value"[..])];
        let options = HeadOptions::default();
        let head =
            Blob::encode(|sink| encode_open(sink, "svc/method", metadata.into_iter(), &options))?;
        let options = OpenOptions {
            deadline: Some(self.now.saturating_add(Duration::from_secs(60))),
            kind,
        };
        let opened = self.client.tunnel.open(self.now, head.head, options);
        let key = opened.map_err(|_| Fault::Open)?;
        self.client.calls.add(key)?.open = head;
        self.rest()?;
        let theirs = self.server.calls.opened.take().ok_or(Fault::Open)?;
        self.server.stream(theirs)?.set_method_kind(kind);
        Ok((key, theirs))
    }

    /// The server closes with OK, and both let go.
    fn close(&mut self, ours: Key, theirs: Key) -> Maybe<()> {
        let status = StatusHead {
            code: 0,
            message: "",
            details: &[],
        };
        let trailers = [("trailer", &b"value"[..])];
        let options = HeadOptions::default();
        let head = Blob::encode(|sink| encode_close(sink, status, trailers.into_iter(), &options))?;
        let encoded = head.head;
        self.server.calls.call(theirs)?.close = head;
        // The kind of the method is known, so an OK waits for the half-close.
        let closed = self.server.stream(theirs)?.close(self.now, encoded, None);
        closed.map_err(|_| Fault::Command)?;
        self.rest()?;
        self.client.release(ours)?;
        self.server.release(theirs)?;
        let left = self.client.tunnel.streams() + self.server.tunnel.streams();
        hold(left == 0, Fault::LeftOver)
    }

    fn unary(&mut self) -> Maybe<()> {
        let (ours, theirs) = self.open(MethodKind::Unary)?;
        let request = self
            .client
            .stream(ours)?
            .send_message(Envelope::new(100), 100);
        request.map_err(|_| Fault::Command)?;
        let done = self.client.stream(ours)?.half_close();
        done.map_err(|_| Fault::Command)?;
        self.rest()?;
        let call = self.server.calls.call(theirs)?;
        hold(
            call.half_closed && (call.messages, call.last) == (1, 100),
            Fault::Content,
        )?;
        let headers = self.server.stream(theirs)?.respond(Encoded::EMPTY);
        headers.map_err(|_| Fault::Command)?;
        let response = self
            .server
            .stream(theirs)?
            .send_message(Envelope::new(0), 0);
        response.map_err(|_| Fault::Command)?;
        self.rest()?;
        let call = self.client.calls.call(ours)?;
        hold(
            call.headers && (call.messages, call.last) == (1, 0),
            Fault::Content,
        )?;
        self.close(ours, theirs)
    }

    /// Messages that are larger than the window go both ways at once, one of them cut through.
    fn bidi(&mut self) -> Maybe<()> {
        let (ours, theirs) = self.open(MethodKind::Bidi)?;
        let up = self
            .client
            .stream(ours)?
            .send_message(Envelope::new(LARGE), 1_000);
        up.map_err(|_| Fault::Command)?;
        let down = self
            .server
            .stream(theirs)?
            .send_message(Envelope::new(LARGE), LARGE);
        down.map_err(|_| Fault::Command)?;
        self.rest()?;
        let call = self.client.calls.call(ours)?;
        hold((call.messages, call.last) == (1, LARGE), Fault::Content)?;
        hold(
            self.server.calls.call(theirs)?.messages == 0,
            Fault::Content,
        )?;
        let rest = self.client.stream(ours)?.provide(LARGE - 1_000);
        rest.map_err(|_| Fault::Command)?;
        self.rest()?;
        let call = self.server.calls.call(theirs)?;
        hold((call.messages, call.last) == (1, LARGE), Fault::Content)?;
        let done = self.client.stream(ours)?.half_close();
        done.map_err(|_| Fault::Command)?;
        self.close(ours, theirs)
    }

    /// The client drains, and both ends finish.
    fn end(&mut self) -> Maybe<()> {
        self.client.tunnel.drain(self.now, Duration::from_secs(1));
        self.rest()?;
        hold(self.client.finished, Fault::NoEnd)?;
        self.server.tunnel.handle_end(self.now, Cause::Finished);
        self.rest()?;
        hold(self.server.finished, Fault::NoEnd)?;
        self.client.tunnel.handle_end(self.now, Cause::Finished);
        let timers = (
            self.client.tunnel.poll_timeout(),
            self.server.tunnel.poll_timeout(),
        );
        hold(timers == (None, None), Fault::NoEnd)
    }
}
