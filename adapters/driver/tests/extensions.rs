//! Each extension between ends that offer it and ends that do not, on a tokio runtime and on smol's.

#[cfg(test)]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::offers::{
    ANY_BYTES, Asked, answering, bytes_of, compressing, ends, header, noted, offers,
    transparent_request,
};
use common::play::until_started;
use common::recorded::Wire;
use common::service::{self, Seen};
use common::{
    Done, FakeClock, Function, body_of, call_of, channel_body, connect_with, data, forward, framed,
    make, on_both, read, until, with_clock, without,
};
use futures_util::future::join;
use grpctunnel_driver::{
    Code, Extension, ExtensionSet, Options, RequestBody, Status, TunnelService,
};
use grpctunnel_proto::v1::{client_to_server, server_to_client};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body::Frame;
use tower_service::Service;

#[test]
fn a_tunnel_tells_which_extensions_are_in_effect() {
    on_both(|runtime| async move {
        for extension in common::EXTENSIONS {
            for (client, server, in_effect) in offers(extension) {
                let service = TunnelService::new(runtime.clone())
                    .with_options(server)
                    .forward(service::sample(Arc::default()));
                let channel = connect_with(&runtime, service, &client).await;
                let expected = if in_effect {
                    ExtensionSet::ALL
                } else {
                    ExtensionSet::ALL.without(extension)
                };
                assert_eq!(channel.extensions(), expected, "{extension:?}");
            }
        }
        let (_service, tunnel, handle) =
            common::play::reverse(&runtime, service::sample(Arc::default())).await;
        assert_eq!(tunnel.channel.extensions(), ExtensionSet::ALL);
        until(|| handle.extensions() == ExtensionSet::ALL).await;
    });
}

#[test]
fn raw_metadata_carries_any_bytes_of_a_request_and_otherwise_refuses_it() {
    on_both(|runtime| async move {
        for (client, server, in_effect) in offers(Extension::RawMetadata) {
            let seen = Arc::new(Seen::default());
            let service = TunnelService::new(runtime.clone())
                .with_options(server)
                .forward(service::sample(seen.clone()));
            let channel = connect_with(&runtime, service, &client).await;
            let mut request = call_of("t.S/Unary", body_of(&[b"m"]));
            for value in [ANY_BYTES, "", "aGk"] {
                let value = HeaderValue::from_static(value);
                request.headers_mut().append("x-some-bin", value);
            }
            let done = make(&channel, request).await;
            if in_effect {
                assert_eq!(done.status.code(), Code::Ok);
                for place in [&done.headers, &done.trailers] {
                    let values: Vec<_> = place.get_all("x-some-bin").iter().collect();
                    assert_eq!(values, [ANY_BYTES, "", "aGk"]);
                }
            } else {
                assert_eq!(done.status.code(), Code::InvalidArgument);
                assert_eq!(seen.started(), 0);
            }
            // What instrumentation adds to every call does not fail it.
            let mut request = call_of("t.S/Unary", body_of(&[b"m"]));
            request
                .headers_mut()
                .extend(header("grpc-trace-bin", ANY_BYTES));
            let done = make(&channel, request).await;
            assert_eq!(done.status.code(), Code::Ok);
            assert_eq!(channel.counters().dropped, u64::from(!in_effect));
        }
    });
}

#[test]
fn raw_metadata_carries_any_bytes_of_a_response_and_otherwise_ends_it() {
    on_both(|runtime| async move {
        let bad = header("x-some-bin", ANY_BYTES);
        let none = HeaderMap::new();
        let ok = Status::new(Code::Ok, "");
        let error = Status::new(Code::NotFound, "none");
        for (client, server, in_effect) in offers(Extension::RawMetadata) {
            for (headers, message, last, code, otherwise) in [
                (&bad, true, ends(&ok, &none), Code::Ok, Code::Internal),
                (&none, true, ends(&ok, &bad), Code::Ok, Code::Internal),
                (&none, false, ends(&ok, &bad), Code::Ok, Code::Internal),
                // An error is what it is, with or without its trailers.
                (
                    &none,
                    true,
                    ends(&error, &bad),
                    Code::NotFound,
                    Code::NotFound,
                ),
                (
                    &none,
                    false,
                    ends(&error, &bad),
                    Code::NotFound,
                    Code::NotFound,
                ),
            ] {
                let message = message.then_some(&b"\0\0\0\0\x01m"[..]);
                let options = (&client, &server);
                let channel = answering(&runtime, options, headers.clone(), message, last).await;
                let done = make(&channel, call_of("t.S/M", body_of(&[]))).await;
                assert!(channel.is_open());
                if in_effect {
                    assert_eq!(done.status.code(), code);
                    let mut all = done.headers.clone();
                    all.extend(done.trailers);
                    assert_eq!(all["x-some-bin"], ANY_BYTES);
                } else {
                    assert_eq!(done.status.code(), otherwise);
                    if otherwise == Code::NotFound {
                        assert_eq!(done.status.message(), "none");
                    }
                }
            }
        }
    });
}

