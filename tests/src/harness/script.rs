//! Plays the rows of the catalogue against one end: a frame in, events and frames out.

use core::time::Duration;
use std::collections::VecDeque;

use grpctunnel_core::wire::StatusHead;
use grpctunnel_core::{
    Cause, Client, Config, Hold, MethodKind, Negotiation, OpenOptions, Opening, Role, Server, Time,
};

use super::endpoint::{ClientEnd, Endpoint, Pairs, ServerEnd};
use super::frames::{Frame, extensions, set, set_with};
use super::pair::extension_set;
use super::seen::{Listed, Over, Seen};
use super::sent::SentFrame;
use super::store::{InPlace, Store};

/// One end under test. Every step must state the events and frames that it causes: what was not stated is
/// found out at the next step, and at the end.
pub struct Script<R: Role, S: Store> {
    /// The end itself.
    pub end: Endpoint<R, S>,
    now: Time,
    /// Whether messages are read as they come. On at first.
    pub reading: bool,
    /// Whether the peer takes what is sent. On at first.
    pub taking: bool,
    seen: VecDeque<Seen>,
    sent: VecDeque<SentFrame>,
}

/// The settings of an end under test.
#[must_use]
pub fn config<S: Store>() -> Config {
    let mut config = Config::default();
    config.limits.max_streams = S::STREAMS;
    // What is left unread fits the receive buffer in place.
    config.limits.receive_window.max = InPlace::WINDOW;
    config
}

/// A tunnel server that negotiated; its settings are behind it.
#[must_use]
pub fn server<S: Store>() -> Script<Server, S> {
    let mut t = server_with::<S>(config::<S>(), Opening::Accepted(Negotiation::On));
    t.sends(&["set(-1,65536,[0, 1])"]);
    t
}

/// A tunnel server whose peer did not negotiate.
#[must_use]
pub fn server_unnegotiated<S: Store>() -> Script<Server, S> {
    server_with::<S>(config::<S>(), Opening::Accepted(Negotiation::Off))
}

/// A tunnel server with these settings, opened so.
#[must_use]
pub fn server_with<S: Store>(config: Config, opening: Opening) -> Script<Server, S> {
    Script::new(ServerEnd::server(Time::ZERO, config, opening))
}

/// A tunnel client that is settled: revision one, a window of 65,536.
#[must_use]
pub fn client<S: Store>() -> Script<Client, S> {
    client_window::<S>(65_536)
}

/// The same, with another window for its streams' requests.
#[must_use]
pub fn client_window<S: Store>(window: u32) -> Script<Client, S> {
    let mut t = client_with::<S>(config::<S>(), Opening::Accepted(Negotiation::On));
    t.get(set(-1, window, &[0, 1]))
        .sees(&["settled(One)", "may open"]);
    t
}

/// A tunnel client whose peer did not negotiate: revision zero.
#[must_use]
pub fn client_zero<S: Store>() -> Script<Client, S> {
    let mut t = client_with::<S>(config::<S>(), Opening::Accepted(Negotiation::Off));
    t.sees(&["settled(Zero)", "may open"]);
    t
}

/// A tunnel client with these settings, opened so.
#[must_use]
pub fn client_with<S: Store>(config: Config, opening: Opening) -> Script<Client, S> {
    Script::new(ClientEnd::client(Time::ZERO, config, opening))
}

/// The settings of an end under test, with extensions, a bit each.
#[must_use]
pub fn config_with<S: Store>(bits: u8) -> Config {
    let mut config = config::<S>();
    config.extensions = extension_set(bits);
    config
}

/// Their numbers on the wire.
#[must_use]
pub fn extension_numbers(bits: u8) -> Vec<u8> {
    (1..=5)
        .filter(|number| bits >> (number - 1) & 1 == 1)
        .collect()
}

/// A server that offers these, to a client that answers with those.
#[must_use]
pub fn server_agreed<S: Store>(own: u8, theirs: u8) -> Script<Server, S> {
    let mut t = server_with::<S>(config_with::<S>(own), Opening::Accepted(Negotiation::On));
    t.sent();
    t.get(extensions(-1, &extension_numbers(theirs)));
    assert_eq!(t.end.tunnel.extensions(), extension_set(own & theirs));
    t
}

/// A client that answers with these, to a server that offers those.
#[must_use]
pub fn client_agreed<S: Store>(own: u8, theirs: u8) -> Script<Client, S> {
    let mut t = client_with::<S>(config_with::<S>(own), Opening::Accepted(Negotiation::On));
    t.get(set_with(65_536, &extension_numbers(theirs)))
        .sees(&["settled(One)", "may open"])
        .sends(&[&format!("extensions({:?})", extension_numbers(own))]);
    assert_eq!(t.end.tunnel.extensions(), extension_set(own & theirs));
    t
}

