//! What a tunnel server does in a row, and what is to come of it.

use grpctunnel_tests::harness::frames::{Frame, set};
use grpctunnel_tests::interop::probe::{Outcome as Bystander, Stage};
use tonic::{Code, Status};

/// One thing that the server does.
pub(crate) enum Act {
    Send(Frame),
    Many(Vec<Frame>),
    /// A response of 314 bytes of payload.
    Respond,
    /// The same, and OK.
    Answer,
    /// A response of so many bytes, as the window allows, and OK.
    Download(usize),
    /// Ends the tunnel.
    Finish(Status),
    /// Cuts it.
    Reset,
}

/// How the server takes the opening.
pub(crate) enum Opening {
    /// It negotiates, and begins with this.
    Negotiated(Vec<Act>),
    /// It does not negotiate.
    Plain,
    Refused(Code),
    NoAnswer,
}

/// With what the abuse begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    New,
    HalfClose,
    Cancel,
}

/// What the server knows of the probe's call.
pub(crate) struct At {
    pub(crate) id: i64,
    pub(crate) has_timeout: bool,
}

/// What the probe says of its call, what that speaks of, and how the bystander went.
pub(crate) type Seen = (Code, Stage, Bystander);

/// One row, played against a client.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Of the probe.
    pub(crate) arguments: &'static [&'static str],
    pub(crate) expected: Seen,
    /// Responses that the probe gets, if that is to be seen.
    pub(crate) messages: Option<u64>,
    pub(crate) opening: Opening,
    pub(crate) window: u32,
    pub(crate) when: When,
    pub(crate) credits: bool,
    pub(crate) acts: fn(&At) -> Vec<Act>,
}

impl Case {
    pub(crate) fn new(name: &'static str, expected: Seen, acts: fn(&At) -> Vec<Act>) -> Self {
        let settings = set(-1, 65_536, &[0, 1]);
        Self {
            name,
            arguments: &[],
            expected,
            messages: None,
            opening: Opening::Negotiated(vec![Act::Send(settings)]),
            window: 65_536,
            when: When::HalfClose,
            credits: true,
            acts,
        }
    }

    /// One that is all good.
    pub(crate) fn honest() -> Self {
        let expected = (Code::Ok, Stage::Call, Bystander::Ok);
        Self::new("honest", expected, |_| vec![Act::Answer])
    }

    pub(crate) fn arguments(self, arguments: &'static [&'static str]) -> Self {
        Self { arguments, ..self }
    }

    pub(crate) fn messages(self, messages: u64) -> Self {
        let messages = Some(messages);
        Self { messages, ..self }
    }

    /// Begins with these frames.
    pub(crate) fn opens(self, frames: Vec<Frame>) -> Self {
        self.opens_with(frames.into_iter().map(Act::Send).collect())
    }

    pub(crate) fn opens_with(self, acts: Vec<Act>) -> Self {
        let opening = Opening::Negotiated(acts);
        Self { opening, ..self }
    }

    pub(crate) fn opening(self, opening: Opening) -> Self {
        Self { opening, ..self }
    }

    /// Without negotiation.
    pub(crate) fn zero(self) -> Self {
        self.opening(Opening::Plain)
    }

    /// Announces this window.
    pub(crate) fn window(self, window: u32) -> Self {
        let frames = vec![set(-1, window, &[0, 1])];
        Self { window, ..self }.opens(frames)
    }

    pub(crate) fn when(self, when: When) -> Self {
        Self { when, ..self }
    }

    /// Gives the probe's call no credit.
    pub(crate) fn stingy(self) -> Self {
        Self {
            credits: false,
            ..self
        }
    }
}
