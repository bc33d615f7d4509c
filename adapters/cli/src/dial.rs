//! `grpctunnel dial` and `grpctunnel forward`: a local port whose calls go through a forward
//! tunnel.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use grpctunnel_driver::{
    Backoff, Code, Interruption, NeverProcessed, ResponseBody, Status, SupervisedChannel,
    Supervisor, SupervisorEventKind,
};
use grpctunnel_http2::{Error, IncomingBody};
use http::{HeaderValue, Request, Response, request::Parts};
use http_body_util::{Either, Full};
use tokio::time::sleep;
use tower_service::Service;

use crate::{
    HOPS, SLACK, TARGET,
    address::Address,
    admin::{Supervised, Way},
    answer::{Page, or_refused, refuse},
    audit::CallFailed,
    auth::Credentials,
    calls::{Calls, Open},
    carrier::{AUTH_RETRIES, Carrier, Refusals, is_refusal},
    connect::Proxy,
    held::Held,
    listener::{BindError, Endpoint, Listener, Protection},
    metrics::{self, Observed, ObservedBody, Observer},
    origin::Origin,
    serve::{Limits, TurnedAway, serve},
    stop::{Ended, Stop},
    target::{Target, strip},
    words,
};

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
    /// A call ended with another code than OK.
    CallFailed(CallFailed),
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
    supervised: Supervised,
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
            supervised: Supervised::default(),
        })
    }

    /// Where it says what its tunnel does.
    #[must_use]
    pub const fn supervised(&self) -> &Supervised {
        &self.supervised
    }

    /// Where it listens.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Serves until `stop`. `tell` is called with what happens, and must not block.
    pub async fn run(self, tell: impl Fn(DialEvent) + Send + Sync + 'static, stop: Stop) -> Ended {
        let Self {
            listener,
            settings,
            supervised,
            ..
        } = self;
        let tell = Arc::new(tell);
        let channel = match keep(&settings, Arc::clone(&tell), &stop) {
            Ok(channel) => channel,
            Err(status) => {
                let why = status.to_string();
                tell(DialEvent::Failed { why });
                return Ended::Finished;
            }
        };
        let name = settings.target.as_ref().and_then(Target::first);
        supervised.add(name.clone(), Way::Caller, channel.supervisor());
        let calls = Calls::default();
        let refused = refused(channel.supervisor());
        let told = Arc::clone(&tell);
        let observer = Observer::new(name, move |failed| told(DialEvent::CallFailed(failed)));
        let port = Port {
            passing: Passing::new(settings.target.as_ref(), channel).observed(observer),
            calls: calls.clone(),
            stop: stop.clone(),
        };
        // Connections end when the calls have been counted that this cuts off, not before.
        let connections = Stop::new();
        let make = move |_| port.clone();
        let limits = Limits::without_tunnels();
        let turned_away = |TurnedAway { count, why }| tell(DialEvent::TurnedAway { count, why });
        let closing = stop.clone();
        let until = connections.clone();
        let serving = serve(listener, limits, make, turned_away, closing, until);
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
        tokio::pin!(serving);
        let ended = tokio::select! {
            biased;
            () = stop.ending() => cut(),
            ended = draining => ended,
            () = refused => Ended::Refused,
            // Every connection is closed: no call is open.
            _ = serving.as_mut() => return Ended::Finished,
        };
        connections.now();
        serving.await;
        sleep(SLACK).await;
        ended
    }
}

/// Waits until the credentials were refused again and again. What else a tunnel is given up for, each
/// call is told.
async fn refused(supervisor: Supervisor) {
    let end = supervisor.closed().await;
    if !end.gave_up.as_ref().is_some_and(is_refusal) {
        std::future::pending().await
    }
}

