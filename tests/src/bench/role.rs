//! The two ends of a launch, on tokio.

use grpctunnel_tokio::{Channel, Server, TunnelServer, tonic_transport};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::transport;

use super::tcp;
use super::words::{End, Way, measure};
use crate::interop::{Outcome, connection, open, options};
use crate::services::official;

/// Plays one end of a launch in this process.
///
/// # Errors
///
/// When a call or the connection fails.
pub fn play(end: &End) -> Outcome {
    if end.way == Way::Tcp {
        return match end.connect {
            Some(address) => tcp::send(address, &end.rows, end.time),
            None => tcp::receive(),
        };
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        if end.is_caller {
            call(end).await
        } else {
            handle(end).await
        }
    })
}

async fn call(end: &End) -> Outcome {
    match (end.way, end.connect) {
        (Way::Reverse, None) => {
            let mut tunnels = accept().await?;
            let channel = tunnels.recv().await.ok_or("no tunnel came")?;
            measure(end, channel).await
        }
        (Way::Direct, Some(address)) => measure(end, connection(address).await?).await,
        (Way::Stock, Some(address)) => {
            let endpoint = transport::Endpoint::from_shared(format!("http://{address}"))?;
            measure(end, endpoint.connect().await?).await
        }
        (Way::Forward, Some(address)) => {
            let opened = open(address, &options(true), MetadataMap::new()).await;
            measure(end, opened?).await
        }
        (way, _) => Err(format!("wrong end of a {} launch", way.name()).into()),
    }
}

/// The service, prepared as tonic's own server does.
fn routes() -> Routes {
    Routes::new(official()).prepare()
}

async fn handle(end: &End) -> Outcome {
    match (end.way, end.connect) {
        (Way::Direct | Way::Stock, None) => {
            let server = if end.way == Way::Direct {
                tonic_transport::server()
            } else {
                transport::Server::builder()
            };
            let incoming = tonic_transport::incoming(listen().await?);
            let mut server = server;
            let router = server.add_routes(Routes::new(official()));
            Ok(router.serve_with_incoming(incoming).await?)
        }
        (Way::Forward, None) => {
            let tunnels = TunnelServer::new().with_options(options(true));
            let server = Server::new(tunnels.forward(routes()));
            server
                .serve(listen().await?, std::future::pending())
                .await?;
            Ok(())
        }
        (Way::Reverse, Some(address)) => {
            let carrier = grpctunnel_tokio::dial(&format!("http://{address}")).await?;
            let (options, metadata) = (options(true), MetadataMap::new());
            let tunnel =
                grpctunnel_tokio::serve_reverse(carrier, routes(), &options, metadata).await?;
            tunnel.closed().await;
            Ok(())
        }
        (way, _) => Err(format!("wrong end of a {} launch", way.name()).into()),
    }
}

/// Listens for reverse tunnels.
pub(super) async fn accept() -> Outcome<mpsc::UnboundedReceiver<Channel>> {
    let (sender, tunnels) = mpsc::unbounded_channel();
    let service = TunnelServer::new()
        .with_options(options(true))
        .reverse(move |tunnel| {
            let sender = sender.clone();
            async move {
                // One that nobody wants is dropped, which ends it.
                let _ = sender.send(tunnel.channel);
            }
        });
    let listener = listen().await?;
    tokio::spawn(Server::new(service).serve(listener, std::future::pending()));
    Ok(tunnels)
}

pub(super) async fn listen() -> Outcome<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening {}", listener.local_addr()?);
    Ok(listener)
}
