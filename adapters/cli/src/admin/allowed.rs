//! Who may ask, and for what.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, StatusCode,
    header::{AUTHORIZATION, HOST, ORIGIN},
    uri::Authority,
};

use crate::{address::Address, auth::Secret};

/// Where browsers say whether a page of the same origin makes a request.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
}

const fn denied(status: StatusCode, why: &'static str) -> Denied {
    Denied { status, why }
}

const BAD_HOST: Denied = denied(
    StatusCode::MISDIRECTED_REQUEST,
    "the Host is not this port's; use its address, localhost, or a name given by --admin-host",
);
const OTHER_ORIGIN: Denied = denied(
    StatusCode::FORBIDDEN,
    "a page of another origin may not change anything here",
);
const NO_TOKEN: Denied = denied(
    StatusCode::FORBIDDEN,
    "nothing can be changed here without a token; start the command with --admin-token-file",
);
const NOT_SHOWN: Denied = denied(
    StatusCode::UNAUTHORIZED,
    "the token is required: authorization: Bearer TOKEN",
);
const WRONG_TOKEN: Denied = denied(StatusCode::UNAUTHORIZED, "the token is not valid");

/// What a request has to show.
#[derive(Debug)]
pub(super) struct Allowed {
    /// Names by which browsers may reach the port. A Unix socket is out of their reach.
    hosts: Option<Vec<String>>,
    token: Option<Secret>,
    scheme: &'static str,
}

impl Allowed {
    pub(super) fn new(
        listen: &Address,
        mut hosts: Vec<String>,
        token: Option<Secret>,
        encrypts: bool,
    ) -> Self {
        let hosts = match listen {
            Address::Tcp { host, .. } => {
                hosts.extend([host.clone(), "localhost".to_owned()]);
                hosts.retain(|host| !host.is_empty());
                Some(hosts)
            }
            Address::Unix(_) => None,
        };
        Self {
            hosts,
            token,
            scheme: if encrypts { "https" } else { "http" },
        }
    }

    /// Whether the name of the port is its own: no request may pass without that.
    pub(super) fn host<B>(&self, request: &Request<B>) -> Result<(), Denied> {
        let Some(hosts) = &self.hosts else {
            return Ok(());
        };
        let authority = authority(request).ok_or(BAD_HOST)?;
        let name = authority.host();
        let is_address = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok();
        let is_known = hosts.iter().any(|host| host.eq_ignore_ascii_case(name));
        match is_address || is_known {
            true => Ok(()),
            false => Err(BAD_HOST),
        }
    }

    /// Whether something may be read.
    pub(super) fn read(&self, headers: &HeaderMap) -> Result<(), Denied> {
        match &self.token {
            Some(token) => presents(headers, token),
            None => Ok(()),
        }
    }

    /// Whether something may be changed.
    pub(super) fn change<B>(&self, request: &Request<B>) -> Result<(), Denied> {
        let headers = request.headers();
        let of_site = headers.get(SITE).map(HeaderValue::as_bytes);
        if !matches!(of_site, None | Some(b"same-origin" | b"none")) {
            return Err(OTHER_ORIGIN);
        }
        if let Some(origin) = headers.get(ORIGIN) {
            let authority = authority(request).ok_or(OTHER_ORIGIN)?;
            let own = format!("{}://{authority}", self.scheme);
            if !origin.as_bytes().eq_ignore_ascii_case(own.as_bytes()) {
                return Err(OTHER_ORIGIN);
            }
        }
        presents(headers, self.token.as_ref().ok_or(NO_TOKEN)?)
    }
}

/// The host and port that a request is for.
fn authority<B>(request: &Request<B>) -> Option<Authority> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next(), request.uri().authority()) {
        (None, _, authority) => authority.cloned(),
        (Some(host), None, authority) => {
            let host: Authority = host.to_str().ok()?.parse().ok()?;
            // What two say differently is nobody's.
            let agree = authority.is_none_or(|authority| *authority == host);
            agree.then_some(host)
        }
        (Some(_), Some(_), _) => None,
    }
}

fn presents(headers: &HeaderMap, token: &Secret) -> Result<(), Denied> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(NOT_SHOWN),
        (Some(value), None) if token.is_presented_by(value) => Ok(()),
        _ => Err(WRONG_TOKEN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn allowed(listen: &str, token: bool) -> Allowed {
        let token = token.then(|| Secret::new(TOKEN).unwrap());
        let hosts = vec!["admin.example.com".to_owned()];
        Allowed::new(&listen.parse().unwrap(), hosts, token, false)
    }

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::post("/tunnels/pi/drain");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_name_that_a_website_could_own_is_not_this_ports() {
        let port = allowed("127.0.0.1:0", false);
        for good in [
            "127.0.0.1:7009",
            "[::1]:7009",
            "localhost:7009",
            "LOCALHOST",
            "admin.example.com",
        ] {
            assert_eq!(port.host(&request(&[("host", good)])), Ok(()), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example:7009",
            "127.0.0.1.evil.example",
            "",
            "a b",
        ] {
            let denied = port.host(&request(&[("host", bad)]));
            assert_eq!(denied, Err(BAD_HOST), "{bad}");
        }
        let two = request(&[("host", "localhost"), ("host", "evil.example")]);
        assert_eq!(port.host(&two), Err(BAD_HOST));
        assert_eq!(port.host(&request(&[])), Err(BAD_HOST));
        assert_eq!(allowed("unix:/a", false).host(&request(&[])), Ok(()));
    }

    #[test]
    fn a_change_needs_the_token_and_no_other_origin() {
        let (open, guarded) = (allowed("127.0.0.1:0", false), allowed("127.0.0.1:0", true));
        let (host, bearer) = (("host", "localhost:1"), format!("Bearer {TOKEN}"));
        let token = ("authorization", &*bearer);
        let change = |headers: &[(&str, &str)]| guarded.change(&request(headers));
        assert_eq!(change(&[host, token]), Ok(()));
        assert_eq!(
            change(&[host, token, ("origin", "http://localhost:1")]),
            Ok(())
        );
        assert_eq!(
            change(&[host, token, ("sec-fetch-site", "same-origin")]),
            Ok(())
        );
        for other in [
            ("origin", "http://evil.example"),
            ("origin", "http://localhost:2"),
            ("origin", "https://localhost:1"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(
                change(&[host, token, other]),
                Err(OTHER_ORIGIN),
                "{other:?}"
            );
        }
        assert_eq!(change(&[host]), Err(NOT_SHOWN));
        let wrong = ("authorization", "Bearer 0123456789abcdeg");
        assert_eq!(change(&[host, wrong]), Err(WRONG_TOKEN));
        assert_eq!(change(&[host, token, token]), Err(WRONG_TOKEN));
        assert_eq!(open.change(&request(&[host, token])), Err(NO_TOKEN));
        assert_eq!(open.read(&HeaderMap::new()), Ok(()));
        assert_eq!(guarded.read(&HeaderMap::new()), Err(NOT_SHOWN));
    }
}
