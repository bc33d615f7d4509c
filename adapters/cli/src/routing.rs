//! Which agent a call goes to that does not say so.

use std::{fmt, str::FromStr};

use http::uri::Authority;

use crate::name::Name;

/// How a gateway finds the agent of a call that has no `x-tunnel-target`. The first that applies
/// counts: the suffix, a rule, the default, the only agent that is connected.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    /// The authority `NAME.SUFFIX` means the agent `NAME`.
    pub suffix: Option<Suffix>,
    /// Rules by service; the longest prefix that fits counts.
    pub rules: Vec<Rule>,
    /// The agent of everything else.
    pub default: Option<Name>,
}

impl Routing {
    /// The agent that the authority of a call names.
    ///
    /// # Errors
    ///
    /// The label in front of the suffix, when it is no name.
    pub(crate) fn by_authority<'a>(
        &self,
        authority: Option<&'a Authority>,
    ) -> Result<Option<Name>, &'a str> {
        let (Some(suffix), Some(authority)) = (&self.suffix, authority) else {
            return Ok(None);
        };
        match suffix.label(authority.host()) {
            Some(label) => label.parse().map(Some).map_err(|_| label),
            None => Ok(None),
        }
    }

    /// The agent that a rule or the default gives a call of this path.
    pub(crate) fn by_service(&self, path: &str) -> Option<&Name> {
        let fits = self.rules.iter().filter(|rule| rule.prefix.fits(path));
        let rule = fits.max_by_key(|rule| rule.prefix.len());
        rule.map(|rule| &rule.name).or(self.default.as_ref())
    }
}

/// The host names of agents: `tun.example.com` for `NAME.tun.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suffix(String);

impl Suffix {
    /// What stands in front of the suffix and its dot.
    fn label<'h>(&self, host: &'h str) -> Option<&'h str> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let at = host.len().checked_sub(self.0.len())?;
        let (label, suffix) = host.split_at_checked(at)?;
        let label = label.strip_suffix('.')?;
        suffix.eq_ignore_ascii_case(&self.0).then_some(label)
    }
}

impl FromStr for Suffix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let text = text.trim_start_matches('.').trim_end_matches('.');
        let is_label = |label: &str| label.parse::<Name>().is_ok();
        match text.split('.').all(is_label) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err("expected a domain, such as tun.example.com"),
        }
    }
}

/// The beginning of `package.Service/Method`, which ends where a name in it ends: `shop` and
/// `shop.` fit `shop.Cart/Add` and not `shopping.Cart/Add`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// Whether it is the beginning of a path, with or without the slash in front.
    #[must_use]
    pub fn fits(&self, path: &str) -> bool {
        let path = path.strip_prefix('/').unwrap_or(path);
        let Some(rest) = path.strip_prefix(&self.0) else {
            return false;
        };
        self.0.ends_with(['.', '/']) || rest.is_empty() || rest.starts_with(['.', '/'])
    }

    /// How long it is: of several that fit, the longest counts.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromStr for Prefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let prefix = text.strip_prefix('/').unwrap_or(text);
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
        match !prefix.is_empty() && prefix.bytes().all(is_part) {
            true => Ok(Self(prefix.to_owned())),
            false => Err(BadPrefix),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a [`Prefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPrefix;

impl fmt::Display for BadPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected the beginning of package.Service/Method")
    }
}

impl std::error::Error for BadPrefix {}

/// Services whose calls go to one agent: `PREFIX=NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    prefix: Prefix,
    name: Name,
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let (prefix, name) = text.split_once('=').ok_or(BadRule)?;
        Ok(Self {
            prefix: prefix.parse().map_err(|_| BadRule)?,
            name: name.parse().map_err(|_| BadRule)?,
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.prefix, self.name)
    }
}

/// Why a text is not a [`Rule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRule;

impl fmt::Display for BadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected PREFIX=NAME: the beginning of package.Service/Method, and an agent's name",
        )
    }
}

impl std::error::Error for BadRule {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_names_an_agent_in_front_of_the_suffix() {
        let routing = Routing {
            suffix: Some("Tun.example.com".parse().unwrap()),
            ..Routing::default()
        };
        for (authority, found) in [
            ("pi.tun.example.com", Ok(Some("pi"))),
            ("PI.TUN.Example.com:443", Ok(Some("pi"))),
            ("pi.tun.example.com.", Ok(Some("pi"))),
            ("tun.example.com", Ok(None)),
            ("example.com", Ok(None)),
            ("pitun.example.com", Ok(None)),
            ("a.b.tun.example.com", Err("a.b")),
            ("127.0.0.1:7000", Ok(None)),
        ] {
            let authority: Authority = authority.parse().unwrap();
            let name = routing.by_authority(Some(&authority));
            let name = name.map(|name| name.map(|name| name.to_string()));
            assert_eq!(
                name,
                found.map(|found| found.map(str::to_owned)),
                "{authority}"
            );
        }
        assert_eq!(routing.by_authority(None), Ok(None));
    }

    #[test]
    fn the_longest_prefix_counts_and_ends_where_a_name_ends() {
        let rule = |text: &str| text.parse::<Rule>().unwrap();
        let routing = Routing {
            rules: ["shop=a", "shop.Cart=b", "/shop.Cart/Add=c", "test.=d"]
                .map(rule)
                .into(),
            default: "z".parse().ok(),
            ..Routing::default()
        };
        for (path, name) in [
            ("/shop.Till/Pay", "a"),
            ("/shop.Cart/Drop", "b"),
            ("/shop.Cart/Add", "c"),
            ("/shop.Cart/AddAll", "b"),
            ("/shopping.Cart/Add", "z"),
            ("/test.A/B", "d"),
            ("/tests.A/B", "z"),
        ] {
            assert_eq!(routing.by_service(path).unwrap().as_str(), name, "{path}");
        }
        for bad in ["", "a", "=a", "a=", "a=b c", "a b=c"] {
            assert_eq!(bad.parse::<Rule>(), Err(BadRule), "{bad:?}");
        }
    }
}
