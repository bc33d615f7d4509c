//! The core's TCP example against the Go module, over a bare stream of bytes: either end opens it,
//! either end calls, with and without flow control at their end.

use std::time::Duration;

use grpctunnel_tests::interop::{Outcome, Peers, tcp_example, tcp_example_program};

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(60);
const ANY: &str = "127.0.0.1:0";

/// What the example says of its calls: one that is answered, one that streams, one that fails.
const CALLED: [&str; 3] = [
    "echo: over a bare stream",
    "streamed: 900000 bytes there and back",
    "failed: FailedPrecondition: it was to fail",
];

/// Runs `check` with the flags of the Go program, for each choice of flow control.
async fn with_go(check: impl AsyncFn(&Peers, &[&str]) -> Outcome) -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    // The Go program counts its time from its start.
    tcp_example_program().await?;
    for flags in [&[][..], &["-no-flow-control"][..]] {
        let checked = check(&peers, flags).await;
        checked.map_err(|error| format!("with {flags:?}: {error}"))?;
    }
    Ok(())
}

fn called(said: &str) -> Outcome {
    let missing = CALLED.iter().find(|line| !said.contains(**line));
    missing.map_or(Ok(()), |line| Err(format!("not said: {line}").into()))
}

#[tokio::test]
async fn go_opens_and_calls() -> Outcome {
    with_go(async |peers, flags| {
        let mut server = tcp_example(&["serve", "--listen", ANY]).await?;
        let address = server.line("listening ", LIMIT).await?;
        let arguments = [&["-role", "call", "-connect", &address], flags].concat();
        peers.go("bare", &arguments)?.success(LIMIT).await?;
        server.line("a tunnel finished", LIMIT).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn go_accepts_and_serves() -> Outcome {
    with_go(async |peers, flags| {
        let arguments = [&["-role", "serve", "-listen", ANY], flags].concat();
        let mut server = peers.go("bare", &arguments)?;
        let address = server.line("listening ", LIMIT).await?;
        let client = tcp_example(&["call", "--connect", &address, "over a bare stream"]).await?;
        called(&client.success(LIMIT).await?)?;
        server.success(LIMIT).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn go_opens_and_serves() -> Outcome {
    with_go(async |peers, flags| {
        let mut client = tcp_example(&["call", "--listen", ANY, "over a bare stream"]).await?;
        let address = client.line("listening ", LIMIT).await?;
        let arguments = [&["-role", "serve", "-connect", &address], flags].concat();
        let server = peers.go("bare", &arguments)?;
        called(&client.success(LIMIT).await?)?;
        server.success(LIMIT).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn go_accepts_and_calls() -> Outcome {
    with_go(async |peers, flags| {
        let arguments = [&["-role", "call", "-listen", ANY], flags].concat();
        let mut client = peers.go("bare", &arguments)?;
        let address = client.line("listening ", LIMIT).await?;
        let server = tcp_example(&["serve", "--connect", &address]).await?;
        client.success(LIMIT).await?;
        server.success(LIMIT).await?;
        Ok(())
    })
    .await
}

/// Without any peer: the example's two ends, each way.
#[tokio::test]
async fn both_ends_are_ours() -> Outcome {
    let mut server = tcp_example(&["serve", "--listen", ANY]).await?;
    let address = server.line("listening ", LIMIT).await?;
    let client = tcp_example(&["call", "--connect", &address, "over a bare stream"]).await?;
    called(&client.success(LIMIT).await?)?;
    server.line("a tunnel finished", LIMIT).await?;

    let mut client = tcp_example(&["call", "--listen", ANY, "over a bare stream"]).await?;
    let address = client.line("listening ", LIMIT).await?;
    let server = tcp_example(&["serve", "--connect", &address]).await?;
    called(&client.success(LIMIT).await?)?;
    server.success(LIMIT).await?;
    Ok(())
}
