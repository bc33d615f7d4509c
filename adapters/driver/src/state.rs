//! One end of a tunnel under its lock: the core, the streams' bytes, and who waits for what.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use bytes::BytesMut;
use grpctunnel_core::wire::Revision;
use grpctunnel_core::{
    Body, Carrier, CommandError, ConfigError, End, Event, Growing, Key, Negotiation, Opening, Part,
    Role, Side, Time, Transmit, Tunnel, Unread,
};

use crate::after::After;
use crate::ending::ending_of;
use crate::error::TunnelEnd;
use crate::options::Options;
use crate::queue::Queue;
use crate::status::Status;
use crate::stream::{Ending, Finish, Stream, Streams};
use crate::watch::Watchers;

/// What differs between the ends of a tunnel.
pub(crate) trait Half: Role + Sized + Send + 'static {
    /// Which end it is.
    const END: Side;

    /// Does what follows the last message.
    fn finish(state: &mut State<Self>, stream: Key, finish: Finish) -> Result<(), CommandError>;

    /// Ends the stream because this end did something wrong on it.
    fn refuse(state: &mut State<Self>, stream: Key, status: Status, after: &mut After);

    /// The core has ended the stream.
    fn ended(state: &mut State<Self>, stream: Key, after: &mut After);
}

/// The carrier's outgoing half.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Frames that were gathered and not handed out.
    pub(crate) batch: BytesMut,
    /// Whoever sends them.
    pub(crate) waker: Option<Waker>,
    /// The sender found nothing to send, and waits.
    pub(crate) parked: bool,
    /// The sender is gone, or has come to its end.
    pub(crate) gone: bool,
    /// When the sender last asked for something, or there was something for it to ask for again.
    pub(crate) asked: Time,
}

/// A call that waits until the tunnel has room for it.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) ticket: u64,
    pub(crate) waker: Option<Waker>,
}

/// One end of a tunnel.
#[derive(Debug)]
pub(crate) struct State<R: Half> {
    pub(crate) tunnel: Tunnel<R, Growing>,
    pub(crate) streams: Streams,
    pub(crate) options: Arc<Options>,
    /// What waits to be sent on all streams.
    pub(crate) queue: Queue,
    /// The latest time that anybody looked at the clock.
    pub(crate) now: Time,
    pub(crate) outgoing: Outgoing,
    /// What the carrier must do, once the core has said it.
    pub(crate) carrier: Option<Carrier>,
    /// The task that reads the carrier and keeps the time.
    pub(crate) driver: Option<Waker>,
    /// When that task wakes by itself.
    pub(crate) armed: Time,
    /// Whether it waits until the core wants to read again.
    pub(crate) paused: bool,
    /// At a tunnel client: settled. At a tunnel server: the peer answered the opening.
    pub(crate) started: bool,
    /// Both ends said in the opening that they negotiate.
    pub(crate) negotiated: bool,
    pub(crate) peer_status: Option<Status>,
    pub(crate) transport_error: Option<Arc<str>>,
    pub(crate) end: Option<TunnelEnd>,
    /// Tasks that wait for `started` or `end`.
    pub(crate) watchers: Watchers,
    /// Calls that wait to be opened, first come first served.
    pub(crate) waiters: VecDeque<Waiter>,
    pub(crate) tickets: u64,
    /// Metadata values and status details that were left out because they cannot be carried.
    pub(crate) dropped: u64,
}

impl<R: Half> State<R> {
    pub(crate) fn new(options: Arc<Options>, opening: Opening) -> Result<Self, ConfigError> {
        let now = Time::ZERO;
        let tunnel = Tunnel::<R, Growing>::new(now, options.config(), opening)?;
        Ok(Self {
            // A tunnel client says when it has started.
            started: R::END == Side::Server && tunnel.is_open(),
            negotiated: matches!(opening, Opening::Accepted(Negotiation::On)),
            tunnel,
            streams: Streams::default(),
            options,
            queue: Queue::default(),
            now,
            outgoing: Outgoing {
                batch: BytesMut::new(),
                waker: None,
                parked: false,
                gone: false,
                asked: now,
            },
            carrier: None,
            driver: None,
            armed: Time::MAX,
            paused: false,
            peer_status: None,
            transport_error: None,
            end: None,
            watchers: Watchers::default(),
            waiters: VecDeque::new(),
            tickets: 0,
            dropped: 0,
        })
    }

