//! What the probe says.

use std::fmt;

use tonic::{Code, Status};

/// The outcome, shown as the probe's last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the application saw of the call, or of the tunnel's opening.
    pub code: Code,
    /// The message of that status.
    pub message: String,
    /// How the call beside it went.
    pub bystander: Outcome,
    /// What `code` speaks of.
    pub stage: Stage,
    /// Responses that the call received. A unary call has one or, when it failed, none.
    pub messages: u64,
    /// Bytes of payload in them.
    pub bytes: u64,
}

/// How the bystander went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every response was right, and the status OK.
    Ok,
    /// Anything else.
    Fail,
    /// There was no tunnel to call through.
    None,
}

/// What the code of a report speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The opening of the tunnel, which failed.
    Open,
    /// The call.
    Call,
    /// Nothing was finished in time.
    Guard,
}

impl Report {
    /// The tunnel could not be opened.
    #[must_use]
    pub fn not_opened(status: &Status) -> Self {
        Self::new(status.code(), status.message(), Outcome::None, Stage::Open)
    }

    /// The time was up.
    #[must_use]
    pub fn late(bystander: Outcome) -> Self {
        Self::new(
            Code::DeadlineExceeded,
            "not finished within guard-ms",
            bystander,
            Stage::Guard,
        )
    }

    pub(super) fn new(code: Code, message: &str, bystander: Outcome, stage: Stage) -> Self {
        Self {
            code,
            message: message.to_owned(),
            bystander,
            stage,
            messages: 0,
            bytes: 0,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = serde_json::Value::from(self.message.as_str());
        let bystander = match self.bystander {
            Outcome::Ok => "ok",
            Outcome::Fail => "fail",
            Outcome::None => "none",
        };
        let stage = match self.stage {
            Stage::Open => "open",
            Stage::Call => "call",
            Stage::Guard => "guard",
        };
        write!(
            formatter,
            "code={} msg={message} bystander={bystander} stage={stage} msgs={} bytes={}",
            i32::from(self.code),
            self.messages,
            self.bytes
        )
    }
}
