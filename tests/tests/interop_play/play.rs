//! What a tunnel client does in a row, step by step.

use grpctunnel_tests::harness::frames::Frame;
use grpctunnel_tests::interop::Outcome;
use tonic::Code;

use crate::tunnel::Tunnel;

/// One thing that the client does, or waits for.
pub(crate) enum Step {
    /// Sends these frames, without looking at what comes.
    Say(Vec<Frame>),
    /// The stream has ended, with one of these codes.
    Ends(i64, &'static [Code]),
    /// Each of the streams from the first id to the second has ended, with one of these codes.
    AllEnd(i64, i64, &'static [Code]),
    /// Begins 10,000 streams, from the first id on, with the frames of this function, a few hundred
    /// at a time; each ends with one of these codes.
    Flood(i64, fn(i64) -> Vec<Frame>, &'static [Code]),
    /// The stream has got its headers.
    Headers(i64),
    /// The stream has got so many bytes of responses.
    Gets(i64, usize),
    /// By the time that the bystander has got a further answer, the stream has got no more bytes
    /// than this, in no more frames than that.
    NoMoreThan(i64, usize, usize),
    /// Sends a message of so many bytes, as the window allows.
    Uploads(i64, usize),
    /// A unary call, which succeeds.
    Works(i64),
    /// Asks the process to shut down; from this id on calls are made until one is refused.
    Drains(i64),
    /// Ends the client's side, in order.
    Eof,
    /// Resets the carrier; whatever comes then is right.
    Cut,
    /// The tunnel has ended with this code.
    Over(Code),
}

/// When the bystander begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begins {
    /// Before the abuse, with id 1.
    Before,
    /// After it, with this id: the abuse is the first thing that the tunnel sees.
    After(i64),
    /// There is none: the abuse is the first thing, and the last one.
    Never,
}

/// One row, played against a server.
pub(crate) struct Play {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
    /// The values of the header that negotiates.
    pub(crate) negotiate: &'static [&'static str],
    pub(crate) begins: Begins,
    /// Against a server without flow control.
    pub(crate) is_old: bool,
    /// Against a process of its own, which ends with the play.
    pub(crate) is_last: bool,
}

impl Play {
    pub(crate) fn new(name: &'static str, steps: Vec<Step>) -> Self {
        Self {
            name,
            steps,
            negotiate: &["on"],
            begins: Begins::Before,
            is_old: false,
            is_last: false,
        }
    }

    pub(crate) fn negotiate(self, negotiate: &'static [&'static str]) -> Self {
        Self { negotiate, ..self }
    }

    /// Without negotiation.
    pub(crate) fn zero(self) -> Self {
        self.negotiate(&[])
    }

    pub(crate) fn begins(self, begins: Begins) -> Self {
        Self { begins, ..self }
    }

    pub(crate) fn old(self) -> Self {
        Self {
            is_old: true,
            ..self
        }
    }

    pub(crate) fn last(self) -> Self {
        Self {
            is_last: true,
            ..self
        }
    }

    /// Plays it against the server at this address, of this process.
    pub(crate) async fn run(self, address: &str, process: Option<u32>) -> Outcome {
        let mut tunnel = Tunnel::open(address, self.negotiate, process).await?;
        if self.begins == Begins::Before {
            tunnel.begin(1).await?;
        }
        let ends_the_tunnel = self
            .steps
            .iter()
            .any(|step| matches!(step, Step::Over(_) | Step::Cut));
        for step in self.steps {
            tunnel.step(step).await?;
        }
        if let Begins::After(id) = self.begins {
            tunnel.begin(id).await?;
        }
        if self.begins != Begins::Never && !ends_the_tunnel {
            tunnel.finish().await?;
        }
        Ok(())
    }
}
