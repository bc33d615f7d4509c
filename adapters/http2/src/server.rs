//! The end that handles calls.

use std::error::Error as StdError;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use futures_util::future::{Either, select};
use grpctunnel_driver::{BoxError, CarrierAbort, Code, Runtime, SegmentedCarrier, Status, is_grpc};
use h2::server::{Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::rt::{Read, Write};
use tower_service::Service;

use crate::detect::PREFACE;
use crate::error::Error;
use crate::headers::{field_size, list_size, remove_connection_specific};
use crate::incoming::IncomingBody;
use crate::io::Io;
use crate::outgoing::{Chunk, Sent, send_body};
use crate::settings::{Role, Settings, with_settings};
use crate::shared::{Connection, Ending, OpenStream, Shared, within};
use crate::task::{ConnectionTask, Http2};

/// Serves an HTTP/2 connection of a client, in tasks of their own.
///
/// Each request gets a clone of the service. Its future is dropped when the client resets the
/// stream, before its request body says so. Where the future or the response's body fails, the
/// stream is reset: with the reason of the [`Error`] or `h2::Error` among the sources of the
/// failure ([`Error::refused`] for a request that may be made again elsewhere), else with
/// `INTERNAL_ERROR`, as where it panics. No header is added to what the service answers.
///
/// The [`Connection`] tells how the connection fares, and shuts it down; it may be dropped. Each
/// request has it in its extensions.
pub fn serve<T, S, B>(io: T, service: S, settings: &Settings, runtime: &Runtime) -> Connection
where
    T: Read + Write + Unpin + Send + 'static,
    S: Service<Request<IncomingBody>, Response = Response<B>> + Clone + Send + 'static,
    S: Service<Request<IncomingBody>, Error: Into<BoxError>, Future: Send>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let max_streams = usize::try_from(settings.max_streams).unwrap_or(usize::MAX);
    let shared = Arc::new(Shared::new(settings, max_streams));
    let (connection, ending) = Connection::new(Arc::clone(&shared), runtime.clone());
    let io = Io::new(
        io,
        Arc::clone(&shared),
        runtime,
        PREFACE.len(),
        settings.max_header_block(),
    );
    let handshake = builder(settings).handshake(io);
    let (streams, tasks) = (Arc::clone(&shared), runtime.clone());
    let handle_of = connection.clone();
    let accept: Accept<B::Data> = Box::new(move |mut request, respond| {
        request.extensions_mut().insert(handle_of.clone());
        request.extensions_mut().insert(SegmentedCarrier::enabled());
        let task = handle(service.clone(), request, respond, &streams, tasks.clone());
        tasks.spawn(task);
    });
    runtime.spawn(run(
        handshake,
        accept,
        settings.clone(),
        runtime.clone(),
        ending,
    ));
    connection
}

async fn run<T, D>(
    handshake: Handshake<Io<T>, Chunk<D>>,
    accept: Accept<D>,
    settings: Settings,
    runtime: Runtime,
    ending: Ending,
) where
    T: Read + Write + Unpin + Send + 'static,
    D: Buf + Send + 'static,
{
    let h2 = match within(&runtime, settings.handshake_timeout, handshake).await {
        Ok(Ok(h2)) => h2,
        Ok(Err(error)) => return ending.set(Err(Error::from_h2(error))),
        Err(error) => return ending.set(Err(error)),
    };
    let http2 = ServerConnection { h2, accept };
    ConnectionTask::new(http2, Role::Server, &settings, &runtime, ending)
        .run()
        .await;
}

/// How long the peer of a tunnel that this end has aborted may take what comes before the status
/// that says why. Then the stream is reset.
const ABORT_GRACE: Duration = Duration::from_secs(5);

/// Takes the requests of a connection.
type Accept<D> = Box<dyn FnMut(Request<RecvStream>, SendResponse<Chunk<D>>) + Send>;

fn builder(settings: &Settings) -> h2::server::Builder {
    let mut builder = with_settings!(h2::server::Builder::new(), settings);
    builder
        .max_concurrent_streams(settings.max_streams)
        .max_pending_accept_reset_streams(settings.max_reset_streams);
    builder
}

struct ServerConnection<T, D: Buf> {
    h2: h2::server::Connection<T, Chunk<D>>,
    accept: Accept<D>,
}

impl<T, D> Http2 for ServerConnection<Io<T>, D>
where
    T: Read + Write + Unpin + Send + 'static,
    D: Buf + Send + 'static,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while let Some((request, respond)) = ready!(self.h2.poll_accept(cx)).transpose()? {
            (self.accept)(request, respond);
        }
        Poll::Ready(Ok(()))
    }

    fn set_windows(&mut self, connection: u32, stream: u32) -> bool {
        self.h2.set_target_window_size(connection);
        self.h2.set_initial_window_size(stream).is_ok()
    }

    fn ping_pong(&mut self) -> Option<h2::PingPong> {
        self.h2.ping_pong()
    }

    fn shut_down(&mut self) -> bool {
        self.h2.graceful_shutdown();
        true
    }

    fn cut(&mut self) {
        self.h2.abrupt_shutdown(Reason::NO_ERROR);
    }
}

