//! Opening and draining tunnels, in memory, on a tokio runtime and on smol's.

#[cfg(test)]
mod common;

use std::sync::Arc;
use std::time::Duration;

use common::frames::{client, new_stream};
use common::play::{answering, metadata, reverse};
use common::service::{self, Seen};
use common::{
    AnyBody, FakeClock, Function, InMemory, Silent, body_of, call_of, channel_body, data, make,
    next_data, on_both, read, until, with_clock,
};
use grpctunnel_driver::{
    Code, Direction, Options, RequestBody, TransmitBody, TunnelPeer, TunnelService, connect,
    serve_reverse,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tower_service::Service;

const LIMIT: Duration = Duration::from_secs(10);

fn sample() -> impl grpctunnel_driver::Handler + Sync {
    service::sample(Arc::new(Seen::default()))
}

#[test]
fn conf_006_an_opening_that_is_not_answered_fails_in_time() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let options = Options::default();
        let opening = connect(Silent, &runtime, &options, HeaderMap::new());
        let late = async {
            until(|| clock.is_awaited(LIMIT)).await;
            clock.advance(LIMIT);
        };
        let (opened, ()) = futures_util::join!(opening, late);
        let error = opened.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded);
        assert!(error.status().message().contains("open_timeout"));
    });
}

#[test]
fn conf_018_settings_that_do_not_come_fail_the_opening() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let carrier = answering(|| {
            Response::builder()
                .header("content-type", "application/grpc")
                .header("grpctunnel-negotiate", "on")
        });
        let options = Options::default();
        let opening = connect(carrier, &runtime, &options, HeaderMap::new());
        let late = async {
            until(|| clock.is_awaited(LIMIT)).await;
            clock.advance(LIMIT);
        };
        let (opened, ()) = futures_util::join!(opening, late);
        let error = opened.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded);
        assert!(error.status().message().contains("settings_timeout"));
    });
}

#[test]
fn conf_008_an_opening_that_is_refused_fails_as_what_it_is() {
    on_both(|runtime| async move {
        let options = Options::default();
        let none = TunnelService::new(runtime.clone());
        let refused = connect(InMemory(none), &runtime, &options, HeaderMap::new()).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    });
}

#[test]
fn conf_009_a_reverse_tunnel_that_is_refused_is_not_started() {
    on_both(|runtime| async move {
        let none = InMemory(TunnelService::new(runtime.clone()));
        let options = Options::default();
        let refused = serve_reverse(none, sample(), &runtime, &options, HeaderMap::new()).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    });
}

#[test]
fn an_opening_that_is_not_answered_with_grpc_fails() {
    on_both(|runtime| async move {
        let options = Options::default();
        for (http, code) in [
            (StatusCode::NOT_FOUND, Code::Unimplemented),
            (StatusCode::BAD_GATEWAY, Code::Unavailable),
            (StatusCode::OK, Code::Unknown),
        ] {
            let carrier = answering(move || Response::builder().status(http));
            let refused = connect(carrier, &runtime, &options, HeaderMap::new()).await;
            assert_eq!(refused.unwrap_err().code(), code, "{http}");
        }
    });
}

#[test]
fn a_peer_that_does_not_negotiate_gets_revision_zero() {
    on_both(|runtime| async move {
        let mut old = Options::default();
        old.flow_control = false;
        let service = TunnelService::new(runtime.clone())
            .with_options(old)
            .forward(sample());
        let options = Options::default();
        let channel = connect(InMemory(service), &runtime, &options, HeaderMap::new()).await;
        let large = vec![1; 200_000];
        let done = make(&channel.unwrap(), call_of("t.S/Unary", body_of(&[&large]))).await;
        assert!(done.messages == [large]);
    });
}

#[test]
fn an_old_peer_is_not_waited_for() {
    on_both(|runtime| async move {
        let mut options = Options::default();
        options.old_peer = true;
        // It sends its headers with its first frame.
        let service = TunnelService::new(runtime.clone()).forward(sample());
        let (called, calls) = smol::channel::bounded::<()>(1);
        let carrier = Function(move |request: Request<TransmitBody>| {
            assert!(!request.headers().contains_key("grpctunnel-negotiate"));
            let calls = calls.clone();
            let mut service = service.clone();
            async move {
                let _ = calls.recv().await;
                let response = service.call(request).await.unwrap();
                response.map(|body| {
                    use http_body_util::BodyExt as _;
                    body.map_err(Into::into).boxed_unsync()
                })
            }
        });
        let channel = connect(carrier, &runtime, &options, HeaderMap::new())
            .await
            .unwrap();
        assert!(channel.is_open());
        drop(called);
        let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
        assert_eq!(done.messages, [b"m"]);
    });
}

