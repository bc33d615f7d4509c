//! A tunnel client and a tunnel server, joined by two queues.

use core::time::Duration;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use grpctunnel_core::{
    Carrier, Cause, Config, Negotiation, Opening, ReceiveWindowPolicy, RevisionZeroLimits, Side,
    Time,
};

use grpctunnel_core::wire::{Extension, ExtensionSet};

use super::endpoint::{ClientEnd, ServerEnd};
use super::fail;
use super::frames::Frame;
use super::seen::Seen;
use super::sent::SentFrame;
use super::store::{InPlace, Store};
use super::validator::Validator;

/// How two ends are set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Setup {
    /// Whether the tunnel server opens the carrier.
    pub reverse: bool,
    /// Whether the ends negotiate. Without it the opener knows that the other end is old.
    pub negotiate: bool,
    /// Whether each end speaks revision one: client, server.
    pub flow_control: (bool, bool),
    /// The receive windows of the client and of the server.
    pub windows: (Window, Window),
    /// Calls that the server takes at once, one at least.
    pub max_streams: u8,
    /// The extensions of the client and of the server, a bit each: `RAW_METADATA` 1,
    /// `TRANSPARENT` 2, `DRAIN` 4, `PING` 8, `UNPROCESSED` 16.
    pub extensions: (u8, u8),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            reverse: false,
            negotiate: true,
            flow_control: (true, true),
            windows: (Window::Whole, Window::Whole),
            max_streams: 32,
            extensions: (0, 0),
        }
    }
}

/// The set of these bits.
#[must_use]
pub fn extension_set(bits: u8) -> ExtensionSet {
    let all = [
        Extension::RawMetadata,
        Extension::Transparent,
        Extension::Drain,
        Extension::Ping,
        Extension::Unprocessed,
    ];
    let named = all.iter().zip(0..).filter(|(_, bit)| bits >> bit & 1 == 1);
    named.fold(ExtensionSet::EMPTY, |set, (extension, _)| {
        set.with(*extension)
    })
}

/// A receive window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Window {
    /// 1 byte.
    Byte,
    /// 10 bytes.
    Tiny,
    /// 1,000 bytes.
    Small,
    /// 20,000 bytes: more than a chunk.
    Chunk,
    /// 65,536 bytes.
    Whole,
}

impl Window {
    /// Its bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Byte => 1,
            Self::Tiny => 10,
            Self::Small => 1_000,
            Self::Chunk => 20_000,
            Self::Whole => 65_536,
        }
    }
}

/// The end of the carrier or a frame, on its way.
#[derive(Clone, Debug)]
enum Item {
    Opened(Negotiation),
    Frame(Frame),
    End(Cause),
}

/// One direction of the carrier.
#[derive(Debug, Default)]
struct Link {
    items: VecDeque<Item>,
    /// Nothing more goes in.
    over: bool,
}

impl Link {
    fn put(&mut self, item: Item) {
        if !self.over {
            self.over = matches!(item, Item::End(_));
            self.items.push_back(item);
        }
    }

    /// What is on its way is lost, and the carrier with it.
    fn cut(&mut self) {
        self.items.clear();
        self.over = false;
        self.put(Item::End(Cause::Failed));
    }
}

/// Two ends and the carrier between them, which moves only when it is told to.
pub struct Pair<S: Store> {
    /// The tunnel client's end.
    pub client: ClientEnd<S>,
    /// The tunnel server's end.
    pub server: ServerEnd<S>,
    to_client: Link,
    to_server: Link,
    now: Time,
    validator: Validator,
    digest: DefaultHasher,
}

/// Calls that either end has at once, at most, whatever its memory.
const MAX_STREAMS: u32 = InPlace::STREAMS;

fn config(flow_control: bool, window: Window, max_streams: u32) -> Config {
    let mut config = Config::default();
    config.flow_control = flow_control;
    config.limits.max_streams = max_streams.clamp(1, MAX_STREAMS);
    // What is left unread fits the receive buffer in place.
    config.limits.receive_window = ReceiveWindowPolicy {
        initial: window.bytes(),
        max: InPlace::WINDOW,
        ..ReceiveWindowPolicy::GROWING
    };
    config.limits.revision_zero = RevisionZeroLimits {
        stream: 20_000,
        tunnel: 40_000,
        stall: Duration::from_secs(10),
    };
    config
}

