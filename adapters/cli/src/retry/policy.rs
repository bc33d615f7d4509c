//! Which calls are made again, how often and when.

use std::{fmt, str::FromStr, time::Duration};

use grpctunnel_driver::Code;

use crate::routing::Prefix;

/// The most attempts that a policy may ask for: gRPC allows its clients no more either.
const MAX_ATTEMPTS: u32 = 5;

/// When a gateway makes a call again that failed: `PREFIX KEY=VALUE ...`, in the terms of a gRPC
/// service config.
///
/// The prefix is that of `package.Service/Method`, `*` stands for all. The keys:
///
/// | key | of the service config | meaning | default |
/// | --- | --- | --- | --- |
/// | `codes` | `retryableStatusCodes` | with which status a call is made again, such as `UNAVAILABLE,ABORTED` | none: must be given |
/// | `attempts` | `maxAttempts` | how often it is made, the first time included: 2 to 5 | 3 |
/// | `backoff` | `initialBackoff` | the pause before the second attempt, such as `100ms` or `1.5s` | `100ms` |
/// | `max-backoff` | `maxBackoff` | the longest pause | `1s` |
/// | `multiplier` | `backoffMultiplier` | by how much each pause is longer than the one before | 2 |
/// | `tokens` | `maxTokens` | the budget, see below: 1 to 1,000 | 10 |
/// | `token-ratio` | `tokenRatio` | what a success adds to it | 0.1 |
///
/// A pause is off by up to a fifth, so that callers do not come back together. A failure takes one
/// token of the budget, which all calls of the policy share; while half of it or less is left, no
/// call is made again. What a server says in `grpc-retry-pushback-ms` counts instead of the pause.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Which calls; `None` for all.
    pub prefix: Option<Prefix>,
    /// With which status a call is made again.
    pub codes: Vec<Code>,
    /// How often a call is made at most, the first time included.
    pub attempts: u32,
    /// The pause before the second attempt.
    pub backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// By how much each pause is longer than the one before.
    pub multiplier: f64,
    /// The tokens of a full budget.
    pub tokens: u32,
    /// What a success adds to the budget.
    pub token_ratio: f64,
}

impl RetryPolicy {
    /// The pause before the attempt that follows so many, apart from chance.
    pub(super) fn pause_after(&self, attempts: u32) -> Duration {
        let times = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.backoff.as_secs_f64() * self.multiplier.powi(times);
        Duration::try_from_secs_f64(seconds)
            .map_or(self.max_backoff, |pause| pause.min(self.max_backoff))
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), BadRetryPolicy> {
        let bad = BadRetryPolicy::Value;
        match key {
            "codes" => {
                let codes = value.split(',').map(code);
                self.codes = codes.collect::<Option<_>>().ok_or(BadRetryPolicy::Code)?;
            }
            "attempts" => {
                let attempts = value.parse().map_err(|_| bad)?;
                self.attempts = Some(attempts)
                    .filter(|attempts| (2..=MAX_ATTEMPTS).contains(attempts))
                    .ok_or(bad)?;
            }
            "backoff" => self.backoff = duration(value).ok_or(bad)?,
            "max-backoff" => self.max_backoff = duration(value).ok_or(bad)?,
            "multiplier" => self.multiplier = positive(value).ok_or(bad)?,
            "tokens" => {
                let tokens = value.parse().map_err(|_| bad)?;
                self.tokens = Some(tokens)
                    .filter(|tokens| (1..=1_000).contains(tokens))
                    .ok_or(bad)?;
            }
            "token-ratio" => self.token_ratio = positive(value).ok_or(bad)?,
            _ => return Err(BadRetryPolicy::Key),
        }
        Ok(())
    }
}

/// A code by the name that gRPC's documents and service configs have for it.
fn code(name: &str) -> Option<Code> {
    const NAMES: [(&str, Code); 16] = [
        ("CANCELLED", Code::Cancelled),
        ("UNKNOWN", Code::Unknown),
        ("INVALID_ARGUMENT", Code::InvalidArgument),
        ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
        ("NOT_FOUND", Code::NotFound),
        ("ALREADY_EXISTS", Code::AlreadyExists),
        ("PERMISSION_DENIED", Code::PermissionDenied),
        ("RESOURCE_EXHAUSTED", Code::ResourceExhausted),
        ("FAILED_PRECONDITION", Code::FailedPrecondition),
        ("ABORTED", Code::Aborted),
        ("OUT_OF_RANGE", Code::OutOfRange),
        ("UNIMPLEMENTED", Code::Unimplemented),
        ("INTERNAL", Code::Internal),
        ("UNAVAILABLE", Code::Unavailable),
        ("DATA_LOSS", Code::DataLoss),
        ("UNAUTHENTICATED", Code::Unauthenticated),
    ];
    let named = NAMES.iter().find(|(known, _)| *known == name);
    named.map(|(_, code)| *code)
}

