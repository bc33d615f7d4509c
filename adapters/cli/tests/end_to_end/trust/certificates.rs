//! TLS and mutual TLS on every side, and certificates that are no good.

use std::time::Duration;

use grpctunnel_cli::{
    dial::{Dial, DialSettings},
    stop::{Ended, Stop},
};
use tonic::Code;

use super::{agent_of, certificate, secured, server_files, tls_caller};
use crate::support::{
    RunningAgent, Tested, bounded, caller, depot, gateway_with,
    pki::{Authority, Valid},
    stubs::GreetRequest,
    to,
};

#[tokio::test]
async fn every_side_speaks_tls_with_certificates_of_both_ends() -> Tested {
    bounded(async {
        let rules = ["cert:agent serve home", "cert:caller call home"];
        let (authority, gateway) = secured(&rules).await?;
        // The local server is a second gateway, which wants a certificate, too.
        let pair = authority.issue("second", &["127.0.0.1"])?;
        let files = server_files(&pair, Some(&authority.ca()));
        let second = gateway_with("127.0.0.1:0", |settings| {
            settings.trust.tls = Some(files);
            settings.trust.allow = ["cert:far serve far", "cert:agent call far"]
                .iter()
                .filter_map(|rule| rule.parse().ok())
                .collect();
        })
        .await?;
        let depot = depot("far").await?;
        let of = |name| authority.issue(name, &[name]);
        let (agent, far, dialler) = (of("agent")?, of("far")?, of("caller")?);
        let url = format!("https://{}", second.address);
        let far = certificate(&authority.ca(), Some(&far))?;
        let mut far = agent_of(&url, "far", depot.address, far)?;
        far.connected().await?;

        let url = format!("https://{}", gateway.address);
        let local = format!("https://{}", second.address).parse()?;
        let mut home = grpctunnel_cli::agent::Agent::new(url.parse()?, "home".parse()?, local);
        home.credentials = certificate(&authority.ca(), Some(&agent))?;
        home.local_credentials = home.credentials.clone();
        let mut home = RunningAgent::start(home);
        home.connected().await?;

        let mut settings = DialSettings::new(url.parse()?, "127.0.0.1:0".parse()?);
        settings.target = Some("home/far".parse()?);
        settings.credentials = certificate(&authority.ca(), Some(&dialler))?;
        let dial = Dial::bind(settings).await?;
        let address = dial.endpoint().tcp().ok_or("not TCP")?;
        tokio::spawn(dial.run(|_| {}, Stop::new()));
        let reply = caller(address)?.greet(GreetRequest::default()).await?;
        assert_eq!(reply.into_inner().text, "far greets ");

        // A caller of its own accord, without a tunnel.
        let tls = authority.trusting().identity(dialler.identity()?);
        let mut direct = tls_caller(gateway.address, tls)?;
        let reply = direct
            .greet(to("home/far", GreetRequest::default()))
            .await?;
        assert_eq!(reply.into_inner().text, "far greets ");
        Ok(())
    })
    .await
}

/// Why an agent with this certificate gives up, if it does.
async fn refused(valid: Valid, own_authority: bool) -> Tested<String> {
    let (authority, gateway) = secured(&["cert:agent serve home"]).await?;
    let stranger = Authority::new()?;
    let issuer = if own_authority { &authority } else { &stranger };
    // An agent refuses to begin with a certificate that has expired, so it presents it as another
    // program would.
    let pair = issuer.issue_valid("agent", &["agent"], valid)?;
    let tls = authority.trusting().identity(pair.identity()?);
    let mut caller = tls_caller(gateway.address, tls)?;
    let status = caller.greet(GreetRequest::default()).await;
    let status = status
        .err()
        .ok_or("a certificate that is no good was taken")?;
    assert!(
        matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Internal
        ),
        "{status:?}"
    );
    let mut gateway = gateway;
    gateway.refused().await
}

