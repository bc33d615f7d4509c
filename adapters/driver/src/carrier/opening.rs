//! The request that opens a tunnel, and the response to it.

use grpctunnel_core::Negotiation;
use http::header::{CONTENT_TYPE, TE};
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};

use crate::carrier::transmit::TransmitBody;
use crate::grpc::headers::{GRPC_CONTENT_TYPE, is_grpc};
use crate::grpc::status::Status;
use crate::options::Options;

/// The full name of the service that accepts tunnels.
pub(crate) const SERVICE: &str = "grpctunnel.v1.TunnelService";
/// The path that opens a forward tunnel.
pub(crate) const OPEN_TUNNEL: &str = "/grpctunnel.v1.TunnelService/OpenTunnel";
/// The path that opens a reverse tunnel.
pub(crate) const OPEN_REVERSE_TUNNEL: &str = "/grpctunnel.v1.TunnelService/OpenReverseTunnel";

/// The request that opens a tunnel.
pub(crate) fn request(
    path: &'static str,
    options: &Options,
    metadata: HeaderMap,
    body: TransmitBody,
) -> Request<TransmitBody> {
    let segments = body.segments().clone();
    let mut request = Request::new(body);
    request.extensions_mut().insert(segments);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri(path, options.origin.as_ref());
    let headers = request.headers_mut();
    *headers = metadata;
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    if options.old_peer {
        headers.remove(Negotiation::HEADER);
    } else {
        headers.insert(
            Negotiation::HEADER,
            HeaderValue::from_static(Negotiation::VALUE),
        );
    }
    request
}

fn uri(path: &'static str, origin: Option<&Uri>) -> Uri {
    let path = PathAndQuery::from_static(path);
    let mut parts = origin.cloned().unwrap_or_default().into_parts();
    parts.path_and_query = Some(path.clone());
    if parts.scheme.is_none() || parts.authority.is_none() {
        parts.scheme = None;
        parts.authority = None;
    }
    Uri::from_parts(parts).unwrap_or_else(|_| Uri::from(path))
}

/// Whether the peer negotiates, by the headers of its request or response.
pub(crate) fn negotiation(headers: &HeaderMap) -> Negotiation {
    let values = headers.get_all(Negotiation::HEADER);
    Negotiation::from_header(values.iter().map(HeaderValue::as_bytes))
}

/// Why a response does not open a tunnel, if it does not. `is_all`: it has no body.
pub(crate) fn refusal(response: &Parts, is_all: bool) -> Option<Status> {
    let status = Status::of_response(response, is_all);
    if status.is_none() && !is_grpc(&response.headers) {
        return Some(Status::not_grpc(None));
    }
    status
}

/// The response that accepts a tunnel. It goes out at once, before the first frame.
pub(crate) fn accepted(body: TransmitBody) -> Response<TransmitBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    headers.insert(
        Negotiation::HEADER,
        HeaderValue::from_static(Negotiation::VALUE),
    );
    response
}
