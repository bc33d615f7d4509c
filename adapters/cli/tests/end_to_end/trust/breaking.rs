//! A local server that fails is left alone, where that is wanted.

use std::time::Duration;

use grpctunnel_cli::agent::Breaking;
use tonic::Code;

use crate::support::{
    Tested, agent_with, bounded, caller, depot, depot_at, gateway, stubs::GreetRequest,
};

#[tokio::test]
async fn a_local_server_that_fails_again_and_again_is_left_alone_and_tried_again() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let depot = depot("depot").await?;
        let address = depot.address;
        drop(depot);
        let mut breaking = Breaking::after(2);
        breaking.pause = Duration::from_millis(300);
        let _agent = agent_with(gateway.address, "a", address, |agent| {
            agent.breaking = Some(breaking);
        })
        .await?;
        let mut caller = caller(gateway.address)?;
        let mut greet = async || caller.greet(GreetRequest::default()).await;
        let mut texts = Vec::new();
        for _ in 0..3 {
            let status = greet().await.err().ok_or("answered")?;
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            texts.push(status.message().to_owned());
        }
        assert!(texts[1].contains("connection refused"), "{texts:?}");
        assert!(texts[2].contains("left alone"), "{texts:?}");
        let _depot = depot_at(&address.to_string(), "again").await?;
        while let Err(status) = greet().await {
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })
    .await
}
