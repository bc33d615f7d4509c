//! Serves HTTP/2 on a listener until told to stop, and answers those who speak HTTP/1.

use std::{convert::Infallible, error::Error, io, pin::pin, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::{
    MAX_STREAMS,
    listener::{Endpoint, Listener, Stream},
    stop::Stop,
};

/// Flow control inside of a tunnel is the real limit; HTTP/2's must not come first. The
/// connection has room for several streams whose reader is slow, so that they do not stop
/// the others.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
const MAX_FRAME: u32 = 256 << 10;
/// Dead callers and agents are noticed by pings, which no known client minds.
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Above what a tunnel carries, so that a caller gets a status of gRPC.
const MAX_HEADERS: u32 = 4 << 20;

/// The pause after an `accept` that failed, as it does without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The head of a request of HTTP/1 must have come in this time.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Serves plain HTTP on `listener`, each connection by the service that `make` makes for its peer.
///
/// When `stop` drains, no more connections and streams are taken; returns when the last
/// stream has ended, or when `stop` ends.
pub(crate) async fn serve<S, B>(listener: Listener, mut make: impl FnMut(Endpoint) -> S, stop: Stop)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.draining() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(connection(stream, make(peer), stop.clone()));
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listener);
    connections.close();
    tokio::select! {
        biased;
        () = connections.wait() => {}
        () = stop.ending() => {}
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

async fn connection<S, B>(stream: Stream, service: S, stop: Stop)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT);
    http.http2()
        .timer(TokioTimer::new())
        // A response has the headers that its server gave it.
        .auto_date_header(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(Some(PING_EVERY))
        .keep_alive_timeout(PING_TIMEOUT)
        .max_header_list_size(MAX_HEADERS);
    let serving = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut serving = pin!(serving);
    // How a connection ends is seen by its calls and tunnels; nothing is left to tell.
    tokio::select! {
        biased;
        _ = serving.as_mut() => return,
        () = stop.draining() => serving.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        biased;
        _ = serving.as_mut() => {}
        () = stop.ending() => {}
    }
}
