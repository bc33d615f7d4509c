//! The life of a tunnel whose other end is played by hand.

#[cfg(test)]
mod common;

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use common::frames::{
    FromClient, FromServer, Sent, client, close_ok, message, new_stream, server, settings,
    until_frame,
};
use common::play::{by_hand, reverse, to_a_server_by_hand, to_old_peer};
use common::service::{self, Seen};
use common::{
    Done, FakeClock, Function, body_of, call_of, channel_body, make, on_both, read, trailers,
    until, with_clock,
};
use grpctunnel_driver::{
    Channel, Code, Options, Runtime, Status, TransmitBody, TunnelReason, connect, serve_reverse,
};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body;

/// A carrier whose answer negotiates, and then says what `frames` say.
async fn negotiated(runtime: &Runtime, said: Vec<Sent>) -> Result<Channel, Code> {
    let (frames, body) = channel_body();
    for frame in said {
        let _ = frames.try_send(frame);
    }
    let body = std::sync::Mutex::new(Some(body));
    let carrier = Function(move |request: Request<TransmitBody>| {
        std::mem::forget(request);
        let body = body.lock().map(|mut body| body.take());
        let mut response = Response::new(body.ok().flatten().unwrap_or_else(|| body_of(&[])));
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", grpc);
        let on = HeaderValue::from_static("on");
        response.headers_mut().insert("grpctunnel-negotiate", on);
        std::future::ready(response)
    });
    let options = Options::default();
    let opened = connect(carrier, runtime, &options, HeaderMap::new()).await;
    std::mem::forget(frames);
    opened.map_err(|error| error.code())
}

#[test]
fn conf_014_a_tunnel_opens_on_settings_without_revisions() {
    on_both(|runtime| async move {
        let opened = negotiated(&runtime, vec![server(-1, settings(&[]))]).await;
        assert!(opened.is_ok());
        let opened = negotiated(&runtime, vec![server(-1, settings(&[7]))]).await;
        assert_eq!(opened.unwrap_err(), Code::FailedPrecondition);
        let opened = negotiated(&runtime, vec![server(0, settings(&[0, 1]))]).await;
        assert_eq!(opened.unwrap_err(), Code::Internal);
    });
}

#[test]
fn conf_029_there_is_no_channel_before_the_settings() {
    on_both(|runtime| async move {
        let mut opening = Box::pin(negotiated(&runtime, vec![]));
        for _ in 0..100 {
            assert!(futures_util::poll!(&mut opening).is_pending());
            smol::future::yield_now().await;
        }
    });
}

#[test]
fn conf_136_a_request_that_does_not_end_is_waited_for_until_its_deadline() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let channel = common::forward(&runtime, service::sample(seen.clone())).await;
        let (requests, body) = channel_body();
        requests.try_send(common::data(b"m")).unwrap();
        let mut request = call_of("t.S/Unary", body);
        let timeout = HeaderValue::from_static("50m");
        request.headers_mut().insert("grpc-timeout", timeout);
        let done = make(&channel, request).await;
        assert_eq!(done.status.code(), Code::DeadlineExceeded);
        until(|| seen.dropped() == 1).await;
    });
}

#[test]
fn conf_140_a_call_whose_time_is_over_is_not_handled() {
    on_both(|runtime| async move {
        for timeout in ["0S", "-5S"] {
            let seen = Arc::default();
            let (_, frames, mut body) = by_hand(&runtime, Options::default(), &seen);
            let call = new_stream("t.S/Unary", &[("grpc-timeout", timeout)]);
            frames.try_send(client(1, call)).unwrap();
            until_frame(&mut body, |frame| match &frame.frame {
                Some(FromServer::CloseStream(close)) => {
                    frame.stream_id == 1 && close.status.as_ref().is_some_and(|s| s.code == 4)
                }
                _ => false,
            })
            .await;
            assert_eq!(seen.started(), 0);
        }
    });
}

#[test]
fn conf_163_the_end_of_the_carrier_cancels_what_is_live_and_ends_at_once() {
    on_both(|runtime| async move {
        let seen = Arc::default();
        let (service, frames, body) = by_hand(&runtime, Options::default(), &seen);
        frames
            .try_send(client(1, new_stream("t.S/Hang", &[])))
            .unwrap();
        until(|| seen.started() == 1).await;
        drop(frames);
        let (_, trailers) = read(body).await.unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        until(|| seen.dropped() == 1).await;
        service.drained().await;
    });
}

