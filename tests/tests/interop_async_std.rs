//! gRPC's interoperability calls between ends on async-std and smol, our ends on tokio, and those
//! of the Go module.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use grpctunnel_tests::interop::calls::Calls;
use grpctunnel_tests::interop::cases::{Case, Table, names, play, results_of};
use grpctunnel_tests::interop::{
    InteropServer, Outcome, Peers, Process, connection, open, options, serve_reverse,
};
use grpctunnel_tests::services::Caller;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tonic::metadata::MetadataMap;

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(60);
const RUNTIMES: [&str; 2] = ["async-std", "smol"];
/// Flow control at the end without tokio, and at the other.
const FLOW_CONTROL: [(bool, bool); 3] = [(true, true), (true, false), (false, true)];

/// Starts the program with the ends on async-std and smol. It is built outside the workspace, where
/// it would have a runtime of tokio.
async fn ends(runtime: &str, flow_control: bool, command: &[&str]) -> Outcome<Process> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    let program = PROGRAM.get_or_try_init(build).await?;
    let off = (!flow_control).then_some("--no-flow-control");
    let mut program = Command::new(program);
    program.arg(runtime).args(off).args(command);
    Ok(Process::start(&mut program)?)
}

async fn build() -> Outcome<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("async-std");
    // Flags for this build, of coverage for example, are not meant for that one.
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--target-dir", "target"])
        .current_dir(&folder)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("LLVM_PROFILE_FILE")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{}: {errors}", built.status);
    Ok(folder.join("target/debug/interop-async-std"))
}

/// The variants of a test, and what one of them is called.
fn variants() -> impl Iterator<Item = (&'static str, bool, bool, String)> {
    RUNTIMES.into_iter().flat_map(|runtime| {
        FLOW_CONTROL.into_iter().map(move |(theirs, ours)| {
            let name = format!("{runtime}, flow control {theirs}, {ours}");
            (runtime, theirs, ours, name)
        })
    })
}

fn go<'a>(arguments: &[&'a str], flow_control: bool) -> Vec<&'a str> {
    let flag = (!flow_control).then_some("-no-flow-control");
    arguments.iter().copied().chain(flag).collect()
}

async fn mixed<T: Caller>(channel: T) -> Result<(), String> {
    let calls = Calls::extended(channel);
    calls.large().await?;
    calls.fail(7).await?;
    calls.mixed(50).await
}

