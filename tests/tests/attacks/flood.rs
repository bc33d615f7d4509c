//! One end under attack: the tunnel alone, and a count of what it was made to do.

use grpctunnel_core::wire::Encoded;
use grpctunnel_core::{
    Body, Client, Config, Event, Input, Key, Negotiation, OpenOptions, Opening, Role, Server,
    Storage, Time, Tunnel, TunnelReason,
};
use grpctunnel_tests::harness::frames::set;
use grpctunnel_tests::harness::tunnel;
use grpctunnel_tests::soak::FIRST;

/// A size of the attack table where tests are optimised, a tenth of it where they are not.
pub(crate) const fn full(size: u64) -> u64 {
    if cfg!(debug_assertions) {
        size / 10
    } else {
        size
    }
}

/// One end under attack.
pub(crate) struct Flood<R: Role, S: Storage> {
    pub(crate) tunnel: Tunnel<R, S>,
    pub(crate) now: Time,
    /// Handlers that were started.
    pub(crate) started: u64,
    /// Handlers that have not ended: those of streams that were not released.
    pub(crate) tasks: u64,
    pub(crate) most_tasks: u64,
    /// Whether a handler ends as soon as its stream does.
    pub(crate) obedient: bool,
    /// Whether the peer takes what is sent.
    pub(crate) taking: bool,
    /// Frames and bytes that were sent.
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    /// Terminal events.
    pub(crate) ends: u64,
    pub(crate) last: Option<Key>,
    /// What ended the tunnel.
    pub(crate) cut: Option<TunnelReason>,
}

/// A tunnel server for `streams` streams.
pub(crate) fn server<S: Storage>(streams: u32) -> Flood<Server, S> {
    let mut config = Config::default();
    config.limits.max_streams = streams;
    server_with(config)
}

/// A tunnel server.
pub(crate) fn server_with<S: Storage>(config: Config) -> Flood<Server, S> {
    Flood::new(config)
}

/// A tunnel client, settled, for `streams` streams.
pub(crate) fn client<S: Storage>(streams: u32) -> Flood<Client, S> {
    let mut config = Config::default();
    config.limits.max_streams = streams;
    config.first_stream_id = FIRST;
    let mut flood = Flood::new(config);
    flood.get(&set(-1, 65_536, &[0, 1]));
    flood
}

impl<R: Role, S: Storage> Flood<R, S> {
    fn new(config: Config) -> Self {
        let mut flood = Self {
            tunnel: tunnel(Time::ZERO, config, Opening::Accepted(Negotiation::On)),
            now: Time::ZERO,
            started: 0,
            tasks: 0,
            most_tasks: 0,
            obedient: true,
            taking: true,
            sent: 0,
            sent_bytes: 0,
            ends: 0,
            last: None,
            cut: None,
        };
        flood.poll();
        flood
    }

    /// A frame of the attacker's. Whether the tunnel lives on.
    pub(crate) fn get(&mut self, frame: &[u8]) -> bool {
        match self.tunnel.handle_frame(self.now, frame) {
            Ok(Input::Opened { stream, .. }) => {
                self.started += 1;
                self.begin(stream);
            }
            Ok(Input::Ended { stream, .. }) => self.end(stream),
            Ok(_) => {}
            Err(error) => {
                self.cut.get_or_insert(error.reason());
            }
        }
        self.poll();
        self.cut.is_none()
    }

    fn begin(&mut self, stream: Key) {
        self.last = Some(stream);
        self.tasks += 1;
        self.most_tasks = self.most_tasks.max(self.tasks);
    }

    fn end(&mut self, stream: Key) {
        self.ends += 1;
        if self.obedient {
            self.release(stream);
        }
    }

    pub(crate) fn release(&mut self, stream: Key) {
        self.tasks -= 1;
        let _ = self.tunnel.release(stream);
    }

    pub(crate) fn poll(&mut self) {
        while let Some(event) = self.tunnel.poll_event() {
            if let Event::Ended { stream, .. } = event {
                self.end(stream);
            }
        }
        while self.taking
            && let Some(transmit) = self.tunnel.poll_transmit(self.now)
        {
            self.sent += 1;
            self.sent_bytes += transmit.prefix.len() as u64 + body(&transmit.body);
        }
        while let Some(event) = self.tunnel.poll_event() {
            if let Event::Ended { stream, .. } = event {
                self.end(stream);
            }
        }
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, millis: u64) {
        self.now = Time::from_nanos(self.now.as_nanos() + millis * 1_000_000);
        self.tunnel.handle_timeout(self.now);
        self.poll();
    }
}

impl<S: Storage> Flood<Client, S> {
    /// Our application opens a call.
    #[expect(
        clippy::unwrap_used,
        reason = "a helper of tests states what must hold"
    )]
    pub(crate) fn open(&mut self) -> Key {
        let key = self
            .tunnel
            .open(self.now, Encoded::kept(10, true), OpenOptions::default());
        let key = key.unwrap();
        self.begin(key);
        self.poll();
        key
    }
}

pub(crate) const fn body(body: &Body) -> u64 {
    match body {
        Body::None => 0,
        Body::Static(text) => text.len() as u64,
        Body::Caller { range, .. } => (range.end - range.start) as u64,
    }
}
