//! How connections begin, stay, and end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grpctunnel_driver::{NeverProcessed, error_sources};
use grpctunnel_http2::{
    Client, Connections, Detected, ErrorKind, IncomingBody, Keepalive, Settings, SilencePing,
    connect, detect, serve,
};
use http::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tower_service::Service;

use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let (near, _far) = pipe(1_000);
    let settings = Settings::calls();
    let error = connect::<_, Bytes>(near, &settings, &runtime())
        .await
        .unwrap_err();
    let limit = settings.handshake_timeout;
    assert_eq!(*error.kind(), ErrorKind::HandshakeTimeout(limit));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_or_half_is_given_up_in_time() {
    for sent in [&b""[..], &PREFACE[..20], PREFACE] {
        let (mut near, far) = tokio::io::duplex(1_000);
        let server = serve(
            TokioIo::new(far),
            Handler(echo),
            &Settings::calls(),
            &runtime(),
        );
        near.write_all(sent).await.unwrap();
        let error = server.closed().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::HandshakeTimeout(_)));
    }
}

#[tokio::test]
async fn peers_that_speak_something_else_are_named() {
    for (answer, kind) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], ErrorKind::Http1),
        (b"\x15\x03\x01\x00\x02\x02\x46", ErrorKind::Tls),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ErrorKind::NotHttp2),
    ] {
        let (near, mut far) = tokio::io::duplex(1_000);
        far.write_all(answer).await.unwrap();
        let (settings, runtime) = (Settings::calls(), runtime());
        let connecting = connect::<_, Bytes>(TokioIo::new(near), &settings, &runtime);
        assert_eq!(*connecting.await.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn a_client_of_http1_is_told_from_one_of_http2() {
    let (settings, runtime) = (Settings::calls(), runtime());
    let (mut near, far) = tokio::io::duplex(1_000);
    near.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let detected = detect(TokioIo::new(far), &settings, &runtime)
        .await
        .unwrap();
    let Detected::NotHttp2(io) = detected else {
        panic!("that is HTTP/1");
    };
    assert!(io.first_bytes().starts_with(b"GET / HTTP/1.1"));
    // Nothing is lost for whoever answers it.
    let mut io = TokioIo::new(io);
    let mut line = [0; 16];
    io.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"GET / HTTP/1.1\r\n");
    io.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    drop(io);
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 OK\r\n\r\n");

    let (near, far) = pipe(1_000);
    let served = async {
        match detect(far, &settings, &runtime).await.unwrap() {
            Detected::Http2(io) => serve(io, Handler(echo), &settings, &runtime),
            Detected::NotHttp2(io) => panic!("{io:?}"),
        }
    };
    let (client, _server) = tokio::join!(connect(near, &settings, &runtime), served);
    let response = call(&mut client.unwrap(), post(full("hello")))
        .await
        .unwrap();
    assert_eq!(bytes(response).await.unwrap(), "hello");
}

#[tokio::test(start_paused = true)]
async fn detection_ends_in_time_and_at_the_end_of_the_input() {
    let (settings, runtime) = (Settings::calls(), runtime());
    let (mut near, far) = tokio::io::duplex(1_000);
    near.write_all(b"PRI").await.unwrap();
    let error = detect(TokioIo::new(far), &settings, &runtime)
        .await
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::HandshakeTimeout(_)));

    let (near, far) = tokio::io::duplex(1_000);
    drop(near);
    let error = detect(TokioIo::new(far), &settings, &runtime)
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Connection);
}

/// A handler that answers when it is told to.
fn gated() -> (
    Arc<Notify>,
    impl Fn(Request<IncomingBody>) -> Answer + Clone,
) {
    let gate = Arc::new(Notify::new());
    let waits = Arc::clone(&gate);
    let handler = move |_: Request<IncomingBody>| -> Answer {
        let gate = Arc::clone(&waits);
        Box::pin(async move {
            gate.notified().await;
            Ok(Response::new(full("done")))
        })
    };
    (gate, handler)
}

type Waiting = tokio::task::JoinHandle<Result<Bytes, grpctunnel_http2::Error>>;

