//! A tunnel in memory: the request body of one end is handed to the other end's service.

#![allow(dead_code, reason = "each test program uses its own part of it")]
#![allow(unreachable_pub, reason = "a test program has no outside")]

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use grpctunnel_driver::{
    BoxError, Channel, Executor, Extension, ExtensionSet, Handler, Options, ResponseBody, Runtime,
    Sleep, Status, Task, Timer, TransmitBody, TunnelService,
};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use tower_service::Service;

pub mod frames;
pub mod offers;
pub mod play;
pub mod recorded;
pub mod service;
pub mod steps;
pub mod supervised;
pub mod tasks;

pub type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
pub type AnyFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(30);

struct Tokio;

impl Executor for Tokio {
    fn execute(&self, task: Task) {
        tokio::spawn(task);
    }
}

impl Timer for Tokio {
    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }
}

struct Smol;

impl Executor for Smol {
    fn execute(&self, task: Task) {
        smol::spawn(task).detach();
    }
}

impl Timer for Smol {
    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Box::pin(async move {
            smol::Timer::at(deadline).await;
        })
    }
}

/// smol's runtime, whose tasks run on another thread.
pub fn smol_runtime() -> Runtime {
    Runtime::new(Smol, Smol)
}

/// Runs a test on a tokio runtime, then on smol's.
pub fn on_both<F, T>(test: F)
where
    F: Fn(Runtime) -> T,
    T: Future<Output = ()>,
{
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    tokio.block_on(async {
        let test = test(Runtime::new(Tokio, Tokio));
        tokio::time::timeout(LIMIT, test).await.unwrap();
    });
    tokio.shutdown_timeout(Duration::from_secs(1));
    smol::block_on(smol::future::or(test(smol_runtime()), async {
        smol::Timer::after(LIMIT).await;
        panic!("the test takes too long");
    }));
}

/// A carrier: hands the request that opens a tunnel to a service.
#[derive(Clone)]
pub struct InMemory<S>(pub S);

impl<S> Service<Request<TransmitBody>> for InMemory<S>
where
    S: Service<Request<TransmitBody>, Response = Response<TransmitBody>>,
{
    type Response = Response<TransmitBody>;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<TransmitBody>) -> S::Future {
        self.0.call(request)
    }
}

/// A service made of a function.
#[derive(Clone)]
pub struct Function<F>(pub F);

impl<F, T, B> Service<Request<B>> for Function<F>
where
    F: Fn(Request<B>) -> T,
    T: Future<Output = Response<AnyBody>>,
{
    type Response = Response<AnyBody>;
    type Error = Infallible;
    type Future = Infallibly<T>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Infallibly::new((self.0)(request))
    }
}

pub struct Infallibly<T>(Pin<Box<T>>);

impl<T> Infallibly<T> {
    pub fn new(future: T) -> Self {
        Self(Box::pin(future))
    }
}

impl<T: Future> Future for Infallibly<T> {
    type Output = Result<T::Output, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

/// A forward tunnel to a handler.
pub async fn forward<H: Handler + Sync>(runtime: &Runtime, handler: H) -> Channel {
    let service = TunnelService::new(runtime.clone()).forward(handler);
    connect_with(runtime, service, &Options::default()).await
}

/// A forward tunnel to a handler, between ends that offer no extension, as known peers.
pub async fn forward_plain<H: Handler + Sync>(runtime: &Runtime, handler: H) -> Channel {
    let service = TunnelService::new(runtime.clone())
        .with_options(without(ExtensionSet::ALL))
        .forward(handler);
    connect_with(runtime, service, &Options::default()).await
}

/// The default options, without some of the extensions.
pub fn without(extensions: ExtensionSet) -> Options {
    let mut options = Options::default();
    for extension in EXTENSIONS {
        if extensions.contains(extension) {
            options.extensions = options.extensions.without(extension);
        }
    }
    options
}

pub const EXTENSIONS: [Extension; 5] = [
    Extension::RawMetadata,
    Extension::Transparent,
    Extension::Drain,
    Extension::Ping,
    Extension::Unprocessed,
];

/// A forward tunnel to a service.
pub async fn connect_with<H: Handler + Sync>(
    runtime: &Runtime,
    service: TunnelService<H>,
    options: &Options,
) -> Channel {
    grpctunnel_driver::connect(InMemory(service), runtime, options, HeaderMap::new())
        .await
        .unwrap()
}

/// A message behind its prefix.
pub fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).unwrap());
    bytes.put_slice(message);
    bytes.freeze()
}

