//! Numbers of bytes, as people write them.

use std::{fmt, num::ParseIntError, str::FromStr};

const UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A number of bytes: `65536`, `64KiB`, `16MiB` or `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub usize);

impl FromStr for Bytes {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let with_unit = UNITS.iter().find_map(|(unit, size)| {
            let number = text.strip_suffix(unit)?;
            Some((number, *size))
        });
        let (number, unit) = with_unit.unwrap_or((text, 1));
        Ok(Self(number.parse::<usize>()?.saturating_mul(unit)))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_whole = |(_, size): &&(&str, usize)| self.0 > 0 && self.0.is_multiple_of(*size);
        match UNITS.iter().find(is_whole) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_largest_unit_that_fits() {
        for (text, bytes, shown) in [
            ("0", 0, "0"),
            ("1000", 1_000, "1000"),
            ("65536", 64 << 10, "64KiB"),
            ("2048KiB", 2 << 20, "2MiB"),
            ("1GiB", 1 << 30, "1GiB"),
        ] {
            let parsed: Bytes = text.parse().unwrap();
            assert_eq!((parsed.0, parsed.to_string().as_str()), (bytes, shown));
        }
        for bad in ["", "KiB", "1kib", "-1", "1.5MiB", "1 MiB"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad:?}");
        }
    }
}
