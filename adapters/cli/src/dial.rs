//! `grpctunnel dial` and `grpctunnel forward`: a local port whose calls go through a forward
//! tunnel.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use grpctunnel_driver::{Channel, Code, NeverProcessed, ResponseBody, Status};
use grpctunnel_http2::{Error, IncomingBody};
use grpctunnel_tokio::Options;
use http::{HeaderValue, Request, Response, request::Parts};
use http_body_util::{Either, Full};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tonic::metadata::MetadataMap;
use tower_service::Service;

use crate::{
    HOPS, SLACK, TARGET,
    address::Address,
    answer::{Page, or_refused, refuse},
    auth::Credentials,
    calls::{Calls, Counted},
    carrier::{AUTH_RETRIES, Carrier, OpenError, Refusals},
    connect::Proxy,
    listener::{BindError, Endpoint, Listener, Protection},
    origin::Origin,
    pauses::Pauses,
    replay::Replay,
    serve::{Limits, TurnedAway, serve},
    stop::{Ended, Stop},
    target::{Target, strip},
    words,
};

/// How long a call waits for a tunnel.
const WAIT: Duration = Duration::from_secs(5);
/// How often a call is made again that was certainly not handled.
const TRIES: usize = 3;

/// What happens to a dialled port.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DialEvent {
    /// Calls can pass.
    Connected,
    /// There is no tunnel.
    Failed {
        /// Why.
        why: String,
    },
    /// The tunnel is over.
    Lost {
        /// How it ended.
        why: String,
    },
    /// It waits before it connects again.
    Pausing {
        /// How long.
        pause: Duration,
    },
    /// Connections were not taken. Told at once, and then at most every 10 s.
    TurnedAway {
        /// How many since it was last told.
        count: u64,
        /// Why the last of them was not.
        why: String,
    },
}

/// The settings of a local port whose calls go through a forward tunnel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DialSettings {
    /// The gateway, or any other server of forward tunnels.
    pub server: Origin,
    /// The agent that the calls are for, or the way there. Without it they are for the server of
    /// the tunnel itself. Default: none.
    pub target: Option<Target>,
    /// Where callers come.
    pub listen: Address,
    /// Whether it may listen where other machines reach it, although nobody has to authenticate.
    /// Default: no.
    pub insecure: bool,
    /// The way to the server. Default: straight.
    pub proxy: Proxy,
    /// What is presented to the server, and what it is checked against. Default: nothing, and the
    /// authorities that the system trusts.
    pub credentials: Credentials,
    /// How often it tries again after the server refused its credentials, one refusal after the
    /// other, before it gives up. Default: 3.
    pub auth_retries: u32,
    /// The longest pause before it connects again. Default: 10 s.
    pub retry_limit: Duration,
    /// How long open calls may go on once it drains; then they end UNAVAILABLE. Default: 30 s.
    pub drain_limit: Duration,
}

impl DialSettings {
    /// The defaults, with this server and this address.
    #[must_use]
    pub fn new(server: Origin, listen: Address) -> Self {
        Self {
            server,
            target: None,
            listen,
            insecure: false,
            proxy: Proxy::None,
            credentials: Credentials::default(),
            auth_retries: AUTH_RETRIES,
            retry_limit: Duration::from_secs(10),
            drain_limit: Duration::from_secs(30),
        }
    }
}

/// A local port that listens and does not serve yet.
#[derive(Debug)]
pub struct Dial {
    listener: Listener,
    endpoint: Endpoint,
    settings: DialSettings,
}

