//! A tunnel keeps the runtime in which it was made, whoever uses its handles, and wherever.

use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use bytes::Bytes;
use grpctunnel_driver::{BoxError, Code};
use grpctunnel_tokio::{Channel, Options, TunnelServer, connect, serve_reverse};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tower_service::Service;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
type AnyFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Drives a future outside of any runtime.
fn without_runtime<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    assert!(tokio::runtime::Handle::try_current().is_err());
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
        if let Poll::Ready(value) = poll {
            return value;
        }
        std::thread::park();
    }
}

/// A runtime with a thread of its own.
fn runtime() -> Outcome<Runtime> {
    let mut builder = Builder::new_multi_thread();
    Ok(builder.worker_threads(1).enable_all().build()?)
}

/// Sends each request back, as it comes.
#[derive(Clone)]
struct Echo;

impl Service<Request<tonic::body::Body>> for Echo {
    type Response = Response<tonic::body::Body>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let mut ok = HeaderMap::new();
        ok.insert("grpc-status", HeaderValue::from_static("0"));
        let echo = request
            .into_body()
            .with_trailers(std::future::ready(Some(Ok(ok))));
        std::future::ready(Ok(Response::new(tonic::body::Body::new(echo))))
    }
}

/// A carrier in memory.
struct InMemory<S>(S);

impl<S> Service<Request<tonic::body::Body>> for InMemory<S>
where
    S: Service<Request<tonic::body::Body>, Error: Into<BoxError>, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = AnyFuture<Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move { response.await.map_err(Into::into) })
    }
}

type Requests = mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>;
type RequestBody = StreamBody<UnboundedReceiverStream<Result<Frame<Bytes>, BoxError>>>;

/// A call whose request is sent piece by piece.
fn call() -> (Requests, Request<RequestBody>) {
    let (requests, body) = mpsc::unbounded_channel();
    let body = StreamBody::new(UnboundedReceiverStream::new(body));
    let mut request = Request::new(body);
    *request.uri_mut() = http::Uri::from_static("/test.Echo/Echo");
    (requests, request)
}

fn message(byte: u8) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::copy_from_slice(&[0, 0, 0, 0, 1, byte])))
}

/// A tunnel whose both ends are in this runtime.
fn tunnel(runtime: &Runtime, options: &Options) -> Outcome<Channel> {
    // It is not made in a runtime, and not for one.
    let server = InMemory(TunnelServer::new().forward(Echo));
    Ok(runtime.block_on(connect(server, options, MetadataMap::new()))?)
}

/// Opens a call, sends on it after its response has begun, and reads that.
async fn streams(mut channel: Channel) -> Outcome {
    let (requests, request) = call();
    requests.send(message(1))?;
    let mut body = channel.call(request).await?.into_body();
    for byte in 2..10 {
        requests.send(message(byte))?;
    }
    drop(requests);
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.into_data().map_or(0, |data| data.len());
    }
    assert_eq!(bytes, 9 * 6);
    Ok(())
}

/// A call that waits for room, until its deadline.
async fn waits(mut channel: Channel) -> Outcome {
    let (_requests, request) = call();
    let open = channel.call(request).await?;
    let (_requests, mut request) = call();
    let timeout = HeaderValue::from_static("20m");
    request.headers_mut().insert("grpc-timeout", timeout);
    let code = match channel.call(request).await {
        Ok(response) => tonic::Status::from_header_map(response.headers()),
        Err(status) => Some(status),
    }
    .map(|status| status.code());
    assert_eq!(code, Some(tonic::Code::DeadlineExceeded));
    drop(open);
    Ok(())
}

fn one_call_at_once() -> Options {
    let mut options = Options::default();
    options.limits.max_streams = 1;
    options
}

#[test]
fn a_channel_works_outside_of_any_runtime() -> Outcome {
    let runtime = runtime()?;
    let channel = tunnel(&runtime, &Options::default())?;
    without_runtime(streams(channel.clone()))?;
    let narrow = tunnel(&runtime, &one_call_at_once())?;
    without_runtime(waits(narrow))?;
    channel.close();
    assert!(without_runtime(channel.closed()).is_clean());
    Ok(())
}

