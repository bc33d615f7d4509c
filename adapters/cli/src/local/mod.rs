//! The agent's side towards the local server: calls go to it as they are.

mod body;
mod breaker;
mod pool;

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use grpctunnel_driver::{NeverProcessed, RequestBody, RetryBody};
use grpctunnel_http2::{Error as HttpError, ErrorKind, Reason};
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::CONTENT_TYPE,
    request::Parts,
    uri::{Authority, PathAndQuery},
};
use http_body::Body;
use http_body_util::{Either, Empty};
use tonic::{Code, Status};
use tower_service::Service;

pub(crate) use self::body::LocalBody;
use self::breaker::Breaker;
pub use self::breaker::Breaking;
use self::pool::{NoStream, Pool};
use crate::{
    HOPS, INSTANCE, TARGET,
    answer::mark_refused,
    auth::{AUTHORIZATION, Credentials},
    connect::{Connector, Proxy, Watch},
    metrics::ObservedBody,
    origin::Origin,
    target::strip,
    words,
};

const WATCH: Watch = Watch {
    probe: Duration::from_secs(5),
    pause: Duration::from_secs(5),
    silence: Duration::from_secs(15),
};
/// How often a call is made again that the local server has certainly not handled.
const TRIES: u32 = 4;
/// How long the question may take whether the local server is a gateway.
const INSTANCE_LIMIT: Duration = Duration::from_secs(2);
/// gRPC's number of UNAVAILABLE.
const UNAVAILABLE: &str = "14";
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";

type BoxError = Box<dyn Error + Send + Sync>;

/// What happens between an agent and its local server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LocalEvent {
    /// Calls cannot be handed to it. Told once, until it is [`Back`](Self::Back).
    Lost {
        /// Why.
        why: String,
    },
    /// Calls are handed to it again.
    Back,
}

/// The settings of the way to a local server.
#[derive(Clone, Debug)]
pub(crate) struct LocalSettings {
    pub(crate) origin: Origin,
    /// What the local server sees as `:authority`, if not what the call has, or its own.
    pub(crate) authority: Option<Authority>,
    /// The most connections at once.
    pub(crate) connections: usize,
    /// What is presented to it, and what it is checked against.
    pub(crate) credentials: Credentials,
    /// When it is left alone, if ever.
    pub(crate) breaking: Option<Breaking>,
}

/// The local server. Connects when there is a call, and again when the connection was lost.
pub(crate) struct Local<B>(Arc<Shared>, PhantomData<fn(B)>);

struct Shared {
    pool: Pool,
    origin: Origin,
    authority: Option<Authority>,
    credentials: Credentials,
    breaker: Option<Breaker>,
    lost: AtomicBool,
    tell: Box<dyn Fn(LocalEvent) + Send + Sync>,
}

impl<B> Clone for Local<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), PhantomData)
    }
}

impl<B> fmt::Debug for Local<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Local").field(&self.0.origin).finish()
    }
}

