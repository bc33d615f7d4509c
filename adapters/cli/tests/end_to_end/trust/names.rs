//! A caller who tries names learns nothing.

use tonic::{Code, Request, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{CALLER, HOME, OTHER, agent_of, by, gateway_of, token};
use crate::support::{Tested, bounded, caller, depot, stubs::GreetRequest, to};

const RULES: [&str; 3] = [
    "token:home serve home",
    "token:other serve other",
    "token:caller call home,nobody",
];

/// What a caller sees of a refusal, with the name taken out.
fn seen(status: &Status, name: &str) -> (Code, String, Vec<String>) {
    let text = status.message().replace(name, "NAME");
    let metadata = status.metadata().as_ref();
    let metadata = metadata
        .iter()
        .map(|(key, value)| format!("{key}: {value:?}"));
    (status.code(), text, metadata.collect())
}

#[tokio::test]
async fn a_forbidden_name_looks_like_an_unknown_one() -> Tested {
    bounded(async {
        let mut gateway = gateway_of(&RULES).await?;
        let url = format!("http://{}", gateway.address);
        let (one, two) = (depot("home").await?, depot("other").await?);
        let mut home = agent_of(&url, "home", one.address, token(HOME)?)?;
        let mut other = agent_of(&url, "other", two.address, token(OTHER)?)?;
        home.connected().await?;
        other.connected().await?;
        let mut caller = caller(gateway.address)?;
        let mut ask = async |name: &'static str| {
            let request = by(CALLER, to(name, GreetRequest::default()))?;
            let status = caller.greet(request).await.err().ok_or("answered")?;
            Tested::Ok(seen(&status, name))
        };
        let (forbidden, unknown) = (ask("other").await?, ask("nobody").await?);
        assert_eq!(forbidden, unknown);
        assert_eq!(forbidden.0, Code::Unavailable);
        assert_eq!(ask("other/further").await?.0, unknown.0);
        // Whoever reads the log of the gateway can tell them apart.
        let said = gateway.refused().await?;
        assert!(
            said.contains("to other") && said.contains("no rule allows it"),
            "{said}"
        );
        let said = gateway.refused().await?;
        assert!(
            said.contains("to nobody") && said.contains("not connected"),
            "{said}"
        );
        // Without a name there is one agent for this caller, and none for another.
        let greet = || Request::new(GreetRequest::default());
        let mut caller = crate::support::caller(gateway.address)?;
        let reply = caller.greet(by(CALLER, greet())?).await?.into_inner();
        assert_eq!(reply.text, "home greets ");
        let status = caller
            .greet(by(OTHER, greet())?)
            .await
            .err()
            .ok_or("answered")?;
        assert_eq!(status.message(), "no agent is connected");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_health_of_a_forbidden_name_is_that_of_an_unknown_one() -> Tested {
    bounded(async {
        let gateway = gateway_of(&RULES).await?;
        let url = format!("http://{}", gateway.address);
        let depot = depot("other").await?;
        let mut other = agent_of(&url, "other", depot.address, token(OTHER)?)?;
        other.connected().await?;
        let channel = tonic::transport::Endpoint::from_shared(url)?.connect_lazy();
        let mut health = HealthClient::new(channel);
        let ask = |name: &str| {
            let service = name.to_owned();
            by(CALLER, Request::new(HealthCheckRequest { service }))
        };
        let mut refused = async |name| {
            let status = health.check(ask(name)?).await.err().ok_or("answered")?;
            Tested::Ok(seen(&status, name))
        };
        assert_eq!(refused("other").await?, refused("nobody").await?);
        for name in ["other", "nobody"] {
            let channel =
                tonic::transport::Endpoint::from_shared(format!("http://{}", gateway.address))?;
            let mut health = HealthClient::new(channel.connect_lazy());
            let mut watch = health.watch(ask(name)?).await?.into_inner();
            let first = watch.message().await?.ok_or("ended")?;
            assert_eq!(first.status(), ServingStatus::ServiceUnknown, "{name}");
        }
        Ok(())
    })
    .await
}
