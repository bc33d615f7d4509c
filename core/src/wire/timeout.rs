//! The value of `grpc-timeout`, as specified in "gRPC over HTTP/2".

use core::fmt::Write;
use core::time::Duration;

/// Number of digits of the longest value.
const MAX_DIGITS: usize = 8;
const MAX_VALUE: u128 = 99_999_999;

/// The units from the finest on, each with its length in nanoseconds.
const UNITS: [(char, u128); 6] = [
    ('n', 1),
    ('u', 1_000),
    ('m', 1_000_000),
    ('S', 1_000_000_000),
    ('M', 60_000_000_000),
    ('H', 3_600_000_000_000),
];

/// The value of a `grpc-timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Zero or negative: the deadline has passed before the call begins.
    Expired,
    /// The time until the deadline.
    After(Duration),
}

impl Timeout {
    /// Parses one to eight digits with a unit, `H`, `M`, `S`, `m`, `u` or `n`. A minus sign before them
    /// is accepted. `None` if the value is anything else; such a value is ignored.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (&unit, number) = value.split_last()?;
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == char::from(unit))?;
        let (negative, digits) = match number.split_first() {
            Some((b'-', digits)) => (true, digits),
            _ => (false, number),
        };
        if digits.is_empty() || digits.len() > MAX_DIGITS {
            return None;
        }
        let mut amount = 0_u128;
        for digit in digits {
            let digit = char::from(*digit).to_digit(10)?;
            amount = amount.saturating_mul(10).saturating_add(u128::from(digit));
        }
        if negative || amount == 0 {
            return Some(Self::Expired);
        }
        let nanos = amount.saturating_mul(*nanos);
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        let rest = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
        Some(Self::After(Duration::new(seconds, rest)))
    }
}

/// Formats a duration as `grpc-timeout`, in the finest unit that needs at most eight digits. It is
/// rounded up, so that no hop shortens a deadline. A longer duration than can be expressed becomes the
/// longest one.
#[must_use]
pub fn format_timeout(duration: Duration) -> heapless::String<9> {
    let nanos = duration.as_nanos();
    let (unit, amount) = UNITS
        .iter()
        .map(|(unit, size)| (*unit, nanos.div_ceil(*size)))
        .find(|(_, amount)| *amount <= MAX_VALUE)
        .unwrap_or(('H', MAX_VALUE));
    let mut text = heapless::String::new();
    // Eight digits and a unit always fit.
    let _ = write!(text, "{amount}{unit}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(millis: u64) -> Option<Timeout> {
        Some(Timeout::After(Duration::from_millis(millis)))
    }

    #[test]
    fn what_is_honoured() {
        assert_eq!(Timeout::parse(b"50m"), after(50));
        assert_eq!(Timeout::parse(b"05S"), after(5_000));
        assert_eq!(Timeout::parse(b"1H"), after(3_600_000));
        assert_eq!(Timeout::parse(b"2M"), after(120_000));
        let eight = Some(Timeout::After(Duration::from_nanos(8)));
        assert_eq!(Timeout::parse(b"8n"), eight);
        let longest = Some(Timeout::After(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(Timeout::parse(b"99999999H"), longest);
        for expired in ["0S", "-5S", "-0n", "00000000H"] {
            assert_eq!(Timeout::parse(expired.as_bytes()), Some(Timeout::Expired));
        }
    }

    #[test]
    fn what_means_nothing() {
        for value in [
            "",
            "S",
            "-S",
            "5",
            "5s",
            "5x",
            " 5S",
            "5S ",
            "+5S",
            "1_000m",
            "5.5S",
            "--5S",
            "100000000H",
            "9223372036854775807H",
            "-100000000H",
            "٥S",
        ] {
            assert_eq!(Timeout::parse(value.as_bytes()), None, "{value:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_never_shorter() {
        let mut nanos = 1_u64;
        while nanos < u64::MAX / 3 {
            for nanos in [nanos - 1, nanos, nanos + 1] {
                let duration = Duration::from_nanos(nanos);
                let text = format_timeout(duration);
                assert!(text.len() <= 9, "{text}");
                match Timeout::parse(text.as_bytes()) {
                    Some(Timeout::Expired) => assert_eq!(nanos, 0),
                    Some(Timeout::After(read)) => assert!(read >= duration, "{text}"),
                    None => panic!("{text}"),
                }
            }
            nanos = nanos * 2 + 1;
        }
        assert_eq!(format_timeout(Duration::ZERO), "0n");
        assert_eq!(format_timeout(Duration::from_millis(100)), "100000u");
        assert_eq!(format_timeout(Duration::MAX), "99999999H");
    }
}
