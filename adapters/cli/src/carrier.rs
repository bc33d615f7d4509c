//! The connection to a gateway that a tunnel is opened on.

use std::{error::Error, fmt, time::Duration};

use grpctunnel_driver::{Code, ConnectError};
use tonic::transport::Channel;

use crate::{
    connect::{Connector, Proxy, Spoken, Watch},
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
    origin: Origin,
    connector: Connector,
}

impl Carrier {
    pub(crate) fn new(origin: Origin, proxy: Proxy) -> Self {
        Self {
            connector: Connector::new(origin.clone(), proxy, WATCH),
            origin,
        }
    }

    /// A connection for one tunnel.
    pub(crate) async fn dial(&self) -> Result<Channel, OpenError> {
        let endpoint = grpctunnel_tokio::tonic_transport::endpoint(self.origin.uri().to_string());
        let dialled = match endpoint {
            Ok(endpoint) => {
                endpoint
                    .connect_with_connector(self.connector.clone())
                    .await
            }
            Err(error) => Err(error),
        };
        dialled.map_err(|error| OpenError::Unreachable(words::reason(&error)))
    }

    /// What it means that a tunnel was not opened.
    pub(crate) fn refused(&self, error: ConnectError) -> OpenError {
        match self.connector.spoken() {
            Some(spoken) => OpenError::Speaks(spoken),
            None => OpenError::Tunnel(Box::new(error)),
        }
    }
}

/// Why there is no tunnel.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Nobody answered.
    Unreachable(String),
    /// Something else than HTTP/2 is spoken there.
    Speaks(Spoken),
    /// The tunnel was refused, or came to nothing.
    Tunnel(Box<ConnectError>),
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
