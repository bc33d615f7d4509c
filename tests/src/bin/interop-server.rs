//! The official test service, directly and over tunnels, until SIGUSR1.

use std::error::Error;

use clap::Parser;
use grpctunnel_tests::interop::{InteropServer, options};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Serves grpc.testing.TestService directly and over forward tunnels.
///
/// The first line of standard output is `listening ADDR`. SIGUSR1 starts a graceful shutdown: no
/// new connections, tunnels refuse new calls, live calls go on; with the last one the program ends,
/// with exit code 0.
#[derive(Debug, Parser)]
#[command(name = "interop-server")]
struct Args {
    /// Where to listen, as `HOST:PORT`; port 0 is any that is free.
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// Offer revision zero of the protocol only.
    #[arg(long)]
    no_flow_control: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let mut shutdown = signal(SignalKind::user_defined1())?;
    let listener = TcpListener::bind(args.listen).await?;
    println!("listening {}", listener.local_addr()?);
    let shutdown = async move {
        shutdown.recv().await;
    };
    let server = InteropServer::new(options(!args.no_flow_control));
    server.serve(listener, shutdown).await;
    Ok(())
}
