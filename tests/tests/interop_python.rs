//! grpctunnel-py at either end of either tunnel.

use std::time::Duration;

use grpctunnel_tests::interop::calls::Calls;
use grpctunnel_tests::interop::{InteropServer, Outcome, Peers, open, options, serve_reverse};
use grpctunnel_tests::services::Caller;
use grpctunnel_tokio::{BinDialect, Options};
use tonic::metadata::MetadataMap;

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The settings of a tunnel to this package, which writes `-bin` values in its own way.
fn towards_python(flow_control: bool) -> Options {
    let mut options = options(flow_control);
    options.bin_dialect = BinDialect::Latin1;
    options
}

fn with_flag<'a>(arguments: &[&'a str], theirs: bool) -> Vec<&'a str> {
    let flag = (!theirs).then_some("--no-flow-control");
    arguments.iter().copied().chain(flag).collect()
}

/// What the package can carry: no empty message, no details.
async fn call<T: Caller>(channel: T) -> Outcome {
    let calls = Calls::official(channel);
    calls.large().await?;
    calls.unary(1, 1).await?;
    calls.client_stream(2, 100_000, async {}).await?;
    calls.server_stream(3, 100_000).await?;
    calls.bidi(4, 16_384, async {}).await?;
    calls.fail(5).await?;
    calls.unary(6, 65_536).await?;
    Ok(())
}

#[tokio::test]
async fn python_client_calls_us_through_its_forward_tunnel() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    for flow_control in [true, false] {
        let server = InteropServer::new(towards_python(true)).start().await?;
        let address = server.address().to_string();
        let arguments = with_flag(&["--role", "client", "--addr", &address], flow_control);
        peers
            .python("tunnel_peer.py", &arguments)?
            .success(LIMIT)
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn we_call_a_python_server_through_its_reverse_tunnel() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    for flow_control in [true, false] {
        let server = InteropServer::new(towards_python(true)).start().await?;
        let address = server.address().to_string();
        let arguments = ["--role", "revserver", "--name", "monty", "--addr", &address];
        let arguments = with_flag(&arguments, flow_control);
        let mut program = peers.python("tunnel_peer.py", &arguments)?;
        program.line("tunnel open", LIMIT).await?;
        call(server.tunnel("monty").await).await?;
    }
    Ok(())
}

#[tokio::test]
async fn we_call_a_python_server_through_our_forward_tunnel() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    for flow_control in [true, false] {
        let arguments = with_flag(&["--role", "server"], flow_control);
        let mut server = peers.python("tunnel_peer.py", &arguments)?;
        let address = server.line("listening ", LIMIT).await?;
        let channel = open(&address, &towards_python(true), MetadataMap::new()).await?;
        call(channel).await?;
    }
    Ok(())
}

#[tokio::test]
async fn python_client_calls_us_through_our_reverse_tunnel() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    for flow_control in [true, false] {
        let arguments = with_flag(&["--role", "revclient"], flow_control);
        let mut program = peers.python("tunnel_peer.py", &arguments)?;
        let address = program.line("listening ", LIMIT).await?;
        let metadata = MetadataMap::new();
        let _tunnel = serve_reverse(&address, &towards_python(true), metadata).await?;
        program.success(LIMIT).await?;
    }
    Ok(())
}
