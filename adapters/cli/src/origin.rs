//! The address of an HTTP/2 server.

use std::{fmt, path::Path, str::FromStr};

use http::uri::{Authority, PathAndQuery, Scheme, Uri};

use crate::address::unix_path;

const DEFAULT_PORT: u16 = 80;
const DEFAULT_TLS_PORT: u16 = 443;

/// Where an HTTP/2 server is: `https://HOST:PORT` with TLS, without a port at 443; in plaintext
/// `http://HOST:PORT`, without a port at 80, or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    authority: Authority,
    unix: Option<Box<Path>>,
    tls: bool,
}

impl Origin {
    /// The host and port, as they go into `:authority`; `localhost` for a Unix socket.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The path of its Unix socket, if that is how it is reached.
    #[must_use]
    pub fn unix(&self) -> Option<&Path> {
        self.unix.as_deref()
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    pub(crate) const fn scheme(&self) -> Scheme {
        match self.tls {
            true => Scheme::HTTPS,
            false => Scheme::HTTP,
        }
    }

    /// Whether it is on this machine, where nobody else reads what passes.
    pub(crate) fn is_local(&self) -> bool {
        let host = self.authority.host();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let address = address.parse::<std::net::IpAddr>();
        let is_loopback = address.is_ok_and(|address| address.to_canonical().is_loopback());
        self.unix.is_some() || is_loopback || host.eq_ignore_ascii_case("localhost")
    }

    /// The server itself, with the path `/`.
    #[must_use]
    pub fn uri(&self) -> Uri {
        self.with_path(self.authority.clone(), PathAndQuery::from_static("/"))
    }

    /// The same, with the port written out.
    pub(crate) fn uri_with_port(&self) -> Uri {
        let default = match self.tls {
            true => DEFAULT_TLS_PORT,
            false => DEFAULT_PORT,
        };
        let port = self.authority.port_u16().unwrap_or(default);
        let authority = format!("{}:{port}", self.authority.host()).parse();
        let authority = authority.unwrap_or_else(|_| self.authority.clone());
        self.with_path(authority, PathAndQuery::from_static("/"))
    }

    /// The URI of a path there, under this authority.
    pub(crate) fn with_path(&self, authority: Authority, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme());
        parts.authority = Some(authority);
        parts.path_and_query = Some(path);
        // Scheme, authority and path together are always a URI.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

impl From<std::net::SocketAddr> for Origin {
    fn from(address: std::net::SocketAddr) -> Self {
        // An IPv6 scope has no place in an authority; without it the rest always fits.
        let bare = std::net::SocketAddr::new(address.ip(), address.port());
        let authority = bare.to_string().parse();
        Self {
            authority: authority.unwrap_or_else(|_| Authority::from_static("localhost")),
            unix: None,
            tls: false,
        }
    }
}

impl FromStr for Origin {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        if let Some(path) = unix_path(text) {
            return Ok(Self {
                authority: Authority::from_static("localhost"),
                unix: Some(path.ok_or(BadOrigin::Malformed)?.into()),
                tls: false,
            });
        }
        let uri: Uri = text.parse().map_err(|_| BadOrigin::Malformed)?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(BadOrigin::Malformed),
        };
        if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err(BadOrigin::Path);
        }
        let authority = uri.into_parts().authority.ok_or(BadOrigin::Malformed)?;
        let host = authority.host();
        let port_is_good = authority.port_u16().is_some() || authority.as_str() == host;
        if host.is_empty() || !port_is_good || authority.as_str().contains('@') {
            return Err(BadOrigin::Malformed);
        }
        Ok(Self {
            authority,
            unix: None,
            tls,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unix {
            None => write!(f, "{}://{}", self.scheme(), self.authority),
            Some(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a text is not an [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadOrigin {
    /// It is not a URL of a server at all.
    Malformed,
    /// It names a path or a query.
    Path,
}

impl fmt::Display for BadOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => {
                "expected https://HOST:PORT or http://HOST:PORT, such as http://127.0.0.1:50051, or \
                 unix:PATH"
            }
            Self::Path => "expected https://HOST:PORT or http://HOST:PORT, and nothing after it",
        })
    }
}

impl std::error::Error for BadOrigin {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_taken_as_written() {
        for good in [
            "http://h:1",
            "http://127.0.0.1:50051",
            "http://[::1]:7",
            "http://name",
            "https://name:8443",
            "unix:/run/server.sock",
        ] {
            assert_eq!(good.parse::<Origin>().unwrap().to_string(), good);
        }
        assert_eq!(
            "http://h:1/".parse::<Origin>().unwrap().to_string(),
            "http://h:1"
        );
    }

    #[test]
    fn everything_else_is_refused_by_its_reason() {
        for (bad, why) in [
            ("", BadOrigin::Malformed),
            ("h:1", BadOrigin::Malformed),
            ("unix:", BadOrigin::Malformed),
            ("/a", BadOrigin::Malformed),
            ("ftp://h", BadOrigin::Malformed),
            ("http://u:p@h:1", BadOrigin::Malformed),
            ("http://h:notaport", BadOrigin::Malformed),
            ("http://h:1/a", BadOrigin::Path),
            ("http://h:1/?q", BadOrigin::Path),
        ] {
            assert_eq!(bad.parse::<Origin>(), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_put_behind_the_server() {
        let origin: Origin = "http://h:1".parse().unwrap();
        let path = PathAndQuery::from_static("/a.B/C");
        let uri = origin.with_path(origin.authority().clone(), path);
        assert_eq!(uri.to_string(), "http://h:1/a.B/C");
        assert_eq!(origin.uri().to_string(), "http://h:1/");
    }

    #[test]
    fn a_port_that_is_not_written_is_that_of_the_scheme() {
        for (text, port) in [
            ("http://h", 80),
            ("https://h", 443),
            ("http://[::1]", 80),
            ("http://h:7", 7),
        ] {
            let origin: Origin = text.parse().unwrap();
            assert_eq!(origin.uri_with_port().port_u16(), Some(port), "{text}");
        }
    }

    #[test]
    fn a_socket_address_is_a_server() {
        for (address, expected) in [
            ("127.0.0.1:9", "http://127.0.0.1:9"),
            ("[::1]:9", "http://[::1]:9"),
        ] {
            let address: std::net::SocketAddr = address.parse().unwrap();
            assert_eq!(Origin::from(address).to_string(), expected);
        }
    }
}
