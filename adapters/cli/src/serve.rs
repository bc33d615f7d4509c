//! Serves HTTP/2 on a listener until told to stop, and answers those who speak HTTP/1.

use std::{convert::Infallible, error::Error, pin::pin, time::Duration};

use bytes::Bytes;
use grpctunnel_http2::{Connections, Detected, IncomingBody, Settings, accept_pause, detect};
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::{
    answer::Page,
    listener::{Endpoint, Listener, Stream},
    stop::Stop,
};

/// The head of a request of HTTP/1 must have come in this time.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// A connection without a call or a tunnel is ended after this long.
const IDLE_LIMIT: Duration = Duration::from_secs(300);
/// The largest frame with which a list of headers may still have the size that is tolerated:
/// clients split lists in frames of 16 KiB.
const MAX_FRAME: u32 = 48 << 10;
/// Longer than calls are waited for: they are counted elsewhere.
const UNTIL_CUT: Duration = Duration::MAX;

/// The settings of the connections that callers and tunnels come on. A tunnel has its connection's
/// windows raised.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::calls();
    settings.max_frame_size = MAX_FRAME;
    settings.idle_timeout = Some(IDLE_LIMIT);
    settings
}

/// Serves plain HTTP on `listener`, each connection by the service that `make` makes for its peer.
/// HTTP/1 gets pages, which say whether calls are taken: until `closing` drains.
///
/// When `stop` drains, no more connections and streams are taken; returns when the last
/// stream has ended, or when `stop` ends.
pub(crate) async fn serve<S, B>(
    listener: Listener,
    mut make: impl FnMut(Endpoint) -> S,
    closing: Stop,
    stop: Stop,
) where
    S: Service<Request<IncomingBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connections = Connections::new(settings(), grpctunnel_tokio::runtime());
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.draining() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = Accepted {
                    connections: connections.clone(),
                    service: make(peer),
                    closing: closing.clone(),
                    stop: stop.clone(),
                };
                tasks.spawn(connection.serve(stream));
            }
            Err(error) => {
                if let Some(pause) = accept_pause(&error) {
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
    drop(listener);
    tasks.close();
    connections.shutdown(UNTIL_CUT);
    let finished = async {
        tasks.wait().await;
        connections.closed().await;
    };
    tokio::select! {
        biased;
        () = finished => {}
        () = stop.ending() => connections.shutdown(Duration::ZERO),
    }
}

/// A connection that was accepted.
struct Accepted<S> {
    connections: Connections,
    service: S,
    closing: Stop,
    stop: Stop,
}

impl<S, B> Accepted<S>
where
    S: Service<Request<IncomingBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Serves it: to its end, if it is one of HTTP/1.
    async fn serve(self, stream: Stream) {
        let runtime = grpctunnel_tokio::runtime();
        let detecting = settings();
        let detected = tokio::select! {
            biased;
            () = self.stop.draining() => return,
            detected = detect(TokioIo::new(stream), &detecting, &runtime) => detected,
        };
        match detected {
            // How it ends is seen by its calls and tunnels; nothing is left to tell.
            Ok(Detected::Http2(io)) => drop(self.connections.serve(io, self.service)),
            Ok(Detected::NotHttp2(io)) => pages(io, self.closing, self.stop).await,
            Err(_) => {}
        }
    }
}

/// Answers HTTP/1.
async fn pages<T>(io: T, closing: Stop, stop: Stop)
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        let page = Page::for_http1(&request, !closing.is_draining());
        let response = page.head().map(|()| Full::<Bytes>::from(page.text));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT);
    let mut serving = pin!(http.serve_connection(io, answer));
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