/// Keeps a tunnel open.
fn keep(
    settings: &DialSettings,
    tell: Arc<impl Fn(DialEvent) + Send + Sync + 'static>,
    stop: &Stop,
) -> Result<SupervisedChannel, Status> {
    let carrier = Carrier::new(
        settings.server.clone(),
        settings.proxy.clone(),
        settings.credentials.clone(),
    );
    let refusals = Refusals::new(settings.auth_retries, 1);
    let accepted = refusals.clone();
    let need = stop
        .readiness()
        .needs(format_args!("tunnel to {}", settings.server));
    let mut backoff = Backoff::default();
    backoff.max = settings.retry_limit;
    Supervisor::forward()
        .gateway(settings.server.to_string(), carrier)
        .backoff(backoff)
        .give_up_on(move |why| refusals.are_final(why))
        .on_event(move |event| {
            need.follow(&event.kind);
            if matches!(event.kind, SupervisorEventKind::Opened) {
                accepted.over();
            }
            match event.kind {
                SupervisorEventKind::Opened => metrics::connected(true),
                SupervisorEventKind::Failed(_) => metrics::connected(false),
                _ => {}
            }
            tell(match event.kind {
                SupervisorEventKind::Opened => DialEvent::Connected,
                SupervisorEventKind::Failed(why) => DialEvent::Failed {
                    why: words::interruption(why),
                },
                SupervisorEventKind::Ended(Interruption::Stopped(_)) => return,
                SupervisorEventKind::Ended(why) => DialEvent::Lost {
                    why: words::interruption(why),
                },
                SupervisorEventKind::Waiting(pause) => DialEvent::Pausing { pause },
                _ => return,
            });
        })
        .start(&grpctunnel_tokio::runtime())
}

/// What one connection to the port sees.
#[derive(Clone, Debug)]
struct Port {
    passing: Observed<Passing>,
    calls: Calls,
    stop: Stop,
}

type PortBody = Either<Held<ObservedBody<ResponseBody>, Open>, Full<Bytes>>;

/// Passes calls on.
#[derive(Clone, Debug)]
struct Passing {
    target: Option<Arc<str>>,
    channel: SupervisedChannel,
}

impl Passing {
    fn new(target: Option<&Target>, channel: SupervisedChannel) -> Self {
        Self {
            target: target.map(|target| target.to_string().into()),
            channel,
        }
    }

    const fn observed(self, observer: Observer) -> Observed<Self> {
        Observed {
            inner: self,
            observer,
        }
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

    async fn pass(self, request: Request<ObservedBody<IncomingBody>>) -> Response<ResponseBody> {
        let (mut head, body) = request.into_parts();
        // Who the caller says to be, or to have been, means nothing behind the tunnel.
        strip(&mut head.headers, &[TARGET, HOPS]);
        if let Err(status) = self.address(&mut head) {
            return refuse(&status);
        }
        let call = self.channel.clone().call(Request::from_parts(head, body));
        let Ok(response) = call.await else {
            return refuse(&Status::new(
                Code::Cancelled,
                "the caller broke the request",
            ));
        };
        match self.why_down() {
            Some(why) if response.extensions().get::<NeverProcessed>().is_some() => {
                refuse(&Status::new(Code::Unavailable, why))
            }
            _ => response,
        }
    }

    /// Why there is no tunnel, where there is none.
    fn why_down(&self) -> Option<String> {
        let state = self.channel.supervisor().state();
        if state.open() > 0 {
            return None;
        }
        let mut tunnels = state.tunnels.iter();
        let why = tunnels.find_map(|tunnel| tunnel.interruption.as_ref());
        Some(why.map_or_else(
            || "the tunnel is not open yet".to_owned(),
            words::interruption,
        ))
    }
}

impl Service<Request<ObservedBody<IncomingBody>>> for Passing {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ObservedBody<IncomingBody>>) -> Self::Future {
        let passing = self.clone();
        Box::pin(async move { Ok(passing.pass(request).await) })
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
        if let Some(page) = Page::of(&request, !self.stop.is_leaving()) {
            let text = Full::from(page.text);
            let response = page.head().map(|()| Either::Right(text));
            return Box::pin(std::future::ready(Ok(response)));
        }
        let mut port = self.clone();
        Box::pin(async move {
            let open = port.calls.begin();
            let passed = port.passing.call(request).await;
            let response = or_refused(passed.unwrap_or_else(|never| match never {}))?;
            Ok(response.map(|body| Either::Left(Held::new(body, open))))
        })
    }
}
