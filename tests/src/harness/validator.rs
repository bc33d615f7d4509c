//! A strict judge of what our own ends send: the rules of the protocol, and of the known peers.
//!
//! It sees each frame when it is sent, and again when it is delivered, because what an end may
//! send depends on what it has received.

mod any_peer;

use std::collections::BTreeMap;

use grpctunnel_core::Side;

use super::sent::SentFrame;
use super::store::InPlace;

/// Chunks of ours are never larger.
const MAX_CHUNK: usize = 16_384;
/// Known peers add up credit in 32 bits, signed.
const MAX_CREDIT: i64 = (1 << 31) - 1;

/// No window of ours grows larger.
const MAX_WINDOW: i64 = InPlace::WINDOW as i64;

/// The payload of one direction of a stream.
#[derive(Debug, Default)]
struct Payload {
    /// What the sender may still send, by the grants that it has received.
    credit: i64,
    /// The first window.
    initial: i64,
    /// Bytes granted by the receiver, whether or not the grants have arrived.
    granted: i64,
    /// Bytes delivered to the receiver.
    delivered: i64,
    /// Bytes that are missing of the message being sent; none is being sent at 0.
    missing: usize,
    /// Whether any message was sent.
    any: bool,
    /// Whether no more may be sent.
    over: bool,
}

/// One stream.
#[derive(Debug, Default)]
struct Stream {
    flow_control: bool,
    requests: Payload,
    responses: Payload,
    headers_sent: bool,
    /// Cancelled: sent, and received.
    cancel: (bool, bool),
    /// Half-closed, as received by the server.
    half_heard: bool,
    /// Closed: sent, and received.
    close: (bool, bool),
    /// Opened, as received by the server.
    new_heard: bool,
}

impl Stream {
    /// The server closes; `marks`: it may say that no handler saw the call.
    fn is_closed(&mut self, sent: &SentFrame, marks: bool) {
        if let SentFrame::Close {
            status,
            unprocessed,
            ..
        } = sent
        {
            assert!(marks || !unprocessed, "{sent}: not agreed on");
            let whole = self.responses.missing == 0;
            assert!(whole || status.code != 0, "{sent}: OK inside a message");
            self.close.0 = true;
        }
    }
}

/// What was sent and delivered on one tunnel.
#[derive(Debug)]
pub(super) struct Validator {
    negotiated: bool,
    /// The server's window, once it has sent its settings.
    settings: Option<(i64, Vec<i32>)>,
    settings_heard: bool,
    /// What the server offered, and what the client answered: sent, and received.
    offered: Vec<i32>,
    answered: Option<Vec<i32>>,
    answer_heard: bool,
    client_window: i64,
    highest: i64,
    streams: BTreeMap<i64, Stream>,
}

impl Validator {
    pub(super) fn new(negotiated: bool, client_window: u32) -> Self {
        Self {
            negotiated,
            settings: None,
            settings_heard: false,
            offered: Vec::new(),
            answered: None,
            answer_heard: false,
            client_window: i64::from(client_window),
            highest: -1,
            streams: BTreeMap::new(),
        }
    }

    fn stream(&mut self, sent: &SentFrame) -> &mut Stream {
        let stream = self.streams.get_mut(&sent.id());
        stream.unwrap_or_else(|| super::fail(format_args!("{sent}: no such stream")))
    }

    /// Whether both ends have named the extension.
    fn in_effect(&self, number: i32) -> bool {
        let answered = self.answered.as_deref().unwrap_or_default();
        self.offered.contains(&number) && answered.contains(&number)
    }

    /// A frame leaves.
    pub(super) fn sent(&mut self, by: Side, sent: &SentFrame) {
        match by {
            Side::Client => self.sent_by_client(sent),
            Side::Server => self.sent_by_server(sent),
        }
    }

