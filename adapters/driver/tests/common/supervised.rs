//! A world of tasks and a clock, with a gateway that takes reverse tunnels, and a dialer that does
//! what a test says.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use grpctunnel_driver::{
    Backoff, BoxError, Channel, Dial, DialError, ForwardRole, Handler, NoHandler, ResponseFuture,
    ReverseRole, Runtime, Status, SupervisedChannel, SupervisedPhase, Supervisor,
    SupervisorBuilder, SupervisorEnd, SupervisorEventKind, TransmitBody, TunnelService,
};
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tower_service::Service;

use super::service::{self, Seen};
use super::steps::Steps;
use super::{
    AnyBody, AnyFuture, Cuttable, Done, FakeClock, InMemory, Infallibly, Scissors, body_of,
    call_of, channel_body, finish, trailers,
};

pub const SECOND: Duration = Duration::from_secs(1);
/// Longer than a tunnel must live.
pub const LONG: Duration = Duration::from_secs(60);

/// What the dialer of a test does next.
pub enum Dialled {
    /// A tunnel to the gateway.
    Gateway,
    /// The same, and the connection breaks when that is dropped.
    Breaks,
    Fails(DialError),
    /// The opening is refused with this status.
    Refused(Status),
    /// The peer accepts and ends the tunnel, with this status.
    Ended(Status),
    /// Nothing ever happens.
    Hangs,
}

/// Tasks, a clock, and a gateway that takes reverse tunnels.
#[derive(Clone)]
pub struct World {
    pub steps: Steps,
    pub clock: FakeClock,
    pub runtime: Runtime,
    pub gateway: Arc<Mutex<TunnelService<NoHandler>>>,
    pub channels: Arc<Mutex<Vec<Channel>>>,
    pub script: Arc<Mutex<VecDeque<Dialled>>>,
    pub cuts: Arc<Mutex<Vec<Scissors>>>,
    pub hanging: Arc<AtomicUsize>,
    pub log: Arc<Mutex<Vec<String>>>,
    pub seen: Arc<Seen>,
}

/// A connection.
pub struct Carrier(Box<dyn FnMut(Request<TransmitBody>) -> AnyFuture<Response<AnyBody>> + Send>);

impl Carrier {
    pub fn of<S, B>(mut service: S) -> Self
    where
        S: Service<Request<TransmitBody>, Response = Response<B>, Error = Infallible>,
        S: Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self(Box::new(move |request| {
            let response = service.call(request);
            Box::pin(async move {
                let response = response.await.unwrap_or_else(|never| match never {});
                response.map(|body| body.map_err(Into::into).boxed_unsync())
            })
        }))
    }

    pub fn answers(response: impl Fn() -> Response<AnyBody> + Send + 'static) -> Self {
        Self(Box::new(move |request| {
            // The peer keeps it, and reads nothing.
            std::mem::forget(request);
            Box::pin(std::future::ready(response()))
        }))
    }
}

impl Service<Request<TransmitBody>> for Carrier {
    type Response = Response<AnyBody>;
    type Error = Infallible;
    type Future = Infallibly<AnyFuture<Response<AnyBody>>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<TransmitBody>) -> Self::Future {
        Infallibly::new((self.0)(request))
    }
}

impl World {
    pub fn new() -> Self {
        Self::with_steps(Steps::default())
    }

    pub fn with_steps(steps: Steps) -> Self {
        let clock = FakeClock::new();
        let runtime = steps.runtime_with(clock.clone());
        let channels = Arc::<Mutex<Vec<Channel>>>::default();
        let gateway = gateway(&runtime, &channels);
        Self {
            steps,
            clock,
            runtime,
            gateway: Arc::new(Mutex::new(gateway)),
            channels,
            script: Arc::default(),
            cuts: Arc::default(),
            hanging: Arc::default(),
            log: Arc::default(),
            seen: Arc::default(),
        }
    }

    /// Replaces a gateway that drains.
    pub fn restart_gateway(&self) {
        *self.gateway.lock().unwrap() = gateway(&self.runtime, &self.channels);
    }

