//! `grpctunnel bench`: what a user's own link carries, through the tunnel and without it.

mod measure;
mod table;

use std::{
    fmt,
    future::{Ready, ready},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use grpctunnel_driver::{Code, Dial, Interruption, Options, ResponseBody, Status, connect};
use grpctunnel_http2::{Error, IncomingBody, Settings};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Either;
use tower_service::Service;

use self::measure::{Answers, measure};
pub use self::table::Table;
use crate::{
    TARGET,
    address::Address,
    answer::refuse,
    auth::Credentials,
    carrier::Carrier,
    connect::{Connector, Proxy, Watch},
    echo,
    listener::{BindError, Endpoint, Listener, Protection},
    origin::Origin,
    serve::{Limits, serve},
    stop::Stop,
    target::{Step, Target},
    words,
};

/// What is done on each way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// How long for each figure.
    pub(crate) time: Duration,
    /// The most calls for each figure.
    pub(crate) calls: u64,
    /// Calls at once.
    pub(crate) in_flight: u16,
}

/// What is compared.
#[derive(Clone, Debug)]
pub struct Bench {
    pub(crate) gateway: Origin,
    pub(crate) name: Target,
    pub(crate) proxy: Proxy,
    pub(crate) credentials: Credentials,
    /// The same server, where it is reached without a tunnel, and what it is checked against.
    pub(crate) direct: Option<(Origin, Credentials)>,
    pub(crate) load: Load,
}

/// Why nothing was measured.
#[derive(Debug)]
#[non_exhaustive]
pub enum BenchError {
    /// There is no tunnel to the gateway.
    NoTunnel(String),
    /// The gateway refused the credentials.
    Refused(String),
    /// The way does not carry calls.
    Calls(String, Status),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTunnel(why) => write!(f, "{why}; `grpctunnel check` says more"),
            Self::Refused(why) => f.write_str(why),
            Self::Calls(way, status) => {
                let code = words::code_name(tonic::Code::from(status.code().as_i32()));
                write!(f, "{way}: calls end {code}: {}", status.message())
            }
        }
    }
}

impl std::error::Error for BenchError {}

impl Bench {
    /// Measures one way after the other.
    ///
    /// # Errors
    ///
    /// When a way does not carry calls.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO.
    pub async fn run(&self) -> Result<Table, BenchError> {
        let mut table = Table::new(self);
        let channel = self.tunnel().await?;
        let (echo, any) = (&[Answers::Echo][..], &[Answers::Echo, Answers::Status][..]);
        let name = self.name.to_string();
        let ways = match self.name.step {
            Step::Here => vec![("gateway", name, echo)],
            // The step `.` ends at the agent.
            Step::Agent(_) => vec![("agent", format!("{name}/."), echo), ("server", name, any)],
        };
        for (way, target, known) in ways {
            let mut headers = HeaderMap::new();
            if let Ok(target) = HeaderValue::try_from(target) {
                headers.insert(TARGET, target);
            }
            match measure(channel.clone(), headers, known, self.load).await {
                Ok(figures) => table.add(way, figures),
                Err(status) if way == "agent" && status.code() == Code::Unimplemented => {
                    table.note("the agent is an older one, and answers nothing itself".to_owned());
                }
                // The link is measured all the same.
                Err(status) if way == "server" && status.code() == Code::Unavailable => {
                    let text = status.message();
                    table.note(format!("the agent's server does not answer: {text}"));
                }
                Err(status) => return Err(BenchError::Calls(format!("to the {way}"), status)),
            }
        }
        channel.close();
        if let Some((origin, credentials)) = &self.direct {
            let failed = |status| BenchError::Calls(format!("directly to {origin}"), status);
            let client = direct(origin, credentials).await.map_err(failed)?;
            let measured = measure(client, HeaderMap::new(), any, self.load).await;
            table.add("direct", measured.map_err(failed)?);
        }
        Ok(table)
    }

    async fn tunnel(&self) -> Result<grpctunnel_driver::Channel, BenchError> {
        let (proxy, credentials) = (self.proxy.clone(), self.credentials.clone());
        let carrier = Carrier::new(self.gateway.clone(), proxy, credentials);
        let dialled = carrier.dial().await;
        let dialled = dialled.map_err(|error| BenchError::NoTunnel(error.to_string()))?;
        let runtime = grpctunnel_tokio::runtime();
        let opened = connect(dialled, &runtime, &Options::default(), HeaderMap::new()).await;
        opened.map_err(|error| {
            let refused = matches!(error.code(), Code::Unauthenticated | Code::PermissionDenied);
            let why = words::interruption(&Interruption::NotOpened(error.into()));
            match refused {
                true => BenchError::Refused(why),
                false => BenchError::NoTunnel(why),
            }
        })
    }
}

async fn direct(
    origin: &Origin,
    credentials: &Credentials,
) -> Result<grpctunnel_http2::Client<Bytes>, Status> {
    let watch = Watch {
        probe: Duration::from_secs(20),
        pause: Duration::from_secs(5),
        silence: Duration::from_secs(30),
    };
    let connector = Connector::new(origin.clone(), Proxy::None, credentials.clone(), watch);
    // Those of tunnels, so that no difference is one of windows.
    let connected = connector.http2(&Settings::tunnels()).await;
    connected.map_err(|error| {
        let error: &(dyn std::error::Error + 'static) = error.as_ref();
        let why = words::spoken(error).map_or_else(|| words::reason(error), str::to_owned);
        Status::new(Code::Unavailable, why)
    })
}

/// A server to measure with, in the place of a local server: it sends back what it gets.
#[derive(Debug)]
pub struct BenchServer {
    listener: Listener,
    endpoint: Endpoint,
}

impl BenchServer {
    /// Listens.
    ///
    /// # Errors
    ///
    /// As [`Gateway::bind`](crate::gateway::Gateway::bind).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO.
    pub async fn bind(listen: &Address, insecure: bool) -> Result<Self, BindError> {
        let listener = Listener::bind(listen, Protection::none(insecure)).await?;
        let endpoint = listener.endpoint()?;
        Ok(Self { listener, endpoint })
    }

    /// Where it listens.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Serves until `stop`.
    pub async fn run(self, stop: Stop) {
        let (limits, make) = (Limits::without_tunnels(), |_| Echoes);
        serve(self.listener, limits, make, |_| {}, stop.clone(), stop).await;
    }
}

/// The service of a [`BenchServer`].
#[derive(Clone, Copy, Debug)]
struct Echoes;

impl Service<Request<IncomingBody>> for Echoes {
    type Response = Response<Either<tonic::body::Body, ResponseBody>>;
    type Error = Error;
    type Future = Ready<Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<IncomingBody>) -> Self::Future {
        if request.uri().path() == echo::PATH {
            return ready(Ok(echo::answer(request).map(Either::Left)));
        }
        let text = "this is the server of `grpctunnel bench`, which only sends back what it gets";
        let status = Status::new(Code::Unimplemented, text);
        ready(Ok(refuse(&status).map(Either::Right)))
    }
}