impl<R: Role, S: Store> Script<R, S> {
    fn new(end: Endpoint<R, S>) -> Self {
        let mut script = Self {
            end,
            now: Time::ZERO,
            reading: true,
            taking: true,
            seen: VecDeque::new(),
            sent: VecDeque::new(),
        };
        script.settle();
        script
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Lets the end do everything that it can.
    pub fn settle(&mut self) {
        loop {
            self.seen.extend(self.end.take_seen());
            if self.reading {
                let calls: Vec<i64> = self.end.calls().collect();
                for call in calls {
                    while self.end.read(call, usize::MAX) {}
                }
            }
            let frame = if self.taking {
                self.end.transmit(self.now)
            } else {
                None
            };
            let quiet = frame.is_none();
            let side = self.end.side();
            self.sent
                .extend(frame.map(|frame| SentFrame::read(side, &frame)));
            self.seen.extend(self.end.take_seen());
            if quiet {
                return;
            }
        }
    }

    /// A frame comes.
    #[track_caller]
    pub fn get(&mut self, frame: impl Into<Frame>) -> &mut Self {
        self.is_quiet();
        let result = self.end.feed(self.now, &frame.into());
        self.settle();
        if let Err(error) = result {
            assert_eq!(
                self.end.tunnel.error(),
                Some(&error),
                "the first error is kept"
            );
            assert!(self.end.tunnel.is_ended(), "an error ends the tunnel");
        }
        self
    }

    /// The carrier ends.
    #[track_caller]
    pub fn ends(&mut self, cause: Cause) -> &mut Self {
        self.is_quiet();
        self.end.ended(self.now, cause);
        self.settle();
        self
    }

    /// Time passes, in one leap.
    #[track_caller]
    pub fn wait(&mut self, time: Duration) -> &mut Self {
        self.is_quiet();
        self.now = self.now.saturating_add(time);
        self.end.timeout(self.now);
        self.settle();
        self
    }

    /// The clock advances without a call to the end.
    pub fn advance(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
    }

    /// The application does something with its end.
    #[track_caller]
    pub fn act<T>(&mut self, what: impl FnOnce(&mut Endpoint<R, S>, Time) -> T) -> T {
        self.is_quiet();
        let result = what(&mut self.end, self.now);
        self.settle();
        result
    }

    /// The application sends a whole message.
    #[track_caller]
    pub fn send(&mut self, call: i64, len: usize) -> &mut Self {
        let message = super::frames::content(0, len);
        let sent = self.act(|end, _| end.send(call, message, len));
        assert_eq!(sent, Ok(()), "call {call} sends {len} bytes");
        self
    }

    /// The reader of one call reads on, and what it gets is: messages, then the end if it has
    /// come.
    #[track_caller]
    pub fn reads(&mut self, call: i64, expected: &[&str]) -> &mut Self {
        self.is_quiet();
        while self.end.read(call, usize::MAX) {}
        let mut got: Vec<String> = self
            .end
            .take_seen()
            .iter()
            .map(|seen| seen.notation(self.end.side()))
            .collect();
        if self.end.told(call) {
            got.push("end".to_owned());
        }
        assert_eq!(got, expected, "what call {call} reads");
        self.settle();
        self
    }

    /// The application begins a message of which only a part is at hand.
    #[track_caller]
    pub fn send_part(&mut self, call: i64, len: usize, ready: usize) -> &mut Self {
        let message = super::frames::content(0, len);
        let sent = self.act(|end, _| end.send(call, message, ready));
        assert_eq!(sent, Ok(()), "call {call} sends {ready} of {len} bytes");
        self
    }

    /// What was seen since the last step, in order.
    #[track_caller]
    pub fn sees(&mut self, expected: &[&str]) -> &mut Self {
        let side = self.end.side();
        let seen: Vec<String> = self
            .seen
            .drain(..)
            .map(|seen| seen.notation(side))
            .collect();
        assert_eq!(seen, expected, "what is seen");
        self
    }

    /// The frames sent since the last step, in order.
    #[track_caller]
    pub fn sends(&mut self, expected: &[&str]) -> &mut Self {
        let sent: Vec<String> = self.sent.drain(..).map(|sent| sent.to_string()).collect();
        assert_eq!(sent, expected, "what is sent");
        self
    }

    /// Takes what was seen since the last step.
    pub fn seen(&mut self) -> Vec<Seen> {
        self.seen.drain(..).collect()
    }

    /// Takes the frames sent since the last step.
    pub fn sent(&mut self) -> Vec<SentFrame> {
        self.sent.drain(..).collect()
    }

    /// Drops the events and frames since the last step.
    pub fn forget(&mut self) {
        self.seen.clear();
        self.sent.clear();
    }

    /// Time passes, and what happens meanwhile is of no interest.
    pub fn wait_quietly(&mut self, time: Duration) {
        self.forget();
        self.wait(time);
        self.forget();
    }

    /// How a call has ended.
    #[track_caller]
    #[must_use]
    pub fn over(&self, call: i64) -> Over {
        let over = self.end.over(call).cloned();
        assert!(over.is_some(), "call {call} has not ended");
        over.unwrap_or(Over::Closed)
    }

    /// Fails if an event or a frame is left that no step stated.
    #[track_caller]
    pub fn is_quiet(&mut self) {
        let side = self.end.side();
        let seen: Vec<String> = self.seen.iter().map(|seen| seen.notation(side)).collect();
        let sent: Vec<String> = self.sent.iter().map(ToString::to_string).collect();
        assert!(
            seen.is_empty() && sent.is_empty(),
            "not stated: sees [{}], sends [{}]",
            Listed(&seen),
            Listed(&sent),
        );
    }

    /// The tunnel is alive, or still waits for its peer.
    #[track_caller]
    pub fn lives_or_waits(&mut self) {
        self.is_quiet();
        assert_eq!(self.end.tunnel.error(), None, "the tunnel lives");
        assert!(!self.end.tunnel.is_ended(), "the tunnel has not ended");
    }

    /// The tunnel is alive: nothing was left untold, and it has no error.
    #[track_caller]
    pub fn lives(&mut self) {
        self.is_quiet();
        assert_eq!(self.end.tunnel.error(), None, "the tunnel lives");
        assert!(self.end.tunnel.is_open(), "the tunnel is open");
    }
}

impl<S: Store> Script<Client, S> {
    /// The application opens a call of a method whose kind it does not know, without a deadline.
    #[track_caller]
    pub fn open(&mut self) -> i64 {
        self.open_with(OpenOptions::default())
    }

