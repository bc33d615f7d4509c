//! What the gateway answers itself, without any agent.

use grpctunnel_driver::{ResponseBody, Status, is_grpc};
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const WHAT_THIS_IS: &str = "\
This is a grpctunnel gateway: gRPC calls that come here go on to servers that have a tunnel to it.\n\
It speaks gRPC over HTTP/2. GET /healthz says whether it takes calls.\n";

/// A response that is nothing but a status: gRPC's trailers-only.
pub(crate) fn refuse(status: &Status) -> Response<ResponseBody> {
    status.trailers_only(ResponseBody::default())
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

    /// The page for this request of HTTP/2; nothing if it is one of gRPC.
    pub(crate) fn of<B>(request: &Request<B>, takes_calls: bool) -> Option<Self> {
        match *request.method() {
            Method::POST if is_grpc(request.headers()) => None,
            Method::POST => Some(Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "expected content-type: application/grpc\n",
            )),
            _ => Some(Self::other(request, takes_calls)),
        }
    }

    /// The page for this request of HTTP/1.
    pub(crate) fn for_http1<B>(request: &Request<B>, takes_calls: bool) -> Self {
        match *request.method() {
            Method::POST => Self::new(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "gRPC needs HTTP/2\n",
            ),
            _ => Self::other(request, takes_calls),
        }
    }

    fn other<B>(request: &Request<B>, takes_calls: bool) -> Self {
        let page = Self::at(request.uri().path(), takes_calls);
        match *request.method() {
            Method::GET => page,
            Method::HEAD => Self { text: "", ..page },
            _ => Self {
                allow: Some("GET, HEAD, POST"),
                ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "gRPC calls are POST\n")
            },
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
