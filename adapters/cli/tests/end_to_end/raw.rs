//! What passes is bytes: nothing of a call is parsed, whatever its codec.

use std::net::SocketAddr;

use crate::support::{Tested, agent, bounded, gateway};
use bytes::Bytes;
use grpctunnel_cli::NAME;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

/// Two messages of no known codec, the second empty.
const MESSAGES: &[u8] = b"\0\0\0\0\x04\xff\x00\xfe\x01\0\0\0\0\0";
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
const BINARY: &str = "AAEgcmF3IH8";

pub(crate) type Caller = Client<HttpConnector, Full<Bytes>>;
/// What a request was: its head, and its body or what broke it.
pub(crate) type Arrived = (http::request::Parts, Result<Bytes, String>);
type Step = Result<Frame<Bytes>, h2::Error>;
type Answer = StreamBody<tokio_stream::Iter<std::vec::IntoIter<Step>>>;

pub(crate) fn caller() -> Caller {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .http2_max_header_list_size(1 << 20)
        .build_http()
}

pub(crate) fn request(
    gateway: SocketAddr,
    path: &str,
    body: &'static [u8],
) -> Tested<Request<Full<Bytes>>> {
    Ok(Request::post(format!("http://{gateway}{path}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc+custom")
        .header("x-key-bin", BINARY)
        .body(Full::from(body))?)
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        })
        .collect()
}

/// `MESSAGES`, with a header and trailers; or, by the method, a reset before or behind them.
fn answer(method: &str) -> Result<Response<Answer>, h2::Error> {
    let reset = match method {
        "/a.B/Calm" => return Err(h2::Reason::ENHANCE_YOUR_CALM.into()),
        "/a.B/Break" => Some(h2::Reason::INTERNAL_ERROR),
        _ => None,
    };
    let trailers = headers(&[
        ("grpc-status", "0"),
        ("x-trailer", "one"),
        ("x-trailer-bin", BINARY),
    ]);
    let frames = vec![
        Ok(Frame::data(Bytes::from_static(MESSAGES))),
        reset.map_or_else(
            || Ok(Frame::trailers(trailers)),
            |reason| Err(reason.into()),
        ),
    ];
    let mut response = Response::new(StreamBody::new(tokio_stream::iter(frames)));
    *response.headers_mut() = headers(&[
        ("content-type", "application/grpc+custom"),
        ("x-header", "h"),
    ]);
    Ok(response)
}

async fn take(
    request: Request<Incoming>,
    arrived: UnboundedSender<Arrived>,
) -> Result<Response<Answer>, h2::Error> {
    let (head, body) = request.into_parts();
    if head.uri.path() == HEALTH_CHECK {
        // An agent asks whether its local server is a gateway; this one does not know the method.
        return answer("/a.B/Unknown");
    }
    let body = body.collect().await;
    let body = body
        .map(|body| body.to_bytes())
        .map_err(|error| error.to_string());
    let answer = answer(head.uri.path());
    // The test ends when it has seen enough.
    let _ = arrived.send((head, body));
    answer
}

pub(crate) async fn server() -> Tested<(SocketAddr, UnboundedReceiver<Arrived>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (arrived, arrivals) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let arrived = arrived.clone();
            let service = service_fn(move |request| take(request, arrived.clone()));
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.auto_date_header(false);
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok((address, arrivals))
}

pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<&str> {
    headers
        .get("grpc-status")
        .and_then(|value| value.to_str().ok())
}

#[tokio::test]
async fn bytes_headers_and_trailers_pass_as_they_are() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let (local, mut arrivals) = server().await?;
        let _agent = agent(gateway.address, "a", local).await?;
        let response = caller()
            .request(request(gateway.address, "/a.B/C", MESSAGES)?)
            .await?;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["x-header"], "h");
        let body = response.into_body().collect().await?;
        let trailers = body.trailers().cloned().ok_or("no trailers")?;
        assert_eq!(body.to_bytes(), MESSAGES);
        assert_eq!(grpc_status(&trailers), Some("0"));
        assert_eq!(trailers["x-trailer"], "one");
        assert_eq!(trailers["x-trailer-bin"], BINARY);
        let (head, body) = arrivals.recv().await.ok_or("nothing arrived")?;
        assert_eq!(head.uri.path(), "/a.B/C");
        assert_eq!(head.headers["x-key-bin"], BINARY);
        assert_eq!(body?, MESSAGES);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_message_cut_short_never_arrives_as_a_whole_one() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let (local, mut arrivals) = server().await?;
        let _agent = agent(gateway.address, "a", local).await?;
        let cut = b"\0\0\0\0\x04\xff\x00";
        let response = caller()
            .request(request(gateway.address, "/a.B/C", cut)?)
            .await;
        if let Ok(response) = response {
            let status = grpc_status(response.headers())
                .unwrap_or_default()
                .to_owned();
            assert!(!matches!(&*status, "0" | ""), "{status}");
        }
        // The local server either saw a request that broke, or none.
        if let Ok((_, body)) = arrivals.try_recv() {
            assert!(body.is_err(), "{body:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_reset_by_the_local_server_has_the_code_that_grpc_gives_it() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let (local, _arrivals) = server().await?;
        let _agent = agent(gateway.address, "a", local).await?;
        for (path, code) in [("/a.B/Calm", "8"), ("/a.B/Break", "13")] {
            let request = request(gateway.address, path, MESSAGES)?;
            let response = caller().request(request).await?;
            let in_headers = grpc_status(response.headers()).map(str::to_owned);
            let body = response.into_body().collect().await?;
            let in_trailers = body.trailers().and_then(grpc_status).map(str::to_owned);
            assert_eq!(in_headers.or(in_trailers).as_deref(), Some(code), "{path}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_request_that_is_not_grpc_is_refused_in_http() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        for (content_type, status) in [
            ("application/grpc-web", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            (
                "application/grpc-web+proto",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
            ("application/json", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ] {
            let mut request = request(gateway.address, "/a.B/C", b"")?;
            let content_type = HeaderValue::from_static(content_type);
            request.headers_mut().insert("content-type", content_type);
            let response = caller().request(request).await?;
            assert_eq!(response.status(), status);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_with_an_impossible_name_is_refused() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let path = "/grpctunnel.v1.TunnelService/OpenReverseTunnel";
        let mut request = request(gateway.address, path, b"")?;
        request
            .headers_mut()
            .insert(NAME, HeaderValue::from_static("a b"));
        let response = caller().request(request).await?;
        assert_eq!(grpc_status(response.headers()), Some("3"));
        Ok(())
    })
    .await
}
