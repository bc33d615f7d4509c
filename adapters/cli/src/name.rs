//! The name of an agent, as callers give it.

use std::{fmt, str::FromStr, sync::Arc};

/// Length limit of a [`Name`], in bytes.
pub const MAX_NAME: usize = 128;

/// The name of an agent: 1 to 128 visible ASCII characters, no space and no comma.
///
/// It travels in the metadata `x-tunnel-name` of a tunnel's opening and in the metadata
/// `x-tunnel-target` of a call; upper and lower case differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let visible = |byte: u8| byte.is_ascii_graphic() && byte != b',';
        if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(visible) {
            return Err(BadName);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected 1 to {MAX_NAME} visible ASCII characters without space and comma"
        )
    }
}

impl std::error::Error for BadName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_visible_ascii() {
        for good in ["a", "pi-4.kitchen", "127.0.0.1:50051", "[::1]:7", "A_b/c"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a,b", "tab\t", "größe", "\u{7f}"] {
            assert_eq!(bad.parse::<Name>(), Err(BadName), "{bad:?}");
        }
    }

    #[test]
    fn the_length_limit_is_inclusive() {
        assert!("n".repeat(MAX_NAME).parse::<Name>().is_ok());
        assert!("n".repeat(MAX_NAME + 1).parse::<Name>().is_err());
    }
}
