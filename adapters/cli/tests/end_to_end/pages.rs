//! What a gateway answers to whatever is not a gRPC call.

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    raw,
    support::{Tested, agent, bounded, gateway},
};

/// An answer of HTTP/1.1, head and body.
pub(crate) async fn http1(gateway: std::net::SocketAddr, request: &str) -> Tested<String> {
    let mut stream = TcpStream::connect(gateway).await?;
    let head = format!("{request} HTTP/1.1\r\nhost: gw\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_browser_and_a_load_balancer_get_an_answer_in_their_version() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        for (request, status, text) in [
            ("GET /", "200 OK", "grpctunnel gateway"),
            ("GET /healthz", "200 OK", "ok"),
            ("GET /a.B/C", "405 Method Not Allowed", "POST"),
            ("DELETE /", "405 Method Not Allowed", "POST"),
            ("POST /a.B/C", "505 HTTP Version Not Supported", "HTTP/2"),
        ] {
            let answer = http1(gateway.address, request).await?;
            let begin = format!("HTTP/1.1 {status}\r\n");
            assert!(answer.starts_with(&begin), "{request}: {answer}");
            assert!(answer.contains(text), "{request}: {answer}");
        }
        let head = http1(gateway.address, "HEAD /").await?;
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        for (method, path, status) in [
            (Method::GET, "/", StatusCode::OK),
            (Method::GET, "/healthz", StatusCode::OK),
            (Method::GET, "/a.B/C", StatusCode::METHOD_NOT_ALLOWED),
            (Method::PUT, "/a.B/C", StatusCode::METHOD_NOT_ALLOWED),
        ] {
            let mut request = raw::request(gateway.address, path, b"")?;
            *request.method_mut() = method;
            let response = raw::caller().request(request).await?;
            assert_eq!(response.status(), status, "{path}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn grpc_of_the_web_is_not_grpc() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        for content_type in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "text/plain",
        ] {
            let mut request = raw::request(gateway.address, "/a.B/C", b"")?;
            let value = HeaderValue::from_static(content_type);
            request.headers_mut().insert("content-type", value);
            let response = raw::caller().request(request).await?;
            assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_query_is_refused_and_a_prefix_is_passed_on() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let (local, mut arrivals) = raw::server().await?;
        let _agent = agent(gateway.address, "a", local).await?;
        let request = raw::request(gateway.address, "/a.B/C?x=1", b"\0\0\0\0\0")?;
        let response = raw::caller().request(request).await?;
        assert_eq!(raw::grpc_status(response.headers()), Some("12"));
        assert!(arrivals.try_recv().is_err());
        let request = raw::request(gateway.address, "/prefix/a.B/C", b"\0\0\0\0\0")?;
        let response = raw::caller().request(request).await?;
        let status = raw::grpc_status(response.headers()).map(str::to_owned);
        let body = response.into_body().collect().await?;
        let status = status.or(body
            .trailers()
            .and_then(raw::grpc_status)
            .map(str::to_owned));
        match arrivals.try_recv() {
            Ok((head, _)) => assert_eq!(head.uri.path(), "/prefix/a.B/C"),
            Err(_) => assert_eq!(status.as_deref(), Some("12")),
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nothing_is_added_but_the_hops() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let (local, mut arrivals) = raw::server().await?;
        let _agent = agent(gateway.address, "a", local).await?;
        let mut request = raw::request(gateway.address, "/a.B/C", b"\0\0\0\0\0")?;
        // The content-type is what the tunnel makes of it.
        let grpc = HeaderValue::from_static("application/grpc");
        request.headers_mut().insert("content-type", grpc);
        let sent = names(request.headers());
        let response = raw::caller().request(request).await?;
        assert_eq!(names(response.headers()), ["content-type", "x-header"]);
        let (head, _) = arrivals.recv().await.ok_or("nothing arrived")?;
        let mut expected = sent;
        expected.push("x-tunnel-hops".to_owned());
        expected.sort_unstable();
        assert_eq!(names(&head.headers), expected);
        Ok(())
    })
    .await
}

fn names(headers: &HeaderMap) -> Vec<String> {
    let mut names: Vec<_> = headers
        .keys()
        .map(|name| name.as_str().to_owned())
        .collect();
    names.sort_unstable();
    names
}
