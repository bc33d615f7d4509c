//! Where a call goes that came to a gateway: to an agent, or to the gateway's own services.

use std::{
    convert::Infallible,
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use grpctunnel_driver::{
    Code, NeverProcessed, ResponseBody, RetryBody, Status, TunnelService, is_grpc,
};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, request::Parts};
use http_body::Body;
use http_body_util::Either;
use tonic_health::pb::health_server::HealthServer;
use tower_service::Service;

use crate::{
    INSTANCE,
    answer::refuse,
    auth::Caller,
    calls::{Calls, Open},
    echo,
    health::Health,
    held::Held,
    metrics::{Record, Why},
    name::Name,
    refusal::Refusal,
    registry::Agents,
    retry::{Retries, RetryPolicy},
    routing::Routing,
    target::{self, Step, Target},
};

const HEALTH_SERVICE: &str = "/grpc.health.v1.Health/";
const REFLECTION: &str = "/grpc.reflection.";

/// Whether a path is one of the tunnel service.
fn is_of_tunnels(path: &str) -> bool {
    let service = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    service.is_some_and(|(service, _)| service == TunnelService::NAME)
}

/// The body of a response.
pub(crate) type RoutedBody = Either<Held<ResponseBody, Open>, Held<tonic::body::Body, Open>>;

type Answer = Response<RoutedBody>;

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Destination {
    /// To the gateway itself.
    Own,
    /// To this agent, or to the only one, and from there along the rest of the way.
    Agent {
        name: Option<Name>,
        rest: Option<String>,
    },
}

/// Passes calls on. Clones are the same router.
#[derive(Clone, Debug)]
pub(crate) struct Router(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    agents: Agents,
    routing: Routing,
    retries: Retries,
    health: HealthServer<Health>,
    instance: HeaderValue,
    calls: Calls,
}

impl Router {
    pub(crate) fn new(
        agents: Agents,
        routing: Routing,
        retries: Vec<RetryPolicy>,
        health: Health,
        instance: HeaderValue,
    ) -> Self {
        Self(Arc::new(Inner {
            agents,
            routing,
            retries: Retries::new(retries),
            health: HealthServer::new(health),
            instance,
            calls: Calls::default(),
        }))
    }

    /// The calls that pass.
    pub(crate) fn calls(&self) -> &Calls {
        &self.0.calls
    }

    /// Whether a request opens a tunnel to this gateway. One that names a target is a call.
    pub(crate) fn opens_tunnel<B>(&self, request: &Request<B>) -> bool {
        is_of_tunnels(request.uri().path())
            && is_grpc(request.headers())
            && !request.headers().contains_key(crate::TARGET)
            && self.0.routing.by_authority(request.uri().authority()) == Ok(None)
    }

    /// The first that applies: the target, the authority, what is the gateway's own, a rule, the
    /// default, the only agent.
    fn destination(&self, uri: &Uri, target: Option<Target>) -> Result<Destination, Status> {
        let agent = |name, rest| Destination::Agent { name, rest };
        match target {
            Some(Target {
                step: Step::Here, ..
            }) => return Ok(Destination::Own),
            Some(Target {
                step: Step::Agent(name),
                rest,
            }) => return Ok(agent(Some(name), rest)),
            None => {}
        }
        let named = self.0.routing.by_authority(uri.authority());
        let named = named.map_err(|label| {
            let text = format!("the authority names no agent: {label} is no DNS label");
            Status::new(Code::InvalidArgument, text)
        })?;
        if named.is_some() {
            return Ok(agent(named, None));
        }
        let path = uri.path();
        if is_of_tunnels(path) || path.starts_with(HEALTH_SERVICE) || path.starts_with(REFLECTION) {
            return Ok(Destination::Own);
        }
        Ok(agent(self.0.routing.by_service(path).cloned(), None))
    }

    async fn route<B>(self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (mut head, body) = request.into_parts();
        let open = self.0.calls.begin();
        if head.uri.query().is_some() {
            let text = "a path with a query names no method";
            return counted(refuse(&Status::new(Code::Unimplemented, text)), open);
        }
        let (destination, hops) = match self.read(&mut head) {
            Ok(read) => read,
            Err(status) => return counted(refuse(&status), open),
        };
        let caller = head.extensions.get::<Caller>().cloned();
        match destination {
            Destination::Own => {
                let response = self.own(Request::from_parts(head, body)).await;
                response.map(|body| match body {
                    Either::Left(body) => Either::Left(Held::new(body, open)),
                    Either::Right(body) => Either::Right(Held::new(body, open)),
                })
            }
            Destination::Agent { name, rest } => {
                target::put(&mut head.headers, rest.as_deref(), hops.saturating_add(1));
                let passed = self.pass(name.as_ref(), caller.as_ref(), head, body);
                counted(passed.await, open)
            }
        }
    }