impl Dial {
    /// Listens.
    ///
    /// # Errors
    ///
    /// As [`Gateway::bind`](crate::gateway::Gateway::bind).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO.
    pub async fn bind(settings: DialSettings) -> Result<Self, BindError> {
        let safe = Protection::none(settings.insecure);
        let listener = Listener::bind(&settings.listen, safe).await?;
        Ok(Self {
            endpoint: listener.endpoint()?,
            listener,
            settings,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Serves until `stop`. `tell` is called with what happens, and must not block.
    pub async fn run(self, tell: impl Fn(DialEvent) + Send + Sync, stop: Stop) -> Ended {
        let Self {
            listener, settings, ..
        } = self;
        let (tunnel, tunnels) = watch::channel(Tunnel::Opening);
        let calls = Calls::default();
        let port = Port {
            target: settings
                .target
                .as_ref()
                .map(|target| target.to_string().into()),
            tunnels,
            calls: calls.clone(),
            stop: stop.clone(),
        };
        // Connections end when the calls have been counted that this cuts off, not before.
        let connections = Stop::new();
        let make = move |_| port.clone();
        let limits = Limits::without_tunnels();
        let turned_away = |TurnedAway { count, why }| tell(DialEvent::TurnedAway { count, why });
        let closing = stop.clone();
        let serving = serve(
            listener,
            limits,
            make,
            turned_away,
            closing,
            connections.clone(),
        );
        let keeping = keep(&settings, tunnel, &tell);
        let cut = || match calls.open() {
            0 => Ended::Finished,
            _ => Ended::CutOff,
        };
        let draining = async {
            stop.draining().await;
            connections.drain();
            sleep(settings.drain_limit).await;
            cut()
        };
        tokio::pin!(serving, keeping);
        let ended = tokio::select! {
            biased;
            () = stop.ending() => cut(),
            ended = draining => ended,
            () = keeping.as_mut() => Ended::Refused,
            // Every connection is closed: no call is open.
            _ = serving.as_mut() => return Ended::Finished,
        };
        connections.now();
        serving.await;
        sleep(SLACK).await;
        ended
    }
}

/// The tunnel that calls go through.
#[derive(Clone, Debug)]
enum Tunnel {
    /// It has not been tried yet.
    Opening,
    Open(Channel),
    /// There is none, for this reason.
    Down(Arc<str>),
}

/// Keeps a tunnel open, until the credentials are refused for good.
async fn keep(
    settings: &DialSettings,
    tunnel: watch::Sender<Tunnel>,
    tell: &(impl Fn(DialEvent) + Send + Sync),
) {
    let carrier = Carrier::new(
        settings.server.clone(),
        settings.proxy.clone(),
        settings.credentials.clone(),
    );
    let mut refusals = Refusals::new(settings.auth_retries);
    let mut pauses = Pauses::new(settings.retry_limit);
    loop {
        let why = match open(&carrier).await {
            Ok(channel) => {
                refusals.over();
                let closed = channel.closed();
                tunnel.send_replace(Tunnel::Open(channel));
                tell(DialEvent::Connected);
                let begun = Instant::now();
                let why = words::end(&closed.await);
                tell(DialEvent::Lost { why: why.clone() });
                pauses.lasted_since(begun);
                why
            }
            Err(error) => {
                let why = error.to_string();
                tell(DialEvent::Failed { why: why.clone() });
                if refusals.are_final(&error) {
                    return;
                }
                why
            }
        };
        tunnel.send_replace(Tunnel::Down(why.into()));
        let pause = pauses.pause();
        tell(DialEvent::Pausing { pause });
        sleep(pause).await;
    }
}

async fn open(carrier: &Carrier) -> Result<Channel, OpenError> {
    let connection = carrier.dial().await?;
    let options = Options::default();
    let metadata = MetadataMap::from_headers(carrier.metadata());
    let channel = grpctunnel_tokio::connect(connection, &options, metadata).await?;
    Ok(channel.raw().clone())
}

/// What one connection to the port sees.
#[derive(Clone, Debug)]
struct Port {
    target: Option<Arc<str>>,
    tunnels: watch::Receiver<Tunnel>,
    calls: Calls,
    stop: Stop,
}

type PortBody = Either<Counted<ResponseBody>, Full<Bytes>>;

impl Port {
    /// The tunnel, as soon as there is one.
    async fn channel(&self) -> Result<Channel, Status> {
        let mut tunnels = self.tunnels.clone();
        let open = |tunnel: &Tunnel| match tunnel {
            Tunnel::Open(channel) => channel.state().is_usable(),
            Tunnel::Opening | Tunnel::Down(_) => false,
        };
        let found = timeout(WAIT, tunnels.wait_for(open)).await;
        if let Ok(Ok(found)) = found
            && let Tunnel::Open(channel) = &*found
        {
            return Ok(channel.clone());
        }
        let text = match &*self.tunnels.borrow() {
            Tunnel::Down(why) => why.to_string(),
            Tunnel::Opening | Tunnel::Open(_) => "the tunnel is not open yet".to_owned(),
        };
        Err(Status::new(Code::Unavailable, text))
    }

    /// Puts the agent in front of the way that a call names already.
    fn address(&self, head: &mut Parts) -> Result<(), Status> {
        let Some(target) = &self.target else {
            return Ok(());
        };
        let way = match head.headers.get(TARGET).map(HeaderValue::to_str) {
            None => target.to_string(),
            Some(Ok(rest)) => format!("{target}/{rest}"),
            Some(Err(_)) => {
                let text = format!("the metadata {TARGET} is not ASCII");
                return Err(Status::new(Code::InvalidArgument, text));
            }
        };
        if let Ok(way) = HeaderValue::from_str(&way) {
            head.headers.insert(TARGET, way);
        }
        Ok(())
    }

    async fn pass(&self, request: Request<IncomingBody>) -> Response<ResponseBody> {
        let (mut head, body) = request.into_parts();
        // Who the caller says to be, or to have been, means nothing behind the tunnel.
        strip(&mut head.headers, &[TARGET, HOPS]);
        if let Err(status) = self.address(&mut head) {
            return refuse(&status);
        }
        let replay = Replay::new(body);
        let mut tries = 1;
        loop {
            let mut channel = match self.channel().await {
                Ok(channel) => channel,
                Err(status) => return refuse(&status),
            };
            let request = Request::from_parts(head.clone(), replay.attempt());
            let Ok(response) = channel.call(request).await else {
                return refuse(&Status::new(
                    Code::Cancelled,
                    "the caller broke the request",
                ));
            };
            let unprocessed = response.extensions().get::<NeverProcessed>().is_some();
            let again = unprocessed && !channel.state().is_usable() && replay.is_whole();
            if !again || tries >= TRIES {
                return response;
            }
            tries += 1;
        }
    }
}

impl Service<Request<IncomingBody>> for Port {
    type Response = Response<PortBody>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<PortBody>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<IncomingBody>) -> Self::Future {
        if let Some(page) = Page::of(&request, !self.stop.is_draining()) {
            let text = Full::from(page.text);
            let response = page.head().map(|()| Either::Right(text));
            return Box::pin(std::future::ready(Ok(response)));
        }
        let port = self.clone();
        Box::pin(async move {
            let open = port.calls.begin();
            let response = or_refused(port.pass(request).await)?;
            Ok(response.map(|body| Either::Left(Counted::new(body, open))))
        })
    }
}
