//! Our end of the link.

use grpctunnel_core::wire::{self, Encoded, HeadOptions};
use grpctunnel_core::{
    Body, Client, Config, Envelope, Growing, Key, Negotiation, OpenOptions, Opening, Part, Role,
    Server, Side, Time, Tunnel,
};

use super::super::fail;
use super::super::sent::SentFrame;

/// What every message of our end holds.
const MESSAGE: u32 = 1 << 20;

/// Our end, whose application keeps nothing of what it sends and gets.
pub struct End<R: Role> {
    /// The tunnel.
    pub tunnel: Tunnel<R, Growing>,
    pub(super) side: Side,
    /// The head of every call that it opens.
    head: Vec<u8>,
}

impl End<Server> {
    pub(super) fn server(config: Config) -> Self {
        let opening = Opening::Accepted(Negotiation::On);
        Self {
            tunnel: super::super::tunnel(Time::ZERO, config, opening),
            side: Side::Server,
            head: Vec::new(),
        }
    }
}

impl End<Client> {
    pub(super) fn client(config: Config) -> Self {
        let opening = Opening::Accepted(Negotiation::On);
        let mut head = Vec::new();
        let none = core::iter::empty();
        let encoded = wire::encode_open(&mut head, "link/Carry", none, &HeadOptions::default());
        assert!(encoded.is_ok(), "the head of a call");
        Self {
            tunnel: super::super::tunnel(Time::ZERO, config, opening),
            side: Side::Client,
            head,
        }
    }
}

/// What only one of the two ends does.
pub trait Opens: Role + Sized {
    /// Opens a call, where that is our end's part.
    fn open(end: &mut End<Self>, now: Time) -> Option<Key>;
}

impl Opens for Server {
    fn open(_: &mut End<Self>, _: Time) -> Option<Key> {
        None
    }
}

impl Opens for Client {
    fn open(end: &mut End<Self>, now: Time) -> Option<Key> {
        let len = u32::try_from(end.head.len()).unwrap_or(u32::MAX);
        match end
            .tunnel
            .open(now, Encoded::kept(len, true), OpenOptions::default())
        {
            Ok(key) => Some(key),
            Err(error) => fail(format_args!("a call cannot be opened: {error}")),
        }
    }
}

impl<R: Role> End<R> {
    /// The next frame, and the bytes that it takes on the link.
    pub(super) fn transmit(&mut self, now: Time) -> Option<(SentFrame, usize)> {
        let transmit = self.tunnel.poll_transmit(now)?;
        let mut frame = transmit.prefix.get(5..).unwrap_or_default().to_vec();
        match transmit.body {
            Body::None => {}
            Body::Static(text) => frame.extend_from_slice(text.as_bytes()),
            Body::Caller {
                part: Part::Open, ..
            } => frame.extend_from_slice(&self.head),
            Body::Caller { range, .. } => frame.resize(frame.len() + range.len(), 0),
        }
        let bytes = frame.len() + 5;
        Some((SentFrame::read(self.side, &frame), bytes))
    }

    /// Sends a message on a call.
    pub(super) fn send(&mut self, call: Key) {
        let message = Envelope::new(MESSAGE);
        let Ok(mut stream) = self.tunnel.stream(call) else {
            fail("a message for a call that is over");
        };
        assert_eq!(stream.send_message(message, MESSAGE), Ok(()), "a message");
    }
}
