//! The Go module's first version, which knows revision zero only and does not negotiate: at either
//! end of either tunnel.

use std::time::Duration;

use grpctunnel_tests::interop::calls::Calls;
use grpctunnel_tests::interop::{InteropServer, Outcome, Peers, open, options, serve_reverse};
use grpctunnel_tests::services::Caller;
use grpctunnel_tokio::Options;
use tonic::metadata::MetadataMap;

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The settings of an opener that was told that its peer is old.
fn old_peer() -> Options {
    let mut options = options(true);
    options.old_peer = true;
    options
}

/// Calls one after the other: unread data stops a whole tunnel without flow control.
async fn call<T: Caller>(channel: T) -> Outcome {
    let calls = Calls::official(channel);
    calls.large().await?;
    calls.client_stream(1, 100_000, async {}).await?;
    calls.server_stream(2, 100_000).await?;
    calls.fail(3).await?;
    calls.cancel(4, 1_000, async {}).await?;
    calls.unary(5, 0).await?;
    Ok(())
}

#[tokio::test]
async fn old_client_calls_us_through_its_forward_tunnel() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let server = InteropServer::new(options(true)).start().await?;
    let address = server.address().to_string();
    let client = peers.go("old", &["-role", "client", "-addr", &address])?;
    client.success(LIMIT).await?;
    Ok(())
}

#[tokio::test]
async fn we_call_an_old_server_through_its_reverse_tunnel() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let server = InteropServer::new(options(true)).start().await?;
    let address = server.address().to_string();
    let arguments = ["-role", "revserver", "-name", "old", "-addr", &address];
    let _program = peers.go("old", &arguments)?;
    call(server.tunnel("old").await).await
}

#[tokio::test]
async fn we_call_an_old_server_through_our_forward_tunnel() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let mut server = peers.go("old", &["-role", "server"])?;
    let address = server.line("listening ", LIMIT).await?;
    call(open(&address, &old_peer(), MetadataMap::new()).await?).await
}

#[tokio::test]
async fn old_client_calls_us_through_our_reverse_tunnel() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let mut program = peers.go("old", &["-role", "revclient"])?;
    let address = program.line("listening ", LIMIT).await?;
    let tunnel = serve_reverse(&address, &old_peer(), MetadataMap::new()).await?;
    program.success(LIMIT).await?;
    tunnel.abort();
    Ok(())
}
