//! What one call, or one peer, can make a connection hold.

use std::time::Duration;

use grpctunnel_http2::{Connection, ErrorKind, IncomingBody, Settings, WindowBudget, serve};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;

use crate::support::*;

/// A handler that sends one kind of answer for each path, and echoes on others.
fn answers(request: Request<IncomingBody>) -> Answer {
    let large = |megabytes: usize| "x".repeat(megabytes << 20);
    Box::pin(async move {
        let path = request.uri().path().to_owned();
        let mut head = Response::builder();
        let (sender, body) = channel();
        match path.as_str() {
            "/head" => head = head.header("x-large", large(3)).header("grpc-status", "9"),
            "/trailers" => {
                sender.send(data("message")).unwrap();
                let mut all = one("grpc-status", "0");
                all.insert("x-large", large(3).parse().unwrap());
                sender.send(http_body::Frame::trailers(all)).unwrap();
            }
            _ => return echo(request).await,
        }
        Ok(head.body(body).unwrap())
    })
}

fn request_to(path: &str) -> Request<BoxBody> {
    let mut request = post(empty());
    *request.uri_mut() = format!("http://localhost{path}").parse().unwrap();
    request
}

#[tokio::test]
async fn a_head_or_trailers_that_are_too_large_fail_their_own_call() {
    let settings = Settings::calls();
    let (mut client, _) = pair(&settings, &settings, answers).await;
    let (sender, body) = channel();
    let mut other = call(&mut client, post(body)).await.unwrap();

    let error = call(&mut client, request_to("/head")).await.unwrap_err();
    let limit = settings.max_header_list;
    let ErrorKind::HeadersTooLarge {
        trailers,
        size,
        limit: told,
        grpc_status,
    } = *error.kind()
    else {
        panic!("{error:?}");
    };
    assert!(!trailers && size > 3 << 20 && told == limit);
    assert_eq!(grpc_status, Some(9), "an error that can be read");
    assert!(error.to_string().contains(&limit.to_string()));

    let response = call(&mut client, request_to("/trailers")).await.unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    let ErrorKind::HeadersTooLarge {
        trailers,
        grpc_status,
        ..
    } = *error.kind()
    else {
        panic!("{error:?}");
    };
    assert!(
        trailers && grpc_status == Some(0),
        "no success that lost something"
    );

    let mut request = post(empty());
    let large = "x".repeat(3 << 20).parse().unwrap();
    request.headers_mut().insert("x-large", large);
    let response = call(&mut client, request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "8");
    let text = response.headers()["grpc-message"].to_str().unwrap();
    assert!(text.contains(&limit.to_string()), "{text}");

    sender.send(data("alive")).unwrap();
    let frame = other.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "alive");
}

#[tokio::test]
async fn a_head_that_is_not_tolerated_ends_the_connection() {
    let settings = Settings::calls();
    let (mut client, server) = pair(&settings, &settings, echo).await;
    let mut request = post(empty());
    let large = "x".repeat(7 << 20).parse().unwrap();
    request.headers_mut().insert("x-large", large);
    call(&mut client, request).await.unwrap_err();
    let error = server.closed().await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.contains("head or trailers of more than 4194304"),
        "{source}"
    );
}

#[tokio::test]
async fn streams_above_the_limit_are_refused_and_never_processed() {
    let mut one_stream = Settings::calls();
    one_stream.max_streams = 1;
    let handler = |_: Request<IncomingBody>| -> Answer { Box::pin(std::future::pending()) };
    let (server, mut raw) = raw_client(&one_stream, handler).await;
    // POST, http, /, without an authority.
    raw.send(HEADERS, 4, 1, &[0x83, 0x86, 0x84]).await;
    raw.send(HEADERS, 4, 3, &[0x83, 0x86, 0x84]).await;
    let (_, stream, reason) = raw.await_kind(RESET).await;
    assert_eq!((stream, reason), (3, vec![0, 0, 0, 7]));
    assert_eq!((server.open_streams(), server.room()), (1, 0));
}

