//! `grpctunnel check` names the step that is at fault, for each fault that there can be.

mod servers;

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    program::program,
    support::{
        Tested, agent_with, bounded, depot, gateway, gateway_with,
        pki::{Authority, Valid},
    },
    trust::{CALLER, HOME, OTHER, gateway_of, secured, token, tokens},
};

/// What a check said of one gateway, and its exit code.
struct Checked {
    report: Value,
    code: Option<i32>,
}

impl Checked {
    /// The step that failed, what was found there, and what to do.
    fn failed(&self) -> (&str, String) {
        let step = self
            .report
            .get("failed")
            .and_then(Value::as_str)
            .unwrap_or("none");
        let finding = self.of(step);
        let text = |key| finding.get(key).and_then(Value::as_str).unwrap_or_default();
        (step, format!("{} -> {}", text("detail"), text("advice")))
    }

    fn of(&self, step: &str) -> &Value {
        let steps = self.report.get("steps").and_then(Value::as_array);
        let found = steps.and_then(|steps| steps.iter().find(|one| is_step(one, step)));
        found.unwrap_or(&Value::Null)
    }
}

fn is_step(finding: &Value, step: &str) -> bool {
    finding.get("step").and_then(Value::as_str) == Some(step)
}

async fn check(url: &str, more: &[&str]) -> Tested<Checked> {
    check_with(&["--gateway", url], more).await
}

async fn check_with(first: &[&str], more: &[&str]) -> Tested<Checked> {
    let mut command = program(&["check", "--json", "--idle", "0"]);
    command.args(first).args(more).env_remove("HTTPS_PROXY");
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let reports: Vec<Value> = serde_json::from_slice(&output.stdout).map_err(|_| said)?;
    Ok(Checked {
        report: reports.into_iter().next().ok_or("no report")?,
        code: output.status.code(),
    })
}

/// Checks that this step fails, with these words in what is told.
async fn fails(url: &str, more: &[&str], step: &str, words: &[&str]) -> Tested {
    let checked = check(url, more).await?;
    let (failed, said) = checked.failed();
    assert_eq!(failed, step, "{}", checked.report);
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
    let code = if step == "credentials" { 4 } else { 1 };
    assert_eq!(checked.code, Some(code), "{said}");
    // Nothing is tried behind the step that failed.
    let steps = checked
        .report
        .get("steps")
        .and_then(Value::as_array)
        .ok_or("no steps")?;
    assert!(steps.last().is_some_and(|last| is_step(last, step)));
    Ok(())
}

