//! How tunnels, connections and servers end.

use std::error::Error as _;
use std::net::TcpListener;
use std::pin::pin;

use futures_util::future::{Either, select};
use grpctunnel_driver::{NeverProcessed, Options};
use grpctunnel_http2::Settings;
use tokio::sync::oneshot;
use tonic::Code;

use super::calls::endless;
use super::{Ends, Outcome, SOON, Server, forward, open, run};
use crate::interop::calls::Calls;
use crate::protos::grpc::testing::Empty;
use crate::protos::grpc::testing::test_service_client::TestServiceClient;

/// # Errors
/// Where it fails.
pub fn a_drained_tunnel_refuses_calls_and_ends<E: Ends>() -> Outcome {
    run::<E>(async {
        let tunnels = forward::<E>(Options::default());
        let server = Server::start::<E, _>(tunnels.clone())?;
        let channel = open::<E>(server.url()).await?;
        Calls::official(channel.clone()).unary(1, 10).await?;
        assert_eq!(tunnels.tunnels(), 1);

        channel.drain(SOON);
        let mut client = TestServiceClient::new(channel.clone());
        let error = client.empty_call(Empty {}).await.err().ok_or("no error")?;
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        let source = error.source().ok_or("no source")?;
        assert!(source.is::<NeverProcessed>());
        assert!(channel.closed().await.is_clean());
        tunnels.drained().await;
        Ok(())
    })
}

/// # Errors
/// Where it fails.
pub fn a_shutdown_waits_for_open_calls<E: Ends>() -> Outcome {
    run::<E>(async {
        let tunnels = forward::<E>(Options::default());
        let mut server = Server::start::<E, _>(tunnels.clone())?;
        let (url, address) = (server.url(), server.address);
        let channel = open::<E>(url).await?;
        let calls = Calls::official(channel.clone());

        let (begin, begun) = oneshot::channel::<()>();
        let (finish, finishing) = oneshot::channel::<()>();
        // It pauses after its first answer.
        let mut open = pin!(calls.bidi(1, 1_000, async {
            let _ = begin.send(());
            let _ = finishing.await;
        }));
        if let Either::Left(_) = select(open.as_mut(), begun).await {
            return Err("the call has ended".into());
        }
        server.stop();
        let mut client = TestServiceClient::new(channel.clone());
        let refused = pin!(async {
            loop {
                if let Err(error) = client.empty_call(Empty {}).await {
                    return error;
                }
            }
        });
        match select(open.as_mut(), refused).await {
            Either::Left(_) => return Err("the open call has ended".into()),
            Either::Right((error, _)) => assert_eq!(error.code(), Code::Unavailable, "{error}"),
        }
        let _ = finish.send(());
        open.await?;
        channel.closed().await;
        server.stopped().await?;
        tunnels.drained().await;
        assert_eq!(tunnels.tunnels(), 0);
        // Nobody listens there.
        drop(TcpListener::bind(address)?);
        Ok(())
    })
}

/// # Errors
/// Where it fails.
pub fn a_shutdown_cuts_calls_at_the_end_of_its_grace<E: Ends>() -> Outcome {
    run::<E>(async {
        let tunnels = forward::<E>(Options::default());
        let mut server = Server::start_with::<E, _>(tunnels, Settings::tunnels(), SOON)?;
        let channel = open::<E>(server.url()).await?;
        let mut client = TestServiceClient::new(channel);
        let mut responses = client.streaming_output_call(endless()).await?.into_inner();
        server.stop();
        let error = responses.message().await.err().ok_or("no error")?;
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        server.stopped().await
    })
}

/// # Errors
/// Where it fails.
pub fn a_tunnel_is_opened_again_after_its_server_was_gone<E: Ends>() -> Outcome {
    run::<E>(async {
        let mut server = Server::start::<E, _>(forward::<E>(Options::default()))?;
        let carrier = E::dial(server.url(), Settings::tunnels()).await?;
        let channel = super::open_on::<E>(carrier.clone()).await?;
        Calls::official(channel.clone()).unary(1, 10).await?;
        let gone = server.url();
        server.stop();
        channel.closed().await;
        server.stopped().await?;

        for error in [
            TestServiceClient::new(channel)
                .empty_call(Empty {})
                .await
                .err(),
            TestServiceClient::new(carrier)
                .empty_call(Empty {})
                .await
                .err(),
        ] {
            let error = error.ok_or("no error")?;
            assert_eq!(error.code(), Code::Unavailable, "{error}");
        }
        assert!(E::dial(gone, Settings::tunnels()).await.is_err());

        let server = Server::start::<E, _>(forward::<E>(Options::default()))?;
        let channel = open::<E>(server.url()).await?;
        Ok(Calls::official(channel).unary(2, 10).await?)
    })
}