/// A call whose request nobody reads, though as much of it as may be is sent.
async fn unread(
    client: &mut grpctunnel_http2::Client<bytes::Bytes>,
    server: &Connection,
) -> tokio::task::JoinHandle<()> {
    let (sender, body) = channel();
    for _ in 0..1_000 {
        sender.send(data(vec![0; 64 << 10])).unwrap();
    }
    let mut request = post(body);
    *request.uri_mut() = "http://localhost/unread".parse().unwrap();
    let (before, mut calling) = (server.open_streams(), client.clone());
    let waiting = tokio::spawn(async move {
        let _ = call(&mut calling, request).await;
        drop(sender);
    });
    settled(|| server.open_streams() > before).await;
    // All that the windows allow is here when a ping was answered, or two.
    for _ in 0..3 {
        client.connection().ping().await.unwrap();
    }
    waiting
}

/// A handler that holds requests to one path, and echoes others.
fn holds_unread(request: Request<IncomingBody>) -> Answer {
    Box::pin(async move {
        if request.uri().path() == "/unread" {
            std::future::pending::<()>().await;
        }
        echo(request).await
    })
}

#[tokio::test]
async fn calls_that_nobody_reads_do_not_stop_another() {
    for settings in [Settings::tunnels(), Settings::calls()] {
        let (mut client, server) = pair(&settings, &settings, holds_unread).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(unread(&mut client, &server).await);
        }
        let sent = vec![7; 1 << 20];
        let response = call(&mut client, post(full(sent.clone()))).await.unwrap();
        assert_eq!(bytes(response).await.unwrap(), sent);
        held.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test]
async fn windows_grow_for_readers_only_and_within_the_budget() {
    let budget = WindowBudget::new(5 << 20);
    let mut settings = Settings::calls();
    settings.window_budget = Some(budget.clone());
    {
        let (mut client, server) = pair(&Settings::calls(), &settings, holds_unread).await;
        let held = unread(&mut client, &server).await;
        assert_eq!(
            budget.left(),
            5 << 20,
            "what is not read makes nothing grow"
        );
        for _ in 0..8 {
            let response = call(&mut client, post(full(vec![7; 4 << 20])))
                .await
                .unwrap();
            assert_eq!(bytes(response).await.unwrap().len(), 4 << 20);
        }
        assert_eq!(budget.left(), 2 << 20, "from 1 MiB to 4, and no further");
        held.abort();
        drop(client);
        let _ = tokio::time::timeout(Duration::from_secs(20), server.closed())
            .await
            .unwrap();
    }
    settled(|| budget.left() == 5 << 20).await;
}

#[tokio::test]
async fn a_servers_windows_are_raised_by_a_request_that_is_not_read() {
    let mut settings = Settings::calls();
    settings.stream_window = 32 << 10;
    settings.connection_window = 64 << 10;
    let (near, far) = tokio::io::duplex(1 << 20);
    let handler = |request: Request<IncomingBody>| -> Answer {
        let connection = request.extensions().get::<Connection>().cloned().unwrap();
        connection.raise_windows(&Settings::tunnels());
        Box::pin(async move {
            let _request = request;
            std::future::pending().await
        })
    };
    serve(TokioIo::new(far), Handler(handler), &settings, &runtime());
    // At once, before the client has confirmed the settings that the server begins with.
    let mut client = h2::client::Builder::new();
    client.max_send_buffer_size(16 << 20);
    let (mut h2, connection) = client.handshake::<_, bytes::Bytes>(near).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://localhost/s/m").body(()).unwrap();
    let (_response, mut stream) = h2.send_request(request, false).unwrap();
    stream.reserve_capacity(8 << 20);
    while stream.capacity() < 8 << 20 {
        let more = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        more.unwrap().unwrap();
    }
}