impl<B> Local<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(
        settings: LocalSettings,
        tell: impl Fn(LocalEvent) + Send + Sync + 'static,
    ) -> Self {
        let LocalSettings {
            origin,
            authority,
            connections,
            credentials,
            breaking,
        } = settings;
        let proxy = Proxy::None;
        let connector = Connector::new(origin.clone(), proxy, credentials.clone(), WATCH);
        let shared = Shared {
            pool: Pool::new(connector, connections),
            authority,
            origin,
            credentials,
            breaker: breaking.map(Breaker::new),
            lost: AtomicBool::new(false),
            tell: Box::new(tell),
        };
        Self(Arc::new(shared), PhantomData)
    }

    /// The same local server, for calls that come through tunnels.
    pub(crate) fn for_tunnels(&self) -> Local<ObservedBody<RequestBody>> {
        Local(Arc::clone(&self.0), PhantomData)
    }

    /// The instance of the gateway that the local server is, if it is one.
    pub(crate) async fn instance(&self, body: B) -> Option<HeaderValue> {
        let request = Request::post(HEALTH_CHECK)
            .header(CONTENT_TYPE, "application/grpc")
            .header("te", "trailers")
            .body(body)
            .ok()?;
        let asked = tokio::time::timeout(INSTANCE_LIMIT, self.make(request));
        asked.await.ok()?.headers().get(INSTANCE).cloned()
    }

    async fn answer(self, request: Request<B>) -> Answer {
        let Some(breaker) = &self.0.breaker else {
            return self.make(request).await;
        };
        let Some(pass) = breaker.admit(Instant::now()) else {
            return self.left_alone();
        };
        let response = self.make(request).await;
        let status = response.headers().get("grpc-status");
        let works = status.is_none_or(|status| status != UNAVAILABLE);
        pass.ended(works, Instant::now());
        response
    }

    /// The answer to a call that the circuit breaker does not let pass. Another agent may do better.
    fn left_alone(&self) -> Answer {
        let text = format!(
            "the local server {} failed again and again, and is left alone for a while",
            self.0.origin
        );
        let mut response = Status::unavailable(text).into_http().map(Either::Right);
        response.extensions_mut().insert(NeverProcessed::new());
        response
    }

    /// Makes a call, as often as it has to be made to be made once.
    async fn make(&self, request: Request<B>) -> Answer {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let asked_for = self.0.authority.as_ref().or(head.uri.authority());
        let authority = asked_for.unwrap_or(self.0.origin.authority()).clone();
        head.uri = self.0.origin.with_path(authority, path);
        head.version = Version::HTTP_2;
        strip(&mut head.headers, &[TARGET, HOPS]);
        if let Some(authorization) = self.0.credentials.authorization() {
            // The local server is another gateway.
            head.headers.insert(AUTHORIZATION, authorization);
        }
        let replay = RetryBody::new(body);
        let mut tries = 1;
        loop {
            let failed = match self.attempt(&head, &replay).await {
                Ok(response) => return response.map(Either::Left),
                Err(failed) => failed,
            };
            let again = failed.handled == Handled::Refused;
            if !again || tries >= TRIES || !replay.is_whole() {
                return failed.into_answer();
            }
            tries += 1;
        }
    }

    /// Makes a call once.
    async fn attempt(
        &self,
        head: &Parts,
        replay: &RetryBody<B>,
    ) -> Result<Response<LocalBody>, Failed> {
        let lease = self.0.pool.stream().await;
        let lease = lease.map_err(|none| Failed {
            status: self.no_stream(&none),
            handled: Handled::NotSent,
        })?;
        self.back();
        let (mut client, used) = lease.into_parts();
        let request = Request::from_parts(head.clone(), replay.attempt());
        match client.call(request).await {
            Ok(mut response) => {
                let origin = self.0.origin.clone();
                body::fit_head(response.headers_mut(), &origin).map_err(|status| Failed {
                    status,
                    handled: Handled::Perhaps,
                })?;
                let ends_well =
                    response.status() != StatusCode::OK || body::is_trailers_only(&mut response);
                Ok(response.map(|body| LocalBody::new(body, origin, used, ends_well)))
            }
            Err(error) => {
                let handled = match error.never_processed() {
                    Some(_) => Handled::Refused,
                    None => Handled::Perhaps,
                };
                let status = status_of(&error, &self.0.origin);
                Err(Failed { status, handled })
            }
        }
    }

    fn no_stream(&self, none: &NoStream) -> Status {
        let origin = &self.0.origin;
        let (status, why) = match none {
            NoStream::Connect(error) => {
                let error: &(dyn Error + 'static) = error.as_ref();
                let (verb, why) = match words::spoken(error) {
                    Some(spoken) => ("use", spoken.to_owned()),
                    None => ("reach", words::reason(error)),
                };
                let text = format!("cannot {verb} the local server {origin}: {why}");
                (Status::unavailable(text), why)
            }
            NoStream::Full {
                connections,
                streams,
            } => {
                let why = format!(
                    "it allows {streams} calls at once on a connection, and {connections} \
                     connections are in use"
                );
                let text = format!("no room at the local server {origin}: {why}");
                // Callers have no settings of the agent's.
                let why = format!("{why}; --local-connections sets how many there may be");
                (Status::resource_exhausted(text), why)
            }
        };
        if !self.0.lost.swap(true, Ordering::Relaxed) {
            (self.0.tell)(LocalEvent::Lost { why });
        }
        status
    }

    fn back(&self) {
        if self.0.lost.swap(false, Ordering::Relaxed) {
            (self.0.tell)(LocalEvent::Back);
        }
    }
}

/// Whether a call that failed was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handled {
    Perhaps,
    /// There was no connection to send it on.
    NotSent,
    /// The server said that it would not: by REFUSED_STREAM, or by a GOAWAY below the call.
    Refused,
}

/// A call that the local server did not answer.
struct Failed {
    status: Status,
    handled: Handled,
}

impl Failed {
    /// The answer that stands for it. What nobody handled is marked, so that it can be made
    /// elsewhere.
    fn into_answer(self) -> Answer {
        let mut answer = self.status.into_http().map(Either::Right);
        if self.handled != Handled::Perhaps {
            answer.extensions_mut().insert(NeverProcessed::new());
        }
        if self.handled == Handled::Refused {
            mark_refused(answer.headers_mut());
        }
        answer
    }
}

/// What the local server answers, or the status that stands for it.
pub(crate) type Answer = Response<Either<LocalBody, Empty<Bytes>>>;

impl<B> Service<Request<B>> for Local<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let local = self.clone();
        Box::pin(async move { Ok(local.answer(request).await) })
    }
}

/// The status of a call that the local server did not answer, or did not finish.
fn status_of(error: &HttpError, origin: &Origin) -> Status {
    match (error.kind(), error.reason()) {
        (ErrorKind::Reset, Some(reason)) => {
            let reset = words::reason_name(reason);
            let text = format!("the local server {origin} reset the call: {reset}");
            Status::new(code_of(reason), text)
        }
        (ErrorKind::Refused, _) => {
            Status::unavailable(format!("the local server {origin} did not take the call"))
        }
        (
            ErrorKind::HeadersTooLarge {
                trailers,
                size,
                limit,
                grpc_status,
            },
            _,
        ) => {
            let what = if *trailers { "trailers" } else { "headers" };
            let text = format!(
                "the {what} of the local server {origin} have {size} bytes; at most {limit} are \
                 allowed"
            );
            let code = match grpc_status.and_then(|code| i32::try_from(code).ok()) {
                None | Some(0) => Code::ResourceExhausted,
                Some(code) => Code::from_i32(code),
            };
            Status::new(code, text)
        }
        (ErrorKind::RequestBody, _) => Status::cancelled("the caller broke the request"),
        (ErrorKind::InvalidRequest, _) => {
            Status::internal("the call cannot be made over HTTP/2 as it is")
        }
        _ => Status::unavailable(format!(
            "the local server {origin} went away: {}",
            words::reason(error)
        )),
    }
}

/// How gRPC's protocol document maps the reason of a reset.
const fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::REFUSED_STREAM => Code::Unavailable,
        Reason::CANCEL => Code::Cancelled,
        Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    }
}
