//! Heavy use of tunnels between our ends and those of the Go module, and peers that stop, pause and
//! die in the middle.

use std::fs;
use std::time::Duration;

use grpctunnel_tests::interop::calls::Calls;
use grpctunnel_tests::interop::{InteropServer, Outcome, Peers, Process, open, options};
use grpctunnel_tests::protos::grpc::testing::test_service_client::TestServiceClient;
use grpctunnel_tests::protos::grpc::testing::{Empty, StreamingInputCallRequest};
use grpctunnel_tokio::Channel;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request};

/// How long a program or a call may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a process is stopped.
const PAUSE: Duration = Duration::from_secs(2);
/// Calls of a soak, and how long they may take, on a busy machine.
const SOAK: usize = 10_000;
const SOAK_LIMIT: Duration = Duration::from_secs(300);
/// The same for the Go programs, which end by themselves.
const THEIR_LIMIT: &str = "-timeout=300s";

async fn our_server() -> Outcome<(Process, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop-server"));
    command.args(["--listen", "127.0.0.1:0"]);
    let mut server = Process::start(&mut command)?;
    let address = server.line("listening ", LIMIT).await?;
    Ok((server, address))
}

async fn go_server(peers: &Peers, more: &[&str]) -> Outcome<(Process, Channel)> {
    let arguments = [&["-listen", "127.0.0.1:0"], more].concat();
    let mut server = peers.go("interopserver", &arguments)?;
    let address = server.line("listening ", LIMIT).await?;
    let channel = open(&address, &options(true), MetadataMap::new()).await?;
    Ok((server, channel))
}

fn signal(process: &Process, signal: Signal) -> Outcome {
    let id = process.id().ok_or("the process has ended")?;
    let id = Pid::from_raw(id.try_into()?).ok_or("no process has this id")?;
    Ok(kill_process(id, signal)?)
}

/// Stops a process and waits until all its threads stand still: the signal only asks for it.
async fn stop(process: &Process) -> Outcome {
    signal(process, Signal::STOP)?;
    let id = process.id().ok_or("the process has ended")?;
    let stopped = async {
        while !stands_still(id)? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Outcome::Ok(())
    };
    timeout(LIMIT, stopped).await?
}

/// Whether every thread is in state T; see proc(5). The name before it may hold any character.
fn stands_still(process: u32) -> Outcome<bool> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let status = fs::read_to_string(thread?.path().join("stat"))?;
        let (_, state) = status.rsplit_once(") ").ok_or("no thread's status")?;
        if !state.starts_with('T') {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A Go program with its case against our server, as a process.
async fn go_calls(case: &[&str]) -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let (_server, address) = our_server().await?;
    let arguments = [&["-server", &address, "-case"], case].concat();
    let said = peers.go("stress", &arguments)?.success(SOAK_LIMIT).await?;
    println!("{}: {}", case.join(" "), said.replace('\n', " "));
    Ok(())
}

#[tokio::test]
async fn messages_of_all_sizes_both_ways() -> Outcome {
    let (_server, address) = our_server().await?;
    let ours = open(&address, &options(true), MetadataMap::new()).await?;
    Calls::extended(ours).sizes().await?;
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let (_server, channel) = go_server(&peers, &[]).await?;
    Calls::extended(channel).sizes().await?;
    go_calls(&["sizes"]).await
}

#[tokio::test]
async fn uploads_pass_a_reader_that_does_not_read() -> Outcome {
    let (_server, address) = our_server().await?;
    let ours = open(&address, &options(true), MetadataMap::new()).await?;
    Calls::extended(ours).slow_reader().await?;
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let (_server, channel) = go_server(&peers, &[]).await?;
    Calls::extended(channel).slow_reader().await?;
    go_calls(&["slow_reader"]).await
}

#[tokio::test]
async fn ten_thousand_calls_of_ours() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let (_server, channel) = go_server(&peers, &[THEIR_LIMIT]).await?;
    timeout(SOAK_LIMIT, Calls::extended(channel.clone()).soak(SOAK)).await??;
    assert_eq!(channel.active_calls(), 0);
    Ok(())
}

#[tokio::test]
async fn ten_thousand_calls_of_a_go_client() -> Outcome {
    go_calls(&["soak", THEIR_LIMIT, "-calls", &SOAK.to_string()]).await
}

