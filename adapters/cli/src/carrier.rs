//! The connection to a gateway that a tunnel is opened on.

use std::{error::Error, fmt, time::Duration};

use bytes::Bytes;
use grpctunnel_driver::{Code, ConnectError};
use grpctunnel_http2::{Client, Settings};

use crate::{
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
}

impl Carrier {
    pub(crate) fn new(origin: Origin, proxy: Proxy) -> Self {
        Self {
            connector: Connector::new(origin, proxy, WATCH),
        }
    }

    /// A connection for one tunnel.
    pub(crate) async fn dial(&self) -> Result<Client<Bytes>, OpenError> {
        let dialled = self.connector.http2(&Settings::tunnels()).await;
        dialled.map_err(|error| {
            let error: &(dyn Error + 'static) = error.as_ref();
            match words::spoken(error) {
                Some(spoken) => OpenError::Speaks(spoken),
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
    /// Something else than HTTP/2 is spoken there.
    Speaks(&'static str),
    /// The tunnel was refused, or came to nothing.
    Tunnel(Box<ConnectError>),
}

impl From<ConnectError> for OpenError {
    fn from(error: ConnectError) -> Self {
        Self::Tunnel(Box::new(error))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self {
            Self::Unreachable(why) => return write!(f, "cannot reach the gateway: {why}"),
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
