//! `grpctunnel bench` measures the ways that there are, and says what it cannot.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    program::program,
    support::{Tested, agent, bounded, depot, gateway},
    trust::{OTHER, gateway_of},
};

/// The figures, and the exit code.
async fn bench(gateway: &str, name: &str, more: &[&str]) -> Tested<(Value, Option<i32>)> {
    let mut command = program(&["bench", "--json", "--seconds", "1", "--calls", "40"]);
    command
        .args(["--gateway", gateway, "--name", name])
        .args(more);
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let shown = match output.stdout.is_empty() {
        true => said.into(),
        false => serde_json::from_slice(&output.stdout)?,
    };
    Ok((shown, output.status.code()))
}

fn way<'v>(figures: &'v Value, to: &str) -> &'v Value {
    let ways = figures["ways"].as_array();
    let way = ways.and_then(|ways| ways.iter().find(|way| way["to"] == to));
    way.unwrap_or(&Value::Null)
}

fn assert_measured(way: &Value, throughput: bool) {
    // Fewer than there may be, where the time was over first.
    let calls = way["calls"].as_u64().unwrap_or(0);
    assert!((1..=40).contains(&calls), "{way}");
    // What is missing is not a number, and compares to nothing.
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let latency = |name: &str| number(way["latency_ms"].get(name).unwrap_or(&Value::Null));
    assert!(latency("p50") > 0.0, "{way}");
    assert!(
        latency("p50") <= latency("p99") && latency("p99") <= latency("max"),
        "{way}"
    );
    assert!(number(&way["calls_per_second"]) > 0.0, "{way}");
    let carried = way["mib_per_second"].as_f64();
    assert_eq!(
        carried.is_some_and(|carried| carried > 0.0),
        throughput,
        "{way}"
    );
}

#[tokio::test]
async fn the_tunnel_is_measured_beside_the_direct_way() -> Tested {
    bounded(async {
        let mut server = program(&["bench", "--listen", "127.0.0.1:0"]).spawn()?;
        let mut lines = BufReader::new(server.stdout.take().ok_or("no stdout")?).lines();
        let line = lines.next_line().await?.ok_or("ended early")?;
        let local = line.strip_prefix("listening on ").ok_or("another line")?;
        let gateway = gateway().await?;
        let _agent = agent(gateway.address, "home", local.parse()?).await?;
        let url = format!("http://{}", gateway.address);
        let direct = format!("http://{local}");
        let (figures, code) = bench(&url, "home", &["--direct", &direct]).await?;
        assert_eq!(code, Some(0), "{figures}");
        for to in ["agent", "server", "direct"] {
            assert_measured(way(&figures, to), true);
        }
        let (figures, code) = bench(&url, ".", &[]).await?;
        assert_eq!(code, Some(0), "{figures}");
        assert_measured(way(&figures, "gateway"), true);

        let mut table = program(&["bench", "--gateway", &url, "--name", "home"]);
        table.args(["--seconds", "1", "--calls", "40"]);
        let shown = String::from_utf8(table.output().await?.stdout)?;
        for row in ["agent", "server", "p99", "calls a second", "MiB/s"] {
            assert!(shown.contains(row), "{row}: {shown}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn any_server_answers_small_calls() -> Tested {
    bounded(async {
        let gateway = gateway().await?;
        let depot = depot("home").await?;
        let _agent = agent(gateway.address, "home", depot.address).await?;
        let url = format!("http://{}", gateway.address);
        let direct = format!("http://{}", depot.address);
        let (figures, code) = bench(&url, "home", &["--direct", &direct]).await?;
        assert_eq!(code, Some(0), "{figures}");
        assert_measured(way(&figures, "agent"), true);
        assert_measured(way(&figures, "server"), false);
        assert_measured(way(&figures, "direct"), false);
        let notes = figures["notes"].to_string();
        assert!(notes.contains("bench --listen"), "{notes}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_cannot_be_measured_is_told_by_its_reason() -> Tested {
    bounded(async {
        let gateway = gateway_of(&["token:home serve home"]).await?;
        let url = format!("http://{}", gateway.address);
        let (said, code) = bench(&url, "home", &[]).await?;
        assert_eq!(code, Some(4), "{said}");
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("token");
        std::fs::write(&path, OTHER)?;
        let path = path.display().to_string();
        let (said, code) = bench(&url, "home", &["--token-file", &path]).await?;
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.to_string().contains("agent home is not connected"),
            "{said}"
        );
        let (said, code) = bench("http://127.0.0.1:9", "home", &[]).await?;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.to_string().contains("connection refused"), "{said}");
        Ok(())
    })
    .await
}
