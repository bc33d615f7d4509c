//! The Go module's own test programs, at either end of either tunnel, with and without flow control.

use std::time::Duration;

use futures_util::future::try_join_all;
use grpctunnel_tests::interop::{
    InteropServer, Outcome, Peers, connection, open, options, serve_reverse,
};
use grpctunnel_tests::protos::tunneltest::TriggerTestRpCsRequest;
use grpctunnel_tests::protos::tunneltest::tunnel_test_service_client::TunnelTestServiceClient;
use grpctunnel_tests::services::send_batches;
use tonic::metadata::{MetadataMap, MetadataValue};

/// How long a program may take; each makes calls for 5 s.
const LIMIT: Duration = Duration::from_secs(60);
/// Flow control at our end, and at theirs.
const FLOW_CONTROL: [(bool, bool); 4] =
    [(true, true), (true, false), (false, true), (false, false)];

fn flag(theirs: bool) -> Option<&'static str> {
    (!theirs).then_some("-no-flow-control")
}

async fn their_client_succeeds(tunnel: &str) -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    try_join_all(FLOW_CONTROL.map(async |(ours, theirs)| {
        let server = InteropServer::new(options(ours)).start().await?;
        let port = server.address().port().to_string();
        let mut arguments = vec!["-server-port", &port, "-tunnel-type", tunnel];
        arguments.extend(flag(theirs));
        let client = peers.go("tunneltestclient", &arguments)?;
        let said = client.success(LIMIT).await;
        said.map_err(|error| format!("flow control {ours}, {theirs}: {error}"))?;
        Outcome::Ok(())
    }))
    .await?;
    Ok(())
}

#[tokio::test]
async fn tunneltestclient_calls_through_its_forward_tunnel() -> Outcome {
    their_client_succeeds("forward").await
}

#[tokio::test]
async fn tunneltestclient_serves_on_its_reverse_tunnel() -> Outcome {
    their_client_succeeds("reverse").await
}

#[tokio::test]
async fn tunneltestclient_has_both_tunnels() -> Outcome {
    their_client_succeeds("both").await
}

/// Runs `check` against a `tunneltestsvr` for each choice of flow control.
async fn with_their_server(check: impl AsyncFn(String, bool) -> Outcome) -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    try_join_all(FLOW_CONTROL.map(async |(ours, theirs)| {
        let mut arguments = vec!["-port", "0"];
        arguments.extend(flag(theirs));
        let mut server = peers.go("tunneltestsvr", &arguments)?;
        let address = server.line("Listening on ", LIMIT).await?;
        let checked = check(address, ours).await;
        checked.map_err(|error| format!("flow control {ours}, {theirs}: {error}"))?;
        Outcome::Ok(())
    }))
    .await?;
    Ok(())
}

#[tokio::test]
async fn our_forward_tunnel_carries_calls_to_tunneltestsvr() -> Outcome {
    with_their_server(async |address, flow_control| {
        let channel = open(&address, &options(flow_control), MetadataMap::new()).await?;
        send_batches(channel.clone(), Duration::from_secs(2)).await?;
        let closed = channel.closed();
        channel.drain(LIMIT);
        assert!(closed.await.is_clean());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn our_reverse_tunnel_carries_calls_from_tunneltestsvr() -> Outcome {
    with_their_server(async |address, flow_control| {
        let client_key = "a key that is ours";
        let mut metadata = MetadataMap::new();
        metadata.insert("test-client-key", MetadataValue::from_static(client_key));
        let tunnel = serve_reverse(&address, &options(flow_control), metadata).await?;
        let mut trigger = TunnelTestServiceClient::new(connection(&address).await?);
        let client_key = client_key.to_owned();
        let request = TriggerTestRpCsRequest { client_key };
        trigger.trigger_test_rp_cs(request).await?;
        assert_eq!(tunnel.active_calls(), 0);
        Ok(())
    })
    .await
}