#[tokio::test]
async fn calls_of_a_go_client_outlive_our_shutdown() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let (server, address) = our_server().await?;
    let mut client = peers.go("stress", &["-server", &address, "-case", "in_flight"])?;
    client.line("in flight", LIMIT).await?;
    signal(&server, Signal::USR1)?;
    client.success(LIMIT).await?;
    server.success(LIMIT).await?;
    Ok(())
}

#[tokio::test]
async fn our_calls_outlive_the_shutdown_of_a_go_server() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let mut server = peers.go("interopserver", &["-listen", "127.0.0.1:0", "-graceful"])?;
    let address = server.line("listening ", LIMIT).await?;
    let channel = open(&address, &options(true), MetadataMap::new()).await?;
    // A new call is no way to see that it takes none: the module refuses it without noting its id,
    // and the half-close behind it ends the whole tunnel. It listens no longer, which is seen.
    let stopped = async {
        let signalled = signal(&server, Signal::TERM);
        while signalled.is_ok() && TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, Calls::extended(channel.clone()).in_flight(stopped)).await??;
    channel.close();
    server.success(LIMIT).await?;
    Ok(())
}

#[tokio::test]
async fn a_go_client_that_streams_small_messages_survives_our_pause() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let (server, address) = our_server().await?;
    let arguments = ["-server", &address, "-case", "trickle", "-for", "4s"];
    let mut client = peers.go("stress", &arguments)?;
    client.line("begun", LIMIT).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop(&server).await?;
    tokio::time::sleep(PAUSE).await;
    signal(&server, Signal::CONT)?;
    let said = client.success(LIMIT).await?;
    println!("with a pause of {PAUSE:?}: {}", said.replace('\n', " "));
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_stopped_goes_on_where_it_was() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let (server, channel) = go_server(&peers, &[]).await?;
    let mut client = TestServiceClient::new(channel.clone());
    client.empty_call(Empty {}).await?;
    stop(&server).await?;
    let mut call = Request::new(Empty {});
    call.set_timeout(Duration::from_millis(300));
    let late = client.empty_call(call).await.err().ok_or("it succeeded")?;
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    // Without an answer for 3 s it is known.
    let silent = async {
        while channel.state().takes_calls() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, silent).await?;
    signal(&server, Signal::CONT)?;
    let again = async {
        while !channel.state().takes_calls() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, again).await?;
    Calls::extended(channel).mixed(50).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_killed_ends_its_calls() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let (server, channel) = go_server(&peers, &[]).await?;
    let mut client = TestServiceClient::new(channel.clone());
    client.empty_call(Empty {}).await?;
    let open = tokio::spawn(async move {
        let nothing = tokio_stream::pending::<StreamingInputCallRequest>();
        client.streaming_input_call(nothing).await
    });
    while channel.active_calls() == 0 {
        tokio::task::yield_now().await;
    }
    signal(&server, Signal::KILL)?;
    let ended = timeout(LIMIT, open).await??.err().ok_or("it succeeded")?;
    assert_eq!(ended.code(), Code::Unavailable, "{ended}");
    assert!(!timeout(LIMIT, channel.closed()).await?.is_clean());
    Ok(())
}

#[tokio::test]
async fn an_agent_that_is_killed_ends_its_calls_and_no_other() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let server = InteropServer::new(options(true)).start().await?;
    let address = server.address().to_string();
    let mut programs = Vec::new();
    for name in ["one", "two"] {
        let mut program = peers.go("revserver", &["-gateway", &address, "-name", name])?;
        program.line("tunnel open", LIMIT).await?;
        programs.push(program);
    }
    let (one, two) = (server.tunnel("one").await, server.tunnel("two").await);
    let mut client = TestServiceClient::new(one.clone());
    let open = tokio::spawn(async move {
        let nothing = tokio_stream::pending::<StreamingInputCallRequest>();
        client.streaming_input_call(nothing).await
    });
    while one.active_calls() == 0 {
        tokio::task::yield_now().await;
    }
    let [victim, _other] = &programs[..] else {
        return Err("there are two programs".into());
    };
    signal(victim, Signal::KILL)?;
    let ended = timeout(LIMIT, open).await??.err().ok_or("it succeeded")?;
    assert_eq!(ended.code(), Code::Unavailable, "{ended}");
    Calls::extended(two).mixed(50).await?;
    Ok(())
}