    pub fn script(&self, next: impl IntoIterator<Item = Dialled>) {
        self.script.lock().unwrap().extend(next);
    }

    /// The dialer. When its script is at its end it goes on with the gateway.
    pub fn dial(&self) -> impl Dial + use<> {
        let world = self.clone();
        move || {
            let world = world.clone();
            async move { world.dial_once().await }
        }
    }

    async fn dial_once(self) -> Result<Carrier, DialError> {
        let next = self.script.lock().unwrap().pop_front();
        let gateway = self.gateway.lock().unwrap().clone();
        match next.unwrap_or(Dialled::Gateway) {
            Dialled::Gateway => Ok(Carrier::of(InMemory(gateway))),
            Dialled::Breaks => {
                let (scissors, cuttable) = Cuttable::new(gateway);
                self.cuts.lock().unwrap().push(scissors);
                Ok(Carrier::of(cuttable))
            }
            Dialled::Fails(error) => Err(error),
            Dialled::Refused(status) => Ok(Carrier::answers(move || service::status_only(&status))),
            Dialled::Ended(status) => Ok(Carrier::answers(move || {
                let (frames, body) = channel_body();
                service::put(&frames, trailers(&status));
                let mut response = Response::new(body);
                let grpc = HeaderValue::from_static("application/grpc");
                response.headers_mut().insert("content-type", grpc);
                response
            })),
            Dialled::Hangs => {
                struct Hanging(Arc<AtomicUsize>);
                impl Drop for Hanging {
                    fn drop(&mut self) {
                        self.0.fetch_sub(1, Ordering::SeqCst);
                    }
                }
                self.hanging.fetch_add(1, Ordering::SeqCst);
                let _hanging = Hanging(self.hanging.clone());
                std::future::pending().await
            }
        }
    }

    pub fn builder(&self) -> SupervisorBuilder<ReverseRole<impl Handler + use<>>> {
        let log = self.log.clone();
        let mut backoff = Backoff::default();
        backoff.first = SECOND;
        backoff.max = 16 * SECOND;
        Supervisor::reverse(service::sample(self.seen.clone()))
            .backoff(backoff)
            .seed(7)
            .on_event(move |event| {
                let what = match event.kind {
                    SupervisorEventKind::Opened => "opened".to_owned(),
                    SupervisorEventKind::Failed(why) => format!("failed: {why}"),
                    SupervisorEventKind::Draining => "draining".to_owned(),
                    SupervisorEventKind::Ended(why) => format!("ended: {why}"),
                    SupervisorEventKind::Waiting(_) => "waiting".to_owned(),
                    SupervisorEventKind::GaveUp(why) => format!("gave up: {why}"),
                    _ => "something new".to_owned(),
                };
                let line = format!("{}{} {what}", event.gateway, event.tunnel);
                log.lock().unwrap().push(line);
            })
    }

    /// A supervisor of one tunnel.
    pub fn start(&self) -> Supervisor {
        let supervisor = self
            .builder()
            .gateway("g", self.dial())
            .start(&self.runtime);
        self.steps.run();
        supervisor.unwrap()
    }

    pub fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
        self.steps.run();
    }

    /// Lets the pause pass in which a supervisor of one tunnel is.
    pub fn pass_pause(&self, supervisor: &Supervisor) -> Duration {
        let phase = supervisor.state().tunnels[0].phase;
        let SupervisedPhase::Waiting(pause) = phase else {
            panic!("it does not wait: {phase:?}");
        };
        self.advance(pause);
        pause
    }

    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    /// The channel of the tunnel that was opened last, at the gateway.
    pub fn last_channel(&self) -> Channel {
        self.channels.lock().unwrap().last().unwrap().clone()
    }

    /// Begins a call, which hangs.
    pub fn hang(&self, channel: &Channel) -> ResponseFuture<AnyBody> {
        let started = self.seen.started();
        let mut call = channel.clone().call(call_of("t.S/Hang", body_of(&[])));
        assert!(self.steps.drive(&mut call).is_none());
        assert_eq!(self.seen.started(), started + 1);
        call
    }

    /// Makes a call.
    pub fn call(&self, channel: &Channel) -> Status {
        let call = channel.clone().call(call_of("t.S/Unary", body_of(&[b"m"])));
        let done = Box::pin(async move { finish(call.await.unwrap()).await });
        self.steps.drive(&mut { done }).unwrap().status
    }
}