#[test]
fn raw_metadata_carries_status_details_byte_for_byte() {
    on_both(|runtime| async move {
        for (client, server, in_effect) in offers(Extension::RawMetadata) {
            // No message; a status without details; one that says something else; one like it.
            for details in [
                &b"\xff\xfe no"[..],
                b"\x08\x05\x12\x03why",
                b"\x08\x07\x12\x01x\x1a\x06\x0a\x01t\x12\x01v",
                b"\x08\x05\x12\x03why\x1a\x06\x0a\x01t\x12\x01v",
            ] {
                let status =
                    Status::new(Code::NotFound, "why").with_details(Bytes::from_static(details));
                for message in [None, Some(&b"\0\0\0\0\0"[..])] {
                    let last = ends(&status, &HeaderMap::new());
                    let options = (&client, &server);
                    let channel =
                        answering(&runtime, options, HeaderMap::new(), message, last).await;
                    let done = make(&channel, call_of("t.S/M", body_of(&[]))).await;
                    assert_eq!(done.status.code(), Code::NotFound);
                    assert_eq!(done.status.message(), "why");
                    if in_effect {
                        assert_eq!(done.status, status);
                    }
                }
            }
        }
    });
}

#[test]
fn transparent_carries_compressed_calls_content_types_and_authorities() {
    on_both(|runtime| async move {
        let mixed: &[&[u8]] = &[b"\x01\0\0\0\x02zz", b"\0\0\0\0\x01p", b"\x01\0\0\0\0"];
        for (client, server, in_effect) in offers(Extension::Transparent) {
            let asked = Asked::default();
            let service = TunnelService::new(runtime.clone())
                .with_options(server)
                .forward(compressing(asked.clone()));
            let channel = connect_with(&runtime, service, &client).await;
            if !in_effect {
                // A compressed message is refused before the call is opened, an uncompressed one
                // passes.
                let done = make(&channel, transparent_request(bytes_of(mixed))).await;
                assert_eq!(done.status.code(), Code::Unimplemented);
                assert_eq!(done.headers["grpc-accept-encoding"], "identity");
                assert_eq!(channel.counters().opened, 0);
                let done = make(&channel, transparent_request(bytes_of(&mixed[1..2]))).await;
                assert_eq!(done.status.code(), Code::Ok);
                assert_eq!(done.headers["content-type"], "application/grpc");
                assert!(!done.headers.contains_key("grpc-encoding"));
                assert_eq!(done.messages, [b"plain"]);
                let (uri, headers, bytes) = asked.lock().unwrap().remove(0);
                assert_eq!(uri, "http://localhost/t.S/M");
                assert_eq!(headers["content-type"], "application/grpc");
                assert!(!headers.contains_key("grpc-encoding"));
                assert!(!headers.contains_key("grpc-accept-encoding"));
                assert_eq!(bytes, b"\0\0\0\0\x01p");
                continue;
            }
            let response = channel
                .clone()
                .call(transparent_request(bytes_of(mixed)))
                .await
                .unwrap();
            assert_eq!(response.headers()["content-type"], "application/grpc+json");
            assert_eq!(response.headers()["grpc-encoding"], "gzip");
            let (bytes, last) = read(response.into_body()).await.unwrap();
            assert_eq!(bytes, b"\x01\0\0\0\x01z\0\0\0\0\x05plain");
            assert_eq!(last["grpc-status"], "0");
            let (uri, headers, bytes) = asked.lock().unwrap().remove(0);
            assert_eq!(uri, "http://api.example.com:81/t.S/M");
            assert_eq!(headers["content-type"], "application/grpc+json");
            assert_eq!(headers["grpc-encoding"], "gzip");
            assert_eq!(headers["grpc-accept-encoding"], "gzip,identity");
            assert_eq!(bytes, mixed.concat());
        }
    });
}

