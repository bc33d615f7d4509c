//! Many callers: one must not keep out the others.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{
    locals::{call, few},
    support::{Tested, agent, bounded, caller, depot, gateway_with, stubs::WaitRequest},
};

const SILENT: usize = 150;

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out() -> Tested {
    bounded(async {
        let mut command = tokio::process::Command::new("sh");
        let script = "ulimit -n 64; exec \"$0\" gateway --listen 127.0.0.1:0";
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_grpctunnel")])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true);
        let mut gateway = command.spawn()?;
        let mut lines = BufReader::new(gateway.stdout.take().ok_or("no stdout")?).lines();
        let mut said = BufReader::new(gateway.stderr.take().ok_or("no stderr")?).lines();
        let line = lines.next_line().await?.ok_or("ended early")?;
        let address: SocketAddr = line
            .strip_prefix("listening on ")
            .ok_or("another line")?
            .parse()?;
        let mut silent = Vec::new();
        for _ in 0..SILENT {
            silent.push(TcpStream::connect(address).await?);
        }
        let (local, _arrivals) = crate::raw::server().await?;
        let _agent = agent(address, "a", local).await?;
        assert_eq!(call(address).await?.0, "0");
        loop {
            let line = said.next_line().await?.ok_or("ended early")?;
            if line.contains("connections turned away") {
                return Ok(());
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_ended() -> Tested {
    bounded(async {
        let gateway = crate::support::gateway().await?;
        let mut silent = TcpStream::connect(gateway.address).await?;
        // No byte, and the end: not before the limit, but before the test's.
        assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go_and_one_in_use_is_not() -> Tested {
    const IDLE: Duration = Duration::from_millis(300);
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    bounded(async {
        let gateway = gateway_with("127.0.0.1:0", |settings| settings.idle_limit = IDLE).await?;
        let depot = depot("one").await?;
        // Its tunnel has no call for longer than that.
        let _agent = agent(gateway.address, "a", depot.address).await?;
        let mut caller = caller(gateway.address)?;
        let waiting = tokio::spawn(async move { caller.wait(WaitRequest {}).await });
        depot
            .seen
            .begun
            .subscribe()
            .wait_for(|begun| *begun == 1)
            .await?;

        let mut idle = TcpStream::connect(gateway.address).await?;
        idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await?;
        let mut kinds = Vec::new();
        let mut head = [0; 9];
        while idle.read_exact(&mut head).await.is_ok() {
            let [a, b, c, kind, ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            idle.read_exact(&mut payload).await?;
            // NO_ERROR, behind the last stream.
            assert!(
                kind != GOAWAY || payload.get(4..8) == Some(&[0; 4]),
                "{payload:?}"
            );
            if kind == PING {
                // The end waits for the answer.
                idle.write_all(b"\0\0\x08\x06\x01\0\0\0\0").await?;
                idle.write_all(&payload).await?;
            }
            kinds.push(kind);
        }
        assert!(kinds.contains(&GOAWAY), "{kinds:?}");
        depot.seen.release.send_replace(true);
        waiting.await??;
        Ok(())
    })
    .await
}

/// A caller by hand, and a call of its that nobody reads.
struct Held {
    stream: h2::SendStream<Bytes>,
    running: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// Opens a call, and waits until its windows do not change any more.
async fn hold(gateway: SocketAddr) -> Tested<Held> {
    let io = TcpStream::connect(gateway).await?;
    let (mut http, mut connection) = h2::client::handshake(io).await?;
    let mut pings = connection.ping_pong().ok_or("no pings")?;
    let running = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{gateway}/a.B/C"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (_response, mut stream) = http.send_request(request, false)?;
    stream.reserve_capacity(1 << 20);
    // The server says what it has to say between the answers.
    for _ in 0..4 {
        pings.ping(h2::Ping::opaque()).await?;
    }
    tokio::spawn(async move {
        // Kept, so that the call is not cancelled.
        let _http = http;
        _response.await
    });
    Ok(Held { stream, running })
}

#[tokio::test]
async fn the_windows_of_callers_share_a_budget_and_give_it_back() -> Tested {
    bounded(async {
        // Half of it is for windows beyond the smallest: those of two callers.
        let gateway = gateway_with("127.0.0.1:0", |settings| settings.memory = 4 << 20).await?;
        let few = few(100).await?;
        let _agent = agent(gateway.address, "a", few.address).await?;
        let first = hold(gateway.address).await?;
        let second = hold(gateway.address).await?;
        let third = hold(gateway.address).await?;
        let sizes = [&first, &second, &third].map(|held| held.stream.capacity());
        assert_eq!(sizes, [256 << 10, 256 << 10, 32 << 10]);
        first.running.abort();
        loop {
            let another = hold(gateway.address).await?;
            if another.stream.capacity() == 256 << 10 {
                return Ok(());
            }
            another.running.abort();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}
