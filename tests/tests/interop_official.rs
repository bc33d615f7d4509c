//! gRPC's interoperability calls between our ends and those of the Go module.

use std::time::Duration;

use grpctunnel_tests::interop::calls::Calls;
use grpctunnel_tests::interop::{InteropServer, Outcome, Peers, open, options, serve_reverse};
use grpctunnel_tests::protos::grpc::testing::test_service_client::TestServiceClient;
use grpctunnel_tests::protos::grpc::testing::{
    Empty, ResponseParameters, StreamingOutputCallRequest,
};
use grpctunnel_tests::services::Caller;
use tokio::time::timeout;
use tonic::metadata::{MetadataMap, MetadataValue};

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Flow control at our end, and at theirs.
const FLOW_CONTROL: [(bool, bool); 4] =
    [(true, true), (true, false), (false, true), (false, false)];

fn with_flag<'a>(arguments: &[&'a str], theirs: bool) -> Vec<&'a str> {
    let flag = (!theirs).then_some("-no-flow-control");
    arguments.iter().copied().chain(flag).collect()
}

/// Runs a Go program against our server, which is to end well.
async fn their_program_succeeds(name: &str, arguments: &[&str]) -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    for (ours, theirs) in FLOW_CONTROL {
        let server = InteropServer::new(options(ours)).start().await?;
        let address = server.address().to_string();
        let mut arguments = with_flag(arguments, theirs);
        arguments.extend(["-server", &address]);
        let said = peers.go(name, &arguments)?.success(LIMIT).await;
        said.map_err(|error| format!("flow control {ours}, {theirs}: {error}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn official_client_calls_us_without_a_tunnel() -> Outcome {
    their_program_succeeds("interopclient", &["-tunnel", "direct"]).await
}

#[tokio::test]
async fn official_client_calls_us_through_a_forward_tunnel() -> Outcome {
    their_program_succeeds("interopclient", &["-tunnel", "forward"]).await
}

#[tokio::test]
async fn fifty_mixed_calls_and_large_messages_reach_us_through_one_tunnel() -> Outcome {
    let arguments = ["-tunnel", "forward", "-calls", "50", "-echo", "-details"];
    their_program_succeeds("mixed", &arguments).await
}

#[tokio::test]
async fn fifty_mixed_calls_and_large_messages_reach_a_go_server_through_one_tunnel() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    for (ours, theirs) in FLOW_CONTROL {
        let arguments = with_flag(&["-listen", "127.0.0.1:0"], theirs);
        let mut server = peers.go("interopserver", &arguments)?;
        let address = server.line("listening ", LIMIT).await?;
        let channel = open(&address, &options(ours), MetadataMap::new()).await?;
        let checked = mixed(&Calls::extended(channel.clone())).await;
        checked.map_err(|error| format!("flow control {ours}, {theirs}: {error}"))?;
        let closed = channel.closed();
        channel.drain(LIMIT);
        assert!(closed.await.is_clean());
    }
    Ok(())
}

#[tokio::test]
async fn fifty_mixed_calls_reach_a_go_server_through_its_reverse_tunnel() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    for (ours, theirs) in FLOW_CONTROL {
        let server = InteropServer::new(options(ours)).start().await?;
        let address = server.address().to_string();
        let arguments = with_flag(&["-gateway", &address, "-name", "gopher"], theirs);
        let mut program = peers.go("revserver", &arguments)?;
        program.line("tunnel open", LIMIT).await?;
        let channel = server.tunnel("gopher").await;
        let checked = mixed(&Calls::extended(channel)).await;
        checked.map_err(|error| format!("flow control {ours}, {theirs}: {error}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn fifty_mixed_calls_of_a_go_client_reach_us_through_our_reverse_tunnel() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    for (ours, theirs) in FLOW_CONTROL {
        let arguments = ["-name", "crab", "-mixed", "50", "-echo", "-details"];
        let mut program = peers.go("revclient", &with_flag(&arguments, theirs))?;
        let address = program.line("listening ", LIMIT).await?;
        let mut metadata = MetadataMap::new();
        metadata.insert("x-tunnel-name", MetadataValue::from_static("crab"));
        let tunnel = serve_reverse(&address, &options(ours), metadata).await?;
        let said = program.success(LIMIT).await;
        said.map_err(|error| format!("flow control {ours}, {theirs}: {error}"))?;
        tunnel.abort();
    }
    Ok(())
}

#[tokio::test]
async fn downloads_that_are_read_slowly_or_dropped_stop_nobody() -> Outcome {
    for (ours, theirs) in FLOW_CONTROL {
        let server = InteropServer::new(options(theirs)).start().await?;
        let channel = open(server.address(), &options(ours), MetadataMap::new()).await?;
        download(channel).await?;
    }
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    for (ours, theirs) in FLOW_CONTROL {
        let arguments = with_flag(&["-listen", "127.0.0.1:0"], theirs);
        let mut server = peers.go("interopserver", &arguments)?;
        let address = server.line("listening ", LIMIT).await?;
        let channel = open(&address, &options(ours), MetadataMap::new()).await?;
        let done = download(channel).await;
        done.map_err(|error| format!("flow control {ours}, {theirs}: {error}"))?;
    }
    Ok(())
}

/// Asks for more than a tunnel holds unread, takes it as it comes, and makes another call each time.
async fn download<T: Caller>(channel: T) -> Outcome {
    const MESSAGES: usize = 1_000;
    let mut client = TestServiceClient::new(channel);
    let size = ResponseParameters {
        size: 16 << 10,
        ..ResponseParameters::default()
    };
    let request = StreamingOutputCallRequest {
        response_parameters: vec![size; MESSAGES],
        ..StreamingOutputCallRequest::default()
    };
    for wanted in [1, MESSAGES / 4, MESSAGES / 2, MESSAGES] {
        let responses = client.streaming_output_call(request.clone()).await?;
        let mut responses = responses.into_inner();
        for received in 0..wanted {
            let response = timeout(LIMIT, responses.message()).await??;
            response.ok_or_else(|| format!("the end after {received} messages"))?;
        }
        drop(responses);
        timeout(LIMIT, client.empty_call(Empty {})).await??;
    }
    Ok(())
}

async fn mixed<T: Caller>(calls: &Calls<T>) -> Outcome {
    calls.large().await?;
    calls.fail(7).await?;
    calls.mixed(50).await?;
    Ok(())
}