#[test]
fn what_transparent_does_not_carry_ends_a_call_that_is_open() {
    on_both(|runtime| async move {
        for (client, server, in_effect) in offers(Extension::Transparent) {
            // The second request is compressed.
            let service = TunnelService::new(runtime.clone())
                .with_options(server.clone())
                .forward(service::sample(Arc::default()));
            let channel = connect_with(&runtime, service, &client).await;
            let (frames, body) = channel_body();
            let mut request = transparent_request(body);
            *request.uri_mut() = Uri::from_static("/t.S/Echo");
            service::put(&frames, data(b"first"));
            let mut response = channel.clone().call(request).await.unwrap().into_body();
            assert_eq!(
                common::next_data(&mut response).await,
                Some(framed(b"first"))
            );
            let second = Bytes::from_static(b"\x01\0\0\0\x01z");
            service::put(&frames, Ok(Frame::data(second)));
            drop(frames);
            let (_, last) = read(response).await.unwrap();
            // The echo names no encoding, so its compressed message breaks a rule.
            let code = Status::from_headers(&last).unwrap().code();
            let expected = if in_effect {
                Code::Internal
            } else {
                Code::Unimplemented
            };
            assert_eq!(code, expected);

            // So is a response, to a caller that accepts it or not.
            let named = header("grpc-encoding", "gzip");
            let ok = ends(&Status::new(Code::Ok, ""), &HeaderMap::new());
            let message = Some(&b"\x01\0\0\0\x01z"[..]);
            let channel = answering(&runtime, (&client, &server), named, message, ok).await;
            let response = channel.clone().call(call_of("t.S/M", body_of(&[]))).await;
            let (parts, body) = response.unwrap().into_parts();
            let (bytes, last) = read(body).await.unwrap();
            let status = Status::from_headers(&parts.headers).or(Status::from_headers(&last));
            if in_effect {
                assert_eq!(status.unwrap().code(), Code::Ok);
                assert_eq!(bytes, b"\x01\0\0\0\x01z");
            } else {
                assert_eq!(status.unwrap().code(), Code::Unimplemented);
                assert!(bytes.is_empty());
            }
        }
    });
}

#[test]
fn what_transparent_brings_is_checked_before_it_is_sent() {
    on_both(|runtime| async move {
        for (name, value) in [
            ("content-type", "application/json"),
            ("content-type", "application/grpc-web"),
            ("grpc-encoding", "a b"),
            ("grpc-encoding", ""),
        ] {
            for times in [1, 2] {
                let seen = Arc::new(Seen::default());
                let channel = forward(&runtime, service::sample(seen.clone())).await;
                let mut bad = header(name, value);
                if times == 2 {
                    // One good value, but twice.
                    bad.clear();
                    let good = ["application/grpc", "gzip"];
                    let good = good[usize::from(name == "grpc-encoding")];
                    bad.append(name, HeaderValue::from_static(good));
                    bad.append(name, HeaderValue::from_static(good));
                }
                let mut request = call_of("t.S/Unary", body_of(&[b"m"]));
                request.headers_mut().extend(bad.clone());
                let done = make(&channel, request).await;
                assert_eq!(done.status.code(), Code::InvalidArgument, "{name}: {value}");
                assert_eq!(seen.started(), 0);

                // Of a response without content type messages are gRPC all the same; an error's is
                // left out.
                let (ok, error) = (Status::new(Code::Ok, ""), Status::new(Code::NotFound, ""));
                let both = (&Options::default(), &Options::default());
                let channel = answering(
                    &runtime,
                    both,
                    bad.clone(),
                    None,
                    ends(&error, &HeaderMap::new()),
                )
                .await;
                let done = make(&channel, call_of("t.S/M", body_of(&[]))).await;
                assert_eq!(done.status.code(), Code::NotFound);
                assert_eq!(done.headers["content-type"], "application/grpc");
                if name == "grpc-encoding" || times == 2 {
                    let message = Some(&b"\0\0\0\0\0"[..]);
                    let last = ends(&ok, &HeaderMap::new());
                    let channel = answering(&runtime, both, bad, message, last).await;
                    let done = make(&channel, call_of("t.S/M", body_of(&[]))).await;
                    assert_eq!(done.status.code(), Code::Internal, "{name}: {value}");
                }
            }
        }
    });
}

