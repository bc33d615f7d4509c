//! Where to listen: `HOST:PORT`, `:PORT` or `unix:PATH`.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where to listen.
///
/// | written | meaning |
/// | --- | --- |
/// | `127.0.0.1:7000`, `[::1]:7000`, `localhost:7000` | this address |
/// | `:7000` | all addresses, IPv4 and IPv6 |
/// | `unix:/run/gw.sock` | a Unix socket |
///
/// Port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP on this host; an empty host means all addresses.
    Tcp {
        /// A name, an IPv4 address, an IPv6 address without brackets, or nothing.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket at this path.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Some(path) = unix_path(text) {
            return path.map(Self::Unix).ok_or(BadAddress::NoPath);
        }
        if text.contains("://") {
            return Err(BadAddress::Url);
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadAddress::PortAlone);
        }
        let (host, port) = text.rsplit_once(':').ok_or(BadAddress::NoPort)?;
        let host = match host.strip_prefix('[') {
            Some(host) => {
                let host = host.strip_suffix(']').ok_or(BadAddress::Malformed)?;
                host.parse::<std::net::Ipv6Addr>()
                    .map_err(|_| BadAddress::Malformed)?;
                host
            }
            None if host.contains(':') => return Err(BadAddress::Brackets),
            None => host,
        };
        if host.contains(['/', '@', ' ', ']']) {
            return Err(BadAddress::Malformed);
        }
        // `u16` would take a sign.
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits);
        Ok(Self::Tcp {
            host: host.to_owned(),
            port: port.ok_or(BadAddress::BadPort)?,
        })
    }
}

/// The path behind `unix:`, also written `unix:///path`; `Some(None)` if there is none.
pub(crate) fn unix_path(text: &str) -> Option<Option<PathBuf>> {
    let path = text.strip_prefix("unix:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    Some((!path.is_empty()).then(|| path.into()))
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        Self::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a text is not an [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAddress {
    /// It is none of the forms.
    Malformed,
    /// There is a number and nothing else.
    PortAlone,
    /// There is no port.
    NoPort,
    /// What stands for the port is no port.
    BadPort,
    /// An IPv6 address without brackets.
    Brackets,
    /// It is a URL.
    Url,
    /// There is nothing behind `unix:`.
    NoPath,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not an address",
            Self::PortAlone => "a port alone",
            Self::NoPort => "no port",
            Self::BadPort => "the port must be 0 to 65535",
            Self::Brackets => "an IPv6 address needs brackets, as in [::1]:7000",
            Self::Url => "a URL, not an address",
            Self::NoPath => "no path behind unix:",
        })?;
        f.write_str("; expected HOST:PORT, :PORT for all addresses, or unix:PATH")
    }
}

impl std::error::Error for BadAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_taken_as_written() {
        for good in [
            "127.0.0.1:7000",
            "localhost:0",
            "[::1]:7000",
            ":7000",
            "unix:/run/gw.sock",
            "unix:gw.sock",
        ] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        let long = "unix:///run/gw.sock".parse::<Address>().unwrap();
        assert_eq!(long.to_string(), "unix:/run/gw.sock");
    }

    #[test]
    fn a_slip_is_told_with_what_is_expected() {
        for (bad, why) in [
            ("", BadAddress::NoPort),
            ("7000", BadAddress::PortAlone),
            ("localhost", BadAddress::NoPort),
            ("127.0.0.1", BadAddress::NoPort),
            ("::1:7000", BadAddress::Brackets),
            ("[::1]", BadAddress::Malformed),
            ("[localhost]:7000", BadAddress::Malformed),
            ("h:", BadAddress::BadPort),
            ("h:70000", BadAddress::BadPort),
            ("h:+1", BadAddress::BadPort),
            ("h:http", BadAddress::BadPort),
            ("h/a:1", BadAddress::Malformed),
            ("http://h:1", BadAddress::Url),
            ("unix:", BadAddress::NoPath),
            ("unix://", BadAddress::NoPath),
        ] {
            let found = bad.parse::<Address>().unwrap_err();
            assert_eq!(found, why, "{bad:?}");
            assert!(found.to_string().contains("HOST:PORT"), "{found}");
        }
    }
}