#[test]
fn a_channel_works_from_another_runtime() -> Outcome {
    let (home, other) = (runtime()?, runtime()?);
    let channel = tunnel(&home, &Options::default())?;
    other.block_on(streams(channel))?;
    let narrow = tunnel(&home, &one_call_at_once())?;
    // This one has no timers.
    let bare = Builder::new_current_thread().build()?;
    bare.block_on(waits(narrow))
}

#[test]
fn what_a_call_sends_is_sent_though_the_runtime_of_its_caller_ends() -> Outcome {
    let (home, other) = (runtime()?, runtime()?);
    let mut channel = tunnel(&home, &Options::default())?;
    let (requests, request) = call();
    requests.send(message(1))?;
    let response = other.block_on(channel.call(request))?;
    other.shutdown_timeout(LIMIT);
    requests.send(message(2))?;
    drop(requests);
    let read = async { tokio::time::timeout(LIMIT, response.into_body().collect()).await };
    let body = home.block_on(read)??;
    assert_eq!(body.to_bytes().len(), 2 * 6);
    Ok(())
}

#[test]
fn a_tunnel_ends_with_its_runtime_and_calls_elsewhere_are_told() -> Outcome {
    let (home, other) = (runtime()?, runtime()?);
    let mut channel = tunnel(&home, &one_call_at_once())?;
    let (_requests, request) = call();
    let open = other.block_on(channel.call(request))?;
    let (_requests, mut request) = call();
    let timeout = HeaderValue::from_static("1H");
    request.headers_mut().insert("grpc-timeout", timeout);
    let waiting = other.spawn(channel.call(request));
    home.shutdown_timeout(LIMIT);
    let told = other.block_on(async {
        let waiting = tokio::time::timeout(LIMIT, waiting).await??;
        let open = tokio::time::timeout(LIMIT, open.into_body().collect()).await??;
        Outcome::Ok((waiting, open))
    });
    let (waiting, open) = told?;
    // It may have got the place of the other one before its own tunnel ended.
    let code = match waiting {
        Ok(response) => response.headers()["grpc-status"].clone(),
        Err(status) => HeaderValue::from(i32::from(status.code())),
    };
    assert_eq!(code, HeaderValue::from_static("14"));
    assert_eq!(
        open.trailers().map(|it| it["grpc-status"].clone()),
        Some(HeaderValue::from_static("14"))
    );
    Ok(())
}

#[test]
fn handles_are_used_and_dropped_outside_of_any_runtime() -> Outcome {
    let runtime = runtime()?;
    let (tunnels, mut accepted) = mpsc::unbounded_channel();
    let server = TunnelServer::new().reverse(move |tunnel| {
        let _ = tunnels.send(tunnel.channel);
        std::future::ready(())
    });
    let carrier = InMemory(server.clone());
    let (options, metadata) = (Options::default(), MetadataMap::new());
    let routes = Routes::new(tonic_health::server::health_reporter().1);
    let handle = serve_reverse(carrier, routes, &options, metadata);
    let handle = runtime.block_on(handle)?;
    let channel = without_runtime(accepted.recv()).ok_or("no tunnel")?;
    assert_eq!(handle.active_calls(), 0);
    drop(handle);
    assert!(!without_runtime(channel.closed()).to_string().is_empty());
    without_runtime(server.drained());
    Ok(())
}

#[test]
fn no_tunnel_is_made_outside_of_any_runtime() -> Outcome {
    let mut server = TunnelServer::new().forward(Echo);
    let options = Options::default();
    let carrier = InMemory(server.clone());
    let connecting = connect(carrier, &options, MetadataMap::new());
    let Err(error) = without_runtime(connecting) else {
        return Err("a tunnel without a runtime".into());
    };
    assert_eq!(error.code(), Code::Internal);
    assert!(error.to_string().contains("no runtime"), "{error}");

    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = http::Uri::from_static("/grpctunnel.v1.TunnelService/OpenTunnel");
    let response = without_runtime(server.call(request))?;
    assert_eq!(response.headers()["grpc-status"], "13");
    assert_eq!(server.tunnels(), 0);
    Ok(())
}
