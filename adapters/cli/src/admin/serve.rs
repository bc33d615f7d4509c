//! Serves the admin port.

use std::{
    convert::Infallible,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use grpctunnel_http2::{Connections, Detected, IncomingBody, Settings, accept_pause, detect};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{either::Either, task::TaskTracker};

use super::{
    Admin, Panel,
    answer::{Answer, Desk},
};
use crate::{
    listener::{Stream, Wire},
    stop::Stop,
    tls::{ServerTls, accept},
};

/// The most connections at once; more wait until one is over.
const MAX_CONNECTIONS: usize = 64;
/// A TLS handshake, and the head of a request, may take this long.
const LIMIT: Duration = Duration::from_secs(10);
/// A connection of HTTP/2 without a request is ended after this time.
const IDLE: Duration = Duration::from_secs(60);
/// How often what was recorded is sorted into its buckets where nobody asks for metrics.
const TIDY: Duration = Duration::from_secs(5);

pub(super) async fn serve(admin: Admin, panel: Panel, stop: Stop) {
    let Admin {
        listener,
        tls,
        allowed,
        ..
    } = admin;
    let recorder = panel.recorder.clone();
    let mut settings = Settings::calls();
    settings.idle_timeout = Some(IDLE);
    let port = Port {
        desk: Arc::new(Desk {
            allowed,
            panel,
            began: Instant::now(),
        }),
        tls,
        connections: Connections::new(settings.clone(), grpctunnel_tokio::runtime()),
        settings,
    };
    let tasks = TaskTracker::new();
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tidy = tokio::time::interval(TIDY);
    let accepting = async {
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => drop(tasks.spawn(port.clone().serve(stream, permit))),
                Err(error) => {
                    if let Some(pause) = accept_pause(&error) {
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    };
    let tidying = async {
        loop {
            tidy.tick().await;
            recorder.tidy();
        }
    };
    tokio::select! {
        () = stop.ending() => {}
        () = accepting => {}
        () = tidying => {}
    }
}

#[derive(Clone)]
struct Port {
    desk: Arc<Desk>,
    tls: Option<ServerTls>,
    connections: Connections,
    settings: Settings,
}

impl Port {
    async fn serve(self, stream: Stream, permit: OwnedSemaphorePermit) {
        let opened = async {
            let wire = match &self.tls {
                None => Either::Left(stream),
                Some(tls) => Wire::Right(Box::new(accept(tls, stream).await.ok()?.0)),
            };
            let runtime = grpctunnel_tokio::runtime();
            detect(TokioIo::new(wire), &self.settings, &runtime)
                .await
                .ok()
        };
        let Ok(Some(detected)) = tokio::time::timeout(LIMIT, opened).await else {
            return;
        };
        match detected {
            Detected::Http2(io) => {
                let desk = self.desk;
                let service = tower_fn(move |request: Request<IncomingBody>| desk.answer(&request));
                // How it ends is seen by its requests.
                let _ = self.connections.serve(io, service).closed().await;
            }
            Detected::NotHttp2(io) => {
                let answer = service_fn(move |request: Request<Incoming>| {
                    std::future::ready(Ok::<_, Infallible>(self.desk.answer(&request)))
                });
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(LIMIT);
                let serving = pin!(http.serve_connection(io, answer));
                let _ = serving.await;
            }
        }
        drop(permit);
    }
}

/// A service of HTTP/2 that answers at once.
fn tower_fn<F>(answer: F) -> At<F>
where
    F: Fn(Request<IncomingBody>) -> Answer,
{
    At(Arc::new(answer))
}

struct At<F>(Arc<F>);

impl<F> Clone for At<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> tower_service::Service<Request<IncomingBody>> for At<F>
where
    F: Fn(Request<IncomingBody>) -> Answer,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Answer, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<IncomingBody>) -> Self::Future {
        std::future::ready(Ok((self.0)(request)))
    }
}