/// The messages of a body that was read whole.
pub fn messages(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (messages, rest) = whole_messages(bytes);
    assert!(rest.is_empty(), "a message that is cut");
    messages
}

/// The messages of a body that may have been cut in the middle of one, and that part of one.
pub fn whole_messages(mut bytes: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
    let mut messages = Vec::new();
    while let Some((prefix, rest)) = bytes.split_at_checked(5) {
        assert_eq!(prefix[0], 0, "flags");
        let len = u32::from_be_bytes(prefix[1..].try_into().unwrap());
        let Some((message, rest)) = rest.split_at_checked(len.try_into().unwrap()) else {
            break;
        };
        messages.push(message.to_vec());
        bytes = rest;
    }
    (messages, bytes)
}

/// A body of these messages, without trailers.
pub fn body_of(messages: &[&[u8]]) -> AnyBody {
    let all: Vec<u8> = messages
        .iter()
        .flat_map(|message| framed(message))
        .collect();
    Full::new(Bytes::from(all))
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub type Frames = smol::channel::Sender<Result<Frame<Bytes>, BoxError>>;

/// A body that is sent frame by frame. It ends when the sender is dropped.
pub fn channel_body() -> (Frames, AnyBody) {
    let (sender, receiver) = smol::channel::unbounded();
    (sender, StreamBody::new(receiver).boxed_unsync())
}

pub fn data(message: &[u8]) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(framed(message)))
}

pub fn trailers(status: &Status) -> Result<Frame<Bytes>, BoxError> {
    let mut trailers = HeaderMap::new();
    status.write_headers(&mut trailers);
    Ok(Frame::trailers(trailers))
}

pub fn call_of(method: &str, body: AnyBody) -> Request<AnyBody> {
    Request::post(format!("/{method}")).body(body).unwrap()
}

/// A call that is over.
#[derive(Debug)]
pub struct Done {
    pub headers: HeaderMap,
    pub messages: Vec<Vec<u8>>,
    pub trailers: HeaderMap,
    pub status: Status,
    pub never_processed: bool,
}

/// Makes a call and reads its response to the end.
pub async fn make(channel: &Channel, request: Request<AnyBody>) -> Done {
    let response = channel.clone().call(request).await.unwrap();
    finish(response).await
}

pub async fn finish(response: Response<ResponseBody>) -> Done {
    let never_processed = response
        .extensions()
        .get::<grpctunnel_driver::NeverProcessed>()
        .is_some();
    let (parts, body) = response.into_parts();
    let (bytes, trailers) = read(body).await.unwrap();
    let status = Status::from_headers(&parts.headers)
        .or_else(|| Status::from_headers(&trailers))
        .expect("a response without a status");
    let (messages, rest) = whole_messages(&bytes);
    // What was begun may be cut by an error, and by nothing else.
    assert!(rest.is_empty() || status.code() != grpctunnel_driver::Code::Ok);
    Done {
        headers: parts.headers,
        messages,
        trailers,
        status,
        never_processed,
    }
}

/// Reads a body to its end.
pub async fn read<B>(body: B) -> Result<(Vec<u8>, HeaderMap), B::Error>
where
    B: Body<Data = Bytes>,
{
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok((collected.to_bytes().to_vec(), trailers))
}

/// Reads the next piece of data.
pub async fn next_data<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Option<Bytes>
where
    B::Error: std::fmt::Debug,
{
    body.frame().await?.unwrap().into_data().ok()
}

