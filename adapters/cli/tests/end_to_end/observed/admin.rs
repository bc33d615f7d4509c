//! The admin port: who is answered, and what.

use super::{Running, TOKEN, ask, get, token_file};
use crate::support::{Tested, bounded, caller, depot, pki::Authority, stubs::GreetRequest, to};

#[tokio::test]
async fn a_command_says_how_it_is_doing() -> Tested {
    bounded(async {
        let depot = depot("depot").await?;
        let (_gateway, address, admin) = Running::gateway(&[]).await?;
        let (_agent, agents_admin) = Running::agent(address, "pi", depot.address).await?;
        for admin in [admin, agents_admin] {
            let health = get(admin, "/healthz").await?;
            assert_eq!(
                (health.status, &*health.json()?["status"].to_string()),
                (200, "\"ok\"")
            );
            let ready = get(admin, "/ready").await?;
            assert_eq!(
                (ready.status, ready.json()?["ready"].as_bool()),
                (200, Some(true))
            );
        }
        let request = GreetRequest {
            name: "x".to_owned(),
        };
        caller(address)?.greet(to("pi", request)).await?;
        let shown = get(admin, "/tunnels").await?.json()?;
        assert_eq!(shown["command"], "gateway");
        let tunnel = &shown["tunnels"][0];
        for (key, value) in [
            ("name", "pi"),
            ("way", "agent"),
            ("state", "open"),
            ("identity", "anybody"),
        ] {
            assert_eq!(tunnel[key], value, "{shown}");
        }
        assert_eq!(tunnel["calls"], 1);
        let shown = get(agents_admin, "/tunnels").await?.json()?;
        let tunnel = &shown["tunnels"][0];
        assert_eq!(tunnel["peer"], format!("http://{address}"));
        assert_eq!(
            (&tunnel["name"], &tunnel["state"]),
            (&"pi".into(), &"open".into())
        );

        let head = ask(admin, "HEAD", "/healthz", &["host: localhost"]).await?;
        assert_eq!((head.status, &*head.body), (200, ""));
        assert_eq!(get(admin, "/secret").await?.status, 404);
        let posted = ask(admin, "POST", "/ready", &["host: localhost"]).await?;
        assert_eq!(posted.status, 405);
        assert!(posted.head.contains("allow: get, head"), "{}", posted.head);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_without_a_gateway_is_not_ready_and_says_why() -> Tested {
    bounded(async {
        let depot = depot("depot").await?;
        let unused = std::net::TcpListener::bind("127.0.0.1:0")?;
        let gateway = unused.local_addr()?;
        drop(unused);
        let agent = Running::agent_that_tries(gateway, "pi", depot.address)?;
        let admin = agent.admin().await?;
        agent.err.having("connection refused", 1).await?;
        // It may not have begun yet.
        loop {
            let ready = get(admin, "/ready").await?;
            assert_eq!(ready.status, 503);
            if ready.json()?["why"] == "no tunnel for pi" {
                break;
            }
        }
        loop {
            let shown = get(admin, "/tunnels").await?.json()?;
            let why = shown["tunnels"][0]["why"].as_str();
            if why.is_some_and(|why| why.contains("connection refused")) {
                return Ok(());
            }
        }
    })
    .await
}

#[tokio::test]
async fn only_its_own_name_leads_to_an_admin_port() -> Tested {
    bounded(async {
        let more = ["--admin-host", "admin.example.com"];
        let (_gateway, _, admin) = Running::gateway(&more).await?;
        for (host, status) in [
            ("127.0.0.1:1", 200),
            ("localhost", 200),
            ("admin.example.com", 200),
            ("rebound.example.com", 421),
        ] {
            for path in ["/", "/healthz", "/tunnels", "/metrics"] {
                let answered = ask(admin, "GET", path, &[&format!("host: {host}")]).await?;
                assert_eq!(answered.status, status, "{host}{path}");
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_agent_is_drained_by_whoever_has_the_token() -> Tested {
    bounded(async {
        let depot = depot("depot").await?;
        let token = token_file()?;
        let path = token.path().to_str().ok_or("not UTF-8")?;
        let (gateway, address, admin) = Running::gateway(&["--admin-token-file", path]).await?;
        let (agent, _) = Running::agent(address, "pi", depot.address).await?;
        let drain = "/tunnels/pi/drain";
        let (host, token) = ("host: localhost", format!("authorization: Bearer {TOKEN}"));
        for (headers, status) in [
            (&[host][..], 401),
            (&[host, "authorization: Bearer 0123456789abcdef"], 401),
            (&[host, &token, "origin: http://evil.example"], 403),
            (&[host, &token, "sec-fetch-site: cross-site"], 403),
            (&["host: evil.example", &token], 421),
        ] {
            let refused = ask(admin, "POST", drain, headers).await?;
            assert_eq!(refused.status, status, "{headers:?}");
        }
        assert_eq!(ask(admin, "GET", drain, &[host, &token]).await?.status, 405);
        // Reading wants it, too; but not whether it is alive.
        assert_eq!(get(admin, "/tunnels").await?.status, 401);
        assert_eq!(get(admin, "/metrics").await?.status, 401);
        assert_eq!(get(admin, "/ready").await?.status, 200);
        for (path, status) in [
            ("/tunnels/nobody/drain", 404),
            ("/tunnels/a%20b/drain", 400),
            ("/tunnels/pi/admit", 404),
        ] {
            assert_eq!(
                ask(admin, "POST", path, &[host, &token]).await?.status,
                status,
                "{path}"
            );
        }
        let drained = ask(admin, "POST", drain, &[host, &token]).await?;
        assert_eq!(
            (drained.status, drained.json()?["tunnels"].as_u64()),
            (200, Some(1))
        );
        // It comes back, and is not taken.
        agent.err.having("is drained", 1).await?;
        let shown = ask(admin, "GET", "/tunnels", &[host, &token])
            .await?
            .json()?;
        assert_eq!(shown["drained"], serde_json::json!(["pi"]));
        assert_eq!(shown["tunnels"], serde_json::json!([]));
        let admitted = ask(admin, "POST", "/tunnels/pi/admit", &[host, &token]).await?;
        assert_eq!(admitted.status, 200);
        gateway.err.having("agent joined", 2).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn nothing_is_changed_without_a_token() -> Tested {
    bounded(async {
        let (_gateway, _, admin) = Running::gateway(&[]).await?;
        let refused = ask(admin, "POST", "/tunnels/pi/drain", &["host: localhost"]).await?;
        assert_eq!(refused.status, 403);
        assert!(
            refused.body.contains("--admin-token-file"),
            "{}",
            refused.body
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn beyond_loopback_an_admin_port_needs_tls_and_a_token() -> Tested {
    bounded(async {
        let authority = Authority::new()?;
        let pair = authority.issue("admin", &["localhost"])?;
        let (cert, key) = (
            pair.cert.to_str().ok_or("UTF-8")?,
            pair.key.to_str().ok_or("UTF-8")?,
        );
        let token = token_file()?;
        let token = token.path().to_str().ok_or("not UTF-8")?;
        let tls = ["--admin-tls-cert", cert, "--admin-tls-key", key];
        let with_token = ["--admin-token-file", token];
        for more in [&[][..], &tls, &with_token] {
            let mut arguments = vec!["gateway", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0"];
            arguments.extend(more);
            let output = crate::program::program(&arguments).output().await?;
            assert_eq!(output.status.code(), Some(2), "{more:?}");
            let said = String::from_utf8(output.stderr)?;
            for part in [
                "--admin 0.0.0.0:0",
                "--admin-tls-cert",
                "--admin-token-file",
            ] {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
        let mut arguments = vec!["gateway", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0"];
        arguments.extend(tls);
        arguments.extend(with_token);
        let gateway = Running::start(&arguments)?;
        gateway.out.rest("admin on https://0.0.0.0:").await?;
        Ok(())
    })
    .await
}
