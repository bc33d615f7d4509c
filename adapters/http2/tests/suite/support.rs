//! A tokio runtime, pipes, services, and raw peers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use grpctunnel_driver::{Executor, Runtime, Sleep, Task, Timer};
use grpctunnel_http2::{Client, Connection, Error, IncomingBody, Settings, connect, serve};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tower_service::Service;

struct Tokio;

impl Executor for Tokio {
    fn execute(&self, task: Task) {
        tokio::spawn(task);
    }
}

impl Timer for Tokio {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        Box::pin(tokio::time::sleep_until(deadline.into()))
    }
}

pub(crate) fn runtime() -> Runtime {
    Runtime::new(Tokio, Tokio)
}

pub(crate) type BoxBody = UnsyncBoxBody<Bytes, Error>;
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<BoxBody>, Error>> + Send>>;

/// A service of a function.
#[derive(Clone)]
pub(crate) struct Handler<F>(pub(crate) F);

impl<F> Service<Request<IncomingBody>> for Handler<F>
where
    F: Fn(Request<IncomingBody>) -> Answer,
{
    type Response = Response<BoxBody>;
    type Error = Error;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<IncomingBody>) -> Answer {
        (self.0)(request)
    }
}

/// Sends requests back, trailers included.
pub(crate) fn echo(request: Request<IncomingBody>) -> Answer {
    Box::pin(async move { Ok(Response::new(request.into_body().boxed_unsync())) })
}

pub(crate) fn never(error: Infallible) -> Error {
    match error {}
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> BoxBody {
    Full::new(bytes.into()).map_err(never).boxed_unsync()
}

pub(crate) fn empty() -> BoxBody {
    Empty::new().map_err(never).boxed_unsync()
}

/// A body that is fed by hand.
pub(crate) fn channel() -> (mpsc::UnboundedSender<Frame<Bytes>>, BoxBody) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let frames = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let frames = futures_util::StreamExt::map(frames, Ok::<_, Error>);
    (sender, StreamBody::new(frames).boxed_unsync())
}

pub(crate) fn data(bytes: impl Into<Bytes>) -> Frame<Bytes> {
    Frame::data(bytes.into())
}

pub(crate) fn trailers(name: &'static str, value: &str) -> Frame<Bytes> {
    Frame::trailers(one(name, value))
}

pub(crate) fn one(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, value.parse().unwrap());
    headers
}

pub(crate) fn post<B>(body: B) -> Request<B> {
    Request::post("http://localhost/s/m")
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap()
}

pub(crate) fn pipe(size: usize) -> (TokioIo<DuplexStream>, TokioIo<DuplexStream>) {
    let (near, far) = tokio::io::duplex(size);
    (TokioIo::new(near), TokioIo::new(far))
}

/// Both ends over a pipe.
pub(crate) async fn pair<F>(
    client: &Settings,
    server: &Settings,
    handler: F,
) -> (Client<Bytes>, Connection)
where
    F: Fn(Request<IncomingBody>) -> Answer + Clone + Send + 'static,
{
    let (near, far) = pipe(256 << 10);
    let server = serve(far, Handler(handler), server, &runtime());
    let client = connect(near, client, &runtime()).await.unwrap();
    (client, server)
}

/// Makes a call as soon as there is room for it.
pub(crate) async fn call<B>(
    client: &mut Client<B::Data>,
    request: Request<B>,
) -> Result<Response<IncomingBody>, Error>
where
    B: Body + Send + 'static,
    B::Data: Send + 'static,
    B::Error: Into<grpctunnel_driver::BoxError>,
{
    std::future::poll_fn(|cx| Service::<Request<B>>::poll_ready(client, cx)).await?;
    client.call(request).await
}

pub(crate) async fn bytes(response: Response<IncomingBody>) -> Result<Bytes, Error> {
    Ok(response.into_body().collect().await?.to_bytes())
}

/// A peer that writes frames by hand.
pub(crate) struct Raw(pub(crate) DuplexStream);

pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const PING: u8 = 6;
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Raw {
    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame: its kind, flags, stream and payload.
    pub(crate) async fn receive(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, rest @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((kind, flags, u32::from_be_bytes(rest), payload))
    }

    /// The next frame of a kind.
    pub(crate) async fn await_kind(&mut self, wanted: u8) -> (u8, u32, Vec<u8>) {
        loop {
            let (kind, flags, stream, payload) = self.receive().await.expect("a frame");
            if kind == wanted {
                return (flags, stream, payload);
            }
        }
    }

    pub(crate) async fn read_preface(&mut self) {
        let mut preface = [0; 24];
        self.0.read_exact(&mut preface).await.unwrap();
        assert_eq!(preface, PREFACE);
    }
}

/// A client of ours, and a raw server that has exchanged settings with it.
pub(crate) async fn raw_server(settings: &Settings) -> (Client<Bytes>, Raw) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let mut raw = Raw(far);
    let server = async {
        raw.send(SETTINGS, 0, 0, &[]).await;
        raw.read_preface().await;
        raw.await_kind(SETTINGS).await;
        raw.send(SETTINGS, 1, 0, &[]).await;
    };
    let runtime = runtime();
    let (client, ()) = tokio::join!(connect(TokioIo::new(near), settings, &runtime), server);
    (client.unwrap(), raw)
}

/// A server of ours, and a raw client that has exchanged settings with it.
pub(crate) async fn raw_client<F>(settings: &Settings, handler: F) -> (Connection, Raw)
where
    F: Fn(Request<IncomingBody>) -> Answer + Clone + Send + 'static,
{
    let (near, far) = tokio::io::duplex(1 << 20);
    let server = serve(TokioIo::new(far), Handler(handler), settings, &runtime());
    let mut raw = Raw(near);
    raw.0.write_all(PREFACE).await.unwrap();
    raw.send(SETTINGS, 0, 0, &[]).await;
    raw.await_kind(SETTINGS).await;
    raw.send(SETTINGS, 1, 0, &[]).await;
    (server, raw)
}

/// Waits until something holds; it must soon.
pub(crate) async fn settled(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, waiting)
        .await
        .expect("it holds soon");
}

/// IO that takes nothing more once its gate is shut.
pub(crate) struct Gated<T> {
    inner: T,
    shut: tokio::sync::watch::Receiver<bool>,
}

impl<T> Gated<T> {
    pub(crate) fn new(inner: T) -> (tokio::sync::watch::Sender<bool>, Self) {
        let (gate, shut) = tokio::sync::watch::channel(false);
        (gate, Self { inner, shut })
    }
}

impl<T: hyper::rt::Read + Unpin> hyper::rt::Read for Gated<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: hyper::rt::Write + Unpin> hyper::rt::Write for Gated<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if *self.shut.borrow() {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
