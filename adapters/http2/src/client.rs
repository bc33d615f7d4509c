//! The end that makes calls.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use grpctunnel_driver::{BoxError, Runtime, SegmentedCarrier};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::uri::{Authority, Parts, Scheme, Uri};
use http::{Request, Response, Version, header};
use http_body::Body;
use hyper::rt::{Read, Write};
use tower_service::Service;

use crate::error::{Error, ErrorKind};
use crate::headers::remove_connection_specific;
use crate::incoming::IncomingBody;
use crate::io::Io;
use crate::outgoing::{Chunk, Sent, send_body};
use crate::settings::{Role, Settings, with_settings};
use crate::shared::{Connection, OpenStream, Shared, within};
use crate::task::{ConnectionTask, Http2};

/// Makes an HTTP/2 connection, and waits until the peer has shown that it speaks it: the first
/// call knows how many streams the peer allows.
///
/// The connection ends by itself when all clones of the [`Client`] and their calls are gone.
///
/// # Errors
/// If the peer does not speak HTTP/2 within
/// [`handshake_timeout`](Settings::handshake_timeout); where it speaks HTTP/1 or TLS, the error
/// says so.
pub async fn connect<T, D>(
    io: T,
    settings: &Settings,
    runtime: &Runtime,
) -> Result<Client<D>, Error>
where
    T: Read + Write + Unpin + Send + 'static,
    D: Buf + Send + 'static,
{
    // The peer's own limit is known with its settings, at the end of the handshake.
    let shared = Arc::new(Shared::new(settings, 0));
    let io = Io::new(
        io,
        Arc::clone(&shared),
        runtime,
        0,
        settings.max_header_block(),
    );
    let (connection, ending) = Connection::new(Arc::clone(&shared), runtime.clone());

    let handshake = std::pin::pin!(builder(settings).handshake(io));
    let handshake = within(runtime, settings.handshake_timeout, handshake).await?;
    let (h2, http2) = handshake.map_err(Error::from_h2)?;
    let mut task = ConnectionTask::new(
        ClientConnection(http2),
        Role::Client,
        settings,
        runtime,
        ending,
    );
    if task.established().await? {
        runtime.spawn(task.run());
    }
    Ok(Client {
        h2,
        connection,
        runtime: runtime.clone(),
        authority: None,
        scheme: Scheme::HTTP,
    })
}

fn builder(settings: &Settings) -> h2::client::Builder {
    let mut builder = with_settings!(h2::client::Builder::new(), settings);
    builder
        .enable_push(false)
        // What a server still sends on streams that were cancelled long ago is no fault of it.
        .max_local_error_reset_streams(None);
    builder
}

struct ClientConnection<T, D: Buf>(h2::client::Connection<T, Chunk<D>>);

impl<T, D> Http2 for ClientConnection<Io<T>, D>
where
    T: Read + Write + Unpin + Send + 'static,
    D: Buf + Send + 'static,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }

    fn set_windows(&mut self, connection: u32, stream: u32) -> bool {
        self.0.set_target_window_size(connection);
        self.0.set_initial_window_size(stream).is_ok()
    }

    fn ping_pong(&mut self) -> Option<h2::PingPong> {
        self.0.ping_pong()
    }

    fn peer_max_streams(&self) -> Option<usize> {
        Some(self.0.max_concurrent_send_streams())
    }
}

/// Makes calls on one connection: a `tower::Service`, cheap to clone, for any body whose data is
/// `D`. Data of several segments leaves in one frame.
///
/// `poll_ready` fails on a connection that ended or is ending. It waits only while a call that
/// *this clone* made waits for the peer to allow another stream; use [`Connection::room`] to see
/// that beforehand.
pub struct Client<D: Buf> {
    h2: SendRequest<Chunk<D>>,
    connection: Connection,
    runtime: Runtime,
    authority: Option<Authority>,
    scheme: Scheme,
}

impl<D: Buf> Client<D> {
    /// Gives requests that name no authority this one: the server's, as `HOST:PORT`. Some servers
    /// refuse requests without.
    #[must_use]
    pub fn with_authority(self, authority: Authority) -> Self {
        Self {
            authority: Some(authority),
            ..self
        }
    }

    /// Gives requests that name no authority this scheme. Default: `http`; `https` is that of a
    /// connection with TLS.
    #[must_use]
    pub fn with_scheme(self, scheme: Scheme) -> Self {
        Self { scheme, ..self }
    }

    /// The connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    fn closed(&self) -> Error {
        Error::closed(self.connection.shared.cause())
    }
}

