//! A fair schedule, on which every call finishes, and what is true then.

use core::time::Duration;

use grpctunnel_core::{Hold, Side};

use super::super::fail;
use super::super::model::Call;
use super::super::store::Store;
use super::Play;

/// Frames that may move before everything comes to rest.
const MOST_FRAMES: usize = 1_000_000;
/// Rounds of a fair schedule within which every call finishes.
const MOST_ROUNDS: usize = 100_000;

impl<S: Store> Play<S> {
    /// Everybody does what is to be done, in turn, until every call is over at both ends.
    pub fn finish(&mut self) {
        for _ in 0..MOST_ROUNDS {
            let moved = self.round();
            if moved {
                continue;
            }
            if self.all_over() {
                self.nothing_is_left();
                return;
            }
            if !self.pair.advance_to_timer() {
                fail(format_args!("stuck: {:?}", self.model));
            }
            self.observe();
        }
        fail(format_args!("no end in sight: {:?}", self.model));
    }

    fn all_over(&self) -> bool {
        let client = &self.pair.client;
        let server = &self.pair.server;
        client.calls().all(|call| client.over(call).is_some())
            && server.calls().all(|call| server.over(call).is_some())
    }

    /// One fair round; false if nothing moved.
    fn round(&mut self) -> bool {
        let mut moved = false;
        for at in [Side::Client, Side::Server] {
            let calls: Vec<i64> = match at {
                Side::Client => self.pair.client.calls().collect(),
                Side::Server => self.pair.server.calls().collect(),
            };
            for number in calls {
                while self.read(at, number, usize::MAX) {
                    moved = true;
                }
                moved |= self.work(at, number);
            }
            let mut sent = 0;
            while self.pair.transmit(at) {
                sent += 1;
                assert!(sent < MOST_FRAMES, "{at:?} never stops sending");
            }
            self.observe();
            moved |= sent > 0;
        }
        for at in [Side::Client, Side::Server] {
            while self.deliver(at) {
                moved = true;
            }
        }
        moved
    }

    /// What an application still has to do for a call to finish.
    fn work(&mut self, at: Side, number: i64) -> bool {
        let position = self.model.position(at, number);
        let call = self.call(position);
        let closed = call.closed.is_some();
        let end = call.end(at);
        if end.over.is_some() || end.released {
            return false;
        }
        let abandoned = at == Side::Server && closed;
        if !end.whole && !abandoned {
            self.provide_bytes(at, position, number, usize::MAX);
            self.observe();
            return true;
        }
        match at {
            Side::Client if !call.half_closed => {
                let result = self.pair.client.half_close(number);
                assert_eq!(result, Ok(()), "a live call can be half-closed");
                self.call(position).half_closed = true;
            }
            Side::Server if call.closed.is_none() && self.pair.server.half_closed(number) => {
                self.requests_are_complete(position, number);
                self.close_call(position, number, 0, Hold::Never);
            }
            _ => return false,
        }
        self.observe();
        true
    }

    /// A server whose client has half-closed, and that has read all, has all.
    fn requests_are_complete(&mut self, position: usize, number: i64) {
        let buffered = self.pair.server.buffered(number);
        let call = self.call(position);
        if !call.server.stopped {
            assert_eq!(
                call.server.got,
                call.client.sent.len(),
                "requests are missing"
            );
            assert_eq!(buffered, 0, "unread");
        }
    }

    /// All that is true at the end.
    fn nothing_is_left(&mut self) {
        for call in &self.model.calls {
            responses_are_complete(call);
        }
        for at in [Side::Client, Side::Server] {
            let calls: Vec<i64> = match at {
                Side::Client => self.pair.client.calls().collect(),
                Side::Server => self.pair.server.calls().collect(),
            };
            for number in calls {
                self.release(at, number);
            }
        }
        self.settle();
        let (client, server) = (&self.pair.client.tunnel, &self.pair.server.tunnel);
        assert_eq!((client.active_streams(), server.active_streams()), (0, 0));
        assert_eq!((client.streams(), server.streams()), (0, 0), "not retired");
        assert!(client.wants_read() && server.wants_read());
        self.drain(Side::Client, Duration::from_secs(30));
        self.settle();
        self.drain(Side::Server, Duration::from_secs(30));
        self.settle();
        let (client, server) = (&self.pair.client.tunnel, &self.pair.server.tunnel);
        assert!(
            client.is_ended() && server.is_ended(),
            "{client:?} {server:?}"
        );
        assert_eq!((client.poll_timeout(), server.poll_timeout()), (None, None));
    }

    /// Sends and delivers until nothing moves.
    fn settle(&mut self) {
        for _ in 0..MOST_FRAMES {
            let sent = self.pair.transmit(Side::Client) | self.pair.transmit(Side::Server);
            self.observe();
            if !(sent | self.deliver(Side::Client) | self.deliver(Side::Server)) {
                return;
            }
        }
        fail("no rest");
    }
}

/// A call that the server closed has all its responses, if somebody read them.
fn responses_are_complete(call: &Call) {
    let Some(over) = &call.client.over else {
        fail("a call that is not over");
    };
    if call.client.stopped || call.client.released {
        return;
    }
    if over.is_ok() {
        assert_eq!(
            call.client.got,
            call.server.sent.len(),
            "responses are missing"
        );
    }
    assert!(call.client.got <= Call::whole_messages(&call.server));
}
