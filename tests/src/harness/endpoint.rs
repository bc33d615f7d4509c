//! One end of a tunnel, with an application on it.

mod client;
mod server;

use std::collections::HashMap;

use grpctunnel_core::{
    Body, Carrier, Cause, Client, CommandError, Config, Envelope, Event, Gone, Input, Key,
    Negotiation, Opening, Part, Role, Server, Side, Time, Transmit, Tunnel, TunnelError,
};

use super::call::{Call, Piece};
use super::fail;
use super::frames::Frame;
use super::seen::{Over, Seen, headers};
use super::store::Store;

/// The tunnel client's end.
pub type ClientEnd<S> = Endpoint<Client, S>;
/// The tunnel server's end.
pub type ServerEnd<S> = Endpoint<Server, S>;

/// One end of a tunnel and the application on it: it holds every byte that the tunnel counts,
/// reads through receive buffers, and notes what it sees.
///
/// It polls the tunnel's events after everything that it does. Calls have numbers: the stream id
/// at a server, 1, 2, 3... in the order of opening at a client.
pub struct Endpoint<R: Role, S: Store> {
    /// The tunnel.
    pub tunnel: Tunnel<R, S::Streams>,
    side: Side,
    calls: Vec<Call<S>>,
    by_key: HashMap<Key, usize>,
    by_number: HashMap<i64, usize>,
    seen: Vec<Seen>,
    buffered: bool,
    /// The last instruction for the carrier: none, finish, abort.
    carrier: Option<Carrier>,
}

/// Pairs of key and value, as `wire::encode_*` takes them.
pub type Pairs<'a> = &'a [(&'a str, &'a str)];

