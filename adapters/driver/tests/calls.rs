//! Calls over a tunnel in memory, on a tokio runtime and on smol's.

#[cfg(test)]
mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::service::{self, Seen, failure, failure_as_sent};
use common::{
    AnyBody, Function, body_of, call_of, channel_body, data, forward, forward_plain, make,
    next_data, on_both, read,
};
use grpctunnel_driver::{CallError, Code, MethodKind, RequestBody, Runtime};
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower_service::Service;

async fn sample(runtime: &Runtime) -> grpctunnel_driver::Channel {
    forward(runtime, service::sample(Arc::new(Seen::default()))).await
}

/// The same to a peer without extensions.
async fn plain(runtime: &Runtime) -> grpctunnel_driver::Channel {
    forward_plain(runtime, service::sample(Arc::new(Seen::default()))).await
}

#[test]
fn the_four_kinds() {
    on_both(|runtime| async move {
        let channel = sample(&runtime).await;
        let done = make(&channel, call_of("t.S/Unary", body_of(&[b"hello"]))).await;
        assert_eq!(done.messages, [b"hello"]);
        assert_eq!(done.status.code(), Code::Ok);

        let done = make(
            &channel,
            call_of("t.S/Collect", body_of(&[b"a", b"", b"bcd"])),
        )
        .await;
        assert_eq!(done.messages, [b"1,0,3"]);

        let done = make(&channel, call_of("t.S/Count", body_of(&[b"1000"]))).await;
        assert_eq!(done.messages.len(), 1_000);
        assert_eq!(done.messages[999], b"999");
        assert_eq!(done.status.code(), Code::Ok);

        let (requests, body) = channel_body();
        let response = channel
            .clone()
            .call(call_of("t.S/Echo", body))
            .await
            .unwrap();
        let mut body = response.into_body();
        for message in [&b"one"[..], b"", b"three"] {
            requests.send(data(message)).await.unwrap();
            assert_eq!(next_data(&mut body).await.unwrap(), common::framed(message));
        }
        drop(requests);
        let (rest, trailers) = read(body).await.unwrap();
        assert!(rest.is_empty());
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(channel.active_calls(), 0);
        assert_eq!(channel.counters().opened, 4);
    });
}

#[test]
fn metadata_crosses_both_ways() {
    on_both(|runtime| async move {
        let channel = sample(&runtime).await;
        let mut request = call_of("t.S/Unary", body_of(&[b"m"]));
        let headers = request.headers_mut();
        headers.append("x-text", HeaderValue::from_static("one"));
        headers.append("x-text", HeaderValue::from_static("two, three"));
        headers.append("x-raw-bin", HeaderValue::from_static("aGk=,eW91"));
        headers.append("grpc-encoding", HeaderValue::from_static("gzip"));
        headers.append("te", HeaderValue::from_static("else"));
        let done = make(&channel, request).await;
        for headers in [&done.headers, &done.trailers] {
            let text: Vec<_> = headers.get_all("x-text").iter().collect();
            assert_eq!(text, ["one", "two, three"]);
            let raw: Vec<_> = headers.get_all("x-raw-bin").iter().collect();
            assert_eq!(raw, ["aGk", "eW91"]);
            assert!(headers.get("te").is_none());
        }
        assert_eq!(done.headers["content-type"], "application/grpc");
    });
}

#[test]
fn conf_122_status_details_and_trailers_arrive_unchanged() {
    on_both(|runtime| async move {
        // A peer without extensions gets a status that is written anew.
        for (channel, status) in [
            (sample(&runtime).await, failure()),
            (plain(&runtime).await, failure_as_sent()),
        ] {
            let done = make(&channel, call_of("t.S/Fail", body_of(&[]))).await;
            assert_eq!(done.status, status);
            assert!(done.messages.is_empty());
            assert!(!done.never_processed);

            let done = make(&channel, call_of("t.S/FailLate", body_of(&[]))).await;
            assert_eq!(done.status, status);
            assert_eq!(done.messages, [b"before"]);
        }
    });
}