/// A call that is open at both ends.
async fn open_call(client: &Client<Bytes>, open: impl Fn() -> usize) -> Waiting {
    let (mut client, before) = (client.clone(), open());
    let waiting = tokio::spawn(async move {
        let response = call(&mut client, post(empty())).await?;
        bytes(response).await
    });
    settled(|| open() > before).await;
    waiting
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_open_and_takes_nothing_new() {
    let settings = Settings::calls();
    let (gate, handler) = gated();
    let (mut client, server) = pair(&settings, &settings, handler).await;
    let waiting = open_call(&client, || server.open_streams()).await;
    server.shutdown(Duration::from_secs(60));
    settled(|| client.connection().is_draining()).await;
    assert_eq!(client.connection().room(), 0);
    let error = call(&mut client, post(empty())).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Closed);
    assert!(error.never_processed().is_some());

    assert!(!server.is_closed());
    gate.notify_one();
    assert_eq!(waiting.await.unwrap().unwrap(), "done");
    server.closed().await.unwrap();
    client.connection().closed().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_cuts_what_is_open_at_the_end_of_its_grace() {
    let settings = Settings::calls();
    for at_client in [false, true] {
        let (_gate, handler) = gated();
        let (client, server) = pair(&settings, &settings, handler).await;
        let waiting = open_call(&client, || server.open_streams()).await;
        let begin = tokio::time::Instant::now();
        let ours = if at_client {
            client.connection()
        } else {
            &server
        };
        ours.shutdown(Duration::from_secs(3600));
        ours.shutdown(5 * SECOND);
        let error = ours.closed().await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::GraceExpired);
        assert!(begin.elapsed() >= 5 * SECOND && begin.elapsed() < 10 * SECOND);
        let error = waiting.await.unwrap().unwrap_err();
        assert!(error.never_processed().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn the_connections_of_a_server_shut_down_together() {
    let settings = Settings::calls();
    let connections = Connections::new(settings.clone(), runtime());
    let (_gate, handler) = gated();
    let mut ends = Vec::new();
    for _ in 0..2 {
        let (near, far) = pipe(64 << 10);
        let server = connections.serve(far, Handler(handler.clone()));
        let client: Client<Bytes> = connect(near, &settings, &runtime()).await.unwrap();
        ends.push((client, server));
    }
    let (busy, server) = &ends[0];
    let waiting = open_call(busy, || server.open_streams()).await;
    assert_eq!(connections.count(), 2);

    connections.shutdown(SECOND);
    ends[1].1.closed().await.unwrap();
    assert_eq!(connections.count(), 1, "the one with a call is left");
    let (_near, far) = pipe(64 << 10);
    let late = connections.serve(far, Handler(handler));
    assert!(late.is_draining());
    connections.closed().await;
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(connections.count(), 0);
}

#[tokio::test]
async fn the_longest_durations_are_no_limits() {
    let mut settings = Settings::calls();
    settings.handshake_timeout = Duration::MAX;
    settings.keepalive = Keepalive::After(Duration::MAX);
    settings.keepalive_timeout = Duration::MAX;
    settings.idle_timeout = Some(Duration::MAX);
    settings.silence_ping = Some(SilencePing {
        after: Duration::ZERO,
        at_most_every: Duration::MAX,
        timeout: Duration::MAX,
    });
    let (mut client, server) = pair(&settings, &settings, echo).await;
    let response = call(&mut client, post(full("hello"))).await.unwrap();
    assert_eq!(bytes(response).await.unwrap(), "hello");
    server.shutdown(Duration::MAX);
    server.closed().await.unwrap();
}

#[tokio::test]
async fn a_client_shuts_down_after_its_last_call() {
    let settings = Settings::calls();
    let (gate, handler) = gated();
    let (client, server) = pair(&settings, &settings, handler).await;
    let waiting = open_call(&client, || server.open_streams()).await;
    client.connection().shutdown(Duration::from_secs(60));
    assert!(call(&mut client.clone(), post(empty())).await.is_err());
    gate.notify_one();
    assert_eq!(waiting.await.unwrap().unwrap(), "done");
    client.connection().closed().await.unwrap();
    server.closed().await.unwrap();
}

#[tokio::test]
async fn a_connection_ends_with_its_last_client() {
    let settings = Settings::calls();
    let (client, server) = pair(&settings, &settings, echo).await;
    let connection = client.connection().clone();
    drop(client.clone());
    connection.ping().await.unwrap();
    assert!(!connection.is_closed());
    drop(client);
    connection.closed().await.unwrap();
    server.closed().await.unwrap();
    let error = connection.ping().await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_with_goaway() {
    let mut idle = Settings::calls();
    idle.idle_timeout = Some(Duration::from_secs(300));
    let (gate, handler) = gated();
    let (client, server) = pair(&Settings::calls(), &idle, handler).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    let waiting = open_call(&client, || server.open_streams()).await;
    tokio::time::sleep(Duration::from_secs(1_000)).await;
    assert!(!server.is_draining(), "a call is open");
    gate.notify_one();
    waiting.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert!(!server.is_draining());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(client.connection().is_draining());
    client.connection().closed().await.unwrap();
    server.closed().await.unwrap();
}

#[tokio::test]
async fn a_server_that_leaves_as_soon_as_it_has_spoken_has_processed_nothing() {
    let goodbye: &[u8] = &[0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for last in [&[][..], goodbye] {
        let (near, mut far) = tokio::io::duplex(1_000);
        far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        far.write_all(last).await.unwrap();
        far.shutdown().await.unwrap();
        let (settings, runtime) = (Settings::calls(), runtime());
        let connected = connect(TokioIo::new(near), &settings, &runtime).await;
        let mut client: Client<Bytes> = connected.unwrap();
        let error = call(&mut client, post(empty())).await.unwrap_err();
        assert!(error.never_processed().is_some(), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_goaway_is_given_up() {
    let mut settings = Settings::calls();
    settings.keepalive = Keepalive::Never;
    settings.idle_timeout = Some(Duration::from_secs(300));
    let (server, mut raw) = raw_client(&settings, echo).await;
    raw.await_kind(GOAWAY).await;
    let begin = tokio::time::Instant::now();
    server.closed().await.unwrap();
    assert_eq!(
        begin.elapsed().as_secs(),
        settings.keepalive_timeout.as_secs()
    );

    settings.idle_timeout = None;
    let (server, mut raw) = raw_client(&settings, echo).await;
    server.shutdown(Duration::from_secs(3_600));
    raw.await_kind(GOAWAY).await;
    let begin = tokio::time::Instant::now();
    server.closed().await.unwrap();
    assert_eq!(
        begin.elapsed().as_secs(),
        settings.keepalive_timeout.as_secs()
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_noticed_by_keepalive_and_every_call_is_told() {
    let mut settings = Settings::calls();
    settings.keepalive = Keepalive::After(Duration::from_secs(30));
    let (client, mut raw) = raw_server(&settings).await;
    let waiting = open_call(&client, || client.connection().open_streams()).await;
    // It answers once, then is silent.
    let (_, _, payload) = raw.await_kind(PING).await;
    raw.send(PING, 1, 0, &payload).await;
    let begin = tokio::time::Instant::now();
    raw.await_kind(PING).await;
    assert!(begin.elapsed() >= Duration::from_secs(29));
    let error = client.connection().closed().await.unwrap_err();
    let limit = settings.keepalive_timeout;
    assert_eq!(*error.kind(), ErrorKind::KeepaliveTimeout(limit));
    assert!(begin.elapsed() < Duration::from_secs(60));
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Connection);
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.to_string().contains("keepalive"), "{source}");
}

#[tokio::test(start_paused = true)]
async fn what_is_heard_after_a_ping_is_a_sign_of_life_too() {
    let mut settings = Settings::calls();
    settings.keepalive = Keepalive::After(Duration::from_secs(30));
    let (server, mut raw) = raw_client(&settings, echo).await;
    for _ in 0..5 {
        let (_, _, answer) = raw.await_kind(PING).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        raw.send(PING, 0, 0, &[7; 8]).await;
        assert_eq!(raw.await_kind(PING).await.2, [7; 8]);
        // Its answer is too late to be one.
        tokio::time::sleep(Duration::from_secs(15)).await;
        raw.send(PING, 1, 0, &answer).await;
    }
    assert!(!server.is_closed());
}

/// As where the process was stopped, or its machine slept.
#[tokio::test(start_paused = true)]
async fn a_peer_has_its_time_to_answer_after_this_end_has_slept() {
    let mut settings = Settings::calls();
    settings.keepalive = Keepalive::After(Duration::from_secs(30));
    let (server, mut raw) = raw_client(&settings, echo).await;
    let (_, _, answer) = raw.await_kind(PING).await;
    tokio::time::advance(Duration::from_secs(3_600)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    raw.send(PING, 1, 0, &answer).await;
    raw.await_kind(PING).await;
    assert!(!server.is_closed());

    // The next time it has had it.
    let error = server.closed().await.unwrap_err();
    let limit = settings.keepalive_timeout;
    assert_eq!(*error.kind(), ErrorKind::KeepaliveTimeout(limit));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_seldom_and_only_beside_calls() {
    let mut settings = Settings::calls();
    settings.keepalive = Keepalive::Never;
    settings.silence_ping = Some(SilencePing::default());
    let (client, mut raw) = raw_server(&settings).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let begin = tokio::time::Instant::now();
    let _waiting = open_call(&client, || client.connection().open_streams()).await;
    raw.await_kind(PING).await;
    assert_eq!(begin.elapsed().as_secs(), 10, "none while nobody waited");
    assert!(client.connection().is_responsive());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(!client.connection().is_responsive());
    assert!(
        !client.connection().is_closed(),
        "that is for keepalive to say"
    );
    // Anything that is heard will do.
    raw.send(PING, 0, 0, &[0; 8]).await;
    settled(|| client.connection().is_responsive()).await;

    let asked_again = async {
        loop {
            let (flags, _, _) = raw.await_kind(PING).await;
            if flags == 0 {
                return;
            }
        }
    };
    let quiet = tokio::time::timeout(Duration::from_secs(200), asked_again).await;
    assert!(quiet.is_err(), "once in 5 minutes");
}

#[tokio::test]
async fn streams_above_a_goaway_and_refused_ones_were_never_processed() {
    let (client, mut raw) = raw_server(&Settings::calls()).await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(open_call(&client, || client.connection().open_streams()).await);
        raw.await_kind(HEADERS).await;
    }
    let [kept, above, refused] = calls.try_into().unwrap();
    raw.send(RESET, 0, 5, &[0, 0, 0, 7]).await;
    let error = refused.await.unwrap().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Refused);
    assert!(error.never_processed().is_some());

    // The last stream that is processed is 1.
    raw.send(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]).await;
    let error = above.await.unwrap().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Refused);
    assert!(error.never_processed().is_some());
    // What passes the error on says so without knowing its type, and says why.
    let mut sources = error_sources(&error);
    assert!(sources.any(|source| source.is::<NeverProcessed>()));
    assert!(sources.any(|source| source.is::<h2::Error>()));
    assert!(client.connection().is_draining());

    raw.send(HEADERS, 5, 1, &[0x88]).await;
    assert_eq!(kept.await.unwrap().unwrap(), "");
}

#[tokio::test]
async fn the_room_for_calls_is_known() {
    let mut two = Settings::calls();
    two.max_streams = 2;
    let (gate, handler) = gated();
    let (mut client, server) = pair(&Settings::calls(), &two, handler).await;
    let connection = client.connection().clone();
    assert_eq!((connection.max_streams(), connection.room()), (2, 2));
    let first = open_call(&client, || server.open_streams()).await;
    assert_eq!((connection.open_streams(), connection.room()), (1, 1));
    let second = open_call(&client, || server.open_streams()).await;
    assert_eq!(connection.room(), 0);
    // One more waits, and its clone is not ready for another.
    let third = client.call(post(empty()));
    let ready = std::future::poll_fn(|cx| Service::<Request<BoxBody>>::poll_ready(&mut client, cx));
    let third = tokio::spawn(third);
    assert!(futures_util::poll!(Box::pin(ready)).is_pending());
    gate.notify_one();
    first.await.unwrap().unwrap();
    settled(|| server.open_streams() == 2).await;
    gate.notify_one();
    gate.notify_one();
    second.await.unwrap().unwrap();
    gate.notify_one();
    bytes(third.await.unwrap().unwrap()).await.unwrap();
    settled(|| connection.room() == 2).await;
}
