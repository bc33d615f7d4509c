//! What one identity may take of a gateway.

mod account;
mod bytes;
mod meter;

pub use self::bytes::Bytes;
pub(crate) use self::{
    account::{Accounts, ConnectionPermits, Permit},
    meter::{Waits, Watched},
};

use std::{fmt, num::NonZeroU32, str::FromStr};

use wildmatch::WildMatch;

use crate::auth::Identity;

/// What one identity may take: `IDENTITY KEY=NUMBER ...`.
///
/// Each identity that the pattern fits has all of it for itself. The keys:
///
/// | key | meaning |
/// | --- | --- |
/// | `calls` | calls that are open at once |
/// | `rate` | calls a second, on average |
/// | `burst` | calls at once on top of an idle second; without it, as `rate` |
/// | `tunnels` | tunnels that are open at once |
/// | `connections` | connections that are open at once |
/// | `waiting` | bytes that wait in its calls: sent by it and not taken by the tunnel, or come for it and not read; `KiB`, `MiB` or `GiB` may follow |
///
/// While as many bytes wait, new calls are refused. A call that was accepted is never held up by it:
/// what waits in one is bounded by its windows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Limit {
    who: WildMatch,
    /// Calls that are open at once.
    pub calls: Option<u32>,
    /// Calls a second.
    pub rate: Option<NonZeroU32>,
    /// Calls at once.
    pub burst: Option<NonZeroU32>,
    /// Tunnels that are open at once.
    pub tunnels: Option<u32>,
    /// Connections that are open at once.
    pub connections: Option<u32>,
    /// Bytes that wait in its calls.
    pub waiting: Option<Bytes>,
}

impl Limit {
    pub(crate) fn is_for(&self, identity: &Identity) -> bool {
        identity.names().iter().any(|name| self.who.matches(name))
    }
}

impl FromStr for Limit {
    type Err = BadLimit;

    fn from_str(text: &str) -> Result<Self, BadLimit> {
        let mut words = text.split_whitespace();
        let mut limit = Self {
            who: WildMatch::new(words.next().ok_or(BadLimit::Form)?),
            calls: None,
            rate: None,
            burst: None,
            tunnels: None,
            connections: None,
            waiting: None,
        };
        let mut any = false;
        for word in words {
            let (key, number) = word.split_once('=').ok_or(BadLimit::Form)?;
            any = true;
            if key == "waiting" {
                limit.waiting = Some(number.parse().map_err(|_| BadLimit::Number)?);
                continue;
            }
            let number: u32 = number.parse().map_err(|_| BadLimit::Number)?;
            let positive = || NonZeroU32::new(number).ok_or(BadLimit::Number);
            match key {
                "calls" => limit.calls = Some(number),
                "rate" => limit.rate = Some(positive()?),
                "burst" => limit.burst = Some(positive()?),
                "tunnels" => limit.tunnels = Some(number),
                "connections" => limit.connections = Some(number),
                _ => return Err(BadLimit::Key),
            }
        }
        match any && (limit.burst.is_none() || limit.rate.is_some()) {
            true => Ok(limit),
            false => Err(BadLimit::Form),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.who.fmt(f)?;
        for (key, number) in [
            ("calls", self.calls),
            ("rate", self.rate.map(NonZeroU32::get)),
            ("burst", self.burst.map(NonZeroU32::get)),
            ("tunnels", self.tunnels),
            ("connections", self.connections),
        ] {
            if let Some(number) = number {
                write!(f, " {key}={number}")?;
            }
        }
        match self.waiting {
            Some(waiting) => write!(f, " waiting={waiting}"),
            None => Ok(()),
        }
    }
}

/// Why a text is not a [`Limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadLimit {
    /// It is not of this form.
    Form,
    /// A key is unknown.
    Key,
    /// A number is none.
    Number,
}

impl fmt::Display for BadLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "not a limit; a burst needs a rate",
            Self::Key => {
                "an unknown key; there are calls, rate, burst, tunnels, connections and waiting"
            }
            Self::Number => {
                "not a number; a rate and a burst are at least 1, and KiB, MiB or GiB may follow \
                 what is waiting"
            }
        })?;
        f.write_str("; expected IDENTITY KEY=NUMBER ..., as: token:ci calls=100 rate=50 burst=200")
    }
}

impl std::error::Error for BadLimit {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_taken_as_written() {
        for good in [
            "* calls=0",
            "token:ci calls=100 rate=50 burst=200 tunnels=4 connections=16 waiting=16MiB",
        ] {
            assert_eq!(good.parse::<Limit>().unwrap().to_string(), good);
        }
        for (bad, why) in [
            ("", BadLimit::Form),
            ("*", BadLimit::Form),
            ("* calls", BadLimit::Form),
            ("* burst=5", BadLimit::Form),
            ("* call=5", BadLimit::Key),
            ("* calls=many", BadLimit::Number),
            ("* rate=0", BadLimit::Number),
            ("* waiting=16MB", BadLimit::Number),
        ] {
            assert_eq!(bad.parse::<Limit>(), Err(why), "{bad:?}");
        }
    }
}