impl<D: Buf> Clone for Client<D> {
    fn clone(&self) -> Self {
        Self {
            h2: self.h2.clone(),
            connection: self.connection.clone(),
            runtime: self.runtime.clone(),
            authority: self.authority.clone(),
            scheme: self.scheme.clone(),
        }
    }
}

impl<D: Buf> fmt::Debug for Client<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.connection).finish()
    }
}

impl<B> Service<Request<B>> for Client<B::Data>
where
    B: Body<Data: Send + 'static, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<IncomingBody>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.connection.is_draining() {
            return Poll::Ready(Err(self.closed()));
        }
        let ready = ready!(self.h2.poll_ready(cx));
        Poll::Ready(ready.map_err(|_| self.closed()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        if self.connection.is_draining() {
            return ResponseFuture(Err(self.closed()));
        }
        let (head, body) = request.into_parts();
        if let Some(segments) = head.extensions.get::<SegmentedCarrier>() {
            segments.enable();
        }
        let mut head = Request::from_parts(head, ());
        prepare(&mut head, self.authority.as_ref(), &self.scheme);
        let complete = body.is_end_stream();
        let open = OpenStream::new(&self.connection.shared);
        let (response, mut stream) = match self.h2.send_request(head, complete) {
            Ok(sent) => sent,
            Err(error) if error.is_io() || error.is_go_away() => {
                return ResponseFuture(Err(self.closed()));
            }
            Err(error) => return ResponseFuture(Err(Error::from_unanswered(error))),
        };
        let mut guard = None;
        if !complete {
            let (sender, mut stop) = oneshot::channel();
            guard = Some(sender);
            let open = Arc::clone(&open);
            self.runtime.spawn(async move {
                let stop = {
                    let sending = std::pin::pin!(send_body(&mut stream, body));
                    match select(&mut stop, sending).await {
                        Either::Left((stop, _)) => Some(stop.unwrap_or(Reason::CANCEL)),
                        Either::Right((Sent::Complete | Sent::Stopped, _)) => None,
                        Either::Right((Sent::Failed(error), _)) => {
                            open.request_failed(Error::caused(ErrorKind::RequestBody, error));
                            Some(Reason::CANCEL)
                        }
                    }
                };
                if let Some(reason) = stop {
                    stream.send_reset(reason);
                }
            });
        }
        ResponseFuture(Ok(Waiting {
            response,
            guard,
            open,
        }))
    }
}

/// Makes a request's head one of HTTP/2: what HTTP/1 calls `host` is the authority.
fn prepare(request: &mut Request<()>, default: Option<&Authority>, scheme: &Scheme) {
    remove_connection_specific(request.headers_mut());
    *request.version_mut() = Version::HTTP_2;
    if request.uri().authority().is_some() {
        return;
    }
    let host = request.headers_mut().remove(header::HOST);
    let mut parts = Parts::default();
    parts.path_and_query = request.uri().path_and_query().cloned();
    parts.scheme = Some(scheme.clone());
    parts.authority = host
        .and_then(|host| Authority::try_from(host.as_bytes()).ok())
        .or_else(|| default.cloned());
    match Uri::from_parts(parts) {
        Ok(uri) => *request.uri_mut() = uri,
        // h2 takes a request without authority from HTTP/1 only.
        Err(_) => *request.version_mut() = Version::HTTP_11,
    }
}

/// A call that waits for its response. Dropping it cancels the call.
#[must_use = "dropping it cancels the call"]
pub struct ResponseFuture(Result<Waiting, Error>);

struct Waiting {
    response: h2::client::ResponseFuture,
    guard: Option<oneshot::Sender<Reason>>,
    open: Arc<OpenStream>,
}

impl Waiting {
    fn take(&mut self, response: Response<RecvStream>) -> Result<Response<IncomingBody>, Error> {
        let (head, body) = response.into_parts();
        let (guard, open) = (self.guard.take(), Arc::clone(&self.open));
        let limit = open.shared().max_header_list;
        if let Some(error) = Error::if_too_large(&head.headers, false, limit) {
            return Err(error);
        }
        let body = IncomingBody::new(body, &head.headers, Role::Client, open, guard);
        Ok(Response::from_parts(head, body))
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<IncomingBody>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.0 {
            Ok(waiting) => match ready!(Pin::new(&mut waiting.response).poll(cx)) {
                Ok(response) => waiting.take(response),
                Err(error) => Err(waiting.open.explain(Error::from_unanswered(error))),
            },
            Err(error) => Err(error.clone()),
        };
        // It is not to be polled again.
        self.0 = Err(Error::new(ErrorKind::Cancelled));
        Poll::Ready(result)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
