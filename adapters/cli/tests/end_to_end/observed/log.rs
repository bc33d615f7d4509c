//! Log lines: their form, and how many there are.

use std::time::Duration;

use serde_json::Value;
use tonic::Code;

use super::Running;
use crate::support::{Tested, bounded, caller, depot, stubs::GreetRequest, to};

fn greeting(name: &str) -> GreetRequest {
    GreetRequest {
        name: name.to_owned(),
    }
}

fn fields(line: &str) -> Tested<Value> {
    Ok(serde_json::from_str(line)?)
}

#[tokio::test]
async fn a_failed_call_is_one_line_with_all_that_is_known_of_it() -> Tested {
    bounded(async {
        let depot = depot("depot").await?;
        let (gateway, address, _) = Running::gateway(&["--log", "json"]).await?;
        let (agent, _) = Running::agent(address, "pi", depot.address).await?;
        let mut caller = caller(address)?;
        caller.greet(to("pi", greeting("x"))).await?;
        let status = caller.greet(to("pi", greeting("fail"))).await.err();
        assert_eq!(status.map(|status| status.code()), Some(Code::NotFound));
        let status = caller.greet(to("nobody", greeting("x"))).await.err();
        assert_eq!(status.map(|status| status.code()), Some(Code::Unavailable));
        gateway.err.having("call failed", 2).await?;
        agent.err.having("call failed", 1).await?;
        of_agent(&agent.terminated().await?);
        of_gateway(&gateway.terminated().await?)
    })
    .await
}

/// The line of an agent, for people.
#[track_caller]
fn of_agent(said: &[String]) {
    let failed = said.iter().filter(|line| line.contains("call failed"));
    let failed: Vec<_> = failed.collect();
    assert_eq!(failed.len(), 1, "{said:#?}");
    for part in [
        " INFO call failed ",
        "name=\"pi\"",
        "code=\"NOT_FOUND\"",
        "/Greet\"",
    ] {
        assert!(
            failed.iter().all(|line| line.contains(part)),
            "{part}: {failed:?}"
        );
    }
}

/// The lines of a gateway, for programs.
fn of_gateway(said: &[String]) -> Tested {
    let said: Vec<_> = said
        .iter()
        .map(|line| fields(line))
        .collect::<Tested<_>>()?;
    for line in &said {
        for key in ["timestamp", "level", "message"] {
            assert!(line[key].is_string(), "{key}: {line}");
        }
    }
    let is_greet = |line: &&Value| {
        let method = line["method"].as_str();
        method.is_some_and(|method| method.ends_with("/Greet"))
    };
    let of_calls: Vec<_> = said.iter().filter(is_greet).collect();
    let [failed, refused] = &*of_calls else {
        return Err(format!("not a line for each: {said:#?}").into());
    };
    for (key, value) in [
        ("message", "call failed"),
        ("level", "INFO"),
        ("name", "pi"),
        ("code", "NOT_FOUND"),
        ("identity", "anybody"),
        ("why", depot::TEXT),
    ] {
        assert_eq!(failed[key], value, "{failed}");
    }
    let peer = failed["peer"].as_str();
    assert!(peer.is_some_and(|peer| peer.starts_with("127.0.0.1:")));
    assert!(
        failed["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0)
    );
    for (key, value) in [
        ("level", "WARN"),
        ("code", "UNAVAILABLE"),
        ("why", "agent nobody is not connected"),
    ] {
        assert_eq!(refused[key], value, "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn every_failed_call_is_logged_or_counted_as_left_out() -> Tested {
    bounded(async {
        let (gateway, address, _) = Running::gateway(&["--log", "json"]).await?;
        let mut caller = caller(address)?;
        let mut made = 0;
        loop {
            // At first more than there may be lines for.
            for _ in 0..if made == 0 { 200 } else { 1 } {
                assert!(caller.greet(to("nobody", greeting("x"))).await.is_err());
                made += 1;
            }
            let told = gateway.err.find(|lines| {
                let failed = lines.iter().filter(|line| line.contains("call failed"));
                let told = failed.map(|line| {
                    let left_out = fields(line).ok()?["left_out"].as_u64();
                    Some(1 + left_out.unwrap_or_default())
                });
                told.sum::<Option<u64>>().filter(|told| *told == made)
            });
            // The last line that was left out is told of by the next line that there is time for.
            if tokio::time::timeout(Duration::from_secs(1), told)
                .await
                .is_ok()
            {
                return Ok(());
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_level_leaves_out_what_is_below() -> Tested {
    bounded(async {
        let depot = depot("depot").await?;
        let (gateway, address, _) = Running::gateway(&["--log-level", "warn"]).await?;
        let (_agent, _) = Running::agent(address, "pi", depot.address).await?;
        let mut caller = caller(address)?;
        assert!(caller.greet(to("pi", greeting("fail"))).await.is_err());
        assert!(caller.greet(to("nobody", greeting("x"))).await.is_err());
        let lines = gateway.err.having("", 1).await?;
        assert!(
            lines.iter().all(|line| line.contains(" WARN ")),
            "{lines:#?}"
        );
        assert!(
            lines
                .iter()
                .any(|line| line.contains("code=\"UNAVAILABLE\"")),
            "{lines:#?}"
        );
        Ok(())
    })
    .await
}
