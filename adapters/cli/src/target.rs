//! The way that a call names: one agent, or several gateways and agents one after the other.

use std::{fmt, str::FromStr};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{HOPS, PREFIX, TARGET, name::Name};

/// The most gateways that a call may pass.
const MAX_HOPS: u32 = 16;
/// The longest way, in bytes.
const MAX_TARGET: usize = 1_024;

/// One step of a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the agent of this name.
    Agent(Name),
    /// Here: the call has arrived, and goes no further.
    Here,
}

impl FromStr for Step {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        match text {
            "." => Ok(Self::Here),
            name => name.parse().map(Self::Agent).map_err(|_| BadTarget),
        }
    }
}

/// What `x-tunnel-target` says: names of agents with `/` between them, the next one first.
///
/// A gateway takes the first off and sends the rest on, so `hop/name` leads to the agent `hop`,
/// whose local server is another gateway, and there to `name`. The step `.` means "here": the
/// gateway that finds it first answers itself, and does not route the call again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The next step.
    pub step: Step,
    /// What is left behind it.
    pub rest: Option<String>,
}

impl Target {
    /// The agent that it names first.
    pub(crate) fn first(&self) -> Option<Name> {
        match &self.step {
            Step::Agent(name) => Some(name.clone()),
            Step::Here => None,
        }
    }
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        if text.len() > MAX_TARGET || text.split('/').any(|step| step.parse::<Step>().is_err()) {
            return Err(BadTarget);
        }
        let (step, rest) = match text.split_once('/') {
            Some((step, rest)) => (step, Some(rest.to_owned())),
            None => (text, None),
        };
        Ok(Self {
            step: step.parse()?,
            rest,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Step::Agent(name) => name.fmt(f)?,
            Step::Here => f.write_str(".")?,
        }
        match &self.rest {
            Some(rest) => write!(f, "/{rest}"),
            None => Ok(()),
        }
    }
}

/// Why a text is not a [`Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTarget;

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected the name of an agent, or names with / between them; a name is a DNS label"
        )
    }
}

impl std::error::Error for BadTarget {}

/// Takes every header of ours out of a call, and says where the call wants to go.
pub(crate) fn take(headers: &mut HeaderMap) -> Result<(Option<Target>, u32), Refused> {
    let several = |name| headers.get_all(name).iter().nth(1).is_some();
    if several(TARGET) || several(HOPS) {
        return Err(Refused::Unclear);
    }
    let target = match headers.get(TARGET).map(HeaderValue::to_str) {
        None => None,
        Some(Ok(text)) => Some(text.parse().map_err(Refused::Target)?),
        Some(Err(_)) => return Err(Refused::Target(BadTarget)),
    };
    let hops = match headers.get(HOPS).map(HeaderValue::to_str) {
        None => 0,
        Some(Ok(text)) => text.parse().map_err(|_| Refused::Unclear)?,
        Some(Err(_)) => return Err(Refused::Unclear),
    };
    if hops >= MAX_HOPS {
        return Err(Refused::Loop);
    }
    strip(headers, &[]);
    Ok((target, hops))
}

/// Writes what the next gateway wants to know: the rest of the way, and the gateways passed.
pub(crate) fn put(headers: &mut HeaderMap, rest: Option<&str>, hops: u32) {
    if let Some(Ok(rest)) = rest.map(HeaderValue::from_str) {
        headers.insert(TARGET, rest);
    }
    headers.insert(HOPS, hops.into());
}

/// Removes the headers of ours, but not those of `kept`.
pub(crate) fn strip(headers: &mut HeaderMap, kept: &[&str]) {
    let is_ours = |name: &&HeaderName| {
        let name = name.as_str();
        name.starts_with(PREFIX) && !kept.contains(&name)
    };
    let ours: Vec<HeaderName> = headers.keys().filter(is_ours).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Why a call with these headers goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The way is not one.
    Target(BadTarget),
    /// It says the same thing twice, or no number where one is due.
    Unclear,
    /// It passed too many gateways.
    Loop,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(bad) => write!(f, "the metadata {TARGET} is no way to an agent: {bad}"),
            Self::Unclear => write!(
                f,
                "the metadata {TARGET} and {HOPS} may be given once each, the latter as a number"
            ),
            Self::Loop => write!(
                f,
                "the call passed {MAX_HOPS} gateways; the local server of some agent leads back \
                 to an earlier gateway"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static [u8])| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_bytes(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_way_is_consumed_from_the_left() {
        let step = |text: &str| {
            let Target { step, rest } = text.parse().unwrap();
            (step, rest)
        };
        let agent = |name: &str| Step::Agent(name.parse().unwrap());
        assert_eq!(step("pi"), (agent("pi"), None));
        assert_eq!(step("Hop/Name"), (agent("hop"), Some("Name".to_owned())));
        assert_eq!(step("a/b/."), (agent("a"), Some("b/.".to_owned())));
        assert_eq!(step("."), (Step::Here, None));
        for bad in ["", "/", "a/", "/a", "a//b", "..", "a b", "a/b c"] {
            assert_eq!(bad.parse::<Target>(), Err(BadTarget), "{bad:?}");
        }
        let long = "a/".repeat(MAX_TARGET / 2) + "a";
        assert_eq!(long.parse::<Target>(), Err(BadTarget));
    }

    #[test]
    fn headers_of_ours_are_taken_out_and_no_others() {
        let mut headers = headers(&[
            (TARGET, b"a/b"),
            (HOPS, b"3"),
            ("x-tunnel-name", b"me"),
            ("x-tunnel-other", b"1"),
            ("x-mine", b"1"),
        ]);
        let (target, hops) = take(&mut headers).unwrap();
        assert_eq!(target.unwrap().to_string(), "a/b");
        assert_eq!(hops, 3);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-mine"]);
        put(&mut headers, Some("b"), hops + 1);
        assert_eq!(headers[TARGET], "b");
        assert_eq!(headers[HOPS], "4");
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for (pairs, refused) in [
            (&[(TARGET, &b"a"[..]), (TARGET, b"b")][..], Refused::Unclear),
            (&[(TARGET, b"\xff")], Refused::Target(BadTarget)),
            (&[(HOPS, b"1"), (HOPS, b"2")], Refused::Unclear),
            (&[(HOPS, b"-1")], Refused::Unclear),
            (&[(HOPS, b"16")], Refused::Loop),
        ] {
            assert_eq!(take(&mut headers(pairs)).unwrap_err(), refused);
        }
    }
}
