//! Bare byte streams: two tunnels side by side on one stream of bytes, over both kinds of memory.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failure stops the test, which is what it is for"
)]

use core::time::Duration;

use grpctunnel_core::bare::{Directions, FORWARD, Pipe, PipeEnd, PipeEvent, REVERSE};
use grpctunnel_core::wire::{
    DecodeLimits, Deframer, Encoded, ExtensionSet, HeadOptions, PREFIX_LEN, Piece, ServerKind,
    StatusHead, decode_server, encode_close, encode_open,
};
use grpctunnel_core::{
    Body, Carrier, Cause, Config, End, Envelope, Event as TunnelEvent, Hold, Input, Key, OpenError,
    OpenOptions, Side, Storage, Time, TunnelError, TunnelReason,
};
use grpctunnel_tests::both_stores;
use grpctunnel_tests::harness::{InPlace, OnHeap, Store, frames};
use proptest::prelude::*;

/// What one end saw, as text: `client` or `server`, and what.
type Seen = Vec<String>;

/// One end, with the heads that its tunnels name; every byte of a message is zero.
struct OneEnd<S: Storage> {
    pipe: Pipe<S>,
    open: Vec<u8>,
    close: Vec<u8>,
    deframer: Deframer,
    seen: Seen,
    opened: Option<Key>,
    /// The last instruction for the byte stream.
    carrier: Option<Carrier>,
}

impl<S: Storage> OneEnd<S> {
    fn new(end: PipeEnd, directions: Directions) -> Self {
        Self::with(end, directions, ExtensionSet::EMPTY)
    }

    fn with(end: PipeEnd, directions: Directions, extensions: ExtensionSet) -> Self {
        let mut config = Config::default();
        config.extensions = extensions;
        let none = core::iter::empty::<(&str, &[u8])>();
        let options = HeadOptions::default();
        let (mut open, mut close) = (Vec::new(), Vec::new());
        let _ = encode_open(&mut open, "s/M", none.clone(), &options).unwrap();
        let _ = encode_close(&mut close, StatusHead::default(), none, &options).unwrap();
        Self {
            pipe: Pipe::new(Time::ZERO, config, end, directions).unwrap(),
            open,
            close,
            deframer: Deframer::new(1 << 20),
            seen: Vec::new(),
            opened: None,
            carrier: None,
        }
    }

    /// The next frame as it goes out, prefix included.
    fn transmit(&mut self, now: Time) -> Option<(Side, Vec<u8>)> {
        let (side, transmit) = self.pipe.poll_transmit(now)?;
        let mut bytes = transmit.prefix.to_vec();
        match transmit.body {
            Body::None => {}
            Body::Static(text) => bytes.extend_from_slice(text.as_bytes()),
            Body::Caller { part, range, .. } => {
                let (start, end) = (range.start as usize, range.end as usize);
                match part {
                    grpctunnel_core::Part::Open => bytes.extend_from_slice(&self.open[start..end]),
                    grpctunnel_core::Part::Close => {
                        bytes.extend_from_slice(&self.close[start..end])
                    }
                    grpctunnel_core::Part::Headers => {}
                    grpctunnel_core::Part::Message => bytes.resize(bytes.len() + end - start, 0),
                }
            }
        }
        Some((side, bytes))
    }

