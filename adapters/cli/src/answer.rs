//! What the gateway answers itself, without any agent.

use grpctunnel_driver::{ResponseBody, Status};
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Version,
    header::{ALLOW, CONTENT_TYPE},
};

const GRPC: &str = "application/grpc";
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const WHAT_THIS_IS: &str = "\
This is a grpctunnel gateway: gRPC calls that come here go on to servers that have a tunnel to it.\n\
It speaks gRPC over HTTP/2 without TLS. GET /healthz says whether it takes calls.\n";

/// Whether a request is one of gRPC by its `content-type`; `application/grpc-web` is not.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = value.and_then(|value| value.strip_prefix(GRPC.as_bytes()));
    rest.is_some_and(|rest| matches!(rest, [] | [b'+' | b';' | b' ', ..]))
}

/// A response that is nothing but a status: gRPC's trailers-only.
pub(crate) fn refuse(status: &Status) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    status.write_headers(headers);
    response
}

/// A page in HTTP, for a request that is not gRPC.
#[derive(Debug)]
pub(crate) struct Page {
    status: StatusCode,
    pub(crate) text: &'static str,
    allow: Option<&'static str>,
}

impl Page {
    const fn new(status: StatusCode, text: &'static str) -> Self {
        Self {
            status,
            text,
            allow: None,
        }
    }

    /// The page for this request; nothing if it is one of gRPC.
    pub(crate) fn of<B>(request: &Request<B>, takes_calls: bool) -> Option<Self> {
        let is_http2 = request.version() == Version::HTTP_2;
        match *request.method() {
            http::Method::GET | http::Method::HEAD => {
                let head = request.method() == http::Method::HEAD;
                let page = Self::at(request.uri().path(), takes_calls);
                Some(if head {
                    Self { text: "", ..page }
                } else {
                    page
                })
            }
            http::Method::POST if !is_http2 => Some(Self::new(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "gRPC needs HTTP/2\n",
            )),
            http::Method::POST if !is_grpc(request.headers()) => Some(Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "expected content-type: application/grpc\n",
            )),
            http::Method::POST => None,
            _ => Some(Self {
                allow: Some("GET, HEAD, POST"),
                ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "gRPC calls are POST\n")
            }),
        }
    }

    fn at(path: &str, takes_calls: bool) -> Self {
        match (path, takes_calls) {
            ("/", _) => Self::new(StatusCode::OK, WHAT_THIS_IS),
            ("/healthz", true) => Self::new(StatusCode::OK, "ok\n"),
            ("/healthz", false) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n"),
            _ => Self {
                allow: Some("POST"),
                ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "gRPC calls are POST\n")
            },
        }
    }

    /// The response without its text.
    pub(crate) fn head(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, TEXT);
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+json", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            assert!(!is_grpc(&headers));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(is_grpc(&headers), expected, "{value}");
        }
    }
}
