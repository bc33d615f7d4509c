//! The rows of the catalogue that end or survive a stream or a tunnel, played over loopback by peers
//! that misbehave against `interop-server` and `interop-probe` as processes. For each row the abused
//! stream ends as it must, a bystander on the same tunnel gets all its bytes, or ends with the
//! tunnel, and the process serves on.

mod case;
mod client_rows;
mod coverage;
mod messages;
mod peer;
mod play;
mod server_rows;
mod tunnel;

use std::path::Path;
use std::time::Duration;

use grpctunnel_tests::interop::probe::{Outcome as Bystander, Stage};
use grpctunnel_tests::interop::{Outcome, Process};
use tokio::process::Command;

use case::Case;
use play::Play;
use tunnel::serves_on;

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

/// The arguments of the probe for one case.
fn line(address: &str, case: &str, arguments: &[&str]) -> String {
    let arguments = arguments.join(" ");
    format!("--connect {address} --case {case} --bystander-bytes 100000 {arguments}\n")
}

/// What the probe is to say of this case, without the text and the counts.
fn is_right(case: &Case, said: &str) -> bool {
    let (code, stage, bystander) = case.expected;
    let stage = match stage {
        Stage::Open => "open",
        Stage::Call => "call",
        Stage::Guard => "guard",
    };
    let bystander = match bystander {
        Bystander::Ok => "ok",
        Bystander::Fail => "fail",
        Bystander::None => "none",
    };
    let middle = format!(" bystander={bystander} stage={stage} msgs=");
    let counted = said.rsplit_once(&middle).map(|(_, counts)| counts);
    let messages = case.messages.map(|messages| format!("{messages} bytes="));
    said.starts_with(&format!("{} msg=", i32::from(code)))
        && counted.is_some_and(|counts| counts.starts_with(&messages.unwrap_or_default()))
}

/// Plays the cases against one process, in which a call over a new tunnel succeeds after each.
async fn play_cases(name: &str, cases: fn() -> Vec<Case>) -> Outcome {
    let address = peer::serve(cases()).await?;
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut lines = String::new();
    for case in cases() {
        lines += &line(&address, case.name, case.arguments);
        lines += &line(&address, "honest", &[]);
    }
    std::fs::write(&file, lines)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop-probe"));
    let mut probe = Process::start(command.arg(format!("@{}", file.display())))?;
    let mut wrong = Vec::new();
    for case in cases() {
        let said = probe.line("code=", LIMIT).await?;
        if !is_right(&case, &said) {
            wrong.push(format!("{}: code={said}", case.name));
        }
        let said = probe.line("code=", LIMIT).await?;
        if said != "0 msg=\"\" bystander=ok stage=call msgs=1 bytes=314" {
            wrong.push(format!("after {}: code={said}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    probe.success(LIMIT).await?;
    Ok(())
}

#[tokio::test]
async fn a_client_survives_every_server() -> Outcome {
    play_cases("interop_play", client_rows::cases).await
}

#[tokio::test]
async fn a_client_gives_up_a_server_that_does_not_answer() -> Outcome {
    play_cases("interop_play_unanswered", client_rows::unanswered).await
}

#[tokio::test]
async fn a_client_gives_up_a_server_that_does_not_settle() -> Outcome {
    play_cases("interop_play_silent", client_rows::silent).await
}
