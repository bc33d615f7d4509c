//! Calls that failed are made again, as far as a policy says so.

mod budget;
mod policy;

pub use self::policy::{BadRetryPolicy, RetryPolicy};

use std::time::{Duration, Instant};

use grpctunnel_driver::{Code, Status};
use http::{HeaderMap, HeaderName, HeaderValue};

use self::budget::Budget;
use crate::name::random;

/// In a request: how often the call was made before.
const ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
/// In an answer: in how many milliseconds the server wants to see the call again.
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// By how much a pause is off at most, as a part of it.
const JITTER: f64 = 0.2;

/// The policies of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Retries(Vec<(RetryPolicy, Budget)>);

impl Retries {
    pub(crate) fn new(policies: Vec<RetryPolicy>) -> Self {
        let with_budget = |policy: RetryPolicy| {
            let budget = Budget::new(policy.tokens, policy.token_ratio);
            (policy, budget)
        };
        Self(policies.into_iter().map(with_budget).collect())
    }

    /// What is to be done with a call of this path that fails: by the policy with the longest prefix
    /// that fits.
    pub(crate) fn of(&self, path: &str, headers: &HeaderMap, now: Instant) -> Option<Retry<'_>> {
        let fits = |(policy, _): &&(RetryPolicy, Budget)| {
            let prefix = policy.prefix.as_ref();
            prefix.is_none_or(|prefix| prefix.fits(path))
        };
        let length = |policy: &RetryPolicy| policy.prefix.as_ref().map_or(0, |prefix| prefix.len());
        let fitting = self.0.iter().filter(fits);
        let (policy, budget) = fitting.max_by_key(|(policy, _)| length(policy))?;
        let before = headers.get(ATTEMPTS).and_then(|value| value.to_str().ok());
        Some(Retry {
            policy,
            budget,
            before: before.and_then(|value| value.parse().ok()).unwrap_or(0),
            attempts: 0,
            pauses: 0,
            deadline: timeout(headers).and_then(|timeout| now.checked_add(timeout)),
        })
    }
}

/// One call under a policy.
#[derive(Debug)]
pub(crate) struct Retry<'p> {
    policy: &'p RetryPolicy,
    budget: &'p Budget,
    /// How often the caller made it before.
    before: u32,
    /// How often it was made here.
    attempts: u32,
    /// Pauses since the last pushback, by which the next one grows.
    pauses: u32,
    deadline: Option<Instant>,
}

impl Retry<'_> {
    /// Gives an attempt its headers: how many came before it, and the time that is left.
    pub(crate) fn begin(&mut self, headers: &mut HeaderMap, now: Instant) {
        if self.attempts > 0 {
            headers.insert(ATTEMPTS, self.before.saturating_add(self.attempts).into());
            if let Some(deadline) = self.deadline {
                let left = deadline.saturating_duration_since(now);
                headers.insert(TIMEOUT, timeout_of(left));
            }
        }
        self.attempts += 1;
    }

    /// How long to wait before the next attempt after this answer; `None` if it stands. `headers`:
    /// those of the answer, which has a status among them only where that is all of it. `is_whole`:
    /// whether the request can be sent again.
    pub(crate) fn pause(
        &mut self,
        headers: &HeaderMap,
        is_whole: bool,
        now: Instant,
    ) -> Option<Duration> {
        let status = Status::from_headers(headers).map(|status| status.code());
        let pushback = headers.get(PUSHBACK).map(pushback);
        let is_failure = status.is_some_and(|status| self.policy.codes.contains(&status));
        if !is_failure {
            match pushback {
                Some(None) => self.budget.failed(),
                _ if status.is_none_or(|status| status == Code::Ok) => self.budget.succeeded(),
                _ => {}
            }
            return None;
        }
        self.budget.failed();
        if self.attempts >= self.policy.attempts || !is_whole || !self.budget.allows_more() {
            return None;
        }
        let pause = match pushback {
            Some(None) => return None,
            Some(Some(pause)) => {
                self.pauses = 0;
                pause
            }
            None => {
                self.pauses += 1;
                jittered(self.policy.pause_after(self.pauses))
            }
        };
        let until = now.checked_add(pause)?;
        // The caller would have given up by then, and learn less.
        self.deadline
            .is_none_or(|deadline| until < deadline)
            .then_some(pause)
    }
}

/// When the server wants to see the call again; `None`: not at all.
fn pushback(value: &HeaderValue) -> Option<Duration> {
    let millis = value.to_str().ok()?.parse::<u32>().ok()?;
    Some(Duration::from_millis(millis.into()))
}

fn jittered(pause: Duration) -> Duration {
    let chance = random() as f64 / u64::MAX as f64;
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance)
}

/// The time that a call has, as gRPC writes it.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3_600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// In the finest unit for which eight digits are enough, as gRPC wants it.
fn timeout_of(left: Duration) -> HeaderValue {
    const UNITS: [(&str, u128); 4] = [
        ("n", 1),
        ("u", 1_000),
        ("m", 1_000_000),
        ("S", 1_000_000_000),
    ];
    let nanos = left.as_nanos();
    let fits = UNITS.iter().find(|(_, size)| nanos / size < 100_000_000);
    let (unit, size) = fits.copied().unwrap_or(("S", 1_000_000_000));
    let text = format!("{}{unit}", (nanos / size).min(99_999_999));
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("0n"))
}

#[cfg(test)]
mod tests;