fn pairs<'a>(pairs: Pairs<'a>) -> impl Iterator<Item = (&'a str, &'a [u8])> + Clone {
    pairs.iter().map(|(key, value)| (*key, value.as_bytes()))
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

impl<R: Role, S: Store> Endpoint<R, S> {
    fn on_side(side: Side, now: Time, config: Config, opening: Opening) -> Self {
        let mut end = Self {
            tunnel: super::tunnel(now, config, opening),
            side,
            calls: Vec::new(),
            by_key: HashMap::new(),
            by_number: HashMap::new(),
            seen: Vec::new(),
            buffered: true,
            carrier: None,
        };
        end.poll_events();
        end
    }

    /// Which end it is.
    #[must_use]
    pub const fn side(&self) -> Side {
        self.side
    }

    /// From now on payload is noted as it comes, and not buffered.
    pub const fn do_not_buffer(&mut self) {
        self.buffered = false;
    }

    /// Takes what was seen since the last time.
    pub fn take_seen(&mut self) -> Vec<Seen> {
        core::mem::take(&mut self.seen)
    }

    /// The numbers of all calls so far.
    pub fn calls(&self) -> impl Iterator<Item = i64> + '_ {
        self.calls.iter().map(|call| call.number)
    }

    /// Whether there is such a call.
    #[must_use]
    pub fn has(&self, number: i64) -> bool {
        self.by_number.contains_key(&number)
    }

    fn call(&self, number: i64) -> &Call<S> {
        let index = self.by_number.get(&number);
        let Some(call) = index.and_then(|index| self.calls.get(*index)) else {
            fail(format_args!("there is no call {number}"));
        };
        call
    }

    fn call_mut(&mut self, number: i64) -> &mut Call<S> {
        let index = self.by_number.get(&number);
        let Some(call) = index.and_then(|index| self.calls.get_mut(*index)) else {
            fail(format_args!("there is no call {number}"));
        };
        call
    }

    fn number(&self, key: Key) -> i64 {
        let index = self.by_key.get(&key);
        let Some(call) = index.and_then(|index| self.calls.get(*index)) else {
            fail(format_args!(
                "an event for a key that was never given out: {key:?}"
            ));
        };
        call.number
    }

    fn add(&mut self, key: Key, number: i64) -> &mut Call<S> {
        let index = self.calls.len();
        let known = self.by_key.insert(key, index).is_some();
        assert!(!known, "{key:?} was given out twice");
        self.by_number.insert(number, index);
        self.calls.push(Call::new(key, number));
        self.call_mut(number)
    }

    /// The key of a call.
    #[must_use]
    pub fn key(&self, call: i64) -> Key {
        self.call(call).key
    }

    /// How a call ended, if it has.
    #[must_use]
    pub fn over(&self, call: i64) -> Option<&Over> {
        self.call(call).over.as_ref()
    }

    /// Whether the reader of a call has read its end.
    #[must_use]
    pub fn told(&self, call: i64) -> bool {
        self.call(call).told
    }

    /// Whether the client's half-close has come.
    #[must_use]
    pub fn half_closed(&self, call: i64) -> bool {
        self.call(call).half_closed
    }

    /// Bytes of the message that is coming on a call which have not come.
    #[must_use]
    pub fn to_come(&self, call: i64) -> u32 {
        self.call(call).to_come
    }

    /// Bytes that wait in a call's receive buffer.
    #[must_use]
    pub fn buffered(&self, call: i64) -> usize {
        self.call(call).buffer.buffered()
    }

    /// Memory that a call's receive buffer takes.
    #[must_use]
    pub fn buffer_memory(&self, call: i64) -> usize {
        self.call(call).buffer.memory()
    }

    /// Bytes of the call's current message that were not provided yet.
    #[must_use]
    pub fn unprovided(&self, call: i64) -> usize {
        self.call(call).rest.len()
    }

    /// The carrier was opened.
    pub fn opened(&mut self, now: Time, negotiation: Negotiation) {
        self.tunnel.handle_opened(now, negotiation);
        self.poll_events();
    }

    /// A frame came.
    ///
    /// # Errors
    /// The tunnel's own.
    pub fn feed(&mut self, now: Time, frame: &[u8]) -> Result<(), TunnelError> {
        let result = self.tunnel.handle_frame(now, frame);
        let result = result.map(|input| self.take(input));
        self.poll_events();
        result
    }

    /// The carrier ended.
    pub fn ended(&mut self, now: Time, cause: Cause) {
        self.tunnel.handle_end(now, cause);
        self.poll_events();
    }

    /// Time passed.
    pub fn timeout(&mut self, now: Time) {
        self.tunnel.handle_timeout(now);
        self.poll_events();
    }

    /// The tunnel is to drain.
    pub fn drain(&mut self, now: Time, limit: core::time::Duration) {
        self.tunnel.drain(now, limit);
        self.poll_events();
    }

    fn take(&mut self, input: Input<'_>) {
        match input {
            Input::Ignored => {}
            Input::Opened {
                stream,
                method,
                metadata,
                deadline,
            } => {
                let Some(id) = self.tunnel.inspect(stream).and_then(|it| it.id()) else {
                    fail("a stream without an id came in");
                };
                self.add(stream, id);
                self.seen.push(Seen::Opened {
                    call: id,
                    method: method.to_owned(),
                    headers: headers(metadata),
                    deadline,
                });
            }
            Input::Headers { stream, metadata } => {
                let call = self.number(stream);
                let headers = headers(metadata);
                let known = self.call_mut(call).headers.replace(headers.clone());
                assert!(known.is_none(), "call {call} got response headers twice");
                self.seen.push(Seen::Headers { call, headers });
            }
            Input::Data {
                stream,
                bytes,
                begins,
                ends,
                discard,
            } => self.take_data(stream, bytes, begins, ends, discard),
            Input::HalfClosed { stream } => {
                let call = self.number(stream);
                self.call_mut(call).half_closed = true;
                self.seen.push(Seen::HalfClosed(call));
            }
            Input::Ended {
                stream,
                why,
                unread,
            } => self.end_call(stream, Over::of(why), unread),
            other => fail(format_args!(
                "an input that the harness does not know: {other:?}"
            )),
        }
    }

    fn take_data(
        &mut self,
        stream: Key,
        bytes: &[u8],
        begins: Option<Envelope>,
        ends: bool,
        discard: bool,
    ) {
        let call = self.number(stream);
        let over = self.call(call).over.is_some();
        assert!(!over, "data for call {call} after its end");
        let record = self.call_mut(call);
        let to_come = begins.map_or(record.to_come, |envelope| envelope.size);
        record.to_come = to_come.saturating_sub(len(bytes));
        if discard || !self.buffered {
            self.seen.push(Seen::Data {
                call,
                len: bytes.len(),
                discard,
            });
        } else {
            self.call_mut(call).push(bytes, begins, ends);
        }
    }

    fn end_call(&mut self, stream: Key, over: Over, unread: grpctunnel_core::Unread) {
        let call = self.number(stream);
        self.call_mut(call).end(over.clone(), unread);
        self.seen.push(Seen::Ended { call, over, unread });
    }

    fn poll_events(&mut self) {
        while let Some(event) = self.tunnel.poll_event() {
            self.check_event(&event);
            match event {
                Event::Settled(revision) => self.seen.push(Seen::Settled(revision)),
                Event::MayOpen => self.seen.push(Seen::MayOpen),
                Event::Writable(key) => self.seen.push(Seen::Writable(self.number(key))),
                Event::Ended {
                    stream,
                    why,
                    unread,
                } => self.end_call(stream, Over::of(why), unread),
                Event::Draining => self.seen.push(Seen::Draining),
                Event::RoundTrip(time) => self.seen.push(Seen::RoundTrip(time)),
                Event::Responsive(now) => self.seen.push(Seen::Responsive(now)),
                Event::Carrier(carrier) => self.seen.push(Seen::Carrier(carrier)),
                other => fail(format_args!(
                    "an event that the harness does not know: {other:?}"
                )),
            }
        }
    }

    /// After the end of the tunnel nothing is reported, whatever arrives and whatever is done; a
    /// carrier that was finished may still have to be given up, once.
    fn check_event(&mut self, event: &Event) {
        match (&self.carrier, event) {
            (None, Event::Carrier(carrier))
            | (Some(Carrier::Finish), Event::Carrier(carrier @ Carrier::Abort(_))) => {
                self.carrier = Some(carrier.clone());
            }
            (None, _) => {}
            (Some(_), _) => fail(format_args!("after the end of the tunnel: {event:?}")),
        }
    }

    /// The next frame to send, put together from the caller's memory.
    pub fn transmit(&mut self, now: Time) -> Option<Frame> {
        let timer = self.tunnel.poll_timeout().is_some_and(|time| time <= now);
        let wanted = self.tunnel.wants_transmit() || timer;
        let transmit = self.tunnel.poll_transmit(now);
        assert!(wanted || transmit.is_none(), "it said that it had nothing");
        assert!(
            self.carrier.is_none() || transmit.is_none(),
            "a frame after the end of the tunnel"
        );
        let frame = transmit.map(|transmit| self.gather(transmit));
        self.poll_events();
        frame
    }

    fn gather(&mut self, transmit: Transmit) -> Frame {
        let body = match transmit.body {
            Body::None => Vec::new(),
            Body::Static(text) => text.as_bytes().to_vec(),
            Body::Caller {
                stream,
                part,
                range,
            } => {
                let call = self.number(stream);
                self.call_mut(call).lent.copy(part, range)
            }
        };
        let Some((prefix, start)) = transmit.prefix.split_first_chunk::<5>() else {
            fail("a prefix without gRPC's five bytes");
        };
        let [flags, length @ ..] = *prefix;
        let frame = [start, &body].concat();
        assert_eq!(flags, 0, "frames are not compressed");
        assert_eq!(u32::from_be_bytes(length), len(&frame), "the length prefix");
        frame
    }

    /// Reads on in a call, at most `max` bytes, and reports them as consumed. False when there
    /// was nothing to read.
    pub fn read(&mut self, call: i64, max: usize) -> bool {
        match self.call_mut(call).read(max) {
            Piece::Bytes(bytes) => {
                let (key, over) = (self.key(call), self.over(call).is_some());
                match self.tunnel.stream(key) {
                    Ok(mut stream) => {
                        assert_eq!(stream.consumed(bytes), Ok(()), "call {call}: {bytes}");
                    }
                    Err(Gone) => assert!(over, "call {call} cannot consume {bytes}"),
                }
            }
            Piece::Message(message) => self.seen.push(Seen::Got { call, message }),
            Piece::Over(over) => assert_eq!(Some(&over), self.over(call), "the reader's end"),
            Piece::Nothing => return false,
        }
        self.poll_events();
        true
    }

    /// Sends a message of which `ready` bytes are at hand.
    ///
    /// # Errors
    /// The tunnel's own.
    pub fn send(&mut self, call: i64, message: Vec<u8>, ready: usize) -> Result<(), CommandError> {
        let key = self.key(call);
        let envelope = Envelope::new(len(&message));
        let (ready, rest) = message.split_at(ready.min(message.len()));
        self.tunnel
            .stream(key)?
            .send_message(envelope, len(ready))?;
        let record = self.call_mut(call);
        record
            .lent
            .lend(Part::Message, ready.to_vec(), message.len());
        record.rest = rest.to_vec();
        self.poll_events();
        Ok(())
    }

    /// Provides up to `bytes` more of the message.
    ///
    /// # Errors
    /// The tunnel's own.
    pub fn provide(&mut self, call: i64, bytes: usize) -> Result<(), CommandError> {
        let record = self.call(call);
        let (key, bytes) = (record.key, bytes.min(record.rest.len()));
        self.tunnel
            .stream(key)?
            .provide(u32::try_from(bytes).unwrap_or(u32::MAX))?;
        let record = self.call_mut(call);
        let more: Vec<u8> = record.rest.drain(..bytes).collect();
        record.lent.extend(&more);
        self.poll_events();
        Ok(())
    }

    /// The reader is gone.
    pub fn stop_reading(&mut self, call: i64) {
        let lives = self.over(call).is_none() && !self.released(call);
        let expected = if lives { Ok(()) } else { Err(Gone) };
        let stream = self.tunnel.stream(self.key(call));
        let done = stream.map(|mut stream| stream.stop_reading());
        assert_eq!(done, expected, "{call}");
        self.poll_events();
    }

    /// Handle, handler and buffer are gone.
    pub fn release(&mut self, call: i64) {
        let expected = if self.released(call) {
            Err(Gone)
        } else {
            Ok(())
        };
        assert_eq!(self.tunnel.release(self.key(call)), expected, "{call}");
        self.call_mut(call).released = true;
        self.poll_events();
    }

    /// Whether the call was released.
    #[must_use]
    pub fn released(&self, call: i64) -> bool {
        self.call(call).released
    }
}
