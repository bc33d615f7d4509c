//! gRPC's official cases between our ends and the real peers. A table says what ran against whom,
//! and what passed.

use std::time::Duration;

use grpctunnel_tests::interop::cases::{Case, Defect, Results, Table, names, play, results_of};
use grpctunnel_tests::interop::{InteropServer, Outcome, Peers, Process, options};
use grpctunnel_tokio::{BinDialect, Options};
use tokio::process::Command;

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Flow control at our end, and at theirs.
const FLOW_CONTROL: [(bool, bool); 4] =
    [(true, true), (true, false), (false, true), (false, false)];

/// Where a case fails for one of these reasons, it is played once more; both times are printed.
const DEFECTS: [Defect; 2] = [
    Defect {
        row: "old client",
        cases: &[
            "cancel_after_begin",
            "cancel_after_first_response",
            "custom_metadata",
            "special_status_message",
            "status_code_and_message",
        ],
        why: "its CloseSend reports the end of a call when it is quick enough, it half-closes a \
              call that was cancelled, and the trailers may come after the end",
    },
    Defect {
        row: "ours, to python server",
        cases: &["empty_unary"],
        why: "it carries no empty message",
    },
];

/// The official cases without some.
fn without(missing: &[&str]) -> Vec<&'static str> {
    let mut names = names(Case::OFFICIAL);
    names.retain(|name| !missing.contains(name));
    names
}

fn flow((ours, theirs): (bool, bool)) -> String {
    let word = |on| if on { "on" } else { "off" };
    format!("flow control {}/{}", word(ours), word(theirs))
}

/// The official cases that tonic's own transport can pass: once a response has begun, it holds no
/// deadline any more.
fn of_tonic() -> Vec<&'static str> {
    let late = "timeout_on_sleeping_server";
    println!(
        "not run without a tunnel: {late}: tonic's transport ends no response at its deadline"
    );
    without(&[late])
}

/// Runs our `interop-client`, which goes on after a case that failed.
async fn our_client(arguments: &[&str], cases: &[&str]) -> Outcome<Results> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop-client"));
    command.args(arguments).args(["--case", &cases.join(",")]);
    let said = match Process::start(&mut command)?.success(LIMIT).await {
        Ok(said) => said,
        Err(error) => error.to_string(),
    };
    let results = results_of(&said);
    if results.is_empty() {
        return Err(said.into());
    }
    Ok(results)
}

/// Runs a program of a peer until every case has passed or failed: it ends with the first failure.
async fn their_client(
    cases: &[&str],
    start: impl AsyncFn(&str) -> Outcome<Process>,
) -> Outcome<Results> {
    let mut results = Results::new();
    let mut left = cases;
    while !left.is_empty() {
        let said = match start(&left.join(",")).await?.success(LIMIT).await {
            Ok(said) => said,
            Err(error) => error.to_string(),
        };
        let ok = results_of(&said);
        let passed = left
            .iter()
            .take_while(|case| ok.contains_key(**case))
            .count();
        let (done, rest) = left.split_at(passed);
        results.extend(done.iter().map(|case| ((*case).to_owned(), None)));
        left = rest;
        if let Some((failed, rest)) = rest.split_first() {
            let why = said.replace('\n', " | ");
            results.insert((*failed).to_owned(), Some(why));
            left = rest;
        }
    }
    Ok(results)
}

async fn our_server(arguments: &[&str]) -> Outcome<(Process, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interop-server"));
    command.args(["--listen", "127.0.0.1:0"]).args(arguments);
    let mut server = Process::start(&mut command)?;
    let address = server.line("listening ", LIMIT).await?;
    Ok((server, address))
}

fn off(flow_control: bool, flag: &str) -> Option<&str> {
    (!flow_control).then_some(flag)
}

fn with<'a>(arguments: &[&'a str], more: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    arguments.iter().copied().chain(more).collect()
}

