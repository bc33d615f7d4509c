//! The name of an agent, as callers give it.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    str::FromStr,
    sync::Arc,
};

/// Length limit of a [`Name`], in bytes, as DNS has it for a label.
pub const MAX_NAME: usize = 63;

/// What generated names begin with; 8 hexadecimal digits follow.
const GENERATED: &str = "agent-";

/// The name of an agent: a DNS label, so that it can stand in a host name.
///
/// It has 1 to 63 letters, digits and hyphens, with no hyphen at either end. Upper and lower case
/// are the same; it is written in lower case. It travels in the metadata `x-tunnel-name` of a
/// tunnel's opening, and in a [`Target`](crate::target::Target).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name for an agent that gave none.
    pub(crate) fn generated() -> Self {
        Self(format!("{GENERATED}{:08x}", random() & 0xffff_ffff).into())
    }

    /// Whether it has the form of a generated one.
    pub(crate) fn is_generated(&self) -> bool {
        let number = self.0.strip_prefix(GENERATED);
        let is_digit = |byte: u8| byte.is_ascii_hexdigit();
        number.is_some_and(|number| number.len() == 8 && number.bytes().all(is_digit))
    }
}

/// A number that differs each time. The keys of a hasher come from the system's randomness.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_label = !text.is_empty()
            && text.len() <= MAX_NAME
            && text.bytes().all(is_inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        match is_label {
            true => Ok(Self(text.to_ascii_lowercase().into())),
            false => Err(BadName),
        }
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
            "expected a DNS label: 1 to {MAX_NAME} letters, digits and hyphens, with no hyphen at \
             either end"
        )
    }
}

impl std::error::Error for BadName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_in_any_case() {
        for (good, name) in [("a", "a"), ("pi-4", "pi-4"), ("Home7", "home7"), ("0", "0")] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), name);
        }
        for bad in [
            "",
            "a b",
            "a,b",
            "a.b",
            "a/b",
            "a_b",
            "-a",
            "a-",
            "größe",
            "127.0.0.1:5",
            "\u{7f}",
        ] {
            assert_eq!(bad.parse::<Name>(), Err(BadName), "{bad:?}");
        }
    }

    #[test]
    fn the_length_limit_is_inclusive() {
        assert!("n".repeat(MAX_NAME).parse::<Name>().is_ok());
        assert!("n".repeat(MAX_NAME + 1).parse::<Name>().is_err());
    }

    #[test]
    fn generated_names_are_names_and_differ() {
        let (one, two) = (Name::generated(), Name::generated());
        assert_ne!(one, two);
        assert!(one.is_generated());
        assert_eq!(one.as_str().parse(), Ok(one));
        for other in ["agent-home", "agent-0123456g", "agent-012345678", "0123"] {
            assert!(!other.parse::<Name>().unwrap().is_generated(), "{other}");
        }
    }
}
