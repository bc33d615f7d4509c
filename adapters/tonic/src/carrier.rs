//! HTTP/2 connections for tonic's clients.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grpctunnel_driver::BoxError;
use grpctunnel_http2::{Client, Connection, ErrorKind, IncomingBody, Reason};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use tonic::{Code, Status};
use tower_service::Service;

/// A connection to a gRPC server: opens tunnels, and carries the calls of generated clients.
///
/// Clones share it. It ends when all of them and their calls are gone. It is not made again once
/// it is lost: calls then fail UNAVAILABLE.
#[derive(Clone)]
pub struct Carrier {
    client: Client<Bytes>,
    scheme: Scheme,
    authority: Authority,
}

impl Carrier {
    pub(crate) const fn new(client: Client<Bytes>, scheme: Scheme, authority: Authority) -> Self {
        Self {
            client,
            scheme,
            authority,
        }
    }

    /// How the connection fares: its streams, pings, its end.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        self.client.connection()
    }
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Carrier").field(self.connection()).finish()
    }
}

impl<B> Service<Request<B>> for Carrier
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<CarrierBody>;
    type Error = Status;
    type Future = CarrierFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // A call says why it cannot be made: what fails here is UNKNOWN to generated clients.
        Service::<Request<B>>::poll_ready(&mut self.client, cx).map(|_| Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> CarrierFuture {
        let path = request.uri().path_and_query().cloned();
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        if let Ok(uri) = uri.build() {
            *request.uri_mut() = uri;
        }
        CarrierFuture(self.client.call(request))
    }
}

/// A call on a [`Carrier`] that waits for its response. Dropping it cancels the call.
#[must_use = "dropping it cancels the call"]
#[derive(Debug)]
pub struct CarrierFuture(grpctunnel_http2::ResponseFuture);

impl Future for CarrierFuture {
    type Output = Result<Response<CarrierBody>, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(Pin::new(&mut self.0).poll(cx)).map_err(status)?;
        Poll::Ready(Ok(response.map(CarrierBody)))
    }
}

/// The body of a response, whose errors are gRPC's.
#[derive(Debug)]
pub struct CarrierBody(IncomingBody);

impl Body for CarrierBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(status)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// The status of a call that failed below gRPC, by the mapping of gRPC's HTTP/2 protocol. The
/// error is its source.
fn status(error: grpctunnel_http2::Error) -> Status {
    let code = match error.kind() {
        ErrorKind::RequestBody => return Status::from_error(Box::new(error)),
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::InvalidRequest => Code::Internal,
        ErrorKind::HeadersTooLarge { grpc_status, .. } => match grpc_status {
            Some(code) if *code != 0 => i32::try_from(*code).map_or(Code::Unknown, Code::from_i32),
            _ => Code::ResourceExhausted,
        },
        ErrorKind::Reset => match error.reason() {
            Some(Reason::REFUSED_STREAM) => Code::Unavailable,
            Some(Reason::CANCEL) => Code::Cancelled,
            Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
            Some(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
            _ => Code::Internal,
        },
        _ => Code::Unavailable,
    };
    let mut status = Status::new(code, error.to_string());
    status.set_source(Arc::new(error));
    status
}
