//! The connection to a gateway that a tunnel is opened on.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use grpctunnel_driver::{Code, Dial, DialError, Interruption};
use grpctunnel_http2::{Client, IncomingBody, Settings};
use http::Request;
use http_body::Body;
use tower_service::Service;

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
}

impl Dial for Carrier {
    type Carrier = Authorized;
    type Body = IncomingBody;

    /// A connection for one tunnel.
    async fn dial(&self) -> Result<Authorized, DialError> {
        let dialled = self.connector.http2(&Settings::tunnels()).await;
        let dialled = dialled.map(|client| Authorized::new(client, self.credentials.clone()));
        Ok(dialled.map_err(|error| {
            let error: &(dyn Error + 'static) = error.as_ref();
            match words::spoken(error) {
                Some(spoken) => DialFailed::Speaks(spoken),
                None if words::refuses_certificate(error) => {
                    DialFailed::Refused(words::reason(error))
                }
                None => DialFailed::Unreachable(words::reason(error)),
            }
        })?)
    }
}

/// A connection whose requests present the token of the moment.
#[derive(Clone, Debug)]
pub(crate) struct Authorized {
    client: Client<Bytes>,
    credentials: Credentials,
}

impl Authorized {
    pub(crate) const fn new(client: Client<Bytes>, credentials: Credentials) -> Self {
        Self {
            client,
            credentials,
        }
    }
}

impl<B> Service<Request<B>> for Authorized
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = <Client<Bytes> as Service<Request<B>>>::Response;
    type Error = <Client<Bytes> as Service<Request<B>>>::Error;
    type Future = <Client<Bytes> as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<B>>::poll_ready(&mut self.client, cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(authorization) = self.credentials.authorization() {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        self.client.call(request)
    }
}

/// Why there is no connection.
#[derive(Debug)]
enum DialFailed {
    /// The certificate of this end was refused, or is missing.
    Refused(String),
    /// Nobody answered.
    Unreachable(String),
    /// Something else than HTTP/2 is spoken there.
    Speaks(&'static str),
}

impl fmt::Display for DialFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "the gateway refused the connection: {why}"),
            Self::Unreachable(why) => write!(f, "cannot reach the gateway: {why}"),
            Self::Speaks(spoken) => write!(f, "this is no grpctunnel gateway: {spoken}"),
        }
    }
}

impl Error for DialFailed {}

/// How often credentials are presented again that were refused.
pub(crate) const AUTH_RETRIES: u32 = 3;

/// Counts how often credentials were refused, one time after the other. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Refusals {
    left: Arc<AtomicU32>,
    most: u32,
}

impl Refusals {
    /// For so many tunnels, each of which may be refused so often and once more.
    pub(crate) fn new(retries: u32, tunnels: usize) -> Self {
        let tunnels = u32::try_from(tunnels).unwrap_or(u32::MAX);
        let most = retries.saturating_mul(tunnels);
        Self {
            left: Arc::new(AtomicU32::new(most)),
            most,
        }
    }

    /// The credentials were accepted.
    pub(crate) fn over(&self) {
        self.left.store(self.most, Ordering::SeqCst);
    }

    /// Whether it makes no sense to try again after this.
    pub(crate) fn are_final(&self, why: &Interruption) -> bool {
        if !is_refusal(why) {
            return false;
        }
        let one_less = |left: u32| left.checked_sub(1);
        let order = Ordering::SeqCst;
        self.left.fetch_update(order, order, one_less).is_err()
    }
}

/// Whether the gateway refused the credentials that were presented, or that none were.
pub(crate) fn is_refusal(why: &Interruption) -> bool {
    match why {
        Interruption::NotDialled(error) => {
            let failed = error.downcast_ref::<DialFailed>();
            matches!(failed, Some(DialFailed::Refused(_)))
        }
        Interruption::Refused(error) => {
            matches!(error.code(), Code::Unauthenticated | Code::PermissionDenied)
        }
        _ => false,
    }
}
