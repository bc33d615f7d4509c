//! The rows of the catalogue that end or survive a stream or a tunnel, played over loopback by peers
//! that misbehave against `interop-server` and `interop-probe` as processes. For each row the abused
//! stream ends as it must, a bystander on the same tunnel gets all its bytes, or ends with the
//! tunnel, and the process serves on.

#![cfg(feature = "net")]

mod server_rows;
mod tunnel;

use std::time::Duration;

use grpctunnel_tests::interop::{Outcome, Process};
use tokio::process::Command;

use tunnel::{Play, serves_on};

const LIMIT: Duration = Duration::from_secs(30);

/// `interop-server` as a process, and where it listens.
async fn server(arguments: &[&str]) -> Outcome<(Process, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop-server"));
    command.args(["--listen", "127.0.0.1:0"]).args(arguments);
    let mut server = Process::start(&mut command)?;
    let address = server.line("listening ", LIMIT).await?;
    Ok((server, address))
}

/// Plays against one process, which serves on after each.
async fn play_all(plays: Vec<Play>, arguments: &[&str]) -> Outcome {
    let (server, address) = server(arguments).await?;
    let mut wrong = Vec::new();
    for play in plays {
        let name = play.name;
        if let Err(error) = play.run(&address, server.id()).await {
            wrong.push(format!("{name}: {error}"));
        }
        if let Err(error) = serves_on(&address).await {
            return Err(format!("after {name}: {error}").into());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[tokio::test]
async fn a_server_survives_every_client() -> Outcome {
    let plays = server_rows::plays().into_iter();
    let plays = plays.filter(|play| !play.is_old && !play.is_last);
    play_all(plays.collect(), &[]).await
}

#[tokio::test]
async fn a_server_without_flow_control_survives_every_client() -> Outcome {
    let plays = server_rows::plays().into_iter();
    let plays = plays.filter(|play| play.is_old);
    play_all(plays.collect(), &["--no-flow-control"]).await
}

#[tokio::test]
async fn a_server_that_drains_finishes_what_is_open() -> Outcome {
    let plays = server_rows::plays().into_iter();
    for play in plays.filter(|play| play.is_last) {
        let (server, address) = server(&[]).await?;
        let name = play.name;
        let played = play.run(&address, server.id()).await;
        played.map_err(|error| format!("{name}: {error}"))?;
        server.success(LIMIT).await?;
    }
    Ok(())
}
