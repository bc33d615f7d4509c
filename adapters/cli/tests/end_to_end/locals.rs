//! The agent and its local server: connections, streams, resets, and ends without a status.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use grpctunnel_cli::{
    agent::{Agent, AgentEvent, LocalEvent},
    gateway::{Gateway, GatewaySettings},
    listener::Endpoint,
    stop::Stop,
};
use http::Response;
use http_body_util::BodyExt;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    raw,
    support::{RunningAgent, Tested, agent, agent_with, bounded, gateway},
};

pub(crate) type Respond = h2::server::SendResponse<Bytes>;
pub(crate) type Arrived = http::Request<h2::RecvStream>;

/// A server of HTTP/2 by hand, whose every stream goes to `answer`, with the number of its
/// connection and its number there.
pub(crate) async fn server_of<F>(streams: Option<u32>, answer: F) -> Tested<SocketAddr>
where
    F: Fn(Arrived, Respond, usize, usize) + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        for connection in 0.. {
            let (stream, _) = listener.accept().await?;
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                if let Some(streams) = streams {
                    builder.max_concurrent_streams(streams);
                }
                let mut http = builder.handshake::<_, Bytes>(stream).await?;
                let mut number = 0;
                while let Some(request) = http.accept().await {
                    let (request, respond) = request?;
                    answer(request, respond, connection, number);
                    number += 1;
                }
                Ok::<_, h2::Error>(())
            });
        }
        Ok::<_, std::io::Error>(())
    });
    Ok(address)
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    let grpc = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}

/// Answers a call well: one empty message, and OK.
pub(crate) fn answer_ok(mut respond: Respond) {
    let Ok(mut stream) = respond.send_response(head(), false) else {
        return;
    };
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let sent = stream.send_data(Bytes::from_static(b"\0\0\0\0\0"), false);
    if sent.is_ok() {
        // A caller that has gone wants no trailers.
        let _ = stream.send_trailers(trailers);
    }
}

/// A call through the gateway: its status, its text, and its body.
pub(crate) async fn call(gateway: SocketAddr) -> Tested<(String, String, Bytes)> {
    let request = raw::request(gateway, "/a.B/C", b"\0\0\0\0\0")?;
    let response = raw::caller().request(request).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let text = |name: &str| {
        let value = head.headers.get(name).or_else(|| trailers.get(name));
        value
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let status = text("grpc-status").ok_or("no status")?;
    Ok((
        status,
        text("grpc-message").unwrap_or_default(),
        body.to_bytes(),
    ))
}

#[tokio::test]
async fn a_reset_without_an_error_in_the_middle_is_internal() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let local = server_of(None, |_, mut respond, _, _| {
            if let Ok(mut stream) = respond.send_response(head(), false) {
                let sent = stream.send_data(Bytes::from_static(b"\0\0\0\0\x09part"), false);
                if sent.is_ok() {
                    tokio::spawn(async move {
                        // The data first, then the reset.
                        tokio::task::yield_now().await;
                        stream.send_reset(h2::Reason::NO_ERROR);
                    });
                }
            }
        })
        .await?;
        let _agent = agent(gateway.address, "a", local).await?;
        let (status, text, _) = call(gateway.address).await?;
        assert_eq!(status, "13", "{text}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_status_in_front_of_messages_is_not_the_end() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let local = server_of(None, |_, mut respond, _, _| {
            let mut first = head();
            let ok = http::HeaderValue::from_static("0");
            first.headers_mut().insert("grpc-status", ok);
            let Ok(mut stream) = respond.send_response(first, false) else {
                return;
            };
            for _ in 0..2 {
                let message = Bytes::from_static(b"\0\0\0\0\0");
                stream.send_data(message, false).unwrap_or_default();
            }
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static("10"));
            stream.send_trailers(trailers).unwrap_or_default();
        })
        .await?;
        let _agent = agent(gateway.address, "a", local).await?;
        let request = raw::request(gateway.address, "/a.B/C", b"\0\0\0\0\0")?;
        let response = raw::caller().request(request).await?;
        assert_eq!(raw::grpc_status(response.headers()), None);
        let body = response.into_body().collect().await?;
        assert_eq!(body.trailers().and_then(raw::grpc_status), Some("10"));
        assert_eq!(body.to_bytes(), b"\0\0\0\0\0\0\0\0\0\0"[..]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_end_without_a_status_is_internal_and_never_ok() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let local = server_of(None, |_, mut respond, _, number| {
            let Ok(mut stream) = respond.send_response(head(), false) else {
                return;
            };
            let message = Bytes::from_static(b"\0\0\0\0\0");
            let sent = if number.is_multiple_of(2) {
                stream.send_data(message, true)
            } else {
                let sent = stream.send_data(message, false);
                sent.and_then(|()| stream.send_trailers(http::HeaderMap::new()))
            };
            sent.unwrap_or_default();
        })
        .await?;
        let _agent = agent(gateway.address, "a", local).await?;
        for _ in 0..2 {
            let (status, text, _) = call(gateway.address).await?;
            assert_eq!(status, "13", "{text}");
            assert!(
                text.contains("local server") && !text.contains("handler"),
                "{text}"
            );
        }
        Ok(())
    })
    .await
}

