//! The connection to a gateway that a tunnel is opened on.

use std::{error::Error, fmt, time::Duration};

use bytes::Bytes;
use grpctunnel_driver::{Dial, DialError};
use grpctunnel_http2::{Client, IncomingBody, Settings};

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
}

impl Dial for Carrier {
    type Carrier = Client<Bytes>;
    type Body = IncomingBody;

    /// A connection for one tunnel.
    async fn dial(&self) -> Result<Client<Bytes>, DialError> {
        let dialled = self.connector.http2(&Settings::tunnels()).await;
        Ok(dialled.map_err(|error| {
            let error: &(dyn Error + 'static) = error.as_ref();
            match words::spoken(error) {
                Some(spoken) => DialFailed::Speaks(spoken),
                None => DialFailed::Unreachable(words::reason(error)),
            }
        })?)
    }
}

/// Why there is no connection.
#[derive(Debug)]
enum DialFailed {
    /// Nobody answered.
    Unreachable(String),
    /// Something else than HTTP/2 is spoken there.
    Speaks(&'static str),
}

impl fmt::Display for DialFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "cannot reach the gateway: {why}"),
            Self::Speaks(spoken) => write!(f, "this is no grpctunnel gateway: {spoken}"),
        }
    }
}

impl Error for DialFailed {}
