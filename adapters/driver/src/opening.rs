//! The request that opens a tunnel, and the response to it.

use grpctunnel_core::{Code, Negotiation};
use http::header::{CONTENT_TYPE, TE};
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

use crate::options::Options;
use crate::status::Status;
use crate::transmit::TransmitBody;

/// The full name of the service.
pub(crate) const SERVICE: &str = "grpctunnel.v1.TunnelService";
/// Opens a forward tunnel.
pub(crate) const OPEN_TUNNEL: &str = "/grpctunnel.v1.TunnelService/OpenTunnel";
/// Opens a reverse tunnel.
pub(crate) const OPEN_REVERSE_TUNNEL: &str = "/grpctunnel.v1.TunnelService/OpenReverseTunnel";

pub(crate) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The request that opens a tunnel.
pub(crate) fn request(
    path: &'static str,
    options: &Options,
    metadata: HeaderMap,
    body: TransmitBody,
) -> Request<TransmitBody> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri(path, options.origin.as_ref());
    let headers = request.headers_mut();
    *headers = metadata;
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, GRPC);
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

/// Why the response to such a request is none that opens a tunnel.
pub(crate) fn refusal(response: &Parts) -> Option<Status> {
    if let Some(status) = Status::from_headers(&response.headers) {
        return Some(status);
    }
    if response.status != StatusCode::OK {
        return Some(Status::from_http(response.status));
    }
    let content_type = response.headers.get(CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(GRPC.as_bytes()));
    (!is_grpc).then(|| {
        let text = format!("the response is no gRPC: its content-type is {content_type:?}");
        Status::new(Code::Unknown, text)
    })
}

/// The response that accepts a tunnel. It goes out at once, before the first frame.
pub(crate) fn accepted(body: TransmitBody) -> Response<TransmitBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(
        Negotiation::HEADER,
        HeaderValue::from_static(Negotiation::VALUE),
    );
    response
}

/// The response that refuses one.
pub(crate) fn refused(status: &Status) -> Response<TransmitBody> {
    let mut response = Response::new(TransmitBody::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    status.write_headers(headers);
    response
}
