//! Tokens: of a gateway the ones that it accepts, of everybody else the one that is presented.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use http::{HeaderMap, HeaderValue};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{AUTHORIZATION, Identity};
use crate::tls::{FileError, Problem, read_text};

/// The shortest token, in bytes: one of 16 random characters cannot be guessed.
const SHORTEST: usize = 16;
/// The longest token, in bytes.
const LONGEST: usize = 512;
/// The most tokens of a gateway.
const MOST: usize = 10_000;

/// A token. It is compared in constant time and never printed.
#[derive(Clone)]
pub(crate) struct Secret(Arc<str>);

impl Secret {
    pub(crate) fn new(text: &str) -> Result<Self, &'static str> {
        // What RFC 6750 allows behind `Bearer`.
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if text.len() < SHORTEST {
            return Err("the token is too short; expected at least 16 characters");
        }
        if text.len() > LONGEST {
            return Err("the token is too long; expected at most 512 characters");
        }
        match text.bytes().all(is_token) {
            true => Ok(Self(text.into())),
            false => Err(
                "the token has characters that no token has; expected letters, digits and -._~+/=",
            ),
        }
    }

    /// Whether `Bearer TOKEN` is this one.
    pub(crate) fn is_presented_by(&self, value: &HeaderValue) -> bool {
        let token = bearer(value.as_bytes());
        token.is_some_and(|token| self.0.as_bytes().ct_eq(token).into())
    }

    /// The metadata that presents it.
    pub(super) fn header(&self) -> HeaderValue {
        let value = HeaderValue::from_str(&format!("Bearer {}", self.0));
        // The characters of a token are those of a header.
        let mut value = value.unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

/// What stands behind `Bearer`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
    is_bearer.then(|| token.trim_ascii())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where the tokens come from that a gateway accepts.
#[derive(Clone, PartialEq, Eq)]
pub enum TokensFrom {
    /// A file with a line `NAME TOKEN` for each.
    File(PathBuf),
    /// The same text.
    Text(String),
}

impl fmt::Debug for TokensFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_) => f.write_str("Text(..)"),
        }
    }
}

/// The tokens that a gateway accepts.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens(Vec<(Secret, Identity)>);

impl Tokens {
    pub(super) fn load(from: &TokensFrom) -> Result<Self, FileError> {
        match from {
            TokensFrom::File(path) => Self::parse(&read_text(path)?, path),
            TokensFrom::Text(text) => Self::parse(text, Path::new("GRPCTUNNEL_TOKENS")),
        }
    }

    /// Reads lines of `NAME TOKEN`. Several of one name are valid at once; what begins with `#` is
    /// a comment.
    fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        let mut tokens = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let failed = |why| FileError::new(path, Problem::Line(at + 1, why));
            let mut words = line.split_whitespace();
            let (Some(name), Some(token), None) = (words.next(), words.next(), words.next()) else {
                return Err(failed("expected NAME TOKEN, with a blank between them"));
            };
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if name.len() > 63 || !name.bytes().all(is_name) {
                return Err(failed(
                    "the name of a token has 1 to 63 letters, digits and -._ in it",
                ));
            }
            let secret = Secret::new(token).map_err(failed)?;
            let taken = tokens.iter().any(|(other, of): &(Secret, Identity)| {
                bool::from(other.0.as_bytes().ct_eq(token.as_bytes())) && !of.is_token(name)
            });
            if taken {
                return Err(failed("another name has this token already"));
            }
            tokens.push((secret, Identity::of_token(name)));
            if tokens.len() > MOST {
                return Err(failed("there are more than 10,000 tokens"));
            }
        }
        match tokens.is_empty() {
            true => Err(FileError::new(
                path,
                Problem::NoToken("it holds no token; expected lines of NAME TOKEN"),
            )),
            false => Ok(Self(tokens)),
        }
    }

    /// Whom a token stands for. It is compared with every token, each time all of it.
    fn find(&self, presented: &[u8]) -> Option<&Identity> {
        let mut found = 0_u32;
        let mut at = 0_u32;
        for (secret, _) in &self.0 {
            at = at.saturating_add(1);
            let equal: Choice = secret.0.as_bytes().ct_eq(presented);
            found.conditional_assign(&at, equal);
        }
        let found = usize::try_from(found).ok()?.checked_sub(1)?;
        self.0.get(found).map(|(_, identity)| identity)
    }

    /// Whether a token of this name is accepted.
    pub(super) fn has(&self, identity: &Identity) -> bool {
        self.0.iter().any(|(_, known)| identity.shares_token(known))
    }

    /// Whom the metadata of a request stands for; `None` if it presents no token.
    pub(super) fn presented(&self, headers: &HeaderMap) -> Option<Result<&Identity, WrongToken>> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return Some(Err(WrongToken::Several));
        }
        let Some(token) = bearer(value.as_bytes()) else {
            return Some(Err(WrongToken::Scheme));
        };
        Some(self.find(token).ok_or(WrongToken::Unknown))
    }
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrongToken {
    Several,
    Scheme,
    Unknown,
}

