//! The value of `grpc-timeout`, as specified in "gRPC over HTTP/2".

use core::time::Duration;

/// Number of digits of the longest value.
const MAX_DIGITS: usize = 8;
const MAX_VALUE: u32 = 99_999_999;

/// The units from the finest on, each with its length in nanoseconds.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
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
        let (unit, number) = value.split_last()?;
        let (_, nanos) = UNITS.iter().find(|(name, _)| name == unit)?;
        let (negative, digits) = match number.split_first() {
            Some((b'-', digits)) => (true, digits),
            _ => (false, number),
        };
        if digits.is_empty() || digits.len() > MAX_DIGITS {
            return None;
        }
        let mut amount = 0_u32;
        for digit in digits {
            let digit = char::from(*digit).to_digit(10)?;
            amount = amount.saturating_mul(10).saturating_add(digit);
        }
        if negative || amount == 0 {
            return Some(Self::Expired);
        }
        Some(Self::After(
            Duration::from_nanos(*nanos).saturating_mul(amount),
        ))
    }
}

/// Formats a duration as `grpc-timeout`, in the finest unit that needs at most eight digits. It is
/// rounded up, so that no hop shortens a deadline. A longer duration than can be expressed becomes the
/// longest one.
#[must_use]
pub fn format_timeout(duration: Duration) -> heapless::String<9> {
    let (unit, mut amount) = in_unit(duration);
    // Without `core::fmt`, which would be a twentieth of a small program. From the end on; there is
    // room for all digits of `MAX_VALUE`.
    let mut text = heapless::Vec::<u8, 9>::new();
    let _ = text.push(unit);
    loop {
        let _ = text.push(b'0'.saturating_add((amount % 10) as u8));
        amount /= 10;
        if amount == 0 {
            break;
        }
    }
    text.reverse();
    heapless::String::from_utf8(text).unwrap_or_default()
}

/// The finest unit that will do, and how many of it.
fn in_unit(duration: Duration) -> (u8, u32) {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if seconds == 0 && nanos <= MAX_VALUE {
        return (b'n', nanos);
    }
    // What is rounded up twice is the same as what is rounded up once, and fits 64 bits.
    let micros = seconds
        .saturating_mul(1_000_000)
        .saturating_add(u64::from(nanos.div_ceil(1_000)));
    UNITS
        .iter()
        .skip(1)
        .filter_map(|(unit, nanos)| {
            let amount = micros.div_ceil(*nanos / 1_000);
            Some((*unit, u32::try_from(amount).ok()?))
        })
        .find(|(_, amount)| *amount <= MAX_VALUE)
        .unwrap_or((b'H', MAX_VALUE))
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
                let read = match Timeout::parse(text.as_bytes()) {
                    Some(Timeout::After(read)) => Some(read),
                    _ => None,
                };
                let enough = read.is_some_and(|read| read >= duration);
                assert_eq!(enough, nanos != 0, "{text}");
            }
            nanos = nanos * 2 + 1;
        }
        assert_eq!(format_timeout(Duration::ZERO), "0n");
        assert_eq!(format_timeout(Duration::from_nanos(1)), "1n");
        assert_eq!(
            format_timeout(Duration::from_nanos(99_999_999)),
            "99999999n"
        );
        assert_eq!(format_timeout(Duration::from_nanos(100_000_001)), "100001u");
        assert_eq!(format_timeout(Duration::from_millis(100)), "100000u");
        assert_eq!(
            format_timeout(Duration::from_nanos(99_999_999_000_001)),
            "100000S"
        );
        assert_eq!(format_timeout(Duration::from_secs(100_000)), "100000S");
        assert_eq!(format_timeout(Duration::from_secs(100_000_000)), "1666667M");
        assert_eq!(format_timeout(Duration::new(5_999_999_940, 1)), "1666667H");
        assert_eq!(format_timeout(Duration::MAX), "99999999H");
    }
}