#[test]
fn a_call_that_names_an_encoding_waits_a_second_for_its_first_flag() {
    on_both(|runtime| async move {
        let clock = FakeClock::new();
        let seen = Arc::new(Seen::default());
        let service = TunnelService::new(runtime.clone())
            .with_options(without(ExtensionSet::ALL))
            .forward(service::sample(seen.clone()));
        let runtime = with_clock(&runtime, &clock);
        let channel = connect_with(&runtime, service, &Options::default()).await;
        let request = |method, body, encoding| {
            let mut request = call_of(method, body);
            request
                .headers_mut()
                .extend(header("grpc-encoding", encoding));
            request
        };
        // One that does not name an encoding does not wait.
        let (_frames, body) = channel_body();
        let mut call = Box::pin(channel.clone().call(request("t.S/Hang", body, "identity")));
        until_started(&mut call, &seen, 1).await;

        let (frames, body) = channel_body();
        let waiting = async {
            until(|| clock.is_awaited(Duration::from_secs(1))).await;
            assert_eq!(channel.counters().opened, 1);
            // Nobody waits for a call that waits.
            let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
            assert_eq!(done.status.code(), Code::Ok);
            clock.advance(Duration::from_secs(1));
            until(|| channel.counters().opened == 3).await;
            service::put(&frames, data(b"m"));
            frames.close();
        };
        let (done, ()) = join(make(&channel, request("t.S/Echo", body, "gzip")), waiting).await;
        assert_eq!(done.status.code(), Code::Ok);
        assert_eq!(done.messages, [b"m"]);
    });
}

#[test]
fn both_ends_ping_where_ping_is_in_effect() {
    use client_to_server::Frame as FromClient;
    use server_to_client::Frame as FromServer;
    on_both(|runtime| async move {
        for (client, server, in_effect) in offers(Extension::Ping) {
            let clock = FakeClock::new();
            let handler = service::sample(Arc::default());
            let options = (&client, &server);
            let (channel, requests, responses) = noted(&runtime, &clock, options, handler).await;
            // The answer to the offer has come.
            let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
            assert_eq!(done.status.code(), Code::Ok);
            let pings = |wire: &Wire| {
                let pings = wire.of_client().into_iter();
                pings
                    .filter(|frame| matches!(frame.frame, Some(FromClient::Ping(_))))
                    .count()
            };
            let answers = |wire: &Wire| {
                let frames = wire.of_server().into_iter();
                frames
                    .filter(|frame| matches!(frame.frame, Some(FromServer::Ping(_))))
                    .count()
            };
            let beats = |wire: &Wire| {
                let frames = wire.of_client().into_iter();
                frames
                    .filter(|frame| matches!(frame.frame, Some(FromClient::WindowUpdate(0))))
                    .count()
            };
            until(|| clock.is_awaited(Duration::from_secs(20))).await;
            clock.advance(Duration::from_secs(20));
            if in_effect {
                until(|| pings(&requests) > 0 && answers(&responses) > 0).await;
            } else {
                until(|| beats(&requests) > 0).await;
                assert_eq!((pings(&requests), answers(&responses)), (0, 0));
            }
        }
    });
}

#[test]
fn a_client_hears_that_its_server_drains_where_drain_is_in_effect() {
    on_both(|runtime| async move {
        for (client, server, in_effect) in offers(Extension::Drain) {
            let seen = Arc::new(Seen::default());
            let service = TunnelService::new(runtime.clone())
                .with_options(server)
                .forward(service::sample(seen.clone()));
            let channel = connect_with(&runtime, service.clone(), &client).await;
            let mut call = Box::pin(channel.clone().call(call_of("t.S/Hang", body_of(&[]))));
            until_started(&mut call, &seen, 1).await;
            service.drain(Duration::from_secs(60));
            if in_effect {
                until(|| !channel.is_open()).await;
            }
            let opened = channel.counters().opened;
            let done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
            assert_eq!(done.status.code(), Code::Unavailable);
            let sent = channel.counters().opened - opened;
            assert_eq!(sent, u64::from(!in_effect));
            assert_eq!(seen.started(), 1);
        }
    });
}

