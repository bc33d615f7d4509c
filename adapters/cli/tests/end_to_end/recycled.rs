//! Local servers that end their connections while they are called: no call fails by it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    locals::{Arrived, Respond, answer_ok, call},
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