#[test]
fn conf_164_the_end_of_the_carrier_cancels_a_call_whose_request_is_complete() {
    on_both(|runtime| async move {
        let seen = Arc::default();
        let (_, frames, body) = by_hand(&runtime, Options::default(), &seen);
        for frame in [
            new_stream("t.S/Hang", &[]),
            FromClient::RequestMessage(message(1, b"m")),
            FromClient::HalfClose(()),
        ] {
            frames.try_send(client(1, frame)).unwrap();
        }
        until(|| seen.started() == 1).await;
        drop(frames);
        read(body).await.unwrap();
        until(|| seen.dropped() == 1).await;
    });
}

/// Ends the carrier after each of the frames of a call, and looks at what is left.
async fn ends_after_each(runtime: &Runtime, end: impl Fn() -> Option<Sent>, code: &str) {
    let call = || {
        vec![
            new_stream("t.S/Unary", &[]),
            FromClient::RequestMessage(message(3, b"a")),
            FromClient::MoreRequestData(bytes::Bytes::from_static(b"bc")),
            FromClient::WindowUpdate(7),
            FromClient::HalfClose(()),
            FromClient::Cancel(()),
        ]
    };
    for count in 0..=call().len() {
        let seen: Arc<Seen> = Arc::default();
        let (service, frames, body) = by_hand(runtime, Options::default(), &seen);
        for frame in call().into_iter().take(count) {
            let _ = frames.try_send(client(1, frame));
        }
        if let Some(end) = end() {
            let _ = frames.try_send(end);
        }
        drop(frames);
        let (_, trailers) = read(body).await.unwrap_or_default();
        assert_eq!(
            trailers.get("grpc-status").map(HeaderValue::as_bytes),
            Some(code.as_bytes()),
            "after {count} frames"
        );
        service.drained().await;
        // No task is left: each holds what the handler holds.
        until(|| Arc::strong_count(&seen) <= 2).await;
    }
}

#[test]
fn conf_165_a_carrier_that_finishes_anywhere_leaves_nothing() {
    on_both(|runtime| async move { ends_after_each(&runtime, || None, "0").await });
}

#[test]
fn conf_166_a_carrier_that_is_cut_anywhere_leaves_nothing() {
    on_both(|runtime| async move {
        ends_after_each(&runtime, || Some(Err("cut".into())), "14").await;
    });
}

#[test]
fn conf_167_a_server_that_ends_the_tunnel_well_loses_its_calls_all_the_same() {
    on_both(|runtime| async move {
        let (channel, _body, frames) = to_a_server_by_hand(&runtime).await;
        let end = async {
            until(|| channel.active_calls() == 1).await;
            let ok = Status::new(Code::Ok, "");
            frames.try_send(trailers(&ok)).unwrap();
        };
        let (done, ()) = futures_util::join!(make(&channel, call_of("t.S/M", body_of(&[]))), end);
        assert_eq!(done.status.code(), Code::Unavailable);
        let done = make(&channel, call_of("t.S/M", body_of(&[]))).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(done.never_processed);
    });
}

#[test]
fn conf_168_a_server_that_ends_the_tunnel_with_an_error_says_why_to_its_calls() {
    on_both(|runtime| async move {
        let (channel, _body, frames) = to_a_server_by_hand(&runtime).await;
        let end = async {
            until(|| channel.active_calls() == 1).await;
            let why = Status::new(Code::PermissionDenied, "not you");
            frames.try_send(trailers(&why)).unwrap();
        };
        let (done, ()) = futures_util::join!(make(&channel, call_of("t.S/M", body_of(&[]))), end);
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(done.status.message().contains("not you"), "{}", done.status);
        let end = channel.closed().await;
        let status = end.peer_status().unwrap();
        assert_eq!(status.code(), Code::PermissionDenied);
    });
}

/// A call that gets these frames, and then the end of the carrier.
async fn answered_with(runtime: &Runtime, said: &[FromServer], end: Option<Sent>) -> Done {
    let (channel, mut body, frames) = to_a_server_by_hand(runtime).await;
    let speak = async {
        // Until the call has left, its stream does not exist for the server.
        let _ = common::next_data(&mut body).await;
        for frame in said {
            let _ = frames.try_send(server(1, frame.clone()));
        }
        if let Some(end) = end {
            let _ = frames.try_send(end);
        }
        frames.close();
    };
    let (done, ()) = futures_util::join!(make(&channel, call_of("t.S/M", body_of(&[]))), speak);
    done
}

