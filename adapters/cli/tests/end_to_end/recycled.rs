//! Local servers that end their connections while they are called: no call fails by it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    dialled::dial,
    locals::{Arrived, Respond, answer_ok, call, server_of},
    raw,
    support::{Tested, agent, bounded, gateway},
};

const CALLS: usize = 400;
const AT_ONCE: usize = 8;
/// Requests that a connection takes.
const REQUESTS: usize = 10;

const HEADERS: u8 = 1;
/// No settings, and a GOAWAY with the last stream id 0 and NO_ERROR.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Answers so many requests, then says GOAWAY and finishes what was sent until then.
async fn recycle(stream: TcpStream) -> Result<(), h2::Error> {
    let mut http = h2::server::handshake(stream).await?;
    let mut number = 0;
    while let Some(request) = http.accept().await {
        let (request, respond): (Arrived, Respond) = request?;
        drop(request);
        answer_ok(respond);
        number += 1;
        if number == REQUESTS {
            http.graceful_shutdown();
        }
    }
    Ok(())
}

/// Says that it has processed nothing as soon as there is a request.
async fn reject(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(&SETTINGS).await?;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        if kind == HEADERS {
            stream.write_all(&GOAWAY).await?;
            // Until the client closes.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            return Ok(());
        }
    }
}

/// Makes many calls of a server whose every other connection rejects if `rejects`.
async fn all_succeed(rejects: bool) -> Tested {
    let gateway = gateway().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = count.fetch_add(1, Ordering::Relaxed);
            if rejects && number.is_multiple_of(2) {
                tokio::spawn(async move { reject(stream).await.is_ok() });
            } else {
                tokio::spawn(async move { recycle(stream).await.is_ok() });
            }
        }
    });
    let _agent = agent(gateway.address, "a", address).await?;
    let callers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..CALLS / AT_ONCE {
                    let (status, text, body) = call(gateway.address).await?;
                    assert_eq!(
                        (&*status, body),
                        ("0", Bytes::from_static(b"\0\0\0\0\0")),
                        "{text}"
                    );
                }
                Tested::Ok(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    assert!(connections.load(Ordering::Relaxed) > CALLS / REQUESTS / 4);
    Ok(())
}

#[tokio::test]
async fn a_server_that_recycles_its_connections_fails_no_call() -> Tested {
    bounded(all_succeed(false)).await
}

#[tokio::test]
async fn what_a_goaway_says_was_not_processed_is_called_again() -> Tested {
    bounded(all_succeed(true)).await
}

/// The HTTP/2 reason with which the only try of a call was reset.
async fn reset_of(request: http::Request<Full<Bytes>>) -> Tested<h2::Reason> {
    let answered = match raw::caller().request(request).await {
        Ok(response) => response.into_body().collect().await.err(),
        Err(error) => {
            let found = reason_among(&error);
            return found.ok_or_else(|| format!("not reset: {error:?}").into());
        }
    };
    let error = answered.ok_or("the call was answered")?;
    let found = reason_among(&error);
    found.ok_or_else(|| format!("not reset: {error:?}").into())
}

fn reason_among(error: &(dyn std::error::Error + 'static)) -> Option<h2::Reason> {
    let own = error
        .downcast_ref::<h2::Error>()
        .and_then(h2::Error::reason);
    own.or_else(|| reason_among(error.source()?))
}

/// A server that refuses every call, and how many it refused.
async fn refusing() -> Tested<(std::net::SocketAddr, Arc<AtomicUsize>)> {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let address = server_of(None, move |request, mut respond, _, _| {
        if request.uri().path() == "/a.B/C" {
            count.fetch_add(1, Ordering::Relaxed);
        }
        respond.send_reset(h2::Reason::REFUSED_STREAM);
    });
    Ok((address.await?, refused))
}

#[tokio::test]
async fn what_the_server_refuses_is_refused_to_the_caller() -> Tested {
    bounded(async {
        let second = gateway().await?;
        let first = gateway().await?;
        let (local, refused) = refusing().await?;
        let _agent = agent(second.address, "a", local).await?;
        let _hop = agent(first.address, "hop", second.address).await?;
        let request = raw::request(second.address, "/a.B/C", b"\0\0\0\0\0")?;
        assert_eq!(reset_of(request).await?, h2::Reason::REFUSED_STREAM);
        let tries = refused.load(Ordering::Relaxed);
        assert!((1..=4).contains(&tries), "{tries} tries");
        let mut request = raw::request(first.address, "/a.B/C", b"\0\0\0\0\0")?;
        let way = http::HeaderValue::from_static("hop/a");
        request.headers_mut().insert(grpctunnel_cli::TARGET, way);
        assert_eq!(reset_of(request).await?, h2::Reason::REFUSED_STREAM);
        let port = dial(second.address, Some("a")).await?;
        let request = raw::request(port.address, "/a.B/C", b"\0\0\0\0\0")?;
        assert_eq!(reset_of(request).await?, h2::Reason::REFUSED_STREAM);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_was_refused_and_is_no_longer_at_hand_is_refused_to_the_caller() -> Tested {
    /// More than is kept for another try.
    static LARGE: [u8; 100_005] = {
        let mut message = [0; 100_005];
        [message[2], message[3], message[4]] = [0x01, 0x86, 0xa0];
        message
    };
    bounded(async {
        let gateway = gateway().await?;
        let refused = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&refused);
        let local = server_of(None, move |request, mut respond, _, _| {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut body = request.into_body();
                let mut read = 0;
                while let Some(Ok(data)) = body.data().await {
                    read += data.len();
                    // The connection may be gone.
                    let _ = body.flow_control().release_capacity(data.len());
                }
                if read == LARGE.len() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            });
        });
        let local = local.await?;
        let _agent = agent(gateway.address, "a", local).await?;
        let _other = agent(gateway.address, "a", local).await?;
        let request = raw::request(gateway.address, "/a.B/C", &LARGE)?;
        assert_eq!(reset_of(request).await?, h2::Reason::REFUSED_STREAM);
        assert_eq!(refused.load(Ordering::Relaxed), 1);
        Ok(())
    })
    .await
}

/// Calls two agents of one name, one of which has a good server: all calls go there.
async fn the_other_answers(bad: std::net::SocketAddr) -> Tested {
    let gateway = gateway().await?;
    let good = server_of(None, |_, respond, _, _| answer_ok(respond)).await?;
    let _bad = agent(gateway.address, "a", bad).await?;
    let _good = agent(gateway.address, "a", good).await?;
    for _ in 0..20 {
        let (status, text, _) = call(gateway.address).await?;
        assert_eq!(status, "0", "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn what_one_server_refuses_another_of_its_name_answers() -> Tested {
    bounded(async {
        let (bad, refused) = refusing().await?;
        the_other_answers(bad).await?;
        assert!(refused.load(Ordering::Relaxed) > 0, "it was never asked");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn where_one_server_is_gone_another_of_its_name_answers() -> Tested {
    bounded(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let gone = listener.local_addr()?;
        drop(listener);
        the_other_answers(gone).await
    })
    .await
}