#[test]
fn a_refusal_is_marked_where_unprocessed_is_in_effect() {
    on_both(|runtime| async move {
        for (client, mut server, in_effect) in offers(Extension::Unprocessed) {
            server.limits.max_streams = 1;
            let seen = Arc::new(Seen::default());
            let handler = service::sample(seen.clone());
            let clock = FakeClock::new();
            let options = (&client, &server);
            let (channel, _, responses) = noted(&runtime, &clock, options, handler).await;
            let mut call = Box::pin(channel.clone().call(call_of("t.S/Hang", body_of(&[]))));
            until_started(&mut call, &seen, 1).await;
            let done: Done = make(&channel, call_of("t.S/Unary", body_of(&[b"m"]))).await;
            assert_eq!(done.status.code(), Code::ResourceExhausted);
            let marked = responses.of_server().into_iter().any(|frame| {
                matches!(
                    frame.frame,
                    Some(server_to_client::Frame::CloseStream(close)) if close.unprocessed
                )
            });
            assert_eq!(marked, in_effect);
            assert_eq!(done.never_processed, in_effect);
        }
    });
}

#[test]
fn an_ok_before_the_half_close_leaves_at_once_to_a_peer_that_answered() {
    on_both(|runtime| async move {
        for (client, offered) in [
            (Options::default(), true),
            // It answers the offer, with nothing.
            (without(ExtensionSet::ALL), true),
            (Options::default(), false),
        ] {
            let clock = FakeClock::new();
            let server = if offered {
                Options::default()
            } else {
                without(ExtensionSet::ALL)
            };
            let handled = Arc::new(AtomicUsize::new(0));
            let counted = handled.clone();
            let early = Function(move |_: Request<RequestBody>| {
                counted.fetch_add(1, Ordering::SeqCst);
                async { service::status_only(&Status::new(Code::Ok, "")) }
            });
            let service = TunnelService::new(with_clock(&runtime, &clock))
                .with_options(server.clone())
                .forward(early);
            let channel = connect_with(&runtime, service, &client).await;
            let (requests, body) = channel_body();
            service::put(&requests, data(b"m"));
            let held = async {
                if !offered {
                    until(|| clock.is_awaited(server.hold_unknown)).await;
                    clock.advance(server.hold_unknown);
                }
            };
            let (done, ()) = join(make(&channel, call_of("t.S/Up", body)), held).await;
            assert_eq!(done.status.code(), Code::Ok);
            assert_eq!(handled.load(Ordering::SeqCst), 1);
        }
    });
}

#[test]
fn keys_of_transparent_in_capitals_are_not_taken() {
    use common::frames::{self, FromClient};
    on_both(|runtime| async move {
        let asked = Asked::default();
        let mut service = TunnelService::new(runtime.clone()).forward(compressing(asked.clone()));
        let (frames, body) = channel_body();
        let request = Request::post("/grpctunnel.v1.TunnelService/OpenTunnel")
            .header("grpctunnel-negotiate", "on")
            .body(body)
            .unwrap();
        let response = service.call(request).into_inner().unwrap();
        let agreed = grpctunnel_proto::v1::Extensions {
            extensions: vec![1, 2],
        };
        service::put(&frames, frames::client(-1, FromClient::Extensions(agreed)));
        let headers = [
            ("Content-Type", "text/html"),
            ("Grpc-Encoding", "a b"),
            (":AUTHORITY", "x y"),
            ("x-mine", "1"),
        ];
        service::put(
            &frames,
            frames::client(1, frames::new_stream("t.S/M", &headers)),
        );
        service::put(&frames, frames::client(1, FromClient::HalfClose(())));
        until(|| !asked.lock().unwrap().is_empty()).await;
        let (uri, headers, _) = asked.lock().unwrap().remove(0);
        assert_eq!(uri, "http://localhost/t.S/M");
        assert_eq!(headers["content-type"], "application/grpc");
        assert_eq!(headers["x-mine"], "1");
        assert!(!headers.contains_key(HeaderName::from_static("grpc-encoding")));
        drop(response);
    });
}