#[tokio::test]
async fn ours_with_ours() -> Outcome {
    let mut table = Table::new(&DEFECTS);
    let (_server, address) = our_server(&[]).await?;
    let cases = with(&of_tonic(), names(Case::COMPRESSED));
    let play = async |cases: &[&str]| our_client(&["--connect", &address], cases).await;
    table.row("ours, to ours, no tunnel", &cases, play).await?;
    for ways in FLOW_CONTROL {
        let (ours, theirs) = ways;
        let (_server, address) = our_server(&with(&[], off(theirs, "--no-flow-control"))).await?;
        for tunnel in ["forward", "reverse"] {
            let cases = match ways {
                // Compression needs an extension, which is negotiated as flow control is.
                (true, true) => names(Case::all()),
                _ => names(Case::OFFICIAL),
            };
            let row = format!("ours, to ours, tunnel {tunnel}, {}", flow(ways));
            let arguments = with(
                &["--connect", &address, "--tunnel", tunnel],
                off(ours, "--no-flow-control"),
            );
            let play = async |cases: &[&str]| our_client(&arguments, cases).await;
            table.row(&row, &cases, play).await?;
        }
    }
    table.finish()
}

#[tokio::test]
async fn go_calls_ours() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let mut table = Table::new(&DEFECTS);
    let cases = names(Case::OFFICIAL);
    let (_server, address) = our_server(&[]).await?;
    let start = async |cases: &str| {
        let arguments = ["-server", &address, "-tunnel", "direct", "-cases", cases];
        Ok(peers.go("interopclient", &arguments)?)
    };
    let play = async |cases: &[&str]| their_client(cases, start).await;
    table
        .row("Go client, to ours, no tunnel", &cases, play)
        .await?;
    for ways in FLOW_CONTROL {
        let (ours, theirs) = ways;
        let (_server, address) = our_server(&with(&[], off(ours, "--no-flow-control"))).await?;
        let row = format!("Go client, to ours, tunnel forward, {}", flow(ways));
        let start = async |cases: &str| {
            let arguments = ["-server", &address, "-tunnel", "forward", "-cases", cases];
            let arguments = with(&arguments, off(theirs, "-no-flow-control"));
            Ok(peers.go("interopclient", &arguments)?)
        };
        let play = async |cases: &[&str]| their_client(cases, start).await;
        table.row(&row, &cases, play).await?;
        let row = format!("Go client, to ours, tunnel reverse, {}", flow(ways));
        let start = async |cases: &str| {
            let arguments = with(&["-cases", cases], off(theirs, "-no-flow-control"));
            let mut program = peers.go("revclient", &arguments)?;
            let address = program.line("listening ", LIMIT).await?;
            serve_reverse_until_end(&address, &options(ours)).await?;
            Ok(program)
        };
        let play = async |cases: &[&str]| their_client(cases, start).await;
        table.row(&row, &cases, play).await?;
    }
    table.finish()
}

/// Serves on a reverse tunnel until the other end ends it.
async fn serve_reverse_until_end(address: &str, options: &Options) -> Outcome {
    let metadata = tonic::metadata::MetadataMap::new();
    let tunnel = grpctunnel_tests::interop::serve_reverse(address, options, metadata).await?;
    tokio::spawn(async move { tunnel.closed().await });
    Ok(())
}

#[tokio::test]
async fn ours_calls_go() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let mut table = Table::new(&DEFECTS);
    let cases = names(Case::OFFICIAL);
    for ways in FLOW_CONTROL {
        let (ours, theirs) = ways;
        let arguments = with(&["-listen", "127.0.0.1:0"], off(theirs, "-no-flow-control"));
        let mut server = peers.go("interopserver", &arguments)?;
        let address = server.line("listening ", LIMIT).await?;
        if ways == (true, true) {
            let play = async |cases: &[&str]| our_client(&["--connect", &address], cases).await;
            table
                .row("ours, to Go server, no tunnel", &of_tonic(), play)
                .await?;
        }
        let row = format!("ours, to Go server, tunnel forward, {}", flow(ways));
        let arguments = with(
            &["--connect", &address, "--tunnel", "forward"],
            off(ours, "--no-flow-control"),
        );
        let client = async |cases: &[&str]| our_client(&arguments, cases).await;
        table.row(&row, &cases, client).await?;
        let server = InteropServer::new(options(ours)).start().await?;
        let address = server.address().to_string();
        let arguments = ["-gateway", &address, "-name", "gopher"];
        let arguments = with(&arguments, off(theirs, "-no-flow-control"));
        let mut program = peers.go("revserver", &arguments)?;
        program.line("tunnel open", LIMIT).await?;
        let channel = server.tunnel("gopher").await;
        let row = format!("ours, to Go server, tunnel reverse, {}", flow(ways));
        let play = async |cases: &[&str]| play(channel.clone(), cases).await;
        table.row(&row, &cases, play).await?;
    }
    table.finish()
}

