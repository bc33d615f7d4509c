//! What the demo has measured, for its summary.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use prost::Message;
use tonic::{Code, Status};

use super::screen::MiB;
use crate::words::code_name;

/// Calls by their end, messages and bytes.
#[derive(Debug)]
pub(super) struct Tally {
    begun: Instant,
    ends: BTreeMap<i32, u64>,
    messages: u64,
    sent: u64,
    received: u64,
    upload: Option<(u64, Duration)>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            ends: BTreeMap::new(),
            messages: 0,
            sent: 0,
            received: 0,
            upload: None,
        }
    }

    /// A call ended with `code`.
    pub(super) fn ended(&mut self, code: Code) {
        *self.ends.entry(code.into()).or_default() += 1;
    }

    /// The caller sent a message.
    pub(super) fn sent(&mut self, message: &impl Message) {
        self.sent_bytes(1, message.encoded_len() as u64);
    }

    /// The caller sent `messages` messages of `bytes` bytes together.
    pub(super) const fn sent_bytes(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.sent += bytes;
    }

    /// The caller received a message.
    pub(super) fn received(&mut self, message: &impl Message) {
        self.messages += 1;
        self.received += message.encoded_len() as u64;
    }

    /// The upload took `took` for `bytes` bytes.
    pub(super) const fn uploaded(&mut self, bytes: u64, took: Duration) {
        self.upload = Some((bytes, took));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls: u64 = self.ends.values().sum();
        let took = self.begun.elapsed().as_secs_f64();
        writeln!(f, "  {calls} calls through the gateway in {took:.1} s")?;
        write!(f, "    codes     ")?;
        for (place, (code, count)) in self.ends.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {}", code_name(Code::from(*code)))?;
        }
        writeln!(f)?;
        let (sent, received) = (self.sent, self.received);
        writeln!(
            f,
            "    messages  {}, {sent} bytes to the service, {received} bytes back",
            self.messages
        )?;
        if let Some((bytes, took)) = self.upload {
            let rate = megabytes_per_second(bytes, took);
            let took = took.as_secs_f64();
            write!(
                f,
                "    upload    {} in {took:.2} s: {rate:.0} MB/s",
                MiB(bytes)
            )?;
        }
        Ok(())
    }
}

/// The rate in 10^6 bytes a second.
pub(super) fn megabytes_per_second(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64().max(1e-9)
}

/// A status as one line: its code and its message.
pub(super) fn status_line(status: &Status) -> String {
    format!("{}: {}", code_name(status.code()), status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_calls_by_code() {
        let mut tally = Tally::new();
        for code in [Code::Ok, Code::Cancelled, Code::Ok] {
            tally.ended(code);
        }
        tally.sent_bytes(2, 30);
        let text = tally.to_string();
        assert!(text.contains("3 calls"), "{text}");
        assert!(text.contains("2 OK, 1 CANCELLED\n"), "{text}");
        assert!(
            text.contains("2, 30 bytes to the service, 0 bytes back"),
            "{text}"
        );
    }

    #[test]
    fn a_rate_is_in_powers_of_ten() {
        let rate = megabytes_per_second(5_000_000, Duration::from_millis(500));
        assert!((rate - 10.0).abs() < 1e-6);
    }
}