#[tokio::test]
async fn they_call_a_server_on_tokio() -> Outcome {
    for (runtime, theirs, ours, name) in variants() {
        let server = InteropServer::new(options(ours)).start().await?;
        let address = server.address().to_string();
        for command in ["direct", "forward"] {
            let program = ends(runtime, theirs, &[command, &address]).await?;
            let said = program.success(LIMIT).await;
            said.map_err(|error| format!("{name}: {command}: {error}"))?;
        }
        let command = ["reverse", &address, "beach"];
        let mut program = ends(runtime, theirs, &command).await?;
        program.line("tunnel open", LIMIT).await?;
        let called = mixed(server.tunnel("beach").await).await;
        called.map_err(|error| format!("{name}: reverse: {error}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn they_are_called_by_clients_on_tokio() -> Outcome {
    for (runtime, theirs, ours, name) in variants() {
        let mut program = ends(runtime, theirs, &["serve"]).await?;
        let address = program.line("listening ", LIMIT).await?;
        let direct = mixed(connection(&address).await?).await;
        direct.map_err(|error| format!("{name}: direct: {error}"))?;
        let channel = open(&address, &options(ours), MetadataMap::new()).await?;
        let forward = mixed(channel).await;
        forward.map_err(|error| format!("{name}: forward: {error}"))?;
        let _tunnel = serve_reverse(&address, &options(ours), MetadataMap::new()).await?;
        let said = program.line("reverse: ", LIMIT).await?;
        assert_eq!(said, "ok", "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn they_are_called_by_the_go_module() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    for (runtime, theirs, ours, name) in variants() {
        let mut program = ends(runtime, theirs, &["serve"]).await?;
        let address = program.line("listening ", LIMIT).await?;
        for (client, arguments) in [
            ("interopclient", &["-tunnel", "direct"][..]),
            ("interopclient", &["-tunnel", "forward"]),
            (
                "mixed",
                &["-tunnel", "forward", "-calls", "50", "-echo", "-details"],
            ),
        ] {
            let mut arguments = go(arguments, ours);
            arguments.extend(["-server", &address]);
            let said = peers.go(client, &arguments)?.success(LIMIT).await;
            said.map_err(|error| format!("{name}: {client}: {error}"))?;
        }
        let arguments = go(&["-gateway", &address, "-name", "gopher"], ours);
        let mut server = peers.go("revserver", &arguments)?;
        server.line("tunnel open", LIMIT).await?;
        let said = program.line("reverse: ", LIMIT).await?;
        assert_eq!(said, "ok", "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn they_call_the_go_module() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    for (runtime, theirs, ours, name) in variants() {
        let mut server = peers.go("interopserver", &go(&["-listen", "127.0.0.1:0"], ours))?;
        let address = server.line("listening ", LIMIT).await?;
        for command in ["direct", "forward"] {
            let program = ends(runtime, theirs, &[command, &address]).await?;
            let said = program.success(LIMIT).await;
            said.map_err(|error| format!("{name}: {command}: {error}"))?;
        }
        let arguments = ["-name", "crab", "-mixed", "50", "-echo", "-details"];
        let mut client = peers.go("revclient", &go(&arguments, ours))?;
        let address = client.line("listening ", LIMIT).await?;
        let _program = ends(runtime, theirs, &["reverse", &address, "crab"]).await?;
        let said = client.success(LIMIT).await;
        said.map_err(|error| format!("{name}: reverse: {error}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn official_cases_with_every_end() -> Outcome {
    let mut table = Table::new(&[]);
    let all = names(Case::all());
    let client = async |runtime: &str, address: &str, cases: &[&str]| {
        let command = ["cases", address, &cases.join(",")];
        let said = ends(runtime, true, &command).await?.success(LIMIT).await?;
        Outcome::Ok(results_of(&said))
    };
    let server = InteropServer::new(options(true)).start().await?;
    let on_tokio = server.address().to_string();
    for runtime in RUNTIMES {
        let mut serving = ends(runtime, true, &["serve"]).await?;
        let address = serving.line("listening ", LIMIT).await?;
        let row = format!("ours on tokio, to ours on {runtime}, tunnel forward");
        let channel = open(&address, &options(true), MetadataMap::new()).await?;
        let forward = async |cases: &[&str]| play(channel.clone(), cases).await;
        table.row(&row, &all, forward).await?;
        for caller in RUNTIMES {
            let row = format!("ours on {caller}, to ours on {runtime}, tunnel forward");
            let forward = async |cases: &[&str]| client(caller, &address, cases).await;
            table.row(&row, &all, forward).await?;
        }
        let row = format!("ours on {runtime}, to ours on tokio, tunnel forward");
        let forward = async |cases: &[&str]| client(runtime, &on_tokio, cases).await;
        table.row(&row, &all, forward).await?;

        let row = format!("ours on {runtime}, to ours on tokio, tunnel reverse");
        let reverse = async |cases: &[&str]| {
            let mut program = Command::new(env!("CARGO_BIN_EXE_interop-client"));
            program.args(["--connect", &address, "--tunnel", "reverse"]);
            program.args(["--case", &cases.join(",")]);
            let said = Process::start(&mut program)?.success(LIMIT).await?;
            Ok(results_of(&said))
        };
        table.row(&row, &all, reverse).await?;

        let row = format!("ours on tokio, to ours on {runtime}, tunnel reverse");
        let mut program = ends(runtime, true, &["reverse", &on_tokio, runtime]).await?;
        program.line("tunnel open", LIMIT).await?;
        let channel = server.tunnel(runtime).await;
        let reverse = async |cases: &[&str]| play(channel.clone(), cases).await;
        table.row(&row, &all, reverse).await?;
    }
    let Some(peers) = Peers::get().await else {
        return table.finish();
    };
    let mut server = peers.go("interopserver", &["-listen", "127.0.0.1:0"])?;
    let address = server.line("listening ", LIMIT).await?;
    for runtime in RUNTIMES {
        let row = format!("ours on {runtime}, to Go server, tunnel forward");
        let forward = async |cases: &[&str]| client(runtime, &address, cases).await;
        table.row(&row, &names(Case::OFFICIAL), forward).await?;
    }
    table.finish()
}
