//! The two programs that others call: what they say, and how they end.

use std::time::{Duration, Instant};

use grpctunnel_tests::interop::{Outcome, Process, connection, open, options};
use grpctunnel_tests::protos::grpc::testing::test_service_client::TestServiceClient;
use grpctunnel_tests::protos::grpc::testing::{
    Empty, ResponseParameters, StreamingOutputCallRequest,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::metadata::MetadataMap;

const LIMIT: Duration = Duration::from_secs(30);

async fn server(arguments: &[&str]) -> Outcome<(Process, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop-server"));
    command.args(["--listen", "127.0.0.1:0"]).args(arguments);
    let mut server = Process::start(&mut command)?;
    let address = server.line("listening ", LIMIT).await?;
    Ok((server, address))
}

/// Runs the probe and returns its last line.
async fn probe(address: &str, arguments: &[&str]) -> Outcome<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop-probe"));
    command
        .args(["--connect", address, "--case", "a case"])
        .args(arguments);
    let said = Process::start(&mut command)?.success(LIMIT).await?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn probe_makes_calls_of_each_kind() -> Outcome {
    for flags in [&[] as &[&str], &["--no-flow-control"]] {
        let (_server, address) = server(flags).await?;
        for (arguments, messages, bytes) in [
            (&[] as &[&str], 1, 314),
            (&["--call", "empty"], 1, 0),
            (&["--payload", "200000", "--resp", "200000"], 1, 200_000),
            (&["--call", "duplex"], 1, 314),
            (
                &["--call", "duplex", "--count", "9", "--resp", "70000"],
                9,
                630_000,
            ),
            (&["--call", "duplex", "--count", "0"], 0, 0),
            (
                &["--call", "upload", "--count", "9", "--payload", "70000"],
                1,
                0,
            ),
            (
                &[
                    "--start-delay-ms",
                    "5",
                    "--read-delay-ms",
                    "5",
                    "--linger-ms",
                    "5",
                ],
                1,
                314,
            ),
        ] {
            let expected =
                format!("code=0 msg=\"\" bystander=ok stage=call msgs={messages} bytes={bytes}");
            assert_eq!(probe(&address, arguments).await?, expected, "{arguments:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn probe_tells_a_call_that_missed_its_deadline() -> Outcome {
    let (_server, address) = server(&[]).await?;
    // More than a window, of which nothing is read before the deadline.
    let slow = ["--read-delay-ms", "1000", "--deadline-ms", "200"];
    let large = ["--call", "duplex", "--count", "9", "--resp", "70000"];
    let arguments = [slow.as_slice(), &large].concat();
    let said = probe(&address, &arguments).await?;
    assert!(said.starts_with("code=4 "), "{said}");
    assert!(
        said.ends_with(" bystander=ok stage=call msgs=0 bytes=0"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn probe_waits_once_before_it_reads() -> Outcome {
    let (_server, address) = server(&[]).await?;
    // With a wait for each of them it would not be done before the guard.
    let many = ["--call", "duplex", "--count", "1000", "--resp", "10"];
    let arguments = [many.as_slice(), &["--read-delay-ms", "50"]].concat();
    let said = probe(&address, &arguments).await?;
    let expected = "code=0 msg=\"\" bystander=ok stage=call msgs=1000 bytes=10000";
    assert_eq!(said, expected);
    Ok(())
}

#[tokio::test]
async fn probe_tells_an_answer_that_is_too_large() -> Outcome {
    let (_server, address) = server(&[]).await?;
    let said = probe(&address, &["--resp", "5000000"]).await?;
    assert!(said.starts_with("code=8 "), "{said}");
    assert!(
        said.ends_with(" bystander=ok stage=call msgs=0 bytes=0"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn probe_tells_a_tunnel_that_was_not_opened() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    drop(listener);
    let said = probe(&address, &[]).await?;
    assert!(said.starts_with("code=14 "), "{said}");
    assert!(
        said.ends_with(" bystander=none stage=open msgs=0 bytes=0"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn probe_gives_up_when_its_time_is_over() -> Outcome {
    // Connections are taken, and nothing is ever said on them.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let said = probe(&address, &["--guard-ms", "300"]).await?;
    assert!(said.starts_with("code=4 "), "{said}");
    assert!(
        said.ends_with(" bystander=none stage=guard msgs=0 bytes=0"),
        "{said}"
    );
    let (_server, address) = server(&[]).await?;
    let arguments = [
        "--call",
        "duplex",
        "--read-delay-ms",
        "60000",
        "--guard-ms",
        "1000",
    ];
    let said = probe(&address, &arguments).await?;
    assert!(said.starts_with("code=4 "), "{said}");
    assert!(
        said.ends_with(" bystander=ok stage=guard msgs=0 bytes=0"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn server_that_shuts_down_lets_live_calls_finish() -> Outcome {
    let (server, address) = server(&[]).await?;
    let channel = open(&address, &options(true), MetadataMap::new()).await?;
    let mut tunnelled = Live::begin(channel.clone()).await?;
    let mut direct = Live::begin(connection(&address).await?).await?;
    let id = server
        .id()
        .and_then(|id| Pid::from_raw(id.try_into().ok()?));
    kill_process(id.ok_or("the server has ended")?, Signal::USR1)?;

    let patience = Instant::now() + LIMIT;
    let mut client = TestServiceClient::new(channel);
    let refusal = loop {
        match client.empty_call(Empty {}).await {
            Err(refusal) => break refusal,
            Ok(_) => assert!(Instant::now() < patience, "new calls are taken"),
        }
    };
    assert_eq!(refusal.code(), Code::Unavailable, "{refusal}");
    tunnelled.exchange().await?;
    direct.exchange().await?;
    tunnelled.finish().await?;
    direct.finish().await?;
    server.success(LIMIT).await?;
    Ok(())
}

/// A bidirectional call that is under way.
struct Live {
    requests: mpsc::Sender<StreamingOutputCallRequest>,
    responses:
        tonic::Streaming<grpctunnel_tests::protos::grpc::testing::StreamingOutputCallResponse>,
}

impl Live {
    async fn begin(channel: impl grpctunnel_tests::services::Caller) -> Outcome<Self> {
        let (requests, receiver) = mpsc::channel(1);
        let mut client = TestServiceClient::new(channel);
        let responses = client
            .full_duplex_call(ReceiverStream::new(receiver))
            .await?;
        let mut live = Self {
            requests,
            responses: responses.into_inner(),
        };
        live.exchange().await?;
        Ok(live)
    }

    async fn exchange(&mut self) -> Outcome {
        let request = StreamingOutputCallRequest {
            response_parameters: vec![ResponseParameters::default()],
            ..StreamingOutputCallRequest::default()
        };
        self.requests.send(request).await?;
        self.responses.message().await?.ok_or("ended early")?;
        Ok(())
    }

    async fn finish(mut self) -> Outcome {
        drop(self.requests);
        assert!(self.responses.message().await?.is_none());
        Ok(())
    }
}
