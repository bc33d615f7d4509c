//! The two ends of a launch.

use std::time::Duration;

use grpctunnel_tokio::{Channel, TunnelServer, tonic_transport};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

use super::args::{Args, End, Mode, Role};
use super::load::Workload;
use crate::interop::{Outcome, connection, open, options, serve_reverse};
use crate::services::{Caller, official};

/// How long a load runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(150);

pub(super) async fn play(args: &Args, role: &Role) -> Outcome {
    match role {
        Role::Caller(end) => call(args, end).await,
        Role::Callee(end) => handle(end).await,
    }
}

async fn call(args: &Args, end: &End) -> Outcome {
    match (end.mode, end.connect) {
        (Mode::Reverse, None) => measure(accept().await?, args.time()).await,
        (Mode::Direct, Some(address)) => measure(connection(address).await?, args.time()).await,
        (Mode::Forward, Some(address)) => {
            let opened = open(address, &options(true), MetadataMap::new()).await;
            measure(opened?, args.time()).await
        }
        (mode, _) => Err(format!("wrong end of a {mode} launch").into()),
    }
}

async fn measure(channel: impl Caller, time: Duration) -> Outcome {
    for workload in Workload::ALL {
        workload.measure(channel.clone(), WARM_UP).await?;
        let value = workload.measure(channel.clone(), time).await?;
        println!("measured {} {value}", workload.name());
    }
    Ok(())
}

async fn handle(end: &End) -> Outcome {
    let mut server = tonic_transport::server();
    match (end.mode, end.connect) {
        (Mode::Direct, None) => {
            let server = server.add_service(official());
            Ok(server.serve_with_incoming(listen().await?).await?)
        }
        (Mode::Forward, None) => {
            let tunnels = TunnelServer::new().with_options(options(true));
            let server = server.add_service(tunnels.forward(Routes::new(official())));
            Ok(server.serve_with_incoming(listen().await?).await?)
        }
        (Mode::Reverse, Some(address)) => {
            let tunnel = serve_reverse(address, &options(true), MetadataMap::new()).await?;
            tunnel.closed().await;
            Ok(())
        }
        (mode, _) => Err(format!("wrong end of a {mode} launch").into()),
    }
}

/// Listens for a reverse tunnel and returns the first.
async fn accept() -> Outcome<Channel> {
    let (sender, mut tunnels) = mpsc::channel(1);
    let service = TunnelServer::new()
        .with_options(options(true))
        .reverse(move |tunnel| {
            let sender = sender.clone();
            async move {
                // The benchmark wants one; another is dropped, which ends it.
                let _ = sender.try_send(tunnel.channel);
            }
        });
    let server = tonic_transport::server().add_service(service);
    tokio::spawn(server.serve_with_incoming(listen().await?));
    tunnels.recv().await.ok_or_else(|| "no tunnel came".into())
}

async fn listen() -> Outcome<TcpIncoming> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening {}", listener.local_addr()?);
    Ok(tonic_transport::incoming(listener))
}