/// A service that never answers.
#[derive(Clone, Copy)]
pub struct Silent;

impl<B> Service<Request<B>> for Silent {
    type Response = Response<TransmitBody>;
    type Error = Infallible;
    type Future = std::future::Pending<Result<Response<TransmitBody>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The body stays with the connection.
        std::mem::forget(request);
        std::future::pending()
    }
}

/// Waits until something is so. The test's time limit is the limit.
pub async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        smol::future::yield_now().await;
    }
}

/// A clock that stands still until it is told otherwise.
#[derive(Clone)]
pub struct FakeClock {
    inner: Arc<Mutex<Fake>>,
}

struct Fake {
    now: Instant,
    sleepers: Vec<(Instant, smol::channel::Sender<()>)>,
}

impl FakeClock {
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Mutex::new(Fake {
                now: Instant::now(),
                sleepers: Vec::new(),
            })),
        }
    }

    pub fn advance(&self, duration: Duration) {
        let mut fake = self.inner.lock().unwrap();
        fake.now += duration;
        let now = fake.now;
        // A sender that is dropped wakes its sleeper.
        fake.sleepers.retain(|(deadline, _)| *deadline > now);
    }

    /// Whether anybody sleeps until a time within `duration`.
    pub fn is_awaited(&self, duration: Duration) -> bool {
        let fake = self.inner.lock().unwrap();
        let until = fake.now + duration;
        fake.sleepers
            .iter()
            .any(|(deadline, sender)| *deadline <= until && !sender.is_closed())
    }
}

impl Timer for FakeClock {
    fn now(&self) -> Instant {
        self.inner.lock().unwrap().now
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let (sender, receiver) = smol::channel::bounded(1);
        let mut fake = self.inner.lock().unwrap();
        if deadline > fake.now {
            fake.sleepers.push((deadline, sender));
        }
        Box::pin(async move {
            let _ = receiver.recv().await;
        })
    }
}

/// The tasks of `runtime`, by a clock of its own.
pub fn with_clock(runtime: &Runtime, clock: &FakeClock) -> Runtime {
    struct Tasks(Runtime);
    impl Executor for Tasks {
        fn execute(&self, task: Task) {
            self.0.spawn(task);
        }
    }
    Runtime::new(Tasks(runtime.clone()), clock.clone())
}

/// A carrier that can be cut.
#[derive(Clone)]
pub struct Cuttable<S> {
    service: S,
    cut: smol::channel::Receiver<()>,
}

/// Cuts the carrier when it is dropped.
pub type Scissors = smol::channel::Sender<()>;

impl<S> Cuttable<S> {
    pub fn new(service: S) -> (Scissors, Self) {
        let (scissors, cut) = smol::channel::bounded(1);
        (scissors, Self { service, cut })
    }
}

impl<S> Service<Request<TransmitBody>> for Cuttable<S>
where
    S: Service<
            Request<AnyBody>,
            Response = Response<TransmitBody>,
            Error = Infallible,
            Future = Ready<Result<Response<TransmitBody>, Infallible>>,
        >,
{
    type Response = Response<AnyBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<AnyBody>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<TransmitBody>) -> Self::Future {
        let cut = self.cut.clone();
        let request = request.map(|body| cuttable(body, cut.clone()));
        let response = self.service.call(request);
        ready(
            response
                .into_inner()
                .map(|response| response.map(|body| cuttable(body, cut))),
        )
    }
}

/// A body that fails when it is cut, and drops what it was.
fn cuttable(body: TransmitBody, cut: smol::channel::Receiver<()>) -> AnyBody {
    use futures_util::StreamExt as _;
    let frames = http_body_util::BodyStream::new(body)
        .map(|frame| frame.map_err(|error| Box::new(error) as BoxError))
        .take_until(async move {
            let _ = cut.recv().await;
        });
    let frames = frames.chain(futures_util::stream::once(async {
        Err("the connection was cut".into())
    }));
    StreamBody::new(frames).boxed_unsync()
}
