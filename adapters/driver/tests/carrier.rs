//! What goes over the carrier, and what comes, by hand.

#[cfg(test)]
mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use common::play::{answering, by_hand, to_old_peer};
use common::service::{self, Seen};
use common::{
    AnyBody, FakeClock, Function, InMemory, body_of, call_of, channel_body, finish, framed, make,
    on_both, read, until, with_clock,
};
use grpctunnel_driver::{Code, MethodKind, Options, TransmitBody, TunnelService, connect};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use tower_service::Service;

fn chunk(bytes: &'static [u8]) -> Result<Frame<Bytes>, grpctunnel_driver::BoxError> {
    Ok(Frame::data(Bytes::from_static(bytes)))
}

#[test]
fn a_carrier_that_breaks_the_framing_ends_with_an_error() {
    on_both(|runtime| async move {
        let cases: [(&'static [u8], &str); 3] = [
            // A compressed frame; one above the limit of frames; one that is cut.
            (&[1, 0, 0, 0, 2, 0x12, 0], "13"),
            (&[0, 0, 1, 0, 1], "8"),
            (&[0, 0, 0, 0, 9, 0x12], "13"),
        ];
        for (bytes, code) in cases {
            let mut options = Options::default();
            options.limits.max_frame = 0x1_0000;
            let (_, frames, body) = by_hand(&runtime, options, &Arc::default());
            frames.send(chunk(bytes)).await.unwrap();
            drop(frames);
            let (_, trailers) = read(body).await.unwrap();
            assert_eq!(trailers["grpc-status"], code, "{bytes:?}");
            assert!(trailers.contains_key("grpc-message"));
        }
    });
}

#[test]
fn a_carrier_that_fails_ends_with_an_error_and_one_that_finishes_does_not() {
    on_both(|runtime| async move {
        for (end, code) in [(Some("broken"), "14"), (None, "0")] {
            let (_, frames, body) = by_hand(&runtime, Options::default(), &Arc::default());
            if let Some(error) = end {
                frames.send(Err(error.into())).await.unwrap();
            }
            drop(frames);
            let (_, trailers) = read(body).await.unwrap();
            assert_eq!(trailers["grpc-status"], code);
        }
    });
}

#[test]
fn frames_are_read_however_the_carrier_splits_them() {
    on_both(|runtime| async move {
        // new_stream of an unknown method, then another one.
        let mut bytes = framed(b"\x08\x01\x12\x07\x0a\x05t.S/X").to_vec();
        bytes.extend(framed(b"\x08\x02\x12\x07\x0a\x05t.S/Y"));
        for size in [1, 2, 5, 7, bytes.len()] {
            let (_, frames, body) = by_hand(&runtime, Options::default(), &Arc::default());
            for chunk in bytes.chunks(size) {
                frames.send(Ok(Frame::data(Bytes::new()))).await.unwrap();
                let chunk = Bytes::copy_from_slice(chunk);
                frames.send(Ok(Frame::data(chunk))).await.unwrap();
            }
            let mut body = Box::pin(body);
            let mut seen = Vec::new();
            while !(contains(&seen, b"/t.S/X") && contains(&seen, b"/t.S/Y")) {
                seen.extend(common::next_data(&mut body).await.unwrap());
            }
        }
    });
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn what_is_ready_goes_into_few_data_frames_and_none_is_empty() {
    on_both(|runtime| async move {
        let (channel, mut carrier) = to_old_peer(&runtime).await;
        let mut calls: Vec<_> = (0..200)
            .map(|_| {
                channel
                    .clone()
                    .call(call_of("t.S/M", body_of(&[&[7; 1_000]])))
            })
            .collect();
        let mut cx = Context::from_waker(Waker::noop());
        for call in &mut calls {
            assert!(Pin::new(call).poll(&mut cx).is_pending());
        }
        let mut sizes = Vec::new();
        while let Poll::Ready(Some(frame)) = Pin::new(&mut carrier).poll_frame(&mut cx) {
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        let total: usize = sizes.iter().sum();
        assert!(total > 200_000);
        assert!(sizes.iter().all(|size| *size > 0));
        assert!(sizes.len() <= total / (64 << 10) + 1, "{sizes:?}");
        // Until it has sent something, a call can be made again.
        drop(calls);
        let mut call = channel.clone().call(call_of("t.S/M", body_of(&[])));
        assert!(Pin::new(&mut call).poll(&mut cx).is_pending());
        channel.close();
        let done = finish(call.await.unwrap()).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(done.never_processed);
    });
}

#[test]
fn conf_174_a_carrier_that_takes_nothing_is_given_up() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let runtime = with_clock(&runtime, &clock);
        let options = Options::default();
        let carrier = answering(|| Response::builder().header("content-type", "application/grpc"));
        let channel = connect(carrier, &runtime, &options, HeaderMap::new())
            .await
            .unwrap();
        let stall = options.stall_revision_zero;
        let call = make(&channel, call_of("t.S/M", body_of(&[])));
        let late = async {
            until(|| clock.is_awaited(stall)).await;
            clock.advance(stall);
        };
        let (done, ()) = futures_util::join!(call, late);
        assert_eq!(done.status.code(), Code::Unavailable);
        assert!(done.status.message().contains("accepted no byte"));
    });
}