/// Where a server puts what is too large.
#[derive(Clone, Copy, Debug)]
enum Large {
    Head,
    Trailers,
}

/// A server whose metadata has this size in one place, and which ends with this status.
async fn large(place: Large, size: usize, status: &'static str) -> Tested<SocketAddr> {
    server_of(None, move |_, mut respond, _, _| {
        let mut first = head();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static(status));
        trailers.insert("grpc-message", http::HeaderValue::from_static("why"));
        let headers = match place {
            Large::Head => first.headers_mut(),
            Large::Trailers => &mut trailers,
        };
        if let Ok(value) = http::HeaderValue::from_bytes(&vec![b'v'; size]) {
            headers.insert("x-large", value);
        }
        if let Ok(mut stream) = respond.send_response(first, false) {
            stream.send_trailers(trailers).unwrap_or_default();
        }
    })
    .await
}

#[tokio::test]
async fn metadata_that_cannot_be_carried_fails_its_call_and_no_other() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        for (place, size, status, expected) in [
            (Large::Trailers, 60_000, "0", "0"),
            (Large::Trailers, 66_000, "0", "8"),
            (Large::Trailers, 300_000, "0", "8"),
            (Large::Trailers, 66_000, "5", "5"),
            (Large::Trailers, 300_000, "5", "5"),
            (Large::Head, 66_000, "0", "8"),
            (Large::Head, 300_000, "0", "8"),
            (Large::Trailers, 2_000_000, "0", "8"),
            (Large::Trailers, 3_900_000, "5", "5"),
            (Large::Head, 3_900_000, "0", "8"),
        ] {
            let local = large(place, size, status).await?;
            let agent = agent(gateway.address, "a", local).await?;
            let (told, text, _) = call(gateway.address).await?;
            assert_eq!(told, expected, "{place:?} {size} {status}: {text}");
            if told == "8" {
                let limit = if size > 1 << 20 {
                    "1048576"
                } else {
                    "65536 bytes"
                };
                assert!(text.contains(limit), "{text}");
            }
            agent.stop.now();
            agent.ended().await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_request_whose_metadata_cannot_be_carried_is_told_so_in_grpc() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let (local, _arrivals) = raw::server().await?;
        let _agent = agent(gateway.address, "a", local).await?;
        for size in [66_000, 300_000, 2_000_000, 3_900_000] {
            let mut request = raw::request(gateway.address, "/a.B/C", b"\0\0\0\0\0")?;
            let value = http::HeaderValue::from_bytes(&vec![b'v'; size])?;
            request.headers_mut().insert("x-large", value);
            let response = raw::caller().request(request).await?;
            assert_eq!(response.status(), 200);
            assert_eq!(raw::grpc_status(response.headers()), Some("8"));
            if size > 1 << 20 {
                let text = response.headers()["grpc-message"].to_str()?;
                assert!(text.contains("1048576"), "{text}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_stream_that_was_refused_is_tried_again() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let refused = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&refused);
        let local = server_of(None, move |_, mut respond, _, number| {
            if number % 2 == 1 {
                return answer_ok(respond);
            }
            count.fetch_add(1, Ordering::Relaxed);
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        })
        .await?;
        let _agent = agent(gateway.address, "a", local).await?;
        for _ in 0..20 {
            let (status, text, body) = call(gateway.address).await?;
            assert_eq!((&*status, &*body), ("0", &b"\0\0\0\0\0"[..]), "{text}");
        }
        assert!(refused.load(Ordering::Relaxed) >= 20);
        Ok(())
    })
    .await
}

/// A server with few streams, whose calls wait; and what it saw.
pub(crate) struct Few {
    pub(crate) address: SocketAddr,
    pub(crate) open: watch::Sender<usize>,
    pub(crate) connections: Arc<Mutex<std::collections::BTreeSet<usize>>>,
    pub(crate) release: watch::Sender<bool>,
}

pub(crate) async fn few(streams: u32) -> Tested<Few> {
    let open = watch::Sender::new(0);
    let release = watch::Sender::new(false);
    let connections = Arc::new(Mutex::default());
    let (count, wait, seen) = (open.clone(), release.clone(), Arc::clone(&connections));
    let address = server_of(Some(streams), move |request, respond, connection, _| {
        if request.uri().path() != "/a.B/C" {
            return answer_ok(respond);
        }
        let set: &Mutex<std::collections::BTreeSet<usize>> = &seen;
        if let Ok(mut set) = set.lock() {
            set.insert(connection);
        }
        count.send_modify(|open| *open += 1);
        let mut wait = wait.subscribe();
        tokio::spawn(async move {
            // The request is kept, so that its windows stay open.
            let _request = request;
            if wait.wait_for(|release| *release).await.is_ok() {
                answer_ok(respond);
            }
        });
    })
    .await?;
    Ok(Few {
        address,
        open,
        connections,
        release,
    })
}

#[tokio::test]
async fn connections_are_added_when_the_streams_of_one_are_used_up() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let few = few(10).await?;
        let _agent = agent(gateway.address, "a", few.address).await?;
        let calls: Vec<_> = (0..35)
            .map(|_| tokio::spawn(call(gateway.address)))
            .collect();
        few.open.subscribe().wait_for(|open| *open == 35).await?;
        let connections = few.connections.lock().map_err(|_| "poisoned")?.len();
        assert_eq!(connections, 4);
        few.release.send_replace(true);
        for call in calls {
            assert_eq!(call.await??.0, "0");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_call_that_finds_no_stream_in_time_is_told_the_limit() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let few = few(2).await?;
        let mut agent = agent_with(gateway.address, "a", few.address, |agent| {
            agent.local_connections = 2;
        })
        .await?;
        let calls: Vec<_> = (0..4)
            .map(|_| tokio::spawn(call(gateway.address)))
            .collect();
        few.open.subscribe().wait_for(|open| *open == 4).await?;
        let (status, text, _) = call(gateway.address).await?;
        assert_eq!(status, "8", "{text}");
        assert!(
            text.contains("2 calls") && text.contains("2 connections"),
            "{text}"
        );
        assert!(!text.contains("--"), "{text}");
        let told = agent.events.recv().await;
        let Some(AgentEvent::Local {
            event: LocalEvent::Lost { why },
            ..
        }) = told
        else {
            return Err(format!("{told:?}").into());
        };
        assert!(why.contains("--local-connections"), "{why}");
        // One that waits gets the stream of one that ends.
        let waiting = tokio::spawn(call(gateway.address));
        few.release.send_replace(true);
        assert_eq!(waiting.await??.0, "0");
        for call in calls {
            assert_eq!(call.await??.0, "0");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_authority_is_the_callers_or_what_was_asked_for() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let (local, mut arrivals) = raw::server().await?;
        let _own = agent(gateway.address, "own", local).await?;
        call(gateway.address).await?;
        let (head, _) = arrivals.recv().await.ok_or("nothing arrived")?;
        assert_eq!(
            head.uri.authority().map(ToString::to_string),
            Some(gateway.address.to_string())
        );
        drop(_own);
        let second = crate::support::gateway().await?;
        let _other = agent_with(second.address, "other", local, |agent| {
            agent.local_authority = "api.example.com".parse().ok();
        })
        .await?;
        call(second.address).await?;
        let (head, _) = arrivals.recv().await.ok_or("nothing arrived")?;
        assert_eq!(
            head.uri.authority().map(ToString::to_string).as_deref(),
            Some("api.example.com")
        );
        Ok(())
    })
    .await
}

