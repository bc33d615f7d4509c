//! Calls, and every way in which they end.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use grpctunnel_http2::{Error, ErrorKind, IncomingBody, Reason, Settings, connect, serve};
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::support::*;

#[tokio::test]
async fn a_unary_call_comes_back_as_it_was() {
    let settings = Settings::calls();
    let (mut client, _) = pair(&settings, &settings, echo).await;
    let response = call(&mut client, post(full("hello"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().is_empty(), "nothing is added");
    assert_eq!(bytes(response).await.unwrap(), "hello");
}

#[tokio::test]
async fn messages_pass_both_ways_before_the_half_close_and_trailers_end_them() {
    let settings = Settings::tunnels();
    let (mut client, _) = pair(&settings, &settings, echo).await;
    let (sender, body) = channel();
    let mut response = call(&mut client, post(body)).await.unwrap();
    for message in ["a", "b", "c"] {
        sender.send(data(message)).unwrap();
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), message);
    }
    sender.send(trailers("grpc-status", "0")).unwrap();
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap()["grpc-status"], "0");
    assert!(response.body().is_end_stream());
    assert!(response.body_mut().frame().await.is_none());
}

#[tokio::test]
async fn a_mebibyte_passes_small_windows_unchanged() {
    let mut settings = Settings::calls();
    settings.stream_window = 1_000;
    settings.connection_window = 2_000;
    settings.max_connection_window = 2_000;
    let (mut client, _) = pair(&settings, &settings, echo).await;
    let sent: Bytes = (0..1_u32 << 20).map(|n| n.to_be_bytes()[3]).collect();
    let response = call(&mut client, post(full(sent.clone()))).await.unwrap();
    assert_eq!(bytes(response).await.unwrap(), sent);
}

#[tokio::test]
async fn what_belongs_to_a_connection_stays_behind() {
    let settings = Settings::calls();
    let handler = |request: Request<IncomingBody>| -> Answer {
        assert!(!request.headers().contains_key("keep-alive"));
        assert_eq!(
            request.uri(),
            "http://b.example/s/m",
            "host is the authority"
        );
        let response = Response::builder().header("connection", "close");
        Box::pin(async move { Ok(response.body(empty()).unwrap()) })
    };
    let (mut client, _) = pair(&settings, &settings, handler).await;
    let request = Request::post("/s/m")
        .header("host", "b.example")
        .header("keep-alive", "1");
    let request = request.body(empty()).unwrap();
    let response = call(&mut client, request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().is_empty());
}

/// Data of many segments.
struct Segments(VecDeque<Bytes>);

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |segment| segment)
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(first) = self.0.front_mut() {
            if n < first.len() {
                return first.advance(n);
            }
            n -= first.len();
            self.0.pop_front();
        }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        into.iter_mut()
            .zip(&self.0)
            .map(|(slot, segment)| *slot = IoSlice::new(segment))
            .count()
    }
}

#[tokio::test]
async fn data_of_many_segments_is_one_frame() {
    let settings = Settings::tunnels();
    let (near, far) = pipe(1 << 20);
    let _server = serve(far, Handler(echo), &settings, &runtime());
    let mut client = connect(near, &settings, &runtime()).await.unwrap();
    let segments: VecDeque<_> = (0..50_u8).map(|n| Bytes::from(vec![n; 2_000])).collect();
    let sent: Vec<u8> = segments.iter().flatten().copied().collect();
    let body = Full::new(Segments(segments));
    let mut response = call(&mut client, post(body)).await.unwrap();
    // h2 hands out a chunk for each frame.
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), sent);
}

#[tokio::test]
async fn a_body_is_asked_only_when_there_is_room() {
    let mut settings = Settings::tunnels();
    settings.send_buffer = 10_000;
    let mut small = Settings::tunnels();
    small.stream_window = 20_000;
    // The server never reads.
    let handler = |request: Request<IncomingBody>| -> Answer {
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop(request);
            Ok(Response::new(empty()))
        })
    };
    let (client, server) = pair(&settings, &small, handler).await;
    let (asked, mut asks) = mpsc::unbounded_channel();
    let chunks = futures_util::stream::repeat_with(move || {
        let _ = asked.send(());
        Ok::<_, Error>(data(vec![0; 1_000]))
    });
    let mut calling = client.clone();
    let waiting = tokio::spawn(async move {
        call(&mut calling, post(StreamBody::new(chunks)))
            .await
            .map(drop)
    });
    for _ in 0..20 {
        asks.recv().await.unwrap();
    }
    // All that is to be sent has been sent when a ping comes back.
    client.connection().ping().await.unwrap();
    let mut more = 0;
    while asks.try_recv().is_ok() {
        more += 1;
    }
    assert_eq!(server.open_streams(), 1);
    assert!(more <= 1, "{more} chunks more than the window has room for");
    waiting.abort();
}

