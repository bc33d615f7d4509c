//! What happens on the calls of a link, and what must hold after each step.

use grpctunnel_core::{Event, Input, Key, Role, Time};

use super::super::fail;
use super::super::sent::SentFrame;
use super::end::Opens;
use super::peer::Frame;
use super::{Link, Reader};

/// What our end's application knows of a call, and what was counted beside the tunnel.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) key: Key,
    id: i64,
    /// The first window.
    initial: u32,
    /// The window as it was last seen.
    pub(super) size: u32,
    arrived: u64,
    consumed: u64,
    granted: u64,
    /// Bytes of updates that the peer has not received yet.
    updates: u64,
    pub(super) over: bool,
}

impl Call {
    pub(super) const fn new(key: Key, id: i64, initial: u32) -> Self {
        Self {
            key,
            id,
            initial,
            size: initial,
            arrived: 0,
            consumed: 0,
            granted: 0,
            updates: 0,
            over: false,
        }
    }
}

impl<R: Role + Opens> Link<R> {
    fn call_mut(&mut self, id: i64) -> &mut Call {
        let found = self.calls.iter_mut().find(|call| call.id == id);
        found.unwrap_or_else(|| fail(format_args!("there is no call {id}")))
    }

    fn add(&mut self, key: Key, id: i64) {
        self.calls
            .push(Call::new(key, id, self.setup.windows.initial));
        if self.setup.both_ways {
            self.end.send(key);
        }
    }

    /// A frame of the peer arrives at our end.
    pub(super) fn we_hear(&mut self, now: Time, frame: Frame) {
        let payload = frame.payload();
        if let Some((id, bytes)) = payload {
            self.peer.call(id).in_flight -= u64::from(bytes);
        }
        let bytes = frame.write();
        let input = match self.end.tunnel.handle_frame(now, &bytes) {
            Ok(input) => input,
            Err(error) => fail(format_args!("{frame:?} ended the tunnel: {error}")),
        };
        match input {
            Input::Opened { stream, .. } => {
                let id = self.end.tunnel.inspect(stream).and_then(|it| it.id());
                self.add(stream, id.unwrap_or(-1));
            }
            Input::Ended { stream, .. } => self.ended(stream),
            Input::Data { .. } | Input::Ignored => {}
            other => fail(format_args!("{other:?}")),
        }
        if let Some((id, bytes)) = payload {
            let call = self.call_mut(id);
            call.arrived += u64::from(bytes);
            if self.setup.reader == Reader::AtOnce {
                self.read_call(id, u32::MAX);
            }
        }
        self.poll_events();
    }

    fn ended(&mut self, stream: Key) {
        for call in self.calls.iter_mut().filter(|call| call.key == stream) {
            call.over = true;
        }
    }

    fn poll_events(&mut self) {
        while let Some(event) = self.end.tunnel.poll_event() {
            match event {
                Event::Settled(_) => {
                    let now = self.now();
                    for id in (1..).take(self.setup.calls) {
                        if let Some(key) = R::open(&mut self.end, now) {
                            self.add(key, id);
                        }
                    }
                }
                Event::Writable(key) => self.end.send(key),
                Event::Ended { stream, .. } => self.ended(stream),
                Event::MayOpen => {}
                other => fail(format_args!("{other:?}")),
            }
        }
    }

    /// Our application reads what has come on a call.
    pub(super) fn read_call(&mut self, id: i64, most: u32) {
        let call = self.call_mut(id);
        let held = u32::try_from(call.arrived - call.consumed).unwrap_or(u32::MAX);
        let bytes = held.min(most);
        call.consumed += u64::from(bytes);
        let (key, over) = (call.key, call.over);
        self.read += u64::from(bytes);
        match self.end.tunnel.stream(key) {
            Ok(mut stream) => assert_eq!(stream.consumed(bytes), Ok(()), "call {id} reads {bytes}"),
            Err(_) => assert!(over, "call {id} reads {bytes}"),
        }
    }

    pub(super) fn read_all(&mut self, most: u32) {
        let ids: Vec<i64> = self.calls.iter().map(|call| call.id).collect();
        for id in ids {
            self.read_call(id, most);
        }
    }

    /// The next frame of our end.
    pub(super) fn we_send(&mut self) -> Option<(SentFrame, usize)> {
        let sent = self.end.transmit(self.now());
        self.poll_events();
        if let Some((SentFrame::WindowUpdate { id, bytes }, _)) = &sent {
            let call = self.call_mut(*id);
            call.granted += u64::from(*bytes);
            call.updates += u64::from(*bytes);
        }
        sent
    }

    /// A frame of our end arrives at the peer.
    pub(super) fn peer_hears(&mut self, sent: &SentFrame) {
        if let SentFrame::WindowUpdate { id, bytes } = sent {
            self.call_mut(*id).updates -= u64::from(*bytes);
        }
        self.peer.hear(sent, self.setup.calls);
    }

    /// Credit is conserved on every call that lives at both ends, windows keep what they
    /// promised, and growth keeps within its bounds.
    pub(super) fn check(&mut self) {
        let policy = self.setup.windows;
        let mut grown = 0;
        for call in self.calls.iter_mut().filter(|call| !call.over) {
            let stream = self.end.tunnel.inspect(call.key);
            let (Some(size), Some(available), Some(unread)) = (
                stream.and_then(|it| it.receive_window()),
                stream.and_then(|it| it.receive_credit()),
                stream.map(|it| it.unread()),
            ) else {
                fail(format_args!("{call:?}: no window"));
            };
            assert!(size >= call.size, "{call:?}: {size}, less than promised");
            assert!(size <= policy.max.max(policy.initial), "{call:?}: {size}");
            call.size = size;
            let growth = u64::from(size - call.initial);
            grown += growth;
            let (size, available) = (u64::from(size), u64::from(available));
            let unread = u64::from(unread);
            let pending = call.consumed + growth - call.granted;
            assert_eq!(unread, call.arrived - call.consumed, "{call:?}: unread");
            assert_eq!(size, available + unread + pending, "{call:?}: a window");
            let Some(peer) = self.peer.live(call.id) else {
                continue;
            };
            let credit = u64::from(peer.window) + peer.in_flight + call.updates;
            assert_eq!(credit + unread + pending, size, "{call:?}: credit");
        }
        let in_use = self.end.tunnel.receive_growth();
        assert!(in_use >= grown, "growth of {grown}, counted as {in_use}");
        assert!(in_use <= policy.growth_budget, "growth of {in_use}");
        let held = self.calls.iter().any(|call| call.over);
        assert!(
            held || in_use == grown,
            "growth of {grown}, counted as {in_use}"
        );
    }
}