/// The task of one stream.
fn handle<S, B>(
    mut service: S,
    request: Request<RecvStream>,
    respond: SendResponse<Chunk<B::Data>>,
    shared: &Arc<Shared>,
    runtime: Runtime,
) -> impl Future<Output = ()> + Send + use<S, B>
where
    S: Service<Request<IncomingBody>, Response = Response<B>> + Send + 'static,
    S: Service<Request<IncomingBody>, Error: Into<BoxError>, Future: Send>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let open = OpenStream::new(shared);
    async move {
        let mut respond = ResetOnPanic(respond);
        let (head, body) = request.into_parts();
        if let Some(refusal) = check_size(&head, open.shared().max_header_list) {
            // If it cannot be sent, nobody waits for it.
            let _ = respond.0.send_response(refusal, true);
            return;
        }
        let body = IncomingBody::new(body, &head.headers, Role::Server, Arc::clone(&open), None);
        let request = Request::from_parts(head, body);
        let answer = {
            let mut answering = pin!(async {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(request).await
            });
            poll_fn(|cx| {
                // First, so that the service does not see how the body of a cancelled call ends.
                if respond.0.poll_reset(cx).is_ready() {
                    return Poll::Ready(None);
                }
                answering.as_mut().poll(cx).map(|answer| {
                    Some(
                        answer.map_err(|error: S::Error| reset_reason(error.into().as_ref(), true)),
                    )
                })
            })
            .await
        };
        match answer {
            Some(Ok(response)) => send_response(respond, response, &runtime).await,
            Some(Err(reason)) => respond.0.send_reset(reason),
            None => {}
        }
        drop(open);
    }
}

async fn send_response<B>(
    mut respond: ResetOnPanic<B::Data>,
    response: Response<B>,
    runtime: &Runtime,
) where
    B: Body<Error: Into<BoxError>>,
{
    let (mut head, body) = response.into_parts();
    remove_connection_specific(&mut head.headers);
    let complete = body.is_end_stream();
    let abort = head.extensions.remove::<CarrierAbort>();
    let head = Response::from_parts(head, ());
    let Ok(mut stream) = respond.0.send_response(head, complete) else {
        return;
    };
    if complete {
        return;
    }
    let reset = {
        let sending = pin!(send_body(&mut stream, body));
        let aborted = pin!(async {
            match abort {
                Some(abort) => {
                    abort.aborted().await;
                    runtime.sleep_until(runtime.now() + ABORT_GRACE).await;
                }
                None => pending().await,
            }
        });
        match select(sending, aborted).await {
            Either::Left((Sent::Failed(error), _)) => Some(reset_reason(error.as_ref(), false)),
            Either::Left(_) => None,
            // The body has an end, but the peer does not take what comes before it.
            Either::Right(_) => Some(Reason::INTERNAL_ERROR),
        }
    };
    if let Some(reason) = reset {
        stream.send_reset(reason);
    }
}

/// What a stream is reset with whose service or response body failed: with the reason of the
/// HTTP/2 error that was the cause, where one was. A response that has begun is no longer refused.
fn reset_reason(error: &(dyn StdError + 'static), unanswered: bool) -> Reason {
    let mut next = Some(error);
    while let Some(error) = next {
        let reason = if let Some(error) = error.downcast_ref::<Error>() {
            match error.never_processed() {
                Some(_) if unanswered => Some(Reason::REFUSED_STREAM),
                _ => error.reason(),
            }
        } else {
            error
                .downcast_ref::<h2::Error>()
                .and_then(h2::Error::reason)
        };
        match reason {
            // To the peer it would say that nothing went wrong.
            Some(Reason::NO_ERROR) | None => {}
            Some(Reason::REFUSED_STREAM) if !unanswered => {}
            Some(reason) => return reason,
        }
        next = error.source();
    }
    Reason::INTERNAL_ERROR
}

/// A stream to be answered. A task that panics would leave it reset as if it were cancelled.
struct ResetOnPanic<D: Buf>(SendResponse<Chunk<D>>);

impl<D: Buf> Drop for ResetOnPanic<D> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// The answer to a request whose head is too large, if it is.
fn check_size(head: &Parts, limit: usize) -> Option<Response<()>> {
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let size = list_size(&head.headers) + field_size(":path", path.as_bytes());
    if size <= limit {
        return None;
    }
    if !is_grpc(&head.headers) {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Some(response);
    }
    let text = format!("the request's metadata has {size} bytes; at most {limit} are allowed");
    Some(Status::new(Code::ResourceExhausted, text).trailers_only(()))
}