fn http(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// The URL whose host is `localhost`.
fn https(address: SocketAddr) -> String {
    format!("https://localhost:{}", address.port())
}

#[tokio::test]
async fn a_good_gateway_passes_every_step() -> Tested {
    bounded(async {
        let (authority, gateway) = secured(&["cert:agent serve home"]).await?;
        let pair = authority.issue("agent", &["agent"])?;
        let depot = depot("home").await?;
        let files = [authority.ca(), pair.cert, pair.key].map(|path| path.display().to_string());
        let [ca, cert, key] = &files;
        let local = http(depot.address);
        let more = [
            "--name", "home", "--ca", ca, "--cert", cert, "--key", key, "--local", &local,
            "--idle", "1",
        ];
        let url = https(gateway.address);
        let mut command = program(&["check", "--gateway", &url]);
        let output = command.args(more).output().await?;
        let shown = String::from_utf8(output.stdout)?;
        assert_eq!(output.status.code(), Some(0), "{shown}");
        for step in [
            "name",
            "tcp",
            "tls",
            "http2",
            "credentials",
            "tunnel",
            "revision",
            "extensions",
            "round-trip",
            "throughput",
            "idle",
            "local",
        ] {
            assert!(
                shown.contains(&format!("  ok    {step}")),
                "{step}: {shown}"
            );
        }
        for found in ["localhost, 127.0.0.1", "MiB/s", "TRANSPARENT", "TLS 1.3"] {
            assert!(shown.contains(found), "{found}: {shown}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_options_of_an_agent_may_be_in_its_configuration() -> Tested {
    bounded(async {
        let gateway = gateway_of(&["token:home serve home"]).await?;
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("token"), HOME)?;
        let file = dir.path().join("grpctunnel.toml");
        let text = format!(
            "[agent]\ngateway = [\"{}\"]\nname = \"home\"\nlocal = \"{}\"\ntoken-file = \"token\"\n\
             connections = 2\n",
            http(gateway.address),
            http(depot("home").await?.address),
        );
        std::fs::write(&file, text)?;
        let file = file.display().to_string();
        let checked = check_with(&["--config", &file], &[]).await?;
        assert_eq!(
            checked.of("credentials")["outcome"],
            "passed",
            "{}",
            checked.report
        );
        assert_eq!(checked.report["name"], "home");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn faults_below_tls_are_told_by_their_step() -> Tested {
    bounded(async {
        let unknown = "http://no-such-host.invalid:7000";
        fails(unknown, &[], "name", &["no-such-host.invalid", "DNS"]).await?;
        let refused = http(servers::nobody().await?);
        fails(&refused, &[], "tcp", &["connection refused", "running"]).await?;
        let (hole, _held) = servers::black_hole().await?;
        let words = ["no answer in time", "firewall"];
        fails(&http(hole), &["--timeout", "2"], "tcp", &words).await?;
        let silent = http(servers::silent().await?);
        fails(&silent, &["--timeout", "2"], "http2", &["said nothing"]).await?;
        let closing = http(servers::closing().await?);
        fails(&closing, &[], "http2", &["turned away"]).await?;
        let http1 = http(servers::saying("HTTP/1.1 400 Bad Request\r\n\r\n").await?);
        fails(&http1, &[], "http2", &["HTTP/1", "grpc_pass"]).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn faults_of_a_proxy_are_told_by_their_step() -> Tested {
    bounded(async {
        let gateway = http(gateway().await?.address);
        let at = http(servers::nobody().await?);
        let proxy = ["--proxy", &at];
        fails(
            &gateway,
            &proxy,
            "tcp",
            &["refused", "is the proxy running"],
        )
        .await?;
        let at = http(servers::saying("HTTP/1.1 403 Forbidden\r\n\r\n").await?);
        fails(
            &gateway,
            &["--proxy", &at],
            "proxy",
            &["refused", "CONNECT"],
        )
        .await?;
        let line = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
        let at = http(servers::saying(line).await?);
        fails(&gateway, &["--proxy", &at], "proxy", &["USER:PASSWORD"]).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn faults_of_tls_are_told_by_their_step() -> Tested {
    bounded(async {
        let authority = Authority::new()?;
        let ca = authority.ca().display().to_string();
        let trusting = ["--ca", &ca];
        let good = authority.issue("good", &["localhost"])?;

        let plain = gateway().await?;
        fails(
            &https(plain.address),
            &trusting,
            "tls",
            &["plaintext", "http://"],
        )
        .await?;
        let server = servers::tls(&good, &["h2"], None).await?;
        let words = ["speaks TLS", "https://", "--ca"];
        fails(&http(server), &[], "tls", &words).await?;
        let (_, secured) = secured(&["* serve *"]).await?;
        fails(&http(secured.address), &[], "tls", &words).await?;

        let unknown = Authority::new()?;
        let own = unknown.issue("own", &["localhost"])?;
        let server = servers::tls(&own, &["h2"], None).await?;
        let words = ["not trusted", "issued by", "--ca"];
        fails(&https(server), &trusting, "tls", &words).await?;
        let old = authority.issue_valid("old", &["localhost"], Valid::Until2020)?;
        let server = servers::tls(&old, &["h2"], None).await?;
        let words = ["expired", "01 Jan 2020", "renew"];
        fails(&https(server), &trusting, "tls", &words).await?;
        let new = authority.issue_valid("new", &["localhost"], Valid::From2100)?;
        let server = servers::tls(&new, &["h2"], None).await?;
        let words = ["not valid before", "01 Jan 2100", "clock"];
        fails(&https(server), &trusting, "tls", &words).await?;
        let other = authority.issue("other", &["other.example"])?;
        let server = servers::tls(&other, &["h2"], None).await?;
        let words = ["localhost", "other.example", "--server-name"];
        fails(&https(server), &trusting, "tls", &words).await?;

        for alpn in [&[][..], &["http/1.1"]] {
            let server = servers::tls(&good, alpn, None).await?;
            fails(&https(server), &trusting, "http2", &["ALPN"]).await?;
        }
        let server = servers::tls(&good, &["h2"], Some(&authority.ca())).await?;
        let words = ["none was presented", "--cert"];
        fails(&https(server), &trusting, "credentials", &words).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn faults_of_credentials_are_told_by_their_step() -> Tested {
    bounded(async {
        let gateway = gateway_of(&["token:home serve home"]).await?;
        let url = http(gateway.address);
        let dir = tempfile::tempdir()?;
        let file = |name: &str, token: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, token).map(|()| path.display().to_string())
        };
        let home = ["--name", "home"];
        fails(
            &url,
            &home,
            "credentials",
            &["neither a token", "--token-file"],
        )
        .await?;
        let unknown = file("unknown", "unknown-token-0123456789")?;
        let wrong = ["--name", "home", "--token-file", &unknown];
        fails(&url, &wrong, "credentials", &["UNAUTHENTICATED", &unknown]).await?;
        let caller = file("caller", CALLER)?;
        let forbidden = ["--name", "home", "--token-file", &caller];
        let words = ["PERMISSION_DENIED", "token:caller", "--allow"];
        fails(&url, &forbidden, "credentials", &words).await?;
        let line = ["check", "--gateway", &url, "--token-file", "no-such-file"];
        let output = program(&line).output().await?;
        assert_eq!(output.status.code(), Some(2));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn faults_of_the_tunnel_are_told_by_their_step() -> Tested {
    bounded(async {
        let depot = depot("no gateway").await?;
        fails(
            &http(depot.address),
            &[],
            "tunnel",
            &["UNIMPLEMENTED", "no gateway"],
        )
        .await?;
        let head = &[
            ("content-type", "application/grpc"),
            ("grpc-status", "14"),
            ("grpc-message", "draining"),
        ];
        let draining = servers::http2(200, head).await?;
        fails(
            &http(draining),
            &[],
            "tunnel",
            &["draining", "shutting down"],
        )
        .await?;
        let page = servers::http2(502, &[("server", "nginx"), ("content-type", "text/html")]);
        fails(&http(page.await?), &[], "tunnel", &["502", "nginx"]).await?;

        let full = gateway_with("127.0.0.1:0", |settings| {
            settings.trust.tokens = Some(tokens());
            settings.trust.allow = "* serve *".parse().into_iter().collect();
            settings.trust.limits = "* tunnels=1".parse().into_iter().collect();
        })
        .await?;
        let credentials = token(OTHER)?;
        let _agent = agent_with(full.address, "other", depot.address, |agent| {
            agent.credentials = credentials;
        })
        .await?;
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("token");
        std::fs::write(&path, OTHER)?;
        let path = path.display().to_string();
        let more = ["--token-file", &path];
        fails(
            &http(full.address),
            &more,
            "tunnel",
            &["RESOURCE_EXHAUSTED"],
        )
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_local_server_that_is_down_is_told() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let local = http(servers::nobody().await?);
        let more = ["--name", "home", "--local", &local];
        fails(
            &http(gateway.address),
            &more,
            "local",
            &["connection refused"],
        )
        .await
    })
    .await
}

#[tokio::test]
async fn a_tunnel_that_is_cut_while_it_is_idle_is_told() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let (between, cut) = servers::between(gateway.address).await?;
        let url = http(between);
        let mut checking = program(&["check", "--gateway", &url, "--idle", "3600"]).spawn()?;
        let stdout = checking.stdout.take().ok_or("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if line.contains("throughput") {
                break;
            }
        }
        cut.send_replace(true);
        let mut rest = String::new();
        while let Some(line) = lines.next_line().await? {
            rest += &line;
        }
        assert!(rest.contains("FAIL  idle"), "{rest}");
        assert!(rest.contains("load balancer"), "{rest}");
        assert_eq!(checking.wait().await?.code(), Some(1));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn callers_are_answered_by_another_agent_while_a_check_goes_on() -> Tested {
    use crate::support::{agent, caller, stubs::GreetRequest, to};
    bounded(async {
        let mut gateway = gateway().await?;
        let depot = depot("home").await?;
        let _agent = agent(gateway.address, "home", depot.address).await?;
        let url = http(gateway.address);
        let mut checking = program(&[
            "check",
            "--gateway",
            &url,
            "--name",
            "home",
            "--idle",
            "3600",
        ])
        .spawn()?;
        for _ in 0..2 {
            gateway.joined().await?;
        }
        let mut caller = caller(gateway.address)?;
        for _ in 0..20 {
            caller.greet(to("home", GreetRequest::default())).await?;
        }
        checking.kill().await?;
        Ok(())
    })
    .await
}