    fn sent_by_client(&mut self, sent: &SentFrame) {
        assert!(
            self.settings_heard || !self.negotiated,
            "{sent}: before settings"
        );
        match sent {
            SentFrame::Extensions(set) => {
                assert!(!self.offered.is_empty(), "{sent}: nothing was offered");
                assert!(self.answered.is_none(), "{sent}: twice");
                assert!(self.streams.is_empty(), "{sent}: behind a stream");
                self.answered = Some(set.clone());
                return;
            }
            SentFrame::Ping(_) | SentFrame::Pong(_) => {
                assert!(self.in_effect(4), "{sent}: not agreed on");
                return;
            }
            SentFrame::WindowUpdate { id: -1, bytes: 0 } => {
                assert!(!self.in_effect(4), "{sent}: a ping takes its place");
                return;
            }
            _ => assert_eq!(
                self.answered.is_none(),
                self.offered.is_empty(),
                "{sent}: before the answer to the offer"
            ),
        }
        if let SentFrame::New { .. } = sent {
            self.sent_new(sent);
            return;
        }
        let stream = self.stream(sent);
        assert!(!stream.cancel.0, "{sent}: after cancel");
        // A cancel may have been due before the close came.
        let crossing = matches!(sent, SentFrame::Cancel(_));
        assert!(
            crossing || !stream.close.1,
            "{sent}: the client has heard the close"
        );
        match sent {
            SentFrame::Message { .. } | SentFrame::More { .. } => {
                let flow_control = stream.flow_control;
                stream.requests.send(sent, flow_control);
            }
            SentFrame::HalfClose(_) => {
                assert!(!stream.requests.over, "{sent}: twice");
                assert_eq!(stream.requests.missing, 0, "{sent}: inside a message");
                stream.requests.over = true;
            }
            SentFrame::Cancel(_) => {
                stream.cancel.0 = true;
                stream.requests.over = true;
            }
            SentFrame::WindowUpdate { bytes, .. } => {
                assert!(stream.flow_control, "{sent}: in revision zero");
                stream.responses.grant(sent, *bytes);
            }
            other => super::fail(format_args!("{other}: not a client's frame")),
        }
    }

    fn sent_new(&mut self, sent: &SentFrame) {
        let SentFrame::New {
            id,
            method,
            window,
            revision,
            headers,
        } = sent
        else {
            return;
        };
        assert!(*id > self.highest, "{sent}: ids rise");
        assert!(method.trim_start_matches('/').contains('/'), "{sent}");
        assert_eq!(i64::from(*window), self.client_window, "{sent}: its window");
        for value in headers.get("grpc-timeout").into_iter().flatten() {
            let digits = value.len().saturating_sub(1);
            assert!((1..=8).contains(&digits), "{sent}: {value}");
        }
        let (server_window, revisions) = self.settings.clone().unwrap_or((0, vec![0]));
        assert!(revisions.contains(revision), "{sent}: revision {revision}");
        self.highest = *id;
        let stream = Stream {
            flow_control: *revision == 1,
            requests: Payload::new(server_window),
            responses: Payload::new(self.client_window),
            ..Stream::default()
        };
        self.streams.insert(*id, stream);
    }

    fn sent_by_server(&mut self, sent: &SentFrame) {
        if let SentFrame::Settings {
            id,
            window,
            revisions,
            extensions,
        } = sent
        {
            self.offered.clone_from(extensions);
            assert!(self.negotiated, "{sent}: nobody asked");
            assert_eq!(*id, -1, "{sent}");
            let before = self
                .settings
                .replace((i64::from(*window), revisions.clone()));
            assert!(before.is_none(), "{sent}: twice");
            return;
        }
        assert!(
            self.settings.is_some() || !self.negotiated,
            "{sent}: before settings"
        );
        let extension = match sent {
            SentFrame::Drain(_) => Some(3),
            SentFrame::Ping(_) | SentFrame::Pong(_) => Some(4),
            _ => None,
        };
        if let Some(extension) = extension {
            let known = self.answer_heard && self.in_effect(extension);
            assert!(known, "{sent}: not agreed on");
            return;
        }
        let marks = self.answer_heard && self.in_effect(5);
        let stream = self.stream(sent);
        assert!(stream.new_heard, "{sent}: before it was opened");
        assert!(!stream.close.0, "{sent}: after close");
        if stream.cancel.1 {
            let closing = matches!(sent, SentFrame::Close { .. });
            assert!(closing, "{sent}: after cancel only close is left");
        }
        match sent {
            SentFrame::Message { .. } | SentFrame::More { .. } => {
                let flow_control = stream.flow_control;
                stream.responses.send(sent, flow_control);
            }
            SentFrame::Headers { .. } => {
                assert!(!stream.headers_sent, "{sent}: twice");
                assert!(!stream.responses.any, "{sent}: behind a message");
                stream.headers_sent = true;
            }
            SentFrame::WindowUpdate { bytes, .. } => {
                assert!(stream.flow_control, "{sent}: in revision zero");
                assert!(!stream.half_heard, "{sent}: for a side that is closed");
                stream.requests.grant(sent, *bytes);
            }
            SentFrame::Close { .. } => stream.is_closed(sent, marks),
            other => super::fail(format_args!("{other}: not a server's frame")),
        }
    }