#[tokio::test]
async fn dropping_the_response_future_cancels_the_handler() {
    let settings = Settings::calls();
    for with_body in [false, true] {
        let (started, was_started) = oneshot::channel();
        let (dropped, was_dropped) = oneshot::channel::<()>();
        let state = Arc::new(std::sync::Mutex::new(Some((started, dropped))));
        let handler = move |request: Request<IncomingBody>| -> Answer {
            let (started, dropped) = state.lock().unwrap().take().unwrap();
            Box::pin(async move {
                started.send(()).unwrap();
                let _held = (dropped, request);
                std::future::pending().await
            })
        };
        let (client, server) = pair(&settings, &settings, handler).await;
        let (sender, body) = channel();
        let request = post(Some(body).filter(|_| with_body).unwrap_or_else(empty));
        let mut calling = client.clone();
        let waiting = tokio::spawn(async move { call(&mut calling, request).await.map(drop) });
        was_started.await.unwrap();
        assert_eq!(client.connection().open_streams(), 1);
        waiting.abort();
        assert!(was_dropped.await.is_err(), "the handler is gone");
        sender.closed().await;
        settled(|| server.open_streams() + client.connection().open_streams() == 0).await;
    }
}

#[tokio::test]
async fn dropping_the_response_body_cancels_the_call_on_both_sides() {
    let settings = Settings::calls();
    let (mut client, server) = pair(&settings, &settings, echo).await;
    let (sender, body) = channel();
    let response = call(&mut client, post(body)).await.unwrap();
    drop(response);
    sender.closed().await;
    settled(|| server.open_streams() == 0).await;
    assert!(!client.connection().is_closed());
}

#[tokio::test]
async fn a_cancelled_upload_does_not_look_complete() {
    let settings = Settings::calls();
    let (result, results) = oneshot::channel();
    let result = Arc::new(std::sync::Mutex::new(Some(result)));
    let handler = move |request: Request<IncomingBody>| -> Answer {
        let result = result.lock().unwrap().take().unwrap();
        // Another task reads, which is not dropped with the handler.
        tokio::spawn(async move {
            result.send(request.into_body().collect().await).unwrap();
        });
        Box::pin(async { Ok(Response::new(channel().1)) })
    };
    let (mut client, _) = pair(&settings, &settings, handler).await;
    let (sender, body) = channel();
    sender.send(data("half")).unwrap();
    drop(call(&mut client, post(body)).await.unwrap());
    let error = results.await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    assert!(
        error.source().is_none(),
        "nothing that tonic takes for an end"
    );
}

#[tokio::test]
async fn a_failed_request_body_cancels_the_call_and_is_its_error() {
    let settings = Settings::calls();
    let (mut client, server) = pair(&settings, &settings, echo).await;
    let failure = std::io::Error::other("no more disk");
    let frames = futures_util::stream::iter([Ok(data("half")), Err(failure)]);
    let response = call(&mut client, post(StreamBody::new(frames))).await;
    let error = match response {
        Ok(response) => bytes(response).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(*error.kind(), ErrorKind::RequestBody);
    assert_eq!(error.source().unwrap().to_string(), "no more disk");
    settled(|| server.open_streams() == 0).await;
}

/// The error of a call to a handler that ends so.
async fn error_of<F: Fn() -> Answer + Clone + Send + 'static>(answer: F) -> Error {
    let settings = Settings::calls();
    let (mut client, _) = pair(&settings, &settings, move |_| answer()).await;
    let error = match call(&mut client, post(empty())).await {
        Ok(response) => bytes(response).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(!client.connection().is_closed(), "only that call fails");
    error
}

#[tokio::test]
async fn a_service_that_fails_or_panics_resets_its_stream() {
    let error = error_of(|| Box::pin(async { panic!("a handler that panics") })).await;
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));

    let body = || {
        let frames = [Ok(data("half")), Err(std::io::Error::other("no more disk"))];
        let frames = StreamBody::new(futures_util::stream::iter(frames));
        frames.map_err(|_| Error::refused()).boxed_unsync()
    };
    let error = error_of(move || Box::pin(async move { Ok(Response::new(body())) })).await;
    assert_eq!(
        error.reason(),
        Some(Reason::INTERNAL_ERROR),
        "too late to refuse"
    );
    assert!(error.never_processed().is_none());
    let source = error.source().unwrap().downcast_ref::<h2::Error>();
    assert!(source.unwrap().is_remote());
}