    /// Takes in bytes as they come from the other end.
    fn receive(&mut self, now: Time, mut bytes: &[u8]) -> Result<(), TunnelError> {
        let (mut flag, mut frame) = (0, Vec::new());
        while let (taken, Some(piece)) = self.deframer.next(bytes).unwrap() {
            bytes = &bytes[taken..];
            match piece {
                Piece::Begin { flags, .. } => flag = flags,
                Piece::Data { bytes, ends } => {
                    frame.extend_from_slice(bytes);
                    if ends {
                        self.handle(now, flag, &core::mem::take(&mut frame))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn handle(&mut self, now: Time, flag: u8, frame: &[u8]) -> Result<(), TunnelError> {
        let (side, input) = self.pipe.handle_frame(now, flag, frame)?;
        let mut read = None;
        let what = match input {
            Input::Ignored => return Ok(()),
            Input::Opened { stream, .. } => {
                self.opened = Some(stream);
                "opened".to_owned()
            }
            Input::Data {
                stream,
                bytes,
                ends,
                discard,
                ..
            } => {
                read = (!discard).then_some((stream, bytes.len() as u32));
                if ends { "message" } else { "" }.to_owned()
            }
            Input::HalfClosed { .. } => "half-closed".to_owned(),
            Input::Headers { .. } => "headers".to_owned(),
            Input::Ended { why, .. } => ended(&why),
            other => format!("{other:?}"),
        };
        if let Some((stream, len)) = read {
            match side {
                Side::Client => self.client().stream(stream).unwrap().consumed(len).unwrap(),
                Side::Server => self.server().stream(stream).unwrap().consumed(len).unwrap(),
            }
        }
        if !what.is_empty() {
            self.see(side, &what);
        }
        Ok(())
    }

    fn see(&mut self, side: Side, what: &str) {
        let side = format!("{side:?}").to_lowercase();
        self.seen.push(format!("{side} {what}"));
    }

    /// Everything that was seen since the last time.
    fn take_seen(&mut self) -> Seen {
        while let Some(event) = self.pipe.poll_event() {
            // After the end nothing is reported, but that what was to be finished is given up.
            match (&self.carrier, &event) {
                (None, PipeEvent::Tunnel(..)) => {}
                (None, PipeEvent::Carrier(carrier))
                | (Some(Carrier::Finish), PipeEvent::Carrier(carrier @ Carrier::Abort(_))) => {
                    self.carrier = Some(carrier.clone());
                }
                (Some(_), event) => panic!("after the end of the pipe: {event:?}"),
            }
            match event {
                PipeEvent::Tunnel(side, TunnelEvent::Ended { why, .. }) => {
                    self.see(side, &ended(&why))
                }
                PipeEvent::Tunnel(side, TunnelEvent::Settled(_)) => self.see(side, "settled"),
                PipeEvent::Tunnel(_, _) => {}
                PipeEvent::Carrier(Carrier::Finish) => self.seen.push("finish".to_owned()),
                PipeEvent::Carrier(Carrier::Abort(error)) => {
                    self.seen.push(format!("abort {:?}", error.reason()));
                }
            }
        }
        core::mem::take(&mut self.seen)
    }

    fn client(&mut self) -> &mut grpctunnel_core::TunnelClient<S> {
        self.pipe.client_mut().expect("a tunnel client")
    }

    fn server(&mut self) -> &mut grpctunnel_core::TunnelServer<S> {
        self.pipe.server_mut().expect("a tunnel server")
    }

    fn try_open(&mut self) -> Result<Key, OpenError> {
        let len = self.open.len() as u32;
        self.client()
            .open(Time::ZERO, Encoded::kept(len, true), OpenOptions::default())
    }

    fn open(&mut self) -> Key {
        self.try_open().unwrap()
    }

    fn close(&mut self, stream: Key) {
        let len = self.close.len() as u32;
        let closed = self.server().stream(stream).unwrap().close(
            Time::ZERO,
            Encoded::kept(len, true),
            Some(Hold::Never),
        );
        closed.unwrap();
    }
}

fn ended(why: &End<'_>) -> String {
    match why {
        End::Status { status, .. } => format!("status {}", status.code),
        End::TunnelLost { cause, sent } => format!("lost {cause:?} {sent}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Both ends, and nothing between them.
struct Ends<S: Storage> {
    opener: OneEnd<S>,
    acceptor: OneEnd<S>,
    now: Time,
}

impl<S: Storage> Ends<S> {
    /// Two ends that have settled.
    fn new(directions: Directions) -> Self {
        Self::with(directions, ExtensionSet::EMPTY)
    }

    /// The same, with extensions in effect.
    fn with(directions: Directions, extensions: ExtensionSet) -> Self {
        let mut ends = Self {
            opener: OneEnd::with(PipeEnd::Opener, directions, extensions),
            acceptor: OneEnd::with(PipeEnd::Acceptor, directions, extensions),
            now: Time::ZERO,
        };
        ends.drive();
        ends.opener.take_seen();
        ends.acceptor.take_seen();
        ends
    }

    fn drive(&mut self) {
        loop {
            let up = self.opener.transmit(self.now);
            let down = self.acceptor.transmit(self.now);
            if up.is_none() && down.is_none() {
                return;
            }
            if let Some((_, bytes)) = up {
                self.acceptor.receive(self.now, &bytes).unwrap();
            }
            if let Some((_, bytes)) = down {
                self.opener.receive(self.now, &bytes).unwrap();
            }
        }
    }
}

both_stores! {
    /// For each enabled direction its tunnel server sends settings at once, marked with the flag
    /// of the direction; neither end sends anything else.
    fn settings_go_at_once<S>() {
        use Directions::{Both, Forward, Reverse};
        use PipeEnd::{Acceptor, Opener};
        for (end, directions, flag) in [
            (Opener, Forward, None),
            (Opener, Reverse, Some(REVERSE)),
            (Opener, Both, Some(REVERSE)),
            (Acceptor, Forward, Some(FORWARD)),
            (Acceptor, Reverse, None),
            (Acceptor, Both, Some(FORWARD)),
        ] {
            let mut end = OneEnd::<S::Streams>::new(end, directions);
            assert_eq!(end.pipe.wants_transmit(), flag.is_some());
            let sent = end.transmit(Time::ZERO);
            assert_eq!(sent.as_ref().map(|(_, bytes)| bytes[0]), flag);
            if let Some((side, bytes)) = sent {
                assert_eq!(side, Side::Server);
                let frame = decode_server(&bytes[PREFIX_LEN..], &DecodeLimits::default()).unwrap();
                assert!(matches!(frame.kind, ServerKind::Settings(_)));
                assert_eq!(frame.stream_id, -1);
            }
            assert!(end.transmit(Time::ZERO).is_none());
            assert!(end.take_seen().is_empty());
        }
    }

    /// Both ends call at once. The stream ids are the same in both directions, and nothing is
    /// mixed up.
    fn calls_go_both_ways_at_once<S>() {
        let mut ends = Ends::<S::Streams>::new(Directions::Both);
        for end in [&mut ends.opener, &mut ends.acceptor] {
            let call = end.open();
            end.client().stream(call).unwrap().send_message(Envelope::new(200_000), 200_000).unwrap();
            end.client().stream(call).unwrap().half_close().unwrap();
        }
        ends.drive();
        for end in [&mut ends.opener, &mut ends.acceptor] {
            let came = ["server opened", "server message", "server half-closed"];
            assert_eq!(end.take_seen(), came);
            let handler = end.opened.unwrap();
            assert_eq!(end.server().inspect(handler).and_then(|stream| stream.id()), Some(1));
            end.server().stream(handler).unwrap().send_message(Envelope::new(100_000), 100_000).unwrap();
            end.close(handler);
        }
        ends.drive();
        for end in [&mut ends.opener, &mut ends.acceptor] {
            let seen = end.take_seen();
            assert_eq!(seen, ["client message", "client status 0", "server closed"]);
        }
    }

    /// Reporting the carrier's end to one tunnel alone ends both, in the same way.
    fn the_end_of_one_tunnel_alone_ends_the_pipe<S>() {
        for side in [Side::Client, Side::Server] {
            let mut ends = Ends::<S::Streams>::new(Directions::Both);
            let end = &mut ends.opener;
            match side {
                Side::Client => end.client().handle_end(Time::ZERO, Cause::Finished),
                Side::Server => end.server().handle_end(Time::ZERO, Cause::Finished),
            }
            // Nothing was open, so the end is clean.
            assert_eq!(end.take_seen(), ["finish"]);
            let (client, server) = (end.pipe.client().unwrap(), end.pipe.server().unwrap());
            assert!(client.is_ended() && server.is_ended());
            let reasons = [client.error(), server.error()].map(|error| error.map(TunnelError::reason));
            assert_eq!(reasons[0], reasons[1]);
            assert!(end.pipe.is_ended());
        }
    }

    /// A flag byte that means nothing, and one of a direction that is not enabled, end the pipe
    /// with every stream of both tunnels; the first error is returned again.
    fn a_wrong_flag_ends_both<S>() {
        use Directions::{Both, Forward, Reverse};
        for (directions, flags) in [
            (Both, &[1, 3, 4, 128, 130, 255][..]),
            (Forward, &[REVERSE, 1][..]),
            (Reverse, &[FORWARD, 1][..]),
        ] {
            for flag in flags {
                let mut ends = Ends::<S::Streams>::new(directions);
                for end in [&mut ends.opener, &mut ends.acceptor] {
                    let calls = end.pipe.client().is_some();
                    if calls {
                        end.open();
                    }
                    // What the frame holds does not matter.
                    let frame = frames::cancel(7);
                    let error = end.handle(Time::ZERO, *flag, &frame).unwrap_err();
                    assert_eq!(error.reason(), TunnelReason::FrameFlags);
                    assert!(end.pipe.is_ended());
                    assert_eq!(end.pipe.error(), Some(&error));
                    assert!(end.transmit(Time::ZERO).is_none());
                    let mut seen = vec!["abort FrameFlags"];
                    if calls {
                        seen.insert(0, "client lost FrameFlags false");
                    }
                    assert_eq!(end.take_seen(), seen);
                    assert_eq!(end.handle(Time::ZERO, FORWARD, &[]).unwrap_err(), error);
                    assert_eq!(end.pipe.poll_timeout(), None);
                }
            }
        }
    }

    /// The error of one tunnel ends the other, whose streams are lost.
    fn the_error_of_one_ends_the_other<S>() {
        for flag in [FORWARD, REVERSE] {
            let mut ends = Ends::<S::Streams>::new(Directions::Both);
            ends.opener.open();
            ends.acceptor.open();
            ends.drive();
            let end = &mut ends.acceptor;
            assert_eq!(end.take_seen(), ["server opened"]);
            let error = end.handle(Time::ZERO, flag, b"\xff").unwrap_err();
            assert_eq!(error.reason(), TunnelReason::Undecodable);
            let seen = end.take_seen();
            let (client, server) = match flag {
                FORWARD => ("CarrierFailed", "Undecodable"),
                _ => ("Undecodable", "CarrierFailed"),
            };
            let expected = [
                format!("client lost {client} true"),
                format!("server lost {server} true"),
                "abort Undecodable".to_owned(),
            ];
            assert_eq!(seen, expected);
            assert!(end.transmit(Time::ZERO).is_none());
            assert_eq!(end.pipe.error(), Some(&error));
        }
    }

    /// The end of the byte stream ends both; a clean one is answered by ours.
    fn the_end_of_the_stream_ends_both<S>() {
        for (cause, reason, carrier) in [
            (Cause::Finished, "CarrierFinished", "finish"),
            (Cause::Failed, "CarrierFailed", "abort CarrierFailed"),
        ] {
            let mut ends = Ends::<S::Streams>::new(Directions::Both);
            ends.opener.open();
            ends.acceptor.open();
            ends.drive();
            ends.acceptor.take_seen();
            ends.acceptor.pipe.handle_end(Time::ZERO, cause);
            let expected = [
                format!("client lost {reason} true"),
                format!("server lost {reason} true"),
                carrier.to_owned(),
            ];
            assert_eq!(ends.acceptor.take_seen(), expected);
            assert!(ends.acceptor.pipe.is_ended());
            assert!(ends.acceptor.pipe.poll_event().is_none());
        }
    }

    /// A tunnel that was given up alone takes the other along, at the next poll.
    fn a_tunnel_given_up_takes_the_other_along<S>() {
        let mut ends = Ends::<S::Streams>::new(Directions::Both);
        ends.opener.open();
        ends.opener.server().abort(Time::ZERO, TunnelReason::Stalled);
        assert!(ends.opener.transmit(Time::ZERO).is_none());
        let seen = ends.opener.take_seen();
        assert_eq!(seen, ["client lost CarrierFailed false", "abort Stalled"]);
    }

    /// A tunnel that was drained alone drains the other too, and waits for it.
    fn a_tunnel_drained_alone_drains_both<S>() {
        let mut ends = Ends::<S::Streams>::new(Directions::Both);
        ends.acceptor.open();
        ends.drive();
        ends.acceptor.take_seen();
        let second = Duration::from_secs(1);
        ends.acceptor.server().drain(Time::ZERO, second);
        ends.drive();
        assert!(ends.acceptor.take_seen().is_empty());
        assert_eq!(ends.acceptor.try_open(), Err(OpenError::Draining));
        let handler = ends.opener.opened.unwrap();
        ends.opener.close(handler);
        ends.drive();
        assert_eq!(ends.acceptor.take_seen(), ["client status 0", "finish"]);
        // What the peer had sent meanwhile means nothing any more, and is no error.
        ends.acceptor.handle(Time::ZERO, REVERSE, &frames::close(1, 0)).unwrap();
        ends.acceptor.handle(Time::ZERO, FORWARD, &frames::Frame::from(frames::new(1, "s/M"))).unwrap();
        assert!(ends.acceptor.take_seen().is_empty());
    }

    /// Draining the pipe waits for the streams of both tunnels, takes no new ones, then finishes
    /// once; the other end finishes in turn, and no timer is left.
    fn a_drain_waits_for_both<S>() {
        let limit = Duration::from_secs(60);
        for caller_drains in [true, false] {
            let mut ends = Ends::<S::Streams>::new(Directions::Both);
            ends.opener.open();
            ends.drive();
            assert_eq!(ends.acceptor.take_seen(), ["server opened"]);
            let drained = if caller_drains { &mut ends.opener } else { &mut ends.acceptor };
            drained.pipe.drain(Time::ZERO, limit);
            assert_eq!(drained.try_open(), Err(OpenError::Draining));
            // Longer than a peer gets to finish its side, which nothing has asked of it yet.
            ends.now = Time::from_millis(30_000);
            ends.drive();
            let drained = if caller_drains { &mut ends.opener } else { &mut ends.acceptor };
            drained.pipe.handle_timeout(ends.now);
            assert!(drained.take_seen().is_empty());
            let handler = ends.acceptor.opened.unwrap();
            ends.acceptor.close(handler);
            ends.drive();
            let (first, second) = if caller_drains {
                (&mut ends.opener, &mut ends.acceptor)
            } else {
                (&mut ends.acceptor, &mut ends.opener)
            };
            assert_eq!(first.take_seen().last().unwrap(), "finish");
            second.pipe.handle_end(ends.now, Cause::Finished);
            assert_eq!(second.take_seen().last().unwrap(), "finish");
            first.pipe.handle_end(ends.now, Cause::Finished);
            assert!(first.take_seen().is_empty());
            assert_eq!((first.pipe.poll_timeout(), second.pipe.poll_timeout()), (None, None));
        }
    }

    /// A pipe that is busy in one direction is alive in both.
    fn what_is_heard_in_one_direction_counts_for_both<S>() {
        let mut ends = Ends::<S::Streams>::new(Directions::Both);
        ends.opener.open();
        ends.drive();
        let handler = ends.acceptor.opened.unwrap();
        for second in 1..100 {
            ends.now = Time::from_millis(second * 1_000);
            ends.opener.pipe.handle_timeout(ends.now);
            // What the opener asks in either direction is lost, and no answer comes.
            while ends.opener.transmit(ends.now).is_some() {}
            // Only the forward tunnel's server speaks.
            ends.acceptor.server().stream(handler).unwrap().send_message(Envelope::new(1), 1).unwrap();
            while let Some((side, bytes)) = ends.acceptor.transmit(ends.now) {
                if side == Side::Server {
                    ends.opener.receive(ends.now, &bytes).unwrap();
                }
            }
            ends.acceptor.take_seen();
            ends.acceptor.pipe.handle_activity(ends.now);
        }
        for tunnel in [ends.opener.pipe.client().map(|it| it.is_responsive()),
            ends.opener.pipe.server().map(|it| it.is_responsive())] {
            assert_eq!(tunnel, Some(true));
        }
        assert_eq!(ends.opener.pipe.error(), None);
    }

    /// A frame that comes as the time for it runs out comes in time.
    fn a_frame_at_the_last_moment_counts_for_a_pipe<S>() {
        let mut ends = Ends::<S::Streams>::new(Directions::Forward);
        ends.now = Time::from_millis(20_000);
        ends.opener.pipe.handle_timeout(ends.now);
        let (_, ping) = ends.opener.transmit(ends.now).unwrap();
        assert!(ends.opener.transmit(ends.now).is_none());
        ends.acceptor.receive(ends.now, &ping).unwrap();
        let (_, pong) = ends.acceptor.transmit(ends.now).unwrap();
        ends.now = Time::from_millis(30_000);
        ends.opener.receive(ends.now, &pong).unwrap();
        assert!(ends.opener.client().is_responsive());
    }

    /// While a pipe drains, a call that comes in is refused, and what waits goes on.
    fn a_draining_pipe_refuses_calls<S>() {
        let mut ends = Ends::<S::Streams>::new(Directions::Both);
        ends.acceptor.open();
        ends.drive();
        ends.acceptor.pipe.drain(Time::ZERO, Duration::from_secs(60));
        ends.opener.open();
        ends.drive();
        let seen = ends.opener.take_seen();
        assert_eq!(seen, ["server opened", "client lost PeerDraining false"]);
        assert!(ends.acceptor.take_seen().is_empty());
        let handler = ends.opener.opened.unwrap();
        ends.opener.close(handler);
        ends.drive();
        assert_eq!(ends.acceptor.take_seen(), ["client status 0", "finish"]);
    }

    /// An end whose peer drains finishes its calls in both directions first.
    fn a_drain_that_is_told_waits_for_both<S>() {
        let mut ends = Ends::<S::Streams>::with(Directions::Both, ExtensionSet::ALL);
        ends.acceptor.open();
        ends.drive();
        assert_eq!(ends.opener.take_seen(), ["server opened"]);
        ends.acceptor.pipe.drain(Time::ZERO, Duration::from_secs(60));
        ends.drive();
        assert!(ends.opener.take_seen().is_empty());
        assert!(!ends.opener.pipe.wants_transmit());
        assert_eq!(ends.opener.try_open(), Err(OpenError::Draining));
        let handler = ends.opener.opened.unwrap();
        ends.opener.close(handler);
        assert!(ends.opener.pipe.wants_transmit());
        ends.drive();
        assert_eq!(ends.opener.take_seen(), ["server closed", "finish"]);
        assert_eq!(ends.acceptor.take_seen(), ["client status 0", "finish"]);
    }

    /// A probe that was due when the drain began is not sent any more, and holds nobody up.
    fn a_drain_waits_for_no_probe<S>() {
        for seconds in [30, 31, 45] {
            let mut ends = Ends::<S::Streams>::new(Directions::Both);
            ends.now = Time::from_millis(20_000);
            ends.opener.pipe.handle_timeout(ends.now);
            ends.drive();
            ends.now = Time::from_millis(seconds * 1_000);
            ends.opener.pipe.handle_timeout(ends.now);
            ends.opener.pipe.drain(ends.now, Duration::from_secs(60));
            while ends.opener.transmit(ends.now).is_some() {}
            assert_eq!(ends.opener.take_seen(), ["finish"]);
        }
    }

    /// At the drain limit the open streams of both end, and the pipe is finished.
    fn the_drain_limit_holds_for_both<S>() {
        let mut ends = Ends::<S::Streams>::new(Directions::Both);
        ends.opener.open();
        ends.acceptor.open();
        ends.drive();
        ends.acceptor.take_seen();
        ends.acceptor.pipe.drain(Time::ZERO, Duration::from_secs(30));
        ends.now = Time::from_millis(30_000);
        assert!(ends.acceptor.pipe.poll_timeout().is_some_and(|time| time <= ends.now));
        ends.acceptor.pipe.handle_timeout(ends.now);
        ends.drive();
        let lost = ["client lost DrainLimit true", "server lost DrainLimit true", "finish"];
        assert_eq!(ends.acceptor.take_seen(), lost);
    }

    /// A tunnel client that waits for settings in vain ends the pipe when its time is up.
    fn settings_that_do_not_come_end_both<S>() {
        let mut end = OneEnd::<S::Streams>::new(PipeEnd::Opener, Directions::Both);
        end.transmit(Time::ZERO).unwrap();
        let due = end.pipe.poll_timeout().unwrap();
        assert_eq!(due, Time::from_millis(10_000));
        end.pipe.handle_timeout(due);
        assert_eq!(end.take_seen(), ["abort SettingsTimeout"]);
        assert!(end.pipe.is_ended());
    }

    /// A tunnel with small frames is not held up by the bulk of the other: bytes count, not
    /// frames.
    fn the_tunnels_share_by_bytes<S>() {
        let mut ends = Ends::<S::Streams>::new(Directions::Both);
        ends.opener.open();
        ends.drive();
        let handler = ends.acceptor.opened.unwrap();
        let end = &mut ends.acceptor;
        end.server().stream(handler).unwrap().send_message(Envelope::new(60_000), 60_000).unwrap();
        // Twenty calls of a few bytes each, against four chunks.
        for _ in 0..20 {
            let call = end.open();
            end.client().stream(call).unwrap().send_message(Envelope::new(10), 10).unwrap();
            end.client().stream(call).unwrap().half_close().unwrap();
        }
        let mut sides = Vec::new();
        while let Some((side, _)) = end.transmit(Time::ZERO) {
            sides.push(side);
        }
        let bulk: Vec<usize> = sides
            .iter()
            .enumerate()
            .filter(|(_, side)| **side == Side::Server)
            .map(|(at, _)| at)
            .collect();
        assert_eq!((sides.len(), bulk.len()), (64, 4));
        // At most one chunk goes before all of the small calls have gone.
        assert!(bulk[1] >= 60, "{bulk:?}");
    }

    /// Two bulk transfers have the same share.
    fn two_bulk_transfers_share_alike<S>() {
        let mut ends = Ends::<S::Streams>::new(Directions::Both);
        ends.opener.open();
        ends.drive();
        let handler = ends.acceptor.opened.unwrap();
        let end = &mut ends.acceptor;
        end.server().stream(handler).unwrap().send_message(Envelope::new(65_536), 65_536).unwrap();
        let call = end.open();
        end.client().stream(call).unwrap().send_message(Envelope::new(65_536), 65_536).unwrap();
        let mut sent = [0_usize; 2];
        while let Some((side, bytes)) = end.transmit(Time::ZERO) {
            sent[usize::from(side == Side::Server)] += bytes.len();
            if sent.iter().all(|sent| *sent < 65_536) {
                assert!(sent[0].abs_diff(sent[1]) <= 16_500, "{sent:?}");
            }
        }
        assert!(sent.iter().all(|sent| *sent > 65_536));
    }
}

/// What may be done to two ends, as small numbers choose.
fn step<S: Storage>(ends: &mut Ends<S>, opener: bool, what: u8) {
    let now = ends.now;
    let (end, to) = match opener {
        true => (&mut ends.opener, &mut ends.acceptor),
        false => (&mut ends.acceptor, &mut ends.opener),
    };
    match what {
        24.. => {
            let sent = end.transmit(now);
            // Whoever asks before polling must not be sent in circles.
            assert!(sent.is_some() || !end.pipe.wants_transmit());
            if let Some((_, bytes)) = sent {
                // The other end may be over; a frame of ours ends nothing.
                let over = to.pipe.is_ended();
                assert!(to.receive(now, &bytes).is_ok() || over);
            }
        }
        0..=12 => {
            if let Ok(call) = end.try_open() {
                let client = end.client();
                client
                    .stream(call)
                    .unwrap()
                    .send_message(Envelope::new(9), 9)
                    .unwrap();
                client.stream(call).unwrap().half_close().unwrap();
            }
        }
        13..=14 => {
            if let Some(handler) = end.opened.take() {
                let len = end.close.len() as u32;
                // The call may have ended meanwhile.
                if let Ok(mut stream) = end.server().stream(handler) {
                    let _ = stream.close(now, Encoded::kept(len, true), Some(Hold::Never));
                }
            }
        }
        15 => end.pipe.drain(now, Duration::from_secs(1)),
        16 => end.server().drain(now, Duration::from_secs(1)),
        17 => {
            ends.now = now.saturating_add(Duration::from_millis(700));
            ends.opener.pipe.handle_timeout(ends.now);
            ends.acceptor.pipe.handle_timeout(ends.now);
        }
        22 => {
            ends.now = now.saturating_add(Duration::from_secs(31));
            ends.opener.pipe.handle_timeout(ends.now);
            ends.acceptor.pipe.handle_timeout(ends.now);
        }
        23 => drop(end.client().abort(now, TunnelReason::Stalled)),
        18 => end.pipe.handle_end(now, Cause::Finished),
        19 => end.pipe.handle_end(now, Cause::Failed),
        20 => drop(end.handle(now, 7, &[])),
        21 => drop(end.handle(now, FORWARD, b"\xff")),
    }
}

/// Whatever is done to them, both tunnels of an end live and die together, and each end tells of its
/// byte stream at most once that it is to be finished, at most once that it is to be given up.
fn any_steps<S: Storage>(extensions: ExtensionSet, steps: &[(bool, u8)]) {
    let mut ends = Ends::<S>::with(Directions::Both, extensions);
    let mut told = [Vec::new(), Vec::new()];
    for (opener, what) in steps {
        step(&mut ends, *opener, *what);
        for (end, told) in [&mut ends.opener, &mut ends.acceptor]
            .into_iter()
            .zip(&mut told)
        {
            let of_carrier = |seen: &String| seen == "finish" || seen.starts_with("abort");
            told.extend(end.take_seen().into_iter().filter(of_carrier));
            let (client, server) = (end.pipe.client().unwrap(), end.pipe.server().unwrap());
            let drains = client.is_draining() && server.is_draining();
            assert!(client.is_ended() == server.is_ended() || drains);
            assert_eq!(end.pipe.is_ended(), !told.is_empty());
            let (finished, aborted) = (
                told.iter().filter(|told| *told == "finish").count(),
                told.len(),
            );
            assert!(finished <= 1 && aborted - finished <= 1, "{told:?}");
            if end.pipe.is_ended() {
                assert!(!end.pipe.wants_transmit());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn both_tunnels_live_and_die_together(
        steps in proptest::collection::vec((any::<bool>(), 0_u8..80), 0..300),
    ) {
        for extensions in [ExtensionSet::EMPTY, ExtensionSet::ALL] {
            any_steps::<<InPlace as Store>::Streams>(extensions, &steps);
            any_steps::<<OnHeap as Store>::Streams>(extensions, &steps);
        }
    }
}