    /// Takes out of a call where it goes, and how many gateways it passed.
    fn read(&self, head: &mut Parts) -> Result<(Destination, u32), Status> {
        let taken = target::take(&mut head.headers);
        let (target, hops) = taken.map_err(|refused| {
            let code = match refused {
                target::Refused::Loop => Code::FailedPrecondition,
                _ => Code::InvalidArgument,
            };
            Status::new(code, refused.to_string())
        })?;
        Ok((self.destination(&head.uri, target)?, hops))
    }

    /// Passes a call on, its bytes unseen, and again where a policy says so. An agent that the caller
    /// may not call is not there.
    async fn pass<B>(
        &self,
        name: Option<&Name>,
        caller: Option<&Caller>,
        head: Parts,
        body: B,
    ) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let uri = head.uri.clone();
        let retry = self.0.retries.of(uri.path(), &head.headers, Instant::now());
        let Some(mut retry) = retry else {
            let passed = self
                .attempt(name, caller, Request::from_parts(head, body))
                .await;
            return passed.unwrap_or_else(|refusal| refused(caller, &uri, name, &refusal));
        };
        let body = RetryBody::new(body);
        loop {
            let mut head = head.clone();
            retry.begin(&mut head.headers, Instant::now());
            let request = Request::from_parts(head, body.attempt());
            let passed = self.attempt(name, caller, request).await;
            let is_whole = body.is_whole();
            let pause = match &passed {
                Ok(response) => retry.pause(response.headers(), is_whole, Instant::now()),
                Err(refusal) => {
                    let mut answer = HeaderMap::new();
                    refusal.status().write_headers(&mut answer);
                    retry.pause(&answer, is_whole, Instant::now())
                }
            };
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => {
                    return passed.unwrap_or_else(|refusal| refused(caller, &uri, name, &refusal));
                }
            }
        }
    }

    /// Passes a call on once.
    async fn attempt<B>(
        &self,
        name: Option<&Name>,
        caller: Option<&Caller>,
        request: Request<B>,
    ) -> Result<Response<ResponseBody>, Refusal>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let may = |name: &Name| caller.is_some_and(|caller| caller.may_call(name));
        let (found, mut group) = self.0.agents.find(name, may)?;
        if let Some(record) = Record::of(request.extensions()) {
            record.goes_to(&found);
        }
        let Ok(response) = group.call(request).await else {
            // The caller has gone or reset its stream, so no one reads this.
            let text = "the caller broke the request";
            return Ok(refuse(&Status::new(Code::Cancelled, text)));
        };
        if response.extensions().get::<NeverProcessed>().is_none() {
            return Ok(response);
        }
        match self.0.agents.find(name, may) {
            // Nobody is there to whom it could have gone.
            Err(refusal @ Refusal::NotConnected { .. }) => Err(refusal),
            _ => Ok(response),
        }
    }

    /// Answers a call to the gateway itself.
    async fn own<B>(&self, request: Request<B>) -> Response<Either<ResponseBody, tonic::body::Body>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if request.uri().path().starts_with(HEALTH_SERVICE) {
            let mut health = self.0.health.clone();
            let answered = health.call(request.map(tonic::body::Body::new)).await;
            let mut response = answered.unwrap_or_else(|never| match never {});
            let headers = response.headers_mut();
            headers.insert(INSTANCE, self.0.instance.clone());
            return response.map(Either::Right);
        }
        if request.uri().path() == echo::PATH {
            return echo::answer(request).map(Either::Right);
        }
        let text = match request.uri().path() {
            path if is_of_tunnels(path) => "no tunnel to the gateway is opened here",
            path if path.starts_with(REFLECTION) => {
                "the gateway itself has no reflection; name an agent in x-tunnel-target to ask its \
                 server"
            }
            _ => "the gateway itself has no such service",
        };
        refuse(&Status::new(Code::Unimplemented, text)).map(Either::Left)
    }
}

/// What a caller is told whose call has no agent to go to.
fn refused(
    caller: Option<&Caller>,
    uri: &Uri,
    name: Option<&Name>,
    refusal: &Refusal,
) -> Response<ResponseBody> {
    let mut response = refuse(&refusal.status());
    if let Some(caller) = caller {
        let why = caller.refused(uri.path(), name, refusal);
        response.extensions_mut().insert(Why(why));
    }
    response
}

fn counted(response: Response<ResponseBody>, open: Open) -> Answer {
    response.map(|body| Either::Left(Held::new(body, open)))
}

impl<B> Service<Request<B>> for Router
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let router = self.clone();
        Box::pin(async move { Ok(router.route(request).await) })
    }
}