#[tokio::test]
async fn a_service_can_refuse_what_it_has_not_touched() {
    let error = error_of(|| Box::pin(async { Err(Error::refused()) })).await;
    assert_eq!(*error.kind(), ErrorKind::Refused);
    assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM));
    assert!(error.never_processed().is_some());
}

#[tokio::test]
async fn an_answer_before_the_request_ends_is_complete_and_stops_it() {
    let settings = Settings::calls();
    let handler = |_: Request<IncomingBody>| -> Answer {
        let response = Response::builder().header("grpc-status", "5");
        Box::pin(async move { Ok(response.body(empty()).unwrap()) })
    };
    let (mut client, _) = pair(&settings, &settings, handler).await;
    let (sender, body) = channel();
    sender.send(data("never read")).unwrap();
    let response = call(&mut client, post(body)).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "5");
    // The server's RST_STREAM(NO_ERROR) may be here before the body is looked at.
    client.connection().ping().await.unwrap();
    assert_eq!(bytes(response).await.unwrap(), "");
    sender.closed().await;
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_body_is_an_error_whatever_its_reason() {
    for reason in [0_u8, 8, 2] {
        let (mut client, mut raw) = raw_server(&Settings::calls()).await;
        let server = async {
            raw.await_kind(HEADERS).await;
            // The static table's `:status 200`, then half a message.
            raw.send(HEADERS, 4, 1, &[0x88]).await;
            raw.send(0, 0, 1, b"half").await;
            raw.send(RESET, 0, 1, &[0, 0, 0, reason]).await;
        };
        let (response, ()) = tokio::join!(call(&mut client, post(empty())), server);
        let error = bytes(response.unwrap()).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Reset);
        assert_eq!(error.reason(), Some(Reason::from(u32::from(reason))));
        assert!(error.never_processed().is_none());
    }
}

#[tokio::test]
async fn a_lost_connection_shows_its_cause_to_every_call() {
    let (mut client, raw) = raw_server(&Settings::calls()).await;
    let connection = client.connection().clone();
    let waiting = tokio::spawn(async move { call(&mut client, post(empty())).await.map(drop) });
    settled(|| connection.open_streams() == 1).await;
    drop(raw);
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Connection);
    assert!(error.never_processed().is_none(), "nobody knows");
    assert!(error.source().unwrap().is::<std::io::Error>(), "{error:?}");
    assert!(connection.closed().await.is_err());
}

#[tokio::test]
async fn thousands_of_calls_that_end_in_every_way_leave_nothing() {
    let settings = Settings::calls();
    let gate = Arc::new(Notify::new());
    let handler = {
        let gate = Arc::clone(&gate);
        move |request: Request<IncomingBody>| -> Answer {
            let gate = Arc::clone(&gate);
            Box::pin(async move {
                if request.uri().path() == "/wait" {
                    gate.notified().await;
                }
                Ok(Response::new(request.into_body().boxed_unsync()))
            })
        }
    };
    let (mut client, server) = pair(&settings, &settings, handler).await;
    for n in 0..5_000 {
        let mut request = post(full(vec![0; n % 3_000]));
        if n % 3 == 0 {
            *request.uri_mut() = "http://localhost/wait".parse().unwrap();
        }
        let mut response = Box::pin(call(&mut client, request));
        if n % 3 == 0 {
            let _ = futures_util::poll!(&mut response);
        } else {
            let response = response.await.unwrap();
            if n % 3 == 1 {
                bytes(response).await.unwrap();
            }
        }
    }
    settled(|| server.open_streams() + client.connection().open_streams() == 0).await;
    let response = call(&mut client, post(full("still there"))).await.unwrap();
    assert_eq!(bytes(response).await.unwrap(), "still there");
}