    /// Notes the time. It never goes back.
    pub(crate) fn touch(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// To be called at the end of everything done under the lock: does what the core has to say,
    /// and wakes whom it concerns. `clock` is asked only where the time counts.
    pub(crate) fn settle(&mut self, clock: impl FnOnce() -> Time, after: &mut After) {
        self.events(after);
        if self.outgoing.parked && (self.carrier.is_some() || self.tunnel.wants_transmit()) {
            // The time in which the sender had nothing to ask for is none that it kept us waiting.
            self.touch(clock());
            self.outgoing.asked = self.now;
            self.outgoing.parked = false;
            after.wake(&mut self.outgoing.waker);
        }
        let resumed = self.paused && self.tunnel.wants_read();
        if resumed || self.is_over() || self.next_timeout() < self.armed {
            after.wake(&mut self.driver);
        }
    }

    /// Whether nothing will happen any more that the carrier's incoming half could tell.
    pub(crate) fn is_over(&self) -> bool {
        self.tunnel.is_ended() && self.tunnel.error().is_some()
    }

    /// When something must be done because of the time.
    pub(crate) fn next_timeout(&self) -> Time {
        let core = self.tunnel.poll_timeout().unwrap_or(Time::MAX);
        core.min(self.stall_ends())
    }

    /// When the carrier has stalled, if it does not ask for more to send.
    pub(crate) fn stall_ends(&self) -> Time {
        if self.outgoing.parked || self.outgoing.gone || self.carrier.is_some() {
            return Time::MAX;
        }
        let limit = if self.is_revision_zero() {
            self.options.stall_revision_zero
        } else {
            self.options.stall
        };
        self.outgoing.asked.saturating_add(limit)
    }

    /// Whether every call of the tunnel is of revision zero.
    fn is_revision_zero(&self) -> bool {
        match R::END {
            Side::Client => self.tunnel.revision() == Some(Revision::Zero),
            Side::Server => !(self.negotiated && self.options.flow_control),
        }
    }

    /// Does what the core has to say. Whether there was anything.
    pub(crate) fn events(&mut self, after: &mut After) -> bool {
        let mut any = false;
        while let Some(event) = self.tunnel.poll_event() {
            any = true;
            match event {
                Event::Settled(_) => self.start(after),
                Event::MayOpen => self.wake_next_waiter(after),
                Event::Writable(stream) => self.writable(stream, after),
                Event::Ended {
                    stream,
                    why,
                    unread,
                } => self.ended(stream, &why, unread, after),
                Event::Draining => self.refuse_waiters(after),
                Event::Carrier(carrier) => {
                    self.carrier = Some(carrier);
                    self.refuse_waiters(after);
                }
                _ => {}
            }
        }
        any
    }

    /// The tunnel is open.
    pub(crate) fn start(&mut self, after: &mut After) {
        self.started = true;
        self.watchers.wake(after);
    }

    pub(crate) fn wake_next_waiter(&mut self, after: &mut After) {
        if let Some(waiter) = self.waiters.front_mut() {
            after.wake(&mut waiter.waker);
        }
    }

    /// All who wait to open a call find out that it is too late.
    pub(crate) fn refuse_waiters(&mut self, after: &mut After) {
        for waiter in &mut self.waiters {
            after.wake(&mut waiter.waker);
        }
    }

    fn writable(&mut self, stream: Key, after: &mut After) {
        if let Some(entry) = self.streams.get(stream) {
            entry.outbox.sent();
            self.feed(stream, after);
        }
        // Messages without a byte leave no other trace.
        if let Some(entry) = self.streams.get(stream) {
            entry.offer_room(&self.options, after);
        }
    }

    /// Tells the core what the stream has to send next.
    pub(crate) fn feed(&mut self, stream: Key, after: &mut After) {
        let Some(entry) = self.streams.get(stream) else {
            return;
        };
        if entry.ending.is_some() {
            return;
        }
        let mut fed = entry.outbox.feed(&mut self.tunnel, stream);
        if fed.is_ok()
            && entry.outbox.is_fed()
            && let Some(finish) = entry.finish.take()
        {
            fed = R::finish(self, stream, finish);
        }
        match fed {
            // The end is waiting among the events.
            Ok(()) | Err(CommandError::Gone) => {}
            Err(error) => R::refuse(
                self,
                stream,
                Status::new(error.code(), error.to_string()),
                after,
            ),
        }
    }

    /// The core has ended a stream.
    pub(crate) fn ended(&mut self, stream: Key, why: &End<'_>, unread: Unread, after: &mut After) {
        let ending = ending_of(self, why);
        if let Some(entry) = self.streams.get(stream) {
            entry.end(ending, unread, after);
        }
        R::ended(self, stream, after);
    }

    /// Gathers frames until there are `limit` bytes or nothing more to send.
    pub(crate) fn gather(&mut self, limit: usize, after: &mut After) {
        while self.outgoing.batch.len() < limit {
            match self.tunnel.poll_transmit(self.now) {
                Some(transmit) => {
                    self.write(&transmit, limit, after);
                    self.events(after);
                }
                // What the core has to say may give it something to send.
                None if self.events(after) => {}
                None => return,
            }
        }
    }

    fn write(&mut self, transmit: &Transmit, limit: usize, after: &mut After) {
        let batch = &mut self.outgoing.batch;
        if batch.capacity().saturating_sub(batch.len()) < transmit.prefix.len() {
            // One allocation for many frames: what was handed out shares it until it is full.
            batch.reserve(limit.saturating_add(limit / 4));
        }
        batch.extend_from_slice(&transmit.prefix);
        match &transmit.body {
            Body::None => {}
            Body::Static(text) => batch.extend_from_slice(text.as_bytes()),
            Body::Caller {
                stream,
                part,
                range,
            } => {
                let (Ok(start), Ok(end)) =
                    (usize::try_from(range.start), usize::try_from(range.end))
                else {
                    return;
                };
                let Some(entry) = self.streams.get(*stream) else {
                    return;
                };
                let head = match part {
                    Part::Message => {
                        let len = end.saturating_sub(start);
                        entry.outbox.take(len, batch, after);
                        entry.offer_room(&self.options, after);
                        return;
                    }
                    Part::Open | Part::Headers => &entry.head,
                    Part::Close => &entry.close,
                };
                batch.extend_from_slice(head.get(start..end).unwrap_or_default());
            }
        }
    }
}

impl Stream {
    /// Notes how the stream ended. Only the first end counts.
    pub(crate) fn end(&mut self, ending: Ending, unread: Unread, after: &mut After) {
        if self.ending.is_none() {
            self.ending = Some(ending);
            self.inbox.finish(unread);
        }
        // A handler that has messages to read gets them, then the end.
        self.abandoned |= unread == Unread::Discard || self.unread || self.inbox.is_empty();
        self.outbox.clear(after);
        after.wake(&mut self.reader);
        after.wake(&mut self.writer);
    }
}