    /// The application opens a call of a method of this kind.
    #[track_caller]
    pub fn open_kind(&mut self, kind: MethodKind) -> i64 {
        self.open_with(OpenOptions {
            kind,
            ..OpenOptions::default()
        })
    }

    /// The application opens a call of `svc/m`; its `new_stream` leaves at once.
    #[track_caller]
    pub fn open_with(&mut self, options: OpenOptions) -> i64 {
        let call = self.open_quietly(options);
        if self.taking {
            self.sends(&[&format!("new({call},svc/m)")]);
        }
        call
    }

    /// The same, where the stream gets another id than the call has a number, since a probe took one.
    #[track_caller]
    pub fn open_with_id(&mut self, id: i64, options: OpenOptions) -> i64 {
        let call = self.open_quietly(options);
        self.sends(&[&format!("new({id},svc/m)")]);
        call
    }

    #[track_caller]
    fn open_quietly(&mut self, options: OpenOptions) -> i64 {
        let opened = self.act(|end, now| end.open(now, "svc/m", &[], options));
        assert!(opened.is_ok(), "a call can be opened: {opened:?}");
        opened.unwrap_or_default()
    }

    /// A live call of a method whose kind is not known: what many rows begin with.
    #[must_use]
    pub fn with_call(mut self) -> Self {
        assert_eq!(self.open(), 1);
        self
    }
}

impl<S: Store> Script<Server, S> {
    /// A call of `svc/m` comes in, whose kind is set.
    #[track_caller]
    pub fn open_kind(&mut self, id: i64, kind: MethodKind) -> &mut Self {
        self.get(super::frames::new(id, "svc/m"))
            .sees(&[&format!("opened({id},svc/m)")]);
        self.act(|end, _| end.set_kind(id, kind));
        self
    }

    /// A live call 1 of a method whose kind is not known: what many rows begin with.
    #[must_use]
    pub fn with_call(mut self) -> Self {
        self.open_kind(1, MethodKind::Unknown);
        self
    }

    /// The handler closes the call with a code and no text.
    #[track_caller]
    pub fn close(&mut self, call: i64, code: i32) -> &mut Self {
        self.close_with(call, code, &[], Hold::Never)
    }

    /// The handler closes the call with a code, trailers and a hold.
    #[track_caller]
    pub fn close_with(
        &mut self,
        call: i64,
        code: i32,
        trailers: Pairs<'_>,
        hold: Hold,
    ) -> &mut Self {
        let status = StatusHead {
            code,
            message: "",
            details: &[],
        };
        let closed = self.act(|end, now| end.close(now, call, status, trailers, hold));
        assert_eq!(closed, Ok(()), "call {call} can be closed");
        self
    }
}
