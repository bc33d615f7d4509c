//! The examples run to their ends.

use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;

#[path = "../examples/forward.rs"]
mod forward;
#[path = "../examples/gateway.rs"]
mod gateway;
#[path = "../examples/pipe.rs"]
mod pipe;
#[path = "../examples/reverse.rs"]
mod reverse;
#[cfg(feature = "tls")]
#[path = "../examples/tls.rs"]
mod tls;
#[path = "../examples/websocket.rs"]
mod websocket;

/// Runs an example, on a thread of its own: it makes its own runtime.
fn run<E: Into<Box<dyn Error + Send + Sync>> + 'static>(
    name: &str,
    example: fn() -> Result<(), E>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let limit = Duration::from_secs(30);
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let outcome = example().map_err(|error| error.into().to_string());
        let _ = sender.send(outcome);
    });
    match ended.recv_timeout(limit) {
        Ok(outcome) => Ok(outcome?),
        Err(error) => {
            Err(format!("the example `{name}` did not end within {limit:?}: {error}").into())
        }
    }
}

fn text(error: Box<dyn Error>) -> String {
    error.to_string()
}

#[test]
fn forward_runs() -> Result<(), Box<dyn Error + Send + Sync>> {
    run("forward", || forward::main().map_err(text))
}

#[test]
fn gateway_runs() -> Result<(), Box<dyn Error + Send + Sync>> {
    run("gateway", || gateway::main().map_err(text))
}

#[test]
fn pipe_runs() -> Result<(), Box<dyn Error + Send + Sync>> {
    run("pipe", || pipe::main().map_err(text))
}

#[test]
fn reverse_runs() -> Result<(), Box<dyn Error + Send + Sync>> {
    run("reverse", || reverse::main().map_err(text))
}

#[cfg(feature = "tls")]
#[test]
fn tls_runs() -> Result<(), Box<dyn Error + Send + Sync>> {
    run("tls", || tls::main().map_err(text))
}

#[test]
fn websocket_runs() -> Result<(), Box<dyn Error + Send + Sync>> {
    run("websocket", websocket::main)
}
