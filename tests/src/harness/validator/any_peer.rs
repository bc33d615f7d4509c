//! The same judge beside a peer that keeps to no rule: it reads that peer's frames, and judges
//! our own end alone.

use grpctunnel_core::Side;
use grpctunnel_core::wire::{DecodeLimits, ServerKind, decode_server};

use super::super::sent::SentFrame;
use super::{Payload, Stream, Validator, len};

impl Validator {
    /// Whether the ends negotiate, where that was not known at first.
    pub(in super::super) const fn negotiated(&mut self, negotiated: bool) {
        self.negotiated = negotiated;
    }

    /// Our end has taken in a frame of a peer of any kind. False if what it may say from now on
    /// cannot be told.
    pub(in super::super) fn heard_any(&mut self, to: Side, sent: &SentFrame, frame: &[u8]) -> bool {
        match (to, sent) {
            (Side::Server, SentFrame::New { .. }) => self.heard_new(sent),
            (Side::Server, SentFrame::Extensions(set)) => {
                if self.answered.is_none() && self.streams.is_empty() {
                    self.answered = Some(set.clone());
                    self.answer_heard = true;
                }
            }
            (Side::Client, SentFrame::Settings { .. }) => return self.heard_settings(sent, frame),
            _ => self.heard_on_stream(to, sent),
        }
        true
    }

    fn heard_settings(&mut self, sent: &SentFrame, frame: &[u8]) -> bool {
        let SentFrame::Settings {
            window,
            revisions,
            extensions,
            ..
        } = sent
        else {
            return true;
        };
        if self.settings.is_some() || !self.negotiated {
            return true;
        }
        // An empty list means what was the only one before there was a list.
        let revisions = match &revisions[..] {
            [] => vec![0],
            revisions => revisions.to_vec(),
        };
        self.settings = Some((i64::from(*window), revisions));
        self.settings_heard = true;
        self.offered.clone_from(extensions);
        let read = decode_server(frame, &DecodeLimits::default());
        let offers = read.is_ok_and(|frame| match frame.kind {
            ServerKind::Settings(settings) => settings.extensions.is_some(),
            _ => false,
        });
        // The reference decoder does not tell an empty offer from none.
        offers != self.offered.is_empty()
    }

    fn heard_new(&mut self, sent: &SentFrame) {
        let SentFrame::New {
            id,
            window,
            revision,
            ..
        } = sent
        else {
            return;
        };
        self.highest = *id;
        let stream = Stream {
            flow_control: *revision == 1,
            requests: Payload::new(self.client_window),
            responses: Payload::new(i64::from(*window)),
            new_heard: true,
            ..Stream::default()
        };
        self.streams.insert(*id, stream);
    }

    fn heard_on_stream(&mut self, to: Side, sent: &SentFrame) {
        let Some(stream) = self.streams.get_mut(&sent.id()) else {
            return;
        };
        let (incoming, outgoing) = match to {
            Side::Client => (&mut stream.responses, &mut stream.requests),
            Side::Server => (&mut stream.requests, &mut stream.responses),
        };
        incoming.delivered += len(sent.payload());
        match sent {
            SentFrame::HalfClose(_) => stream.half_heard = true,
            SentFrame::Cancel(_) => stream.cancel.1 = true,
            SentFrame::Close { .. } => stream.close.1 = true,
            SentFrame::WindowUpdate { bytes, .. } => outgoing.credit += i64::from(*bytes),
            _ => {}
        }
    }
}
