//! What each application may see, given what the other did.

mod call;

use grpctunnel_core::{Carrier, Side, Time, TunnelReason};

use super::fail;
use super::frames::content;
use super::seen::{Over, Seen};
use super::sent::Headers;

pub(super) use call::Call;

/// What is known of one end of the tunnel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TunnelEnd {
    pub(super) drains: bool,
    pub(super) drain_limit: Option<Time>,
    pub(super) over: bool,
}

/// What is known of the whole.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) calls: Vec<Call>,
    pub(super) client: TunnelEnd,
    pub(super) server: TunnelEnd,
    pub(super) cut: bool,
    /// The most calls that the server has had at once.
    pub(super) server_was_full: bool,
    /// The revision that the client settled on is zero.
    zero: bool,
    settled: bool,
}

/// The size and content of a call's messages: no two begin alike.
pub(super) fn message(side: Side, call: usize, index: usize, size: usize) -> Vec<u8> {
    let seed = match side {
        Side::Client => 0,
        Side::Server => 125,
    };
    content(seed + call * 31 + index * 7, size)
}

/// The metadata of a call, of so many entries.
pub(super) fn entries(count: u8) -> Vec<(&'static str, &'static str)> {
    let all = [("k", "v"), ("empty", ""), ("x-bin", "\u{1}\u{7f}é")];
    all.into_iter().take(usize::from(count % 4)).collect()
}

pub(super) fn headers(entries: &[(&str, &str)]) -> Headers {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()]))
        .collect()
}

impl Model {
    /// The position of the call with this number at an end.
    pub(super) fn position(&self, side: Side, number: i64) -> usize {
        let found = match side {
            Side::Client => usize::try_from(number - 1).ok(),
            Side::Server => self.calls.iter().position(|call| call.id == Some(number)),
        };
        let known = found.filter(|position| *position < self.calls.len());
        known.unwrap_or_else(|| fail(format_args!("{side:?} saw call {number}, which is none")))
    }

    fn call(&mut self, side: Side, number: i64) -> &mut Call {
        let position = self.position(side, number);
        let call = self.calls.get_mut(position);
        call.unwrap_or_else(|| fail("a position is one of a call"))
    }

    /// Judges what an application saw.
    pub(super) fn see(&mut self, now: Time, side: Side, seen: &Seen) {
        match seen {
            Seen::Settled(revision) => {
                assert!(!self.settled, "settled twice");
                self.settled = true;
                self.zero = *revision == grpctunnel_core::wire::Revision::Zero;
            }
            Seen::MayOpen => assert_eq!(side, Side::Client, "only a client opens"),
            Seen::Opened {
                call,
                method,
                headers,
                deadline,
            } => self.see_opened(now, *call, method, headers, *deadline),
            Seen::Headers { call, headers } => {
                let call = self.call(side, *call);
                assert!(!call.headers_seen, "headers twice");
                assert_eq!(call.client.got, 0, "headers behind a message");
                assert_eq!(call.response_headers.as_ref(), Some(headers));
                call.headers_seen = true;
                assert_eq!(call.client.over, None, "headers behind the end");
            }
            Seen::Data { discard, .. } => assert!(discard, "payload is buffered"),
            Seen::Got { call, message } => self.see_message(side, *call, message),
            Seen::HalfClosed(call) => {
                let call = self.call(side, *call);
                assert!(call.half_closed && !call.half_close_seen, "a half-close");
                assert_eq!(call.server.over, None, "a half-close behind the end");
                call.half_close_seen = true;
            }
            Seen::Writable(number) => {
                let end = self.call(side, *number).end(side);
                end.left += 1;
                assert!(end.whole && end.left == end.sent.len(), "what has left?");
                assert_eq!(end.over, None, "writable behind the end");
            }
            Seen::Ended { call, over, .. } => self.see_end(now, side, *call, over),
            Seen::Draining => {
                assert_eq!(side, Side::Client, "only a server says that it drains");
                assert!(self.server.drains, "nobody drains");
            }
            Seen::RoundTrip(_) | Seen::Responsive(_) => {}
            Seen::Carrier(carrier) => self.see_carrier(now, side, carrier),
        }
    }