#[test]
fn dropping_an_opening_gives_it_up() {
    on_both(|runtime| async move {
        let (alive, dropped) = smol::channel::bounded::<()>(1);
        let carrier = Function(move |_: Request<TransmitBody>| {
            let alive = alive.clone();
            async move {
                let _alive = alive;
                std::future::pending::<Response<AnyBody>>().await
            }
        });
        let options = Options::default();
        let mut opening = Box::pin(connect(carrier, &runtime, &options, HeaderMap::new()));
        assert!(futures_util::poll!(&mut opening).is_pending());
        drop(opening);
        assert!(dropped.recv().await.is_err());
    });
}

#[test]
fn calls_over_a_reverse_tunnel() {
    on_both(|runtime| async move {
        let (service, tunnel, handle) = reverse(&runtime, sample()).await;
        assert_eq!(tunnel.metadata["x-name"], "agent");
        assert_eq!(service.tunnels(), 1);
        let channel = tunnel.channel;
        let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
        assert_eq!(done.messages, [b"m"]);
        let closed = handle.closed();
        drop(channel);
        // The peer finished it, which is the end of it here.
        assert!(closed.await.error().is_some());
        service.drained().await;
    });
}

#[test]
fn conf_020_a_tunnel_that_does_not_settle_is_not_announced() {
    on_both(|runtime| async move {
        let announced = Arc::new(Seen::default());
        let mut service = {
            let announced = announced.clone();
            TunnelService::new(runtime.clone()).reverse(move |_| {
                announced
                    .started
                    .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                std::future::ready(())
            })
        };
        let (frames, body) = channel_body();
        let request = Request::post("/grpctunnel.v1.TunnelService/OpenReverseTunnel")
            .header("grpctunnel-negotiate", "on")
            .body(body)
            .unwrap();
        let response = service.call(request).await.unwrap();
        assert_eq!(response.headers()["grpctunnel-negotiate"], "on");
        drop(frames);
        let (_, trailers) = read(response.into_body()).await.unwrap();
        assert_eq!(trailers["grpc-status"], "14");
        service.drained().await;
        assert_eq!(announced.started(), 0);
    });
}

#[test]
fn conf_019_tunnels_that_do_not_settle_are_bounded_in_number_and_in_time() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let mut options = Options::default();
        options.max_unsettled = 3;
        let mut service = TunnelService::new(with_clock(&runtime, &clock))
            .with_options(options)
            .reverse(|_| std::future::ready(()));
        let mut open = || {
            let (frames, body) = channel_body();
            let request = Request::post("/grpctunnel.v1.TunnelService/OpenReverseTunnel")
                .header("grpctunnel-negotiate", "on")
                .body(body)
                .unwrap();
            (frames, service.call(request).into_inner().unwrap())
        };
        let accepted: Vec<_> = (0..3).map(|_| open()).collect();
        let (_frames, refused) = open();
        assert_eq!(refused.headers()["grpc-status"], "8");
        until(|| clock.is_awaited(LIMIT)).await;
        clock.advance(LIMIT);
        for (_frames, response) in accepted {
            let (_, trailers) = read(response.into_body()).await.unwrap();
            assert_eq!(trailers["grpc-status"], "4");
        }
    });
}

/// The opening of a tunnel and the calls on it share no metadata, whatever their keys.
#[test]
fn attack_a28_a_caller_cannot_forge_who_opened_the_tunnel() {
    on_both(|runtime| async move {
        let (sender, receiver) = smol::channel::bounded(1);
        let handler = Function(move |request: Request<RequestBody>| {
            let peer = request.extensions().get::<TunnelPeer>().cloned();
            sender.try_send((peer, request.headers().clone())).unwrap();
            async { service::status_only(&service::failure()) }
        });
        let service = TunnelService::new(runtime.clone()).forward(handler);
        let options = Options::default();
        let opening = metadata("x-identity", "true");
        let channel = connect(InMemory(service), &runtime, &options, opening)
            .await
            .unwrap();
        for forged in [None, Some("forged")] {
            let mut request = call_of("t.S/M", body_of(&[]));
            if let Some(forged) = forged {
                *request.headers_mut() = metadata("x-identity", forged);
            }
            make(&channel, request).await;
            let (peer, headers) = receiver.recv().await.unwrap();
            let peer = peer.unwrap();
            assert_eq!(peer.metadata()["x-identity"], "true");
            assert_eq!(peer.direction(), Direction::Forward);
            // The protocol's own headers are not metadata.
            assert_eq!(peer.metadata().len(), 1, "{:?}", peer.metadata());
            let debug = format!("{peer:?}");
            assert!(
                !debug.contains("identity") && !debug.contains("true"),
                "{debug}"
            );
            assert_eq!(
                headers.get("x-identity").map(HeaderValue::as_bytes),
                forged.map(str::as_bytes)
            );
        }
    });
}

/// What an HTTP stack may attach to a response.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Certificate(&'static str);