#[cfg(unix)]
#[tokio::test]
async fn both_ends_work_over_unix_sockets() -> Tested {
    bounded(async {
        let directory = std::env::temp_dir().join(format!("grpctunnel-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let (front, back) = (directory.join("gateway.sock"), directory.join("local.sock"));
        // What a process leaves that was killed.
        drop(std::os::unix::net::UnixListener::bind(&front)?);
        let listener = tokio::net::UnixListener::bind(&back)?;
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(async move {
                    let mut http = h2::server::handshake(stream).await?;
                    while let Some(request) = http.accept().await {
                        answer_ok(request?.1);
                    }
                    Ok::<_, h2::Error>(())
                });
            }
            #[expect(unreachable_code, reason = "names the type of the block")]
            Ok::<_, std::io::Error>(())
        });
        let listen = format!("unix:{}", front.display());
        let gateway = Gateway::bind(GatewaySettings::new(listen.parse()?), |_| {}).await?;
        assert_eq!(gateway.endpoint(), &Endpoint::Unix(front.clone()));
        let stop = Stop::new();
        let running = tokio::spawn(gateway.run(stop.clone()));
        let local = format!("unix:{}", back.display());
        let agent = Agent::new(listen.parse()?, "a".parse()?, local.parse()?);
        let mut agent = RunningAgent::start(agent);
        agent.connected().await?;
        let stream = hyper_util::rt::TokioIo::new(tokio::net::UnixStream::connect(&front).await?);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(executor, stream).await?;
        tokio::spawn(connection);
        let any = SocketAddr::from(([127, 0, 0, 1], 1));
        let response = sender
            .send_request(raw::request(any, "/a.B/C", b"\0\0\0\0\0")?)
            .await?;
        let body = response.into_body().collect().await?;
        assert_eq!(body.trailers().and_then(raw::grpc_status), Some("0"));
        stop.now();
        running.await?;
        assert!(!front.exists(), "the socket stays");
        std::fs::remove_dir_all(&directory)?;
        Ok(())
    })
    .await
}
