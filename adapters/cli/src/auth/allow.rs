//! Which identities may serve and call which names.

use std::{fmt, str::FromStr};

use wildmatch::WildMatch;

use super::Identity;
use crate::name::Name;

/// What an identity may do with names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Be the agent of that name.
    Serve,
    /// Call the agent of that name.
    Call,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serve => "serve",
            Self::Call => "call",
        })
    }
}

/// A rule: `IDENTITY serve NAMES` or `IDENTITY call NAMES`.
///
/// The identity is `token:NAME` or `cert:SAN`, and names have commas between them. In both `*`
/// stands for any characters, and `?` for one. What no rule allows is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Allow {
    who: WildMatch,
    verb: Verb,
    names: Vec<WildMatch>,
}

impl Allow {
    pub(super) fn allows(&self, identity: &Identity, verb: Verb, name: &Name) -> bool {
        self.verb == verb
            && identity.names().iter().any(|who| self.who.matches(who))
            && self.names.iter().any(|names| names.matches(name.as_str()))
    }
}

impl FromStr for Allow {
    type Err = BadAllow;

    fn from_str(text: &str) -> Result<Self, BadAllow> {
        let mut words = text.split_whitespace();
        let (Some(who), Some(verb), Some(names), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(BadAllow::Form);
        };
        let is_known = ["token:", "cert:"].iter().any(|kind| {
            let rest = who.strip_prefix(kind);
            rest.is_some_and(|rest| !rest.is_empty())
        });
        if who != "*" && !is_known {
            return Err(BadAllow::Identity);
        }
        let verb = match verb {
            "serve" => Verb::Serve,
            "call" => Verb::Call,
            _ => return Err(BadAllow::Form),
        };
        let is_pattern = |byte: u8| byte.is_ascii_alphanumeric() || b"-*?".contains(&byte);
        let names = names.split(',').map(|names| {
            let is_good = !names.is_empty() && names.bytes().all(is_pattern);
            match is_good {
                true => Ok(WildMatch::new(&names.to_ascii_lowercase())),
                false => Err(BadAllow::Names),
            }
        });
        Ok(Self {
            who: WildMatch::new(who),
            verb,
            names: names.collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names.iter().map(ToString::to_string).collect();
        write!(f, "{} {} {}", self.who, self.verb, names.join(","))
    }
}

/// Why a text is not an [`Allow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadAllow {
    /// It is not of this form.
    Form,
    /// What stands for the identity is none.
    Identity,
    /// What stands for the names is none.
    Names,
}

impl fmt::Display for BadAllow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "not a rule",
            Self::Identity => "the identity must be token:NAME, cert:SAN or *",
            Self::Names => "names are DNS labels, with , between them; * and ? stand for others",
        })?;
        f.write_str("; expected IDENTITY serve NAMES or IDENTITY call NAMES, as token:ci call *")
    }
}

impl std::error::Error for BadAllow {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_allows_what_it_says_and_nothing_else() {
        let rule: Allow = "token:ci call Home,pi-*".parse().unwrap();
        assert_eq!(rule.to_string(), "token:ci call home,pi-*");
        let (ci, other) = (Identity::of_token("ci"), Identity::of_token("ci2"));
        for (identity, verb, name, allowed) in [
            (&ci, Verb::Call, "home", true),
            (&ci, Verb::Call, "pi-4", true),
            (&ci, Verb::Call, "pi", false),
            (&ci, Verb::Call, "homes", false),
            (&ci, Verb::Serve, "home", false),
            (&other, Verb::Call, "home", false),
        ] {
            let name = name.parse().unwrap();
            assert_eq!(
                rule.allows(identity, verb, &name),
                allowed,
                "{identity} {name}"
            );
        }
        let any: Allow = "* serve *".parse().unwrap();
        assert!(any.allows(&other, Verb::Serve, &"x".parse().unwrap()));
    }

    #[test]
    fn what_is_no_rule_is_told_with_what_is_expected() {
        for (bad, why) in [
            ("", BadAllow::Form),
            ("token:ci", BadAllow::Form),
            ("token:ci call", BadAllow::Form),
            ("token:ci calls a", BadAllow::Form),
            ("token:ci call a b", BadAllow::Form),
            ("ci call a", BadAllow::Identity),
            ("token: call a", BadAllow::Identity),
            ("token:ci call a,", BadAllow::Names),
            ("token:ci call a.b", BadAllow::Names),
        ] {
            assert_eq!(bad.parse::<Allow>(), Err(why), "{bad:?}");
        }
    }
}