fn positive(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    (number.is_finite() && number > 0.0).then_some(number)
}

fn duration(text: &str) -> Option<Duration> {
    let seconds = match text.strip_suffix("ms") {
        Some(number) => positive(number)? / 1e3,
        None => positive(text.strip_suffix('s')?)?,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

impl FromStr for RetryPolicy {
    type Err = BadRetryPolicy;

    fn from_str(text: &str) -> Result<Self, BadRetryPolicy> {
        let mut words = text.split_whitespace();
        let prefix = match words.next().ok_or(BadRetryPolicy::Form)? {
            "*" => None,
            prefix => Some(prefix.parse().map_err(|_| BadRetryPolicy::Form)?),
        };
        let mut policy = Self {
            prefix,
            codes: Vec::new(),
            attempts: 3,
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            multiplier: 2.0,
            tokens: 10,
            token_ratio: 0.1,
        };
        for word in words {
            let (key, value) = word.split_once('=').ok_or(BadRetryPolicy::Form)?;
            policy.set(key, value)?;
        }
        match policy.codes.is_empty() {
            true => Err(BadRetryPolicy::NoCodes),
            false => Ok(policy),
        }
    }
}

/// Why a text is not a [`RetryPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadRetryPolicy {
    /// It is not of this form.
    Form,
    /// A key is unknown.
    Key,
    /// A code is unknown.
    Code,
    /// It does not say with which status a call is made again.
    NoCodes,
    /// A value is out of its range.
    Value,
}

impl fmt::Display for BadRetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "not a retry policy",
            Self::Key => {
                "an unknown key; there are codes, attempts, backoff, max-backoff, multiplier, tokens \
                 and token-ratio"
            }
            Self::Code => "an unknown code; codes are names such as UNAVAILABLE, with , between them",
            Self::NoCodes => "it has no codes: with which status is a call made again?",
            Self::Value => {
                "a value out of its range; attempts are 2 to 5, pauses such as 100ms or 1.5s, tokens \
                 1 to 1000, other numbers above 0"
            }
        })?;
        f.write_str("; expected PREFIX KEY=VALUE ..., as: shop.Cart codes=UNAVAILABLE attempts=3")
    }
}

impl std::error::Error for BadRetryPolicy {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_taken_as_written() {
        let text = "shop.Cart codes=UNAVAILABLE,ABORTED attempts=4 backoff=50ms max-backoff=1.5s \
            multiplier=1.5 tokens=20 token-ratio=0.5";
        let policy: RetryPolicy = text.parse().unwrap();
        assert!(policy.prefix.as_ref().unwrap().fits("/shop.Cart/Add"));
        assert_eq!(policy.codes, [Code::Unavailable, Code::Aborted]);
        assert_eq!((policy.attempts, policy.tokens), (4, 20));
        assert_eq!(policy.max_backoff, Duration::from_millis(1_500));
        let all: RetryPolicy = "* codes=INTERNAL".parse().unwrap();
        assert_eq!((all.prefix, all.attempts), (None, 3));
        for (bad, why) in [
            ("", BadRetryPolicy::Form),
            ("a b", BadRetryPolicy::Form),
            ("a,b codes=INTERNAL", BadRetryPolicy::Form),
            ("*", BadRetryPolicy::NoCodes),
            ("* codes=", BadRetryPolicy::Code),
            ("* codes=unavailable", BadRetryPolicy::Code),
            ("* codes=OK", BadRetryPolicy::Code),
            ("* code=INTERNAL", BadRetryPolicy::Key),
            ("* codes=INTERNAL attempts=1", BadRetryPolicy::Value),
            ("* codes=INTERNAL attempts=6", BadRetryPolicy::Value),
            ("* codes=INTERNAL backoff=5", BadRetryPolicy::Value),
            ("* codes=INTERNAL backoff=-1s", BadRetryPolicy::Value),
            ("* codes=INTERNAL multiplier=0", BadRetryPolicy::Value),
            ("* codes=INTERNAL tokens=1001", BadRetryPolicy::Value),
        ] {
            assert_eq!(bad.parse::<RetryPolicy>(), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn pauses_grow_to_their_limit() {
        let policy: RetryPolicy = "* codes=INTERNAL backoff=100ms max-backoff=350ms attempts=5"
            .parse()
            .unwrap();
        let pauses = (1..5).map(|attempts| policy.pause_after(attempts).as_millis());
        assert_eq!(pauses.collect::<Vec<_>>(), [100, 200, 350, 350]);
    }
}