    /// A frame arrives.
    pub(super) fn delivered(&mut self, to: Side, sent: &SentFrame) {
        match sent {
            SentFrame::Settings { .. } => {
                self.settings_heard = true;
                return;
            }
            SentFrame::Extensions(_) => {
                self.answer_heard = true;
                return;
            }
            SentFrame::Drain(_)
            | SentFrame::Ping(_)
            | SentFrame::Pong(_)
            | SentFrame::WindowUpdate { id: -1, bytes: 0 } => return,
            _ => {}
        }
        let stream = self.stream(sent);
        let incoming = match to {
            Side::Client => &mut stream.responses,
            Side::Server => &mut stream.requests,
        };
        incoming.delivered += len(sent.payload());
        match sent {
            SentFrame::New { .. } => stream.new_heard = true,
            SentFrame::HalfClose(_) => stream.half_heard = true,
            SentFrame::Cancel(_) => stream.cancel.1 = true,
            SentFrame::Close { .. } => stream.close.1 = true,
            SentFrame::WindowUpdate { bytes, .. } => {
                let outgoing = match to {
                    Side::Client => &mut stream.requests,
                    Side::Server => &mut stream.responses,
                };
                outgoing.credit += i64::from(*bytes);
                assert!(
                    outgoing.credit <= MAX_CREDIT,
                    "{sent}: credit of {}",
                    outgoing.credit
                );
            }
            _ => {}
        }
    }

    /// Credit is conserved: what an end reports of its live streams is what was granted and has arrived.
    pub(super) fn credit(&self, of: Side, streams: Vec<(i64, u32, u32, u32)>) {
        for (id, available, unread, size) in streams {
            let Some(stream) = self.streams.get(&id) else {
                continue;
            };
            let payload = match of {
                Side::Client => &stream.responses,
                Side::Server => &stream.requests,
            };
            let expected = payload.initial + payload.granted - payload.delivered;
            // What came behind the half-close is not measured.
            if of == Side::Client || !stream.half_heard {
                assert_eq!(i64::from(available), expected, "stream {id}: available");
            }
            let grown = i64::from(size) - payload.initial;
            let not_granted = payload.delivered - payload.granted + grown;
            assert!(i64::from(unread) <= not_granted, "stream {id}: unread");
        }
    }
}

impl Payload {
    const fn new(window: i64) -> Self {
        Self {
            credit: window,
            initial: window,
            granted: 0,
            delivered: 0,
            missing: 0,
            any: false,
            over: false,
        }
    }

    fn send(&mut self, sent: &SentFrame, flow_control: bool) {
        assert!(!self.over, "{sent}: after the end of its side");
        let bytes = sent.payload();
        assert!(bytes.len() <= MAX_CHUNK, "{sent}: too large a chunk");
        self.missing = match sent {
            SentFrame::Message { size, .. } => {
                assert_eq!(self.missing, 0, "{sent}: inside a message");
                self.any = true;
                *size as usize
            }
            _ => {
                assert!(!bytes.is_empty(), "{sent}: says nothing");
                self.missing
            }
        };
        assert!(bytes.len() <= self.missing, "{sent}: beyond the message");
        self.missing -= bytes.len();
        self.credit -= len(bytes);
        assert!(!flow_control || self.credit >= 0, "{sent}: without credit");
    }

    fn grant(&mut self, sent: &SentFrame, bytes: u32) {
        assert!(bytes > 0, "{sent}: grants nothing");
        self.granted += i64::from(bytes);
        // What is granted has come, or the window has grown, which it does up to its limit.
        let window = self.initial + self.granted - self.delivered;
        assert!(
            window <= MAX_WINDOW.max(self.initial),
            "{sent}: a window of {window}"
        );
    }
}

fn len(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}
