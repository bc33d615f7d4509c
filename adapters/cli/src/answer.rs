//! What the gateway answers itself, without any agent.

use grpctunnel_driver::{NeverProcessed, ResponseBody, Status, is_grpc};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
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

/// In the answer of an agent, beside the mark that nobody handled the call: its server refused it.
const REFUSED: HeaderName = HeaderName::from_static("x-tunnel-refused");

/// Notes that the server refused a call as HTTP/2 does: by REFUSED_STREAM, or by a GOAWAY below it.
pub(crate) fn mark_refused(headers: &mut HeaderMap) {
    headers.insert(REFUSED, HeaderValue::from_static("1"));
}

/// What a caller sees of a response. A call that the server refused, and that nobody else has
/// handled, is refused as the server did it, upon which libraries of gRPC make it again; what is
/// unprocessed for another reason, a limit for example, keeps its status.
pub(crate) fn or_refused<B>(
    mut response: Response<B>,
) -> Result<Response<B>, grpctunnel_http2::Error> {
    let refused = response.headers_mut().remove(REFUSED).is_some();
    if refused && response.extensions().get::<NeverProcessed>().is_some() {
        return Err(grpctunnel_http2::Error::refused());
    }
    Ok(response)
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
