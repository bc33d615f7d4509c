//! Calls that fail are made again where the gateway is told so, as gRPC's clients would.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use grpctunnel_cli::retry::RetryPolicy;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use crate::{
    raw::{caller, grpc_status, request},
    support::{RunningGateway, Tested, agent, bounded, gateway_with},
};

const PATH: &str = "/a.B/C";
/// gRPC's numbers of UNAVAILABLE and of OK.
const UNAVAILABLE: &str = "14";
const OK: &str = "0";

/// What an attempt said: how many came before it, and the bytes of its request.
type Attempt = (Option<String>, usize);

/// A server that fails so many calls of a method before it answers one, with `pushback` if there is
/// one.
async fn failing(
    times: u32,
    pushback: Option<&'static str>,
) -> Tested<(SocketAddr, UnboundedReceiver<Attempt>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (arrived, arrivals) = unbounded_channel();
    let left = Arc::new(AtomicU32::new(times));
    let service = service_fn(move |request: Request<Incoming>| {
        let (left, arrived) = (Arc::clone(&left), arrived.clone());
        async move {
            let (head, body) = request.into_parts();
            let mut answer = Response::new(Full::<Bytes>::default());
            let headers = answer.headers_mut();
            headers.insert(
                "content-type",
                http::HeaderValue::from_static("application/grpc"),
            );
            let mut status = UNAVAILABLE;
            // Anything else is asked by the agent.
            if head.uri.path() == PATH {
                let before = head.headers.get("grpc-previous-rpc-attempts");
                let before = before.and_then(|value| Some(value.to_str().ok()?.to_owned()));
                let size = body.collect().await.map_or(0, |body| body.to_bytes().len());
                // The test ends when it has seen enough.
                let _ = arrived.send((before, size));
                let less = |left: u32| left.checked_sub(1);
                if left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                    .is_err()
                {
                    status = OK;
                }
            }
            headers.insert("grpc-status", http::HeaderValue::from_static(status));
            if let Some(pushback) = pushback {
                let pushback = http::HeaderValue::from_static(pushback);
                headers.insert("grpc-retry-pushback-ms", pushback);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let builder = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service.clone()));
        }
    });
    Ok((address, arrivals))
}

async fn retrying(policy: &str) -> Tested<RunningGateway> {
    let policy: RetryPolicy = policy.parse()?;
    gateway_with("127.0.0.1:0", |settings| settings.retries = vec![policy]).await
}

/// The status of a call with a request of so many bytes, and the attempts that arrived.
async fn call(
    policy: &str,
    times: u32,
    pushback: Option<&'static str>,
    body: &'static [u8],
) -> Tested<(String, Vec<Attempt>)> {
    let gateway = retrying(policy).await?;
    let (local, mut arrivals) = failing(times, pushback).await?;
    let _agent = agent(gateway.address, "a", local).await?;
    let response = caller()
        .request(request(gateway.address, PATH, body)?)
        .await?;
    let status = grpc_status(response.headers())
        .ok_or("no status")?
        .to_owned();
    let mut attempts = Vec::new();
    while let Ok(attempt) = arrivals.try_recv() {
        attempts.push(attempt);
    }
    Ok((status, attempts))
}

fn attempts(counts: &[Option<&str>], size: usize) -> Vec<Attempt> {
    let counts = counts.iter();
    counts
        .map(|count| (count.map(str::to_owned), size))
        .collect()
}

#[tokio::test]
async fn a_call_that_fails_is_made_again_with_its_whole_request() -> Tested {
    bounded(async {
        let policy = "a.B codes=UNAVAILABLE attempts=4 backoff=1ms";
        let (status, seen) = call(policy, 2, None, b"\0\0\0\0\x03abc").await?;
        assert_eq!(status, OK);
        assert_eq!(seen, attempts(&[None, Some("1"), Some("2")], 8));
        // Not more often than that, and the caller sees the last failure.
        let policy = "* codes=UNAVAILABLE attempts=2 backoff=1ms";
        let (status, seen) = call(policy, 9, None, b"").await?;
        assert_eq!(status, UNAVAILABLE);
        assert_eq!(seen, attempts(&[None, Some("1")], 0));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_no_policy_names_or_the_server_forbids_or_was_not_kept_is_made_once() -> Tested {
    // A message of 100,000 bytes.
    static LARGE: [u8; 100_005] = {
        let mut message = [0; 100_005];
        let size = 100_000_u32.to_be_bytes();
        message[1] = size[0];
        message[2] = size[1];
        message[3] = size[2];
        message[4] = size[3];
        message
    };
    bounded(async {
        let all = "* codes=UNAVAILABLE backoff=1ms";
        for (policy, pushback, body) in [
            ("a.C codes=UNAVAILABLE backoff=1ms", None, &b""[..]),
            ("* codes=ABORTED backoff=1ms", None, b""),
            (all, Some("-1"), b""),
            (all, None, &LARGE),
        ] {
            let (status, seen) = call(policy, 1, pushback, body).await?;
            assert_eq!(status, UNAVAILABLE, "{policy}");
            assert_eq!(seen, attempts(&[None], body.len()), "{policy}");
        }
        let (status, seen) = call(all, 1, Some("5"), b"").await?;
        assert_eq!(status, OK);
        assert_eq!(seen.len(), 2);
        Ok(())
    })
    .await
}