pub fn gateway(runtime: &Runtime, channels: &Arc<Mutex<Vec<Channel>>>) -> TunnelService<NoHandler> {
    let channels = channels.clone();
    TunnelService::new(runtime.clone()).reverse(move |tunnel| {
        channels.lock().unwrap().push(tunnel.channel);
        std::future::ready(())
    })
}

pub fn fails(text: &'static str) -> Dialled {
    Dialled::Fails(DialError::new(text))
}

pub fn phases(supervisor: &Supervisor) -> Vec<SupervisedPhase> {
    let tunnels = supervisor.state().tunnels;
    tunnels.into_iter().map(|tunnel| tunnel.phase).collect()
}

/// How a supervisor ended, if it did.
pub fn ended(world: &World, supervisor: &Supervisor) -> Option<SupervisorEnd> {
    world.steps.drive(&mut Box::pin(supervisor.closed()))
}

/// A world whose gateway takes forward tunnels, and handles their calls.
pub struct ForwardWorld<H> {
    pub steps: Steps,
    pub clock: FakeClock,
    pub runtime: Runtime,
    pub seen: Arc<Seen>,
    handler: H,
    /// The gateway: `None` while it cannot be reached.
    pub gateway: Arc<Mutex<Option<TunnelService<H>>>>,
    pub dialled: Arc<AtomicUsize>,
}

/// A world with the sample service behind its gateway.
pub fn forward_world() -> ForwardWorld<impl Handler + Sync> {
    let (steps, clock) = (Steps::default(), FakeClock::new());
    let runtime = steps.runtime_with(clock.clone());
    let seen = Arc::<Seen>::default();
    let handler = service::sample(seen.clone());
    let service = TunnelService::new(runtime.clone()).forward(handler.clone());
    ForwardWorld {
        handler,
        steps,
        clock,
        runtime,
        seen,
        gateway: Arc::new(Mutex::new(Some(service))),
        dialled: Arc::default(),
    }
}

impl<H: Handler + Sync> ForwardWorld<H> {
    pub fn builder(&self) -> SupervisorBuilder<ForwardRole> {
        Supervisor::forward().seed(3)
    }

    pub fn dial(&self) -> impl Dial + use<H> {
        let (gateway, dialled) = (self.gateway.clone(), self.dialled.clone());
        move || {
            dialled.fetch_add(1, Ordering::SeqCst);
            let gateway = gateway.lock().unwrap().clone();
            std::future::ready(match gateway {
                Some(gateway) => Ok(InMemory(gateway)),
                None => Err(DialError::new("it cannot be reached")),
            })
        }
    }

    /// Puts a new gateway in place of the one there is, which is returned.
    pub fn restart(&self) -> TunnelService<H> {
        let gateway = TunnelService::new(self.runtime.clone()).forward(self.handler.clone());
        let mut place = self.gateway.lock().unwrap();
        place.replace(gateway).expect("there was none")
    }

    pub fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
        self.steps.run();
    }

    /// Makes a call, as far as it gets.
    pub fn start_call(&self, channel: &SupervisedChannel, method: &str) -> PendingCall {
        let call = channel.clone().call(call_of(method, body_of(&[b"m"])));
        let mut call: PendingCall = Box::pin(async move { finish(call.await.unwrap()).await });
        assert!(self.steps.drive(&mut call).is_none());
        call
    }

    pub fn call(&self, channel: &SupervisedChannel) -> Done {
        let call = channel.clone().call(call_of("t.S/Unary", body_of(&[b"m"])));
        let done = async move { finish(call.await.unwrap()).await };
        self.steps.drive(&mut Box::pin(done)).unwrap()
    }
}

/// A call that has not ended.
pub type PendingCall = AnyFuture<Done>;
