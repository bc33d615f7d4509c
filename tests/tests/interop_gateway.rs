//! Unmodified servers behind an agent, called by unmodified clients through the gateway.

use std::time::Duration;

use grpctunnel_tests::interop::{Outcome, Peers, Process, grpctunnel};

/// The cases that go to the only agent without naming it. Health and reflection without a name are
/// the gateway's own.
const NAMELESS: &str = "unary,clientstream,serverstream,bidi,details,deadline,cancel,metadata";
/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(60);

async fn gateway() -> Outcome<(Process, String)> {
    let mut gateway = grpctunnel(&["gateway", "--listen", "127.0.0.1:0"]).await?;
    let address = gateway.line("listening on ", LIMIT).await?;
    Ok((gateway, address))
}

/// A Python server, and the agent that opens its way to the gateway.
async fn python_agent(peers: &Peers, gateway: &str, name: &str) -> Outcome<(Process, Process)> {
    let mut server = peers.python("server.py", &[])?;
    let local = format!("http://{}", server.line("listening ", LIMIT).await?);
    let gateway = format!("http://{gateway}");
    let arguments = [
        "agent",
        "--gateway",
        &gateway,
        "--name",
        name,
        "--local",
        &local,
    ];
    let mut agent = grpctunnel(&arguments).await?;
    agent.line("connected to ", LIMIT).await?;
    Ok((server, agent))
}

#[tokio::test]
async fn python_client_calls_a_python_server() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let (_gateway, address) = gateway().await?;
    let _agent = python_agent(&peers, &address, "monty").await?;
    let named = ["--target", &address, "--name", "monty"];
    peers.python("client.py", &named)?.success(LIMIT).await?;
    let nameless = ["--target", &address, "--case", NAMELESS];
    peers.python("client.py", &nameless)?.success(LIMIT).await?;
    Ok(())
}

#[tokio::test]
async fn go_client_calls_a_python_server() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let (_gateway, address) = gateway().await?;
    let _agent = python_agent(&peers, &address, "monty").await?;
    let named = ["-target", &address, "-name", "monty"];
    peers.go("caller", &named)?.success(LIMIT).await?;
    let nameless = ["-target", &address, "-case", NAMELESS];
    peers.go("caller", &nameless)?.success(LIMIT).await?;
    Ok(())
}

#[tokio::test]
async fn go_reverse_server_is_an_agent_beside_a_python_one() -> Outcome {
    let Some(peers) = Peers::get().await else {
        return Ok(());
    };
    let (_gateway, address) = gateway().await?;
    let _python = python_agent(&peers, &address, "monty").await?;
    let arguments = ["-gateway", &address, "-name", "gopher"];
    let mut program = peers.go("revserver", &arguments)?;
    program.line("tunnel open", LIMIT).await?;
    let cases = "unary,clientstream,serverstream,bidi,details";
    let arguments = ["-target", &address, "-name", "gopher", "-case", cases];
    peers.go("caller", &arguments)?.success(LIMIT).await?;
    let arguments = ["-target", &address, "-name", "monty"];
    peers.go("caller", &arguments)?.success(LIMIT).await?;
    Ok(())
}