#[test]
fn conf_151_without_flow_control_a_reader_that_stalls_is_closed() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let mut old = Options::default();
        old.flow_control = false;
        let stall = old.limits.revision_zero.stall;
        let service = TunnelService::new(with_clock(&runtime, &clock))
            .with_options(old)
            .forward(service::sample(Arc::new(Seen::default())));
        let options = Options::default();
        let channel = connect(InMemory(service), &runtime, &options, HeaderMap::new()).await;
        let channel = channel.unwrap();
        let large = vec![0; 6 << 20];
        let stuck = make(&channel, call_of("t.S/Hang", body_of(&[&large])));
        let behind = make(&channel, call_of("t.S/Unary", body_of(&[b"m"])));
        let late = async {
            until(|| clock.is_awaited(stall)).await;
            clock.advance(stall);
        };
        let (stuck, behind, ()) = futures_util::join!(stuck, behind, late);
        assert_eq!(stuck.status.code(), Code::ResourceExhausted);
        assert_eq!(behind.messages, [b"m"]);
    });
}

#[test]
fn conf_153_without_flow_control_a_reader_that_was_slow_gets_everything() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let mut old = Options::default();
        old.flow_control = false;
        let stall = old.limits.revision_zero.stall;
        let service = TunnelService::new(runtime.clone())
            .with_options(old.clone())
            .forward(service::sample(Arc::new(Seen::default())));
        let runtime = with_clock(&runtime, &clock);
        let mut channel = connect(InMemory(service), &runtime, &old, HeaderMap::new())
            .await
            .unwrap();
        let large = vec![7; 6 << 20];
        let response = channel.call(call_of("t.S/Echo", body_of(&[&large, &large])));
        let response = response.await.unwrap();
        // The tunnel waits for its reader; the time that it would wait does not pass.
        until(|| clock.is_awaited(stall)).await;
        let (body, _) = read(response.into_body()).await.unwrap();
        assert_eq!(common::messages(&body), [large.clone(), large]);
    });
}

#[test]
fn conf_187_a_second_response_of_a_unary_method_is_an_error() {
    on_both(|runtime| async move {
        let mut options = Options::default();
        options.method_kinds = [("t.S/Count", MethodKind::Unary)].into_iter().collect();
        let service = TunnelService::new(runtime.clone())
            .with_options(options)
            .forward(service::sample(Arc::new(Seen::default())));
        let options = Options::default();
        let channel = connect(InMemory(service), &runtime, &options, HeaderMap::new()).await;
        let done = make(&channel.unwrap(), call_of("t.S/Count", body_of(&[b"3"]))).await;
        assert_eq!(done.status.code(), Code::Internal);
        assert_eq!(done.messages, [b"0"]);
    });
}

#[test]
fn conf_021_a_peer_that_answers_the_opening_and_goes_is_a_lost_tunnel() {
    on_both(|runtime| async move {
        let carrier = Function(move |request: Request<TransmitBody>| {
            std::mem::forget(request);
            let (frames, body) = channel_body();
            drop(frames);
            let response = Response::builder()
                .header("content-type", "application/grpc")
                .header("grpctunnel-negotiate", "on");
            std::future::ready(response.body(body).unwrap())
        });
        let options = Options::default();
        let opened = connect(carrier, &runtime, &options, HeaderMap::new()).await;
        assert_eq!(opened.unwrap_err().code(), Code::Unavailable);
    });
}

#[test]
fn the_opening_tells_what_is_to_be_told() {
    on_both(|runtime| async move {
        let (sender, requests) = smol::channel::bounded(1);
        let carrier = Function(move |request: Request<TransmitBody>| {
            let (parts, body) = request.into_parts();
            let _ = sender.try_send(parts);
            async move {
                let _body = body;
                std::future::pending::<Response<AnyBody>>().await
            }
        });
        let mut options = Options::default();
        options.origin = Some("http://gateway:8080".parse().unwrap());
        options.limits.open_timeout = Duration::from_millis(20);
        let metadata = common::play::metadata("x-name", "agent");
        let opened = connect(carrier, &runtime, &options, metadata).await;
        assert_eq!(opened.unwrap_err().code(), Code::DeadlineExceeded);
        let request = requests.recv().await.unwrap();
        assert_eq!(request.method, http::Method::POST);
        assert_eq!(
            request.uri.to_string(),
            "http://gateway:8080/grpctunnel.v1.TunnelService/OpenTunnel"
        );
        assert_eq!(request.headers["te"], "trailers");
        assert_eq!(request.headers["content-type"], "application/grpc");
        assert_eq!(request.headers["grpctunnel-negotiate"], "on");
        assert_eq!(request.headers["x-name"], "agent");
    });
}