impl fmt::Display for WrongToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Several => write!(f, "{AUTHORIZATION} may be given once"),
            Self::Scheme => write!(f, "{AUTHORIZATION} must be: Bearer TOKEN"),
            Self::Unknown => f.write_str("the token is not valid"),
        }
    }
}

/// Where the token comes from that is presented to a gateway.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A file that holds it and nothing else.
    File(PathBuf),
    /// The text itself, from the environment variable of this name.
    Text(String, &'static str),
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_, variable) => f.debug_tuple("Text").field(variable).finish(),
        }
    }
}

impl TokenSource {
    pub(crate) fn load(&self) -> Result<Secret, FileError> {
        let (text, path) = match self {
            Self::File(path) => (read_text(path)?, &**path),
            Self::Text(text, variable) => (text.clone(), Path::new(variable)),
        };
        let failed = |why| FileError::new(path, Problem::NoToken(why));
        // Editors and `echo` end a file with a newline.
        let token = text.strip_suffix('\n').unwrap_or(&text);
        let token = token.strip_suffix('\r').unwrap_or(token);
        if token.is_empty() {
            return Err(failed("it is empty; expected one token"));
        }
        if token.contains('\n') {
            return Err(failed(
                "it has several lines; expected one token and nothing else",
            ));
        }
        Secret::new(token).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef";
    const TWO: &str = "fedcba9876543210";

    fn tokens(text: &str) -> Result<Tokens, String> {
        Tokens::parse(text, Path::new("tokens")).map_err(|error| error.to_string())
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let value = |text: &&str| {
            let name = http::HeaderName::from_static(AUTHORIZATION);
            (name, HeaderValue::from_str(text).unwrap())
        };
        values.iter().map(value).collect()
    }

    #[test]
    fn several_tokens_of_a_name_are_valid_at_once() {
        let tokens = tokens(&format!("# rotating\nci {ONE}\n\nci\t{TWO}\r\n")).unwrap();
        for token in [ONE, TWO] {
            let headers = headers(&[&format!("bearer {token}")]);
            let found = tokens.presented(&headers).unwrap().unwrap();
            assert_eq!(found.to_string(), "token:ci");
        }
    }

    #[test]
    fn everything_but_a_whole_token_is_refused() {
        let tokens = tokens(&format!("ci {ONE}")).unwrap();
        assert!(tokens.presented(&HeaderMap::new()).is_none());
        let bearer = format!("Bearer {ONE}");
        for (values, why) in [
            (&["Bearer 0123456789abcde"][..], WrongToken::Unknown),
            (&["Bearer 0123456789abcdef0"], WrongToken::Unknown),
            (&["Bearer "], WrongToken::Unknown),
            (&[ONE], WrongToken::Scheme),
            (&["Basic 0123456789abcdef"], WrongToken::Scheme),
            (&[&*bearer, &bearer], WrongToken::Several),
        ] {
            let found = tokens.presented(&headers(values)).unwrap();
            assert_eq!(found.unwrap_err(), why, "{values:?}");
        }
    }

    #[test]
    fn a_line_that_is_no_token_is_told_by_its_number() {
        for (text, why) in [
            ("", "no token"),
            ("ci", "line 1: expected NAME TOKEN"),
            ("ci short", "line 1: the token is too short"),
            ("a b c", "line 1: expected NAME TOKEN"),
            ("c/i 0123456789abcdef", "line 1: the name of a token"),
            (
                "ci 0123456789abcdef\nx 0123456789abcdef",
                "line 2: another name",
            ),
            (
                "ci 0123456789abcd\u{e9}f",
                "line 1: the token has characters",
            ),
        ] {
            let said = tokens(text).unwrap_err();
            assert!(said.contains(why), "{text:?}: {said}");
            assert!(!said.contains(ONE), "{said}");
        }
    }
}