impl<S: Store> Pair<S> {
    /// Two ends whose carrier has been requested.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let now = Time::ZERO;
        let (client_flow, server_flow) = setup.flow_control;
        let (client_window, server_window) = setup.windows;
        let mut client = config(client_flow, client_window, MAX_STREAMS);
        let mut server = config(server_flow, server_window, u32::from(setup.max_streams));
        client.extensions = extension_set(setup.extensions.0);
        server.extensions = extension_set(setup.extensions.1);
        let negotiation = if setup.negotiate {
            Negotiation::On
        } else {
            Negotiation::Off
        };
        let requested = if setup.negotiate {
            Opening::Requested
        } else {
            Opening::RequestedFromOld
        };
        let accepted = Opening::Accepted(negotiation);
        let (client_opening, server_opening) = if setup.reverse {
            (accepted, requested)
        } else {
            (requested, accepted)
        };
        let mut pair = Self {
            client: ClientEnd::client(now, client, client_opening),
            server: ServerEnd::server(now, server, server_opening),
            to_client: Link::default(),
            to_server: Link::default(),
            now,
            validator: Validator::new(setup.negotiate, client_window.bytes()),
            digest: DefaultHasher::new(),
        };
        let opener = if setup.reverse {
            Side::Server
        } else {
            Side::Client
        };
        pair.link(opener).put(Item::Opened(negotiation));
        pair
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// A digest of all frames that were sent so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    fn link(&mut self, to: Side) -> &mut Link {
        match to {
            Side::Client => &mut self.to_client,
            Side::Server => &mut self.to_server,
        }
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.to_client.items.is_empty() && self.to_server.items.is_empty()
    }

    /// Sends the next frame of an end. False if it has none.
    pub fn transmit(&mut self, by: Side) -> bool {
        let (frame, to) = match by {
            Side::Client => (self.client.transmit(self.now), Side::Server),
            Side::Server => (self.server.transmit(self.now), Side::Client),
        };
        let Some(frame) = frame else {
            return false;
        };
        self.validator.sent(by, &SentFrame::read(by, &frame));
        (by == Side::Client, &frame).hash(&mut self.digest);
        self.link(to).put(Item::Frame(frame));
        true
    }

    fn wants_read(&self, end: Side) -> bool {
        match end {
            Side::Client => self.client.tunnel.wants_read(),
            Side::Server => self.server.tunnel.wants_read(),
        }
    }

    /// Delivers what is next on its way to an end. False if there is nothing, or if the end does
    /// not read.
    pub fn deliver(&mut self, to: Side) -> bool {
        let now = self.now;
        if !self.wants_read(to) {
            return false;
        }
        let by = match to {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        };
        match (self.link(to).items.pop_front(), to) {
            (None, _) => return false,
            (Some(Item::Opened(negotiation)), Side::Client) => self.client.opened(now, negotiation),
            (Some(Item::Opened(negotiation)), Side::Server) => self.server.opened(now, negotiation),
            (Some(Item::End(cause)), Side::Client) => self.client.ended(now, cause),
            (Some(Item::End(cause)), Side::Server) => self.server.ended(now, cause),
            (Some(Item::Frame(frame)), to) => {
                self.validator.delivered(to, &SentFrame::read(by, &frame));
                let result = match to {
                    Side::Client => self.client.feed(now, &frame),
                    Side::Server => self.server.feed(now, &frame),
                };
                if let Err(error) = result {
                    let known = self.ended(to);
                    assert!(known, "a frame of ours ended the tunnel: {error}");
                }
                self.validator.credit(to, self.credit_of(to));
            }
        }
        true
    }

    fn ended(&self, end: Side) -> bool {
        match end {
            Side::Client => self.client.tunnel.is_ended(),
            Side::Server => self.server.tunnel.is_ended(),
        }
    }

    /// What each live stream of an end may still get: id, available, unread, size.
    fn credit_of(&self, end: Side) -> Vec<(i64, u32, u32, u32)> {
        fn of<R: grpctunnel_core::Role, S: Store>(
            end: &super::Endpoint<R, S>,
        ) -> Vec<(i64, u32, u32, u32)> {
            end.calls()
                .filter(|call| end.over(*call).is_none())
                .filter_map(|call| {
                    let key = end.key(call);
                    let stream = end.tunnel.inspect(key)?;
                    let (available, size) = (stream.receive_credit()?, stream.receive_window()?);
                    Some((stream.id()?, available, stream.unread(), size))
                })
                .collect()
        }
        match end {
            Side::Client => of(&self.client),
            Side::Server => of(&self.server),
        }
    }

    /// Time passes at both ends.
    pub fn advance(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
        self.client.timeout(self.now);
        self.server.timeout(self.now);
    }

    /// Time passes up to the next timer of either end. False if there is none.
    pub fn advance_to_timer(&mut self) -> bool {
        let timers = [
            self.client.tunnel.poll_timeout(),
            self.server.tunnel.poll_timeout(),
        ];
        let Some(next) = timers.into_iter().flatten().min() else {
            return false;
        };
        self.advance(next.saturating_since(self.now));
        true
    }

    /// The carrier breaks. What is on its way is lost.
    pub fn cut(&mut self) {
        self.to_client.cut();
        self.to_server.cut();
    }

    /// What both ends saw since the last time. What they tell of the carrier is done.
    pub fn observe(&mut self) -> Vec<(Side, Seen)> {
        let client = self.client.take_seen().into_iter();
        let server = self.server.take_seen().into_iter();
        let seen: Vec<(Side, Seen)> = client
            .map(|seen| (Side::Client, seen))
            .chain(server.map(|seen| (Side::Server, seen)))
            .collect();
        for (side, seen) in &seen {
            let to = match side {
                Side::Client => &mut self.to_server,
                Side::Server => &mut self.to_client,
            };
            match seen {
                Seen::Carrier(Carrier::Finish) => to.put(Item::End(Cause::Finished)),
                Seen::Carrier(Carrier::Abort(_)) => to.cut(),
                _ => {}
            }
        }
        seen
    }

    /// Sends and delivers until nothing moves, at most so many frames.
    pub fn drive_bounded(&mut self, most: usize) {
        for _ in 0..most {
            let sent = self.transmit(Side::Client) | self.transmit(Side::Server);
            if !(sent | self.deliver(Side::Client) | self.deliver(Side::Server)) {
                return;
            }
        }
        fail(format_args!("no rest after {most} frames"));
    }
}