#[test]
fn conf_101_messages_larger_than_a_window_cross_both_ways() {
    on_both(|runtime| async move {
        let channel = sample(&runtime).await;
        let large: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let done = make(&channel, call_of("t.S/Unary", body_of(&[&large]))).await;
        assert!(done.messages == [large.clone()]);
        let huge = vec![3; 10 << 20];
        let done = make(
            &channel,
            call_of("t.S/Echo", body_of(&[&huge, b"", &large])),
        )
        .await;
        assert!(done.messages == [huge, Vec::new(), large]);
        assert_eq!(done.status.code(), Code::Ok);
    });
}

#[test]
fn a_request_is_sent_however_its_body_is_split() {
    on_both(|runtime| async move {
        let channel = sample(&runtime).await;
        let all: Vec<u8> = [&b"first"[..], b"", b"third"]
            .iter()
            .flat_map(|message| common::framed(message))
            .collect();
        for size in 1..all.len() {
            let (frames, body) = channel_body();
            for chunk in all.chunks(size) {
                let chunk = Bytes::copy_from_slice(chunk);
                frames.send(Ok(Frame::data(chunk))).await.unwrap();
            }
            drop(frames);
            let done = make(&channel, call_of("t.S/Unary", body)).await;
            assert_eq!(done.messages, [&b"first"[..], b"", b"third"], "{size}");
        }
    });
}

/// They wait for room as others do, though they have no byte that could leave.
#[test]
fn a_request_of_very_many_empty_messages_is_sent() {
    on_both(|runtime| async move {
        let channel = sample(&runtime).await;
        let frame = Bytes::from(vec![0; 5 * 1_000]);
        let frames = std::iter::repeat_n(frame, 70).map(|frame| Ok(Frame::data(frame)));
        let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
        let done = make(&channel, call_of("t.S/Collect", body)).await;
        assert_eq!(
            done.messages[0].split(|letter| *letter == b',').count(),
            70_000
        );
    });
}

#[test]
fn a_compressed_message_is_refused() {
    on_both(|runtime| async move {
        let channel = plain(&runtime).await;
        let (frames, body) = channel_body();
        let compressed = Bytes::from_static(&[1, 0, 0, 0, 1, 7]);
        frames.send(Ok(Frame::data(compressed))).await.unwrap();
        let done = make(&channel, call_of("t.S/Unary", body)).await;
        assert_eq!(done.status.code(), Code::Unimplemented);
    });
}

#[test]
fn a_request_that_is_cut_short_fails_and_is_no_short_message() {
    on_both(|runtime| async move {
        let seen = Arc::new(Seen::default());
        let channel = forward(&runtime, service::sample(seen.clone())).await;
        let (frames, body) = channel_body();
        let part = Bytes::from_static(&[0, 0, 0, 0, 9, 1, 2]);
        frames.send(Ok(Frame::data(part))).await.unwrap();
        drop(frames);
        let done = make(&channel, call_of("t.S/Collect", body)).await;
        assert_eq!(done.status.code(), Code::Internal);
    });
}

#[test]
fn an_error_of_the_request_body_is_the_error_of_the_call() {
    on_both(|runtime| async move {
        let channel = sample(&runtime).await;
        for before in [None, Some(data(b"message"))] {
            let (frames, body) = channel_body();
            if let Some(frame) = before {
                frames.send(frame).await.unwrap();
            }
            frames.send(Err("no more".into())).await.unwrap();
            let error = channel
                .clone()
                .call(call_of("t.S/Collect", body))
                .await
                .unwrap_err();
            let CallError::RequestBody(source) = error else {
                panic!("{error}");
            };
            assert_eq!(source.to_string(), "no more");
        }
        // Behind the response's headers, it is the error of the response's body.
        let (frames, body) = channel_body();
        let response = channel
            .clone()
            .call(call_of("t.S/HeadersThenHang", body))
            .await
            .unwrap();
        frames.send(Err("no more".into())).await.unwrap();
        assert!(read(response.into_body()).await.is_err());
    });
}

