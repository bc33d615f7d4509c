//! The connection to a gateway that a tunnel is opened on.

use std::{error::Error, fmt, time::Duration};

use bytes::Bytes;
use grpctunnel_driver::{Code, ConnectError};
use grpctunnel_http2::{Client, Settings};
use http::{HeaderMap, HeaderName};

use crate::{
    auth::{AUTHORIZATION, Credentials},
    connect::{Connector, Proxy, Watch},
    origin::Origin,
    words,
};

/// A gateway that vanished without a word is noticed, whatever HTTP/2 does.
const WATCH: Watch = Watch {
    probe: Duration::from_secs(20),
    pause: Duration::from_secs(5),
    silence: Duration::from_secs(30),
};

/// Where tunnels are opened.
#[derive(Clone, Debug)]
pub(crate) struct Carrier {
    connector: Connector,
    credentials: Credentials,
}

impl Carrier {
    pub(crate) fn new(origin: Origin, proxy: Proxy, credentials: Credentials) -> Self {
        Self {
            connector: Connector::new(origin, proxy, credentials.clone(), WATCH),
            credentials,
        }
    }

    /// The metadata that a tunnel is opened with, whatever it is for.
    pub(crate) fn metadata(&self) -> HeaderMap {
        let authorization = self.credentials.authorization();
        let authorization = authorization.into_iter();
        authorization
            .map(|value| (HeaderName::from_static(AUTHORIZATION), value))
            .collect()
    }

    /// A connection for one tunnel.
    pub(crate) async fn dial(&self) -> Result<Client<Bytes>, OpenError> {
        let dialled = self.connector.http2(&Settings::tunnels()).await;
        dialled.map_err(|error| {
            let error: &(dyn Error + 'static) = error.as_ref();
            match words::spoken(error) {
                Some(spoken) => OpenError::Speaks(spoken),
                None if words::refuses_certificate(error) => {
                    OpenError::Refused(words::reason(error))
                }
                None => OpenError::Unreachable(words::reason(error)),
            }
        })
    }
}

/// Why there is no tunnel.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Nobody answered.
    Unreachable(String),
    /// The certificate of this end was refused, or is missing.
    Refused(String),
    /// Something else than HTTP/2 is spoken there.
    Speaks(&'static str),
    /// The tunnel was refused, or came to nothing.
    Tunnel(Box<ConnectError>),
}

impl From<ConnectError> for OpenError {
    fn from(error: ConnectError) -> Self {
        if let Some(transport) = error.end().transport_error() {
            if let Some(spoken) = words::spoken(transport) {
                return Self::Speaks(spoken);
            }
            if words::refuses_certificate(transport) {
                return Self::Refused(words::reason(transport));
            }
        }
        Self::Tunnel(Box::new(error))
    }
}

impl OpenError {
    /// Whether the gateway refused the credentials that were presented, or that none were.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Tunnel(error) => {
                let is_refusal =
                    matches!(error.code(), Code::Unauthenticated | Code::PermissionDenied);
                is_refusal && error.end().peer_status().is_some()
            }
            Self::Unreachable(_) | Self::Speaks(_) => false,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self {
            Self::Unreachable(why) => return write!(f, "cannot reach the gateway: {why}"),
            Self::Refused(why) => return write!(f, "the gateway refused the connection: {why}"),
            Self::Speaks(spoken) => return write!(f, "this is no grpctunnel gateway: {spoken}"),
            Self::Tunnel(error) => error,
        };
        let end = words::end(error.end());
        match (error.code(), error.end().peer_status()) {
            (Code::Unimplemented | Code::Unknown, Some(_)) => {
                write!(f, "this is no grpctunnel gateway: {end}")
            }
            (Code::DeadlineExceeded, None) => {
                f.write_str("the gateway did not answer the opening of the tunnel in time")
            }
            (_, Some(_)) => write!(f, "the gateway refused the tunnel: {end}"),
            (_, None) => write!(f, "the tunnel was not opened: {end}"),
        }
    }
}

impl Error for OpenError {}

/// How often credentials are presented again that were refused.
pub(crate) const AUTH_RETRIES: u32 = 3;

/// Counts how often credentials were refused, one time after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusals {
    left: u32,
    retries: u32,
}

impl Refusals {
    pub(crate) const fn new(retries: u32) -> Self {
        Self {
            left: retries,
            retries,
        }
    }

    /// The credentials were accepted.
    pub(crate) const fn over(&mut self) {
        self.left = self.retries;
    }

    /// Whether it makes no sense to try again after this.
    pub(crate) fn are_final(&mut self, error: &OpenError) -> bool {
        if !error.is_refusal() {
            self.over();
            return false;
        }
        let is_final = self.left == 0;
        self.left = self.left.saturating_sub(1);
        is_final
    }
}