/// The same where the end that opened the tunnel handles the calls: who is there is told by the
/// answer to the opening.
#[test]
fn attack_a28_a_caller_on_a_reverse_tunnel_cannot_forge_who_accepted_it() {
    on_both(|runtime| async move {
        let (sender, receiver) = smol::channel::bounded(1);
        let handler = Function(move |request: Request<RequestBody>| {
            let peer = request.extensions().get::<TunnelPeer>().cloned();
            sender.try_send((peer, request.headers().clone())).unwrap();
            async { service::status_only(&service::failure()) }
        });
        let carrier = Function(|request: Request<TransmitBody>| {
            std::mem::forget(request);
            let (frames, body) = channel_body();
            let call = new_stream("t.S/M", &[("x-identity", "forged")]);
            service::put(&frames, client(1, call));
            std::mem::forget(frames);
            let response = Response::builder()
                .header("content-type", "application/grpc")
                .header("x-identity", "true")
                .extension(Certificate("true"));
            std::future::ready(response.body(body).unwrap())
        });
        let options = Options::default();
        let opened = serve_reverse(carrier, handler, &runtime, &options, HeaderMap::new());
        let _handle = opened.await.unwrap();
        let (peer, headers) = receiver.recv().await.unwrap();
        let peer = peer.unwrap();
        assert_eq!(peer.metadata()["x-identity"], "true");
        assert_eq!(peer.extensions().get(), Some(&Certificate("true")));
        assert_eq!(headers["x-identity"], "forged");
    });
}

#[test]
fn a_client_that_drains_finishes_what_is_open() {
    on_both(|runtime| async move {
        let service = TunnelService::new(runtime.clone()).forward(sample());
        let options = Options::default();
        let channel = connect(
            InMemory(service.clone()),
            &runtime,
            &options,
            HeaderMap::new(),
        )
        .await
        .unwrap();
        let (requests, body) = channel_body();
        let open = channel.clone().call(call_of("t.S/Echo", body)).await;
        let mut open = open.unwrap().into_body();
        channel.drain(LIMIT);
        assert!(!channel.is_open());
        let done = make(&channel, call_of("t.S/Unary", body_of(&[]))).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(done.never_processed);
        requests.send(data(b"still")).await.unwrap();
        let echo = next_data(&mut open).await.unwrap();
        assert_eq!(echo, common::framed(b"still"));
        drop(requests);
        let (_, trailers) = read(open).await.unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        assert!(channel.closed().await.is_clean());
        service.drained().await;
    });
}

#[test]
fn a_tunnel_without_handles_ends_when_its_calls_have() {
    on_both(|runtime| async move {
        let service = TunnelService::new(runtime.clone()).forward(sample());
        let options = Options::default();
        let channel = connect(
            InMemory(service.clone()),
            &runtime,
            &options,
            HeaderMap::new(),
        )
        .await
        .unwrap();
        let done = async {
            let call = call_of("t.S/Unary", body_of(&[b"m"]));
            let mut channel = channel;
            let response = channel.call(call);
            drop(channel);
            common::finish(response.await.unwrap()).await
        };
        assert_eq!(done.await.messages, [b"m"]);
        service.drained().await;
    });
}

#[test]
fn conf_045_a_service_that_drains_refuses_new_calls_and_finishes_open_ones() {
    on_both(|runtime| async move {
        let service = TunnelService::new(runtime.clone()).forward(sample());
        let options = Options::default();
        let carrier = InMemory(service.clone());
        let channel = connect(carrier.clone(), &runtime, &options, HeaderMap::new())
            .await
            .unwrap();
        let (requests, body) = channel_body();
        let open = channel.clone().call(call_of("t.S/Echo", body)).await;
        let mut open = open.unwrap().into_body();
        service.drain(LIMIT);
        let refused = connect(carrier, &runtime, &options, HeaderMap::new()).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
        let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        requests.send(data(b"still")).await.unwrap();
        let echo = next_data(&mut open).await.unwrap();
        assert_eq!(echo, common::framed(b"still"));
        drop(requests);
        read(open).await.unwrap();
        service.drained().await;
        // Each end finishes by itself: either may be the first.
        channel.closed().await;
    });
}

#[test]
fn conf_172_a_server_that_gives_up_tells_its_peer_at_once() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let (service, tunnel, handle) = reverse(&runtime, service::sample(seen.clone())).await;
        let call = make(&tunnel.channel, call_of("t.S/Hang", body_of(&[])));
        let abort = async {
            until(|| seen.started() == 1).await;
            handle.abort();
        };
        let (done, ()) = futures_util::join!(call, abort);
        assert_eq!(done.status.code(), Code::Unavailable);
        until(|| seen.dropped() == 1).await;
        assert!(!handle.closed().await.is_clean());
        service.drained().await;
    });
}
