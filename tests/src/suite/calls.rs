//! Calls of all kinds, in both directions.

use std::time::Duration;

use grpctunnel_driver::Options;
use grpctunnel_http2::Settings;
use grpctunnel_tonic::{TunnelServer, connect, serve_reverse};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request};

use super::{Ends, Outcome, Server, flow_control, forward, open, open_on, reverse, run, runtime};
use crate::interop::calls::Calls;
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::protos::grpc::testing::{ResponseParameters, StreamingOutputCallRequest};
use crate::services::{Caller, official};

/// Calls of each kind alone, large ones, one that fails, and many at once. Of each, every byte,
/// header and trailer is checked.
async fn all_kinds<T: Caller>(channel: T) -> Outcome {
    let calls = Calls::extended(channel);
    calls.unary(1, 1_000).await?;
    calls.client_stream(2, 1_000, async {}).await?;
    calls.server_stream(3, 1_000).await?;
    calls.bidi(4, 1_000, async {}).await?;
    calls.cancel(5, 1_000, async {}).await?;
    calls.fail(6).await?;
    calls.large().await?;
    Ok(calls.mixed(50).await?)
}

/// # Errors
/// Where it fails.
pub fn a_forward_tunnel_carries_calls_of_all_kinds<E: Ends>() -> Outcome {
    run::<E>(async {
        for (ours, theirs) in [(true, true), (true, false), (false, true)] {
            let server = Server::start::<E, _>(forward::<E>(flow_control(theirs)))?;
            let carrier = E::dial(server.url(), Settings::tunnels()).await?;
            let options = flow_control(ours);
            let metadata = MetadataMap::new();
            let channel = connect(carrier, &runtime::<E>(), &options, metadata).await?;
            all_kinds(channel.clone()).await?;
            channel.close();
            assert!(channel.closed().await.is_clean());
        }
        Ok(())
    })
}

/// # Errors
/// Where it fails.
pub fn a_reverse_tunnel_carries_calls_of_all_kinds<E: Ends>() -> Outcome {
    run::<E>(async {
        for (ours, theirs) in [(true, true), (true, false), (false, true)] {
            let (tunnels, mut accepted) = reverse::<E>(flow_control(theirs));
            let server = Server::start::<E, _>(tunnels)?;
            let carrier = E::dial(server.url(), Settings::tunnels()).await?;
            let mut metadata = MetadataMap::new();
            metadata.insert("x-name", MetadataValue::from_static("agent"));
            let options = flow_control(ours);
            let runtime = runtime::<E>();
            let handle = serve_reverse(carrier, official(), &runtime, &options, metadata).await?;
            let tunnel = accepted.recv().await.ok_or("no tunnel")?;
            assert_eq!(tunnel.metadata.get("x-name").ok_or("no name")?, "agent");
            all_kinds(tunnel.channel.clone()).await?;
            drop(tunnel);
            handle.closed().await;
        }
        Ok(())
    })
}

/// # Errors
/// Where it fails.
pub fn calls_without_a_tunnel<E: Ends>() -> Outcome {
    run::<E>(async {
        let server = Server::start::<E, _>(TunnelServer::new())?;
        for settings in [Settings::tunnels(), Settings::calls()] {
            all_kinds(E::dial(server.url(), settings).await?).await?;
        }
        Ok(())
    })
}

/// # Errors
/// Where it fails.
pub fn a_tunnel_through_a_tunnel<E: Ends>() -> Outcome {
    run::<E>(async {
        let inner = forward::<E>(Options::default());
        let outer = TunnelServer::<E::Runtime>::new().forward(inner.clone());
        let server = Server::start::<E, _>(outer)?;
        let around = open::<E>(server.url()).await?;
        let metadata = MetadataMap::new();
        let within = connect(around, &runtime::<E>(), &Options::default(), metadata).await?;
        all_kinds(within.clone()).await?;
        drop(within);
        inner.drained().await;
        Ok(())
    })
}

/// # Errors
/// Where it fails.
pub fn a_tunnel_over_a_transport_of_ones_own<E: Ends>() -> Outcome {
    run::<E>(async {
        let carrier = E::over_a_pipe(forward::<E>(Options::default())).await?;
        let channel = open_on::<E>(carrier).await?;
        all_kinds(channel).await
    })
}

/// # Errors
/// Where it fails.
pub fn deadlines_and_cancelled_calls_end_at_both_ends<E: Ends>() -> Outcome {
    run::<E>(async {
        let server = Server::start::<E, _>(forward::<E>(Options::default()))?;
        let channel = open::<E>(server.url()).await?;

        let mut late = Request::new(endless());
        late.set_timeout(Duration::from_millis(50));
        let mut client = TestServiceClient::new(channel.clone());
        // It may be over before the response has begun.
        let late = match client.streaming_output_call(late).await {
            Ok(responses) => responses.into_inner().message().await.err(),
            Err(error) => Some(error),
        };
        let error = late.ok_or("no error")?;
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        assert_eq!(channel.active_calls(), 0);

        let responses = client.streaming_output_call(endless()).await?;
        assert_eq!(channel.active_calls(), 1);
        drop(responses);
        assert_eq!(channel.active_calls(), 0);
        Ok(())
    })
}

/// A request for an answer that does not come while a test runs.
pub(super) fn endless() -> StreamingOutputCallRequest {
    let never = ResponseParameters {
        interval_us: i32::MAX,
        ..ResponseParameters::default()
    };
    StreamingOutputCallRequest {
        response_parameters: vec![never],
        ..StreamingOutputCallRequest::default()
    }
}