    fn see_opened(
        &mut self,
        now: Time,
        id: i64,
        method: &str,
        headers: &Headers,
        deadline: Option<Time>,
    ) {
        let position = method
            .strip_prefix("svc/")
            .and_then(|name| name.parse().ok());
        let call = position.and_then(|position: usize| self.calls.get_mut(position));
        let Some(call) = call else {
            fail(format_args!("nobody called {method}"));
        };
        assert_eq!(call.id.replace(id), None, "{method} came in twice");
        let mut headers = headers.clone();
        let timeout = headers.remove("grpc-timeout");
        assert_eq!(headers, call.request_headers);
        assert_eq!(timeout.is_some(), call.deadline.is_some());
        match (call.deadline, deadline) {
            (None, None) => {}
            // It travels as a duration, from when the frame left, so it can only be later.
            (Some(sent), Some(heard)) => assert!(heard >= sent && heard > now, "{heard:?}"),
            (sent, heard) => fail(format_args!("deadline {sent:?} became {heard:?}")),
        }
    }

    fn see_message(&mut self, side: Side, number: i64, got: &[u8]) {
        let position = self.position(side, number);
        let call = self.call(side, number);
        let (index, sender) = match side {
            Side::Client => (call.client.got, Side::Server),
            Side::Server => (call.server.got, Side::Client),
        };
        let sent = call.end(sender).sent.get(index).copied();
        let Some(size) = sent else {
            fail(format_args!(
                "{side:?} got message {index}, which nobody sent"
            ));
        };
        assert!(
            !call.end(side).stopped,
            "a message for a reader that is gone"
        );
        call.end(side).got += 1;
        assert_eq!(
            got,
            message(sender, position, index, size),
            "message {index}"
        );
    }

    fn see_end(&mut self, now: Time, side: Side, number: i64, over: &Over) {
        let (cut, zero, server_was_full) = (self.cut, self.zero, self.server_was_full);
        let tunnel = match side {
            Side::Client => self.client,
            Side::Server => self.server,
        };
        let server_drains = self.server.drains;
        let finished = self.client.over || self.server.over;
        let call = self.call(side, number);
        let limit_passed = tunnel.drain_limit.is_some_and(|limit| limit <= now);
        let allowed = match (over, side) {
            (Over::Cancelled, Side::Client) => call.cancelled || call.client.released,
            (Over::PeerCancelled, Side::Server) => call
                .client
                .over
                .as_ref()
                .is_some_and(|over| !matches!(over, Over::Status { .. })),
            (Over::Deadline, _) => call.deadline.is_some_and(|deadline| deadline <= now),
            (Over::Closed, Side::Server) => call.closed.is_some(),
            (Over::Lost { cause, .. }, _) => match cause {
                TunnelReason::DrainLimit => limit_passed,
                TunnelReason::CarrierFinished => finished,
                TunnelReason::CarrierFailed => cut,
                TunnelReason::Unresponsive => true,
                TunnelReason::PeerDraining => server_drains && call.id.is_none(),
                _ => false,
            },
            (Over::Violation(reason), _) => call.may_violate(side, *reason, zero),
            (
                Over::Status {
                    status,
                    trailers,
                    unprocessed,
                },
                Side::Client,
            ) => {
                // Only what a full or a draining server refused may be made again.
                let refused = call.id.is_none() && (server_drains || server_was_full);
                call.status_is_the_servers(status, trailers, server_drains, server_was_full)
                    && (refused || !unprocessed)
            }
            _ => false,
        };
        assert!(allowed, "{side:?} saw {over:?} of {call:?}");
        call.end(side).over = Some(over.clone());
    }

    fn see_carrier(&mut self, now: Time, side: Side, carrier: &Carrier) {
        let cut = self.cut;
        let told = side == Side::Client && self.server.drains;
        let end = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        end.over = true;
        let Carrier::Abort(error) = carrier else {
            return;
        };
        let late = now >= Time::from_millis(10_000);
        let allowed = match error.reason() {
            TunnelReason::CarrierFailed => cut,
            TunnelReason::CarrierFinished => self.client.drains || self.server.drains,
            TunnelReason::OpenTimeout | TunnelReason::SettingsTimeout => late,
            // A client that hears of the drain finishes too.
            TunnelReason::GraceExpired => end.drains || told,
            // The same, drained before it was settled.
            TunnelReason::Aborted => end.drains,
            // Nothing was delivered for so long.
            TunnelReason::Unresponsive => now >= Time::from_millis(30_000),
            _ => false,
        };
        assert!(allowed, "{side:?} gave up: {error}");
        // A reset reaches the other end as a failure.
        self.cut = true;
    }
}