/// The Go module's first version.
#[tokio::test]
async fn ours_and_old() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let mut table = Table::new(&DEFECTS);
    let cases = names(Case::OFFICIAL);
    let mut server = peers.go("old", &["-role", "server"])?;
    let address = server.line("listening ", LIMIT).await?;
    let arguments = ["--connect", &address, "--tunnel", "forward", "--old-peer"];
    let client = async |cases: &[&str]| our_client(&arguments, cases).await;
    table
        .row("ours, to old server, tunnel forward", &cases, client)
        .await?;

    let running = InteropServer::new(options(true)).start().await?;
    let address = running.address().to_string();
    let arguments = ["-role", "revserver", "-name", "old", "-addr", &address];
    let _program = peers.go("old", &arguments)?;
    let channel = running.tunnel("old").await;
    let reverse = async |cases: &[&str]| play(channel.clone(), cases).await;
    table
        .row("ours, to old server, tunnel reverse", &cases, reverse)
        .await?;

    // Its program has the cases that need nothing of a channel but calls.
    let cases = without(&["unimplemented_method", "unimplemented_service"]);
    let start = async |cases: &str| {
        let arguments = ["-role", "client", "-addr", &address, "-cases", cases];
        Ok(peers.go("old", &arguments)?)
    };
    let client = async |cases: &[&str]| their_client(cases, start).await;
    table
        .row("old client, to ours, tunnel forward", &cases, client)
        .await?;

    let mut old_peer = options(true);
    old_peer.old_peer = true;
    let start = async |cases: &str| {
        let mut program = peers.go("old", &["-role", "revclient", "-cases", cases])?;
        let address = program.line("listening ", LIMIT).await?;
        serve_reverse_until_end(&address, &old_peer).await?;
        Ok(program)
    };
    let client = async |cases: &[&str]| their_client(cases, start).await;
    table
        .row("old client, to ours, tunnel reverse", &cases, client)
        .await?;
    table.finish()
}

/// What can be written with the package grpctunnel-py.
const PYTHON_CASES: [&str; 8] = [
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
];

/// The package grpctunnel-py.
#[tokio::test]
async fn ours_and_python() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let mut table = Table::new(&DEFECTS);
    let all = names(Case::OFFICIAL);
    let mut settings = options(true);
    settings.bin_dialect = BinDialect::Latin1;
    for theirs in [true, false] {
        let flow = flow((true, theirs));
        let flag = off(theirs, "--no-flow-control");
        let row = format!("ours, to python server, tunnel forward, {flow}");
        // A server of the package is good for one tunnel in its life.
        let client = async |cases: &[&str]| {
            let mut server = peers.python("tunnel_peer.py", &with(&["--role", "server"], flag))?;
            let address = server.line("listening ", LIMIT).await?;
            let arguments = [
                "--connect",
                &address,
                "--tunnel",
                "forward",
                "--python-peer",
            ];
            our_client(&arguments, cases).await
        };
        table.row(&row, &all, client).await?;

        let row = format!("ours, to python server, tunnel reverse, {flow}");
        let reverse = async |cases: &[&str]| {
            let running = InteropServer::new(settings.clone()).start().await?;
            let address = running.address().to_string();
            let arguments = ["--role", "revserver", "--name", "monty", "--addr", &address];
            let mut program = peers.python("tunnel_peer.py", &with(&arguments, flag))?;
            program.line("tunnel open", LIMIT).await?;
            play(running.tunnel("monty").await, cases).await
        };
        table.row(&row, &all, reverse).await?;

        let row = format!("python client, to ours, tunnel forward, {flow}");
        let running = InteropServer::new(settings.clone()).start().await?;
        let address = running.address().to_string();
        let start = async |cases: &str| {
            let arguments = ["--role", "client", "--addr", &address, "--cases", cases];
            Ok(peers.python("tunnel_peer.py", &with(&arguments, flag))?)
        };
        let client = async |cases: &[&str]| their_client(cases, start).await;
        table.row(&row, &PYTHON_CASES, client).await?;

        let row = format!("python client, to ours, tunnel reverse, {flow}");
        let start = async |cases: &str| {
            let arguments = with(&["--role", "revclient", "--cases", cases], flag);
            let mut program = peers.python("tunnel_peer.py", &arguments)?;
            let address = program.line("listening ", LIMIT).await?;
            serve_reverse_until_end(&address, &settings).await?;
            Ok(program)
        };
        let client = async |cases: &[&str]| their_client(cases, start).await;
        table.row(&row, &PYTHON_CASES, client).await?;
    }
    table.finish()
}