#[tokio::test]
async fn a_client_certificate_that_is_no_good_is_refused_in_the_handshake() -> Tested {
    bounded(async {
        for (valid, own, why) in [
            (Valid::Until2020, true, "expired on Wed, 01 Jan 2020"),
            (Valid::From2100, true, "not valid before Fri, 01 Jan 2100"),
            (
                Valid::Now,
                false,
                "from an authority that is not trusted here",
            ),
        ] {
            let said = refused(valid, own).await?;
            assert!(said.contains(why), "{valid:?}: {said}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_whose_certificate_is_refused_gives_up() -> Tested {
    bounded(async {
        let (authority, gateway) = secured(&["cert:agent serve home"]).await?;
        let stranger = Authority::new()?;
        let depot = depot("home").await?;
        let url = format!("https://{}", gateway.address);
        let foreign = stranger.issue("agent", &["agent"])?;
        for presented in [None, Some(&foreign)] {
            let credentials = certificate(&authority.ca(), presented)?;
            let mut agent = agent_of(&url, "home", depot.address, credentials)?;
            let why = agent.failed().await?;
            assert!(why.contains("refused"), "{why}");
            assert_eq!(agent.ended().await?, Ended::Refused);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_does_not_take_another_server_for_its_gateway() -> Tested {
    bounded(async {
        let depot = depot("home").await?;
        let (authority, stranger) = (Authority::new()?, Authority::new()?);
        for (issuer, names, why) in [
            (
                &stranger,
                "localhost",
                "an authority that is not trusted here",
            ),
            (&authority, "another.example.com", "not for 127.0.0.1"),
        ] {
            let pair = issuer.issue("gateway", &[names])?;
            let gateway = gateway_with("127.0.0.1:0", |settings| {
                settings.trust.tls = Some(server_files(&pair, None));
            })
            .await?;
            let url = format!("https://{}", gateway.address);
            let credentials = certificate(&authority.ca(), None)?;
            let mut agent = agent_of(&url, "home", depot.address, credentials)?;
            // It is the gateway that is at fault, and may be put right: more than --auth-retries.
            for _ in 0..6 {
                let said = agent.failed().await?;
                assert!(said.contains(why), "{said}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_revoked_certificate_loses_its_tunnel_and_its_calls_when_the_list_is_read() -> Tested {
    bounded(async {
        let authority = Authority::new()?;
        let pair = authority.issue("gateway", &["127.0.0.1", "localhost"])?;
        let (agent, other) = (
            authority.issue("agent", &["agent"])?,
            authority.issue("other", &["other"])?,
        );
        let mut files = server_files(&pair, Some(&authority.ca()));
        files.client_crl = Some(authority.revoke(&["nobody"])?);
        let mut trust = None;
        let mut gateway = gateway_with("127.0.0.1:0", |settings| {
            settings.trust.tls = Some(files);
            settings.drain_limit = Duration::from_secs(1);
            settings.trust.allow = [
                "cert:agent serve home",
                "* call *",
                "cert:other serve other",
            ]
            .iter()
            .filter_map(|rule| rule.parse().ok())
            .collect();
            trust = Some(settings.trust.clone());
        })
        .await?;
        let url = format!("https://{}", gateway.address);
        let (one, two) = (depot("home").await?, depot("other").await?);
        let credentials = |pair| certificate(&authority.ca(), Some(pair));
        let mut home = agent_of(&url, "home", one.address, credentials(&agent)?)?;
        home.connected().await?;
        let mut stays = agent_of(&url, "other", two.address, credentials(&other)?)?;
        stays.connected().await?;
        let tls = || authority.trusting();
        let mut by_revoked = tls_caller(gateway.address, tls().identity(agent.identity()?))?;
        by_revoked
            .greet(to("other", GreetRequest::default()))
            .await?;

        authority.revoke(&["agent"])?;
        gateway.control.trust(&trust.ok_or("no settings")?)?;
        assert_eq!(gateway.left().await?, "home");
        assert_eq!(home.ended().await?, Ended::Refused);
        // Its connection was there before, and is of no use to it now.
        let status = by_revoked.greet(to("other", GreetRequest::default())).await;
        assert_eq!(
            status.err().ok_or("answered")?.code(),
            Code::Unauthenticated
        );
        // The other one has noticed nothing.
        let mut by_other = tls_caller(gateway.address, tls().identity(other.identity()?))?;
        by_other.greet(to("other", GreetRequest::default())).await?;
        assert!(stays.events.try_recv().is_err());
        Ok(())
    })
    .await
}