#[test]
fn responses_that_are_no_grpc_become_one() {
    on_both(|runtime| async move {
        let channel = sample(&runtime).await;
        let done = make(&channel, call_of("t.S/NoStatus", body_of(&[]))).await;
        assert_eq!(done.status.code(), Code::Unknown);
        let done = make(&channel, call_of("t.S/Http", body_of(&[]))).await;
        assert_eq!(done.status.code(), Code::Unavailable);
        let done = make(&channel, call_of("t.S/Html", body_of(&[]))).await;
        assert_eq!(done.status.code(), Code::Unknown);
        let done = make(&channel, call_of("t.S/Nothing", body_of(&[]))).await;
        assert_eq!(done.status.code(), Code::Unimplemented);
    });
}

/// Makes a call that is refused here.
async fn refused(runtime: &Runtime, request: Request<AnyBody>, code: Code) {
    let seen = Arc::new(Seen::default());
    let channel = forward_plain(runtime, service::sample(seen.clone())).await;
    let done = make(&channel, request).await;
    assert_eq!(done.status.code(), code, "{}", done.status);
    // It would be refused again.
    assert!(!done.never_processed);
    assert_eq!(channel.counters().opened, 0);
}

#[test]
fn conf_178_a_method_that_no_peer_could_take_is_refused() {
    on_both(|runtime| async move {
        for method in ["", "foo", "/"] {
            let request = call_of(method, body_of(&[]));
            refused(&runtime, request, Code::InvalidArgument).await;
        }
    });
}

#[test]
fn conf_179_metadata_that_is_not_utf_8_is_refused() {
    on_both(|runtime| async move {
        for (name, value) in [("x-bin", &b"/w=="[..]), ("x-text", b"\xff")] {
            let mut request = call_of("t.S/Unary", body_of(&[]));
            let value = HeaderValue::from_bytes(value).unwrap();
            request.headers_mut().insert(name, value);
            refused(&runtime, request, Code::InvalidArgument).await;
        }
    });
}

#[test]
fn conf_189_metadata_that_no_peer_would_take_is_refused() {
    on_both(|runtime| async move {
        let mut request = call_of("t.S/Unary", body_of(&[]));
        let value = HeaderValue::from_str(&"x".repeat(70_000)).unwrap();
        request.headers_mut().insert("x-large", value);
        refused(&runtime, request, Code::ResourceExhausted).await;
    });
}

#[test]
fn conf_184_a_second_request_of_a_unary_method_is_an_error() {
    on_both(|runtime| async move {
        let channel = sample(&runtime).await;
        let mut request = call_of("t.S/Unary", body_of(&[b"one", b"two"]));
        request.extensions_mut().insert(MethodKind::Unary);
        let done = make(&channel, request).await;
        assert_eq!(done.status.code(), Code::Internal);
    });
}

#[test]
fn conf_180_a_response_whose_metadata_cannot_cross_ends_its_call() {
    on_both(|runtime| async move {
        for place in ["headers", "trailers", "trailers-only"] {
            let handler = Function(move |_: Request<RequestBody>| async move {
                let mut bad = http::HeaderMap::new();
                bad.insert("x-bin", HeaderValue::from_static("/w=="));
                let (frames, body) = channel_body();
                service::put(&frames, data(b"m"));
                let mut response = Response::new(body);
                let mut last = http::HeaderMap::new();
                last.insert("grpc-status", HeaderValue::from_static("0"));
                match place {
                    "headers" => *response.headers_mut() = bad,
                    "trailers" => last.extend(bad),
                    _ => {
                        last.extend(bad);
                        *response.headers_mut() = last.clone();
                    }
                }
                service::put(&frames, Ok(Frame::trailers(last)));
                response
            });
            let channel = forward_plain(&runtime, handler).await;
            let done = make(&channel, call_of("t.S/M", body_of(&[]))).await;
            assert_eq!(done.status.code(), Code::Internal, "{place}");
            assert!(channel.is_open());
        }
    });
}

#[test]
fn conf_058_values_of_the_drop_list_are_dropped_and_counted() {
    on_both(|runtime| async move {
        let channel = plain(&runtime).await;
        let mut request = call_of("t.S/Unary", body_of(&[b"m"]));
        let value = HeaderValue::from_static("/w==");
        request.headers_mut().insert("grpc-trace-bin", value);
        let done = make(&channel, request).await;
        assert_eq!(done.status.code(), Code::Ok);
        assert_eq!(channel.counters().dropped, 1);
    });
}
