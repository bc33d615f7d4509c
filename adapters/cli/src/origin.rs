//! The address of an HTTP/2 server.

use std::{fmt, str::FromStr};

use http::uri::{Authority, PathAndQuery, Scheme, Uri};

/// Where a plain HTTP/2 server is: `http://HOST:PORT`. Without a port it is 80.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Authority);

impl Origin {
    /// The host and port, as they go into `:authority`.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.0
    }

    /// The same server with a path of its own.
    #[must_use]
    pub fn with_path(&self, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.0.clone());
        parts.path_and_query = Some(path);
        // Scheme, authority and path together are always a URI.
        Uri::from_parts(parts).unwrap_or_default()
    }

    /// The server itself, with the path `/`.
    #[must_use]
    pub fn uri(&self) -> Uri {
        self.with_path(PathAndQuery::from_static("/"))
    }
}

impl From<std::net::SocketAddr> for Origin {
    fn from(address: std::net::SocketAddr) -> Self {
        // An IPv6 scope has no place in an authority; without it the rest always fits.
        let bare = std::net::SocketAddr::new(address.ip(), address.port());
        Self(
            bare.to_string()
                .parse()
                .unwrap_or_else(|_| Authority::from_static("localhost")),
        )
    }
}

impl FromStr for Origin {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let uri: Uri = text.parse().map_err(|_| BadOrigin::Malformed)?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => {}
            Some(scheme) if *scheme == Scheme::HTTPS => return Err(BadOrigin::Tls),
            _ => return Err(BadOrigin::Malformed),
        }
        if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err(BadOrigin::Path);
        }
        let authority = uri.into_parts().authority.ok_or(BadOrigin::Malformed)?;
        let host = authority.host();
        let port_is_good = authority.port_u16().is_some() || authority.as_str() == host;
        if host.is_empty() || !port_is_good || authority.as_str().contains('@') {
            return Err(BadOrigin::Malformed);
        }
        Ok(Self(authority))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

/// Why a text is not an [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadOrigin {
    /// It is not a URL of a server at all.
    Malformed,
    /// It asks for TLS.
    Tls,
    /// It names a path or a query.
    Path,
}

impl fmt::Display for BadOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "expected http://HOST:PORT, such as http://127.0.0.1:50051",
            Self::Tls => "TLS is not offered yet, expected http://HOST:PORT (plain HTTP/2)",
            Self::Path => "expected http://HOST:PORT and nothing after it",
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
            ("/a", BadOrigin::Malformed),
            ("ftp://h", BadOrigin::Malformed),
            ("http://u:p@h:1", BadOrigin::Malformed),
            ("http://h:notaport", BadOrigin::Malformed),
            ("https://h:1", BadOrigin::Tls),
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
        assert_eq!(origin.with_path(path).to_string(), "http://h:1/a.B/C");
        assert_eq!(origin.uri().to_string(), "http://h:1/");
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
