//! Nobody is who a header says, but by a token that the gateway itself accepts.

use grpctunnel_cli::{
    HOPS,
    auth::AUTHORIZATION,
    dial::{Dial, DialSettings},
    stop::Stop,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Code;

use super::{CALLER, HOME, OTHER, agent_of, by, gateway_of, token};
use crate::{
    raw,
    support::{RunningAgent, Tested, bounded, caller, depot, stubs::GreetRequest, to},
};

/// What somebody may try who wants to be another.
const TRIES: [(&str, &str); 6] = [
    (AUTHORIZATION, "Bearer caller-token-0123456789"),
    ("x-tunnel-identity", "token:caller"),
    ("x-tunnel-name", "home"),
    ("x-tunnel-instance", "0"),
    ("x-forwarded-client-cert", "URI=spiffe://caller"),
    ("x-forwarded-user", "caller"),
];

fn with(headers: &mut HeaderMap, token: Option<&str>) -> Tested {
    for (name, value) in TRIES {
        if token.is_none() || name != AUTHORIZATION {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
    }
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse()?);
    }
    Ok(())
}

#[tokio::test]
async fn headers_make_nobody_another() -> Tested {
    bounded(async {
        let rules = ["token:home serve home", "token:caller call home"];
        let gateway = gateway_of(&rules).await?;
        let (local, mut arrivals) = raw::server().await?;
        let url = format!("http://{}", gateway.address);
        let mut agent = agent_of(&url, "home", local, token(HOME)?)?;
        agent.connected().await?;
        let mut request = raw::request(gateway.address, "/a.B/C", b"")?;
        with(request.headers_mut(), Some(OTHER))?;
        request
            .headers_mut()
            .insert("x-tunnel-target", "home".parse()?);
        let response = raw::caller().request(request).await?;
        assert_eq!(raw::grpc_status(response.headers()), Some("14"));
        // Two tokens are none.
        let mut request = raw::request(gateway.address, "/a.B/C", b"")?;
        with(request.headers_mut(), Some(OTHER))?;
        let value = format!("Bearer {CALLER}").parse()?;
        request.headers_mut().append(AUTHORIZATION, value);
        let response = raw::caller().request(request).await?;
        assert_eq!(raw::grpc_status(response.headers()), Some("16"));
        assert!(arrivals.try_recv().is_err());
        Ok(())
    })
    .await
}

async fn dial(gateway: &str, target: &str, by: &str) -> Tested<std::net::SocketAddr> {
    let mut settings = DialSettings::new(gateway.parse()?, "127.0.0.1:0".parse()?);
    settings.target = Some(target.parse()?);
    settings.credentials = token(by)?;
    let dial = Dial::bind(settings).await?;
    let address = dial.endpoint().tcp().ok_or("not TCP")?;
    tokio::spawn(dial.run(|_| {}, Stop::new()));
    Ok(address)
}

#[tokio::test]
async fn whoever_uses_a_dialled_port_is_who_dialled() -> Tested {
    bounded(async {
        let rules = [
            "token:home serve home",
            "token:caller call home",
            "token:other call another",
        ];
        let gateway = gateway_of(&rules).await?;
        let (local, mut arrivals) = raw::server().await?;
        let url = format!("http://{}", gateway.address);
        let mut agent = agent_of(&url, "home", local, token(HOME)?)?;
        agent.connected().await?;
        // The port is dialled by somebody who may not; the caller's own token changes nothing.
        let address = dial(&url, "home", OTHER).await?;
        let mut request = raw::request(address, "/a.B/C", b"")?;
        with(request.headers_mut(), Some(CALLER))?;
        let response = raw::caller().request(request).await?;
        assert_eq!(raw::grpc_status(response.headers()), Some("14"));
        assert!(arrivals.try_recv().is_err());
        // And by somebody who may: nothing of what the caller says to be arrives.
        let address = dial(&url, "home", CALLER).await?;
        let mut request = raw::request(address, "/a.B/C", b"")?;
        with(request.headers_mut(), Some("nonsense-0123456789"))?;
        raw::caller().request(request).await?;
        let (head, _) = arrivals.recv().await.ok_or("nothing arrived")?;
        let ours = head
            .headers
            .keys()
            .filter(|key| key.as_str().starts_with("x-tunnel-"));
        assert_eq!(ours.collect::<Vec<_>>(), [HOPS]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn behind_a_chain_of_gateways_a_call_is_the_agents_in_between() -> Tested {
    bounded(async {
        let first = gateway_of(&["token:home serve hop", "* call hop"]).await?;
        let rules = [
            "token:home serve far",
            "token:home serve secret",
            "token:other call far",
        ];
        let second = gateway_of(&rules).await?;
        let (one, two) = (depot("far").await?, depot("secret").await?);
        let url = format!("http://{}", second.address);
        let mut far = agent_of(&url, "far", one.address, token(HOME)?)?;
        let mut secret = agent_of(&url, "secret", two.address, token(HOME)?)?;
        far.connected().await?;
        secret.connected().await?;
        let url = format!("http://{}", first.address).parse()?;
        let mut hop = grpctunnel_cli::agent::Agent::new(url, "hop".parse()?, second.address.into());
        hop.credentials = token(HOME)?;
        hop.local_credentials = token(OTHER)?;
        let mut hop = RunningAgent::start(hop);
        hop.connected().await?;
        let mut caller = caller(first.address)?;
        let greet = |way| by(HOME, to(way, GreetRequest::default()));
        let reply = caller.greet(greet("hop/far")?).await?.into_inner();
        assert_eq!(reply.text, "far greets ");
        // The second gateway knows the caller's token, and it never gets there.
        let status = caller.greet(greet("hop/secret")?).await;
        let status = status.err().ok_or("answered")?;
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "agent secret is not connected");
        Ok(())
    })
    .await
}