#[test]
fn conf_169_the_end_of_the_carrier_is_the_end_of_a_call_wherever_it_comes() {
    on_both(|runtime| async move {
        let frames = [
            FromServer::ResponseHeaders(grpctunnel_proto::v1::Metadata::default()),
            FromServer::ResponseMessage(message(3, b"a")),
            FromServer::MoreResponseData(bytes::Bytes::from_static(b"bc")),
            close_ok(),
        ];
        let ends: [fn() -> Option<Sent>; 3] = [
            || None,
            || Some(Err("cut".into())),
            || Some(trailers(&Status::new(Code::Ok, ""))),
        ];
        for end in ends {
            for count in 0..=frames.len() {
                let done = answered_with(&runtime, &frames[..count], end()).await;
                let code = if count == frames.len() {
                    Code::Ok
                } else {
                    Code::Unavailable
                };
                assert_eq!(done.status.code(), code, "after {count} frames");
                let messages: &[&[u8]] = if count >= 3 { &[b"abc"] } else { &[] };
                assert_eq!(done.messages, messages, "after {count} frames");
            }
        }
    });
}

#[test]
fn conf_170_a_peer_that_breaks_the_protocol_of_a_reverse_tunnel_is_told() {
    on_both(|runtime| async move {
        let (sender, bodies) = smol::channel::bounded(1);
        let (frames, body) = channel_body();
        let body = std::sync::Mutex::new(Some(body));
        let carrier = Function(move |request: Request<TransmitBody>| {
            let _ = sender.try_send(request.into_body());
            let body = body.lock().unwrap().take().unwrap();
            let response = Response::builder().header("content-type", "application/grpc");
            std::future::ready(response.body(body).unwrap())
        });
        let handler = service::sample(Arc::default());
        let options = Options::default();
        let handle = serve_reverse(carrier, handler, &runtime, &options, HeaderMap::new());
        let handle = handle.await.unwrap();
        let body = bodies.recv().await.unwrap();
        let half = client(77, FromClient::HalfClose(()));
        frames.try_send(half).unwrap();
        // A request body that fails resets its RPC.
        assert!(read(body).await.is_err());
        let end = handle.closed().await;
        let reason = end.error().unwrap().reason();
        assert_eq!(reason, TunnelReason::StreamNeverCreated);
        until(|| frames.is_closed()).await;
    });
}

#[test]
fn conf_171_a_reverse_server_without_calls_stops_at_once() {
    on_both(|runtime| async move {
        let (service, _tunnel, handle) = reverse(&runtime, service::sample(Arc::default())).await;
        handle.drain(Duration::from_secs(3_600));
        assert!(handle.closed().await.is_clean());
        service.drained().await;
    });
}

#[test]
fn conf_173_a_channel_that_is_closed_finishes_its_side_and_waits_not_long() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let grace = Options::default().limits.finish_grace;
        let runtime = with_clock(&runtime, &clock);
        let (channel, mut body, frames) = to_a_server_by_hand(&runtime).await;
        channel.close();
        // A half-close.
        let next = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx));
        assert!(next.await.is_none());
        assert!(!frames.is_closed());
        until(|| clock.is_awaited(grace)).await;
        clock.advance(grace);
        // The RPC is dropped.
        until(|| frames.is_closed()).await;
        let end = channel.closed().await;
        assert_eq!(end.error().unwrap().reason(), TunnelReason::GraceExpired);
    });
}

#[test]
fn conf_176_each_call_waits_for_a_blocked_carrier_under_its_own_deadline() {
    on_both(|runtime| async move {
        // Nobody polls the body.
        let (channel, _body) = to_old_peer(&runtime).await;
        let call = |timeout: &'static str| {
            let mut request = call_of("t.S/M", body_of(&[&[0; 100_000]]));
            let timeout = HeaderValue::from_static(timeout);
            request.headers_mut().insert("grpc-timeout", timeout);
            make(&channel, request)
        };
        let mut late = Box::pin(call("1H"));
        assert!(poll_once(&mut late).await.is_pending());
        let soon = futures_util::future::join_all(["10m", "20m", "30m"].map(call)).await;
        for done in soon {
            assert_eq!(done.status.code(), Code::DeadlineExceeded);
        }
        assert!(poll_once(&mut late).await.is_pending());
        assert_eq!(channel.active_calls(), 1);
    });
}

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    futures_util::poll!(future)
}
