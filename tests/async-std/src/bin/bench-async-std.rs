//! One end of the benchmark's columns of async-std: started by the benchmark.

use std::net::TcpListener;

use grpctunnel_async_std::http2::Settings;
use grpctunnel_async_std::{
    Carrier, Handler, Options, Server, TunnelServer, connect, serve_reverse,
};
use grpctunnel_async_std_tests::{OnAsyncStd, runtime};
use grpctunnel_tests::bench::{End, Way, measure};
use grpctunnel_tests::interop::Outcome;
use grpctunnel_tests::services::official;
use grpctunnel_tests::suite::Ends;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;

type Runtime = <OnAsyncStd as Ends>::Runtime;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let end = End::parse(&words)?.ok_or("not an end")?;
    async_std::task::block_on(play(&end))
}

async fn play(end: &End) -> Outcome {
    let (options, metadata) = (Options::default(), MetadataMap::new());
    match (end.way, end.connect, end.is_caller) {
        (Way::Forward, Some(address), true) => {
            let carrier = dial(address).await?;
            let channel = connect(carrier, &runtime::<Runtime>(), &options, metadata).await?;
            measure(end, channel).await
        }
        (Way::Reverse, Some(address), false) => {
            let carrier = dial(address).await?;
            let (handler, runtime) = (routes(), runtime::<Runtime>());
            let tunnel = serve_reverse(carrier, handler, &runtime, &options, metadata).await?;
            tunnel.closed().await;
            Ok(())
        }
        (Way::Forward, None, false) => {
            let tunnels = TunnelServer::<Runtime>::new().forward(routes());
            serve(Server::new(tunnels)).await
        }
        (Way::Reverse, None, true) => {
            let (sender, tunnels) = async_std::channel::unbounded();
            let tunnels_of = TunnelServer::<Runtime>::new().reverse(move |tunnel| {
                let sender = sender.clone();
                async move {
                    // One that nobody wants is dropped, which ends it.
                    let _ = sender.send(tunnel.channel).await;
                }
            });
            async_std::task::spawn(async move {
                if let Err(error) = serve(Server::new(tunnels_of)).await {
                    eprintln!("serving: {error}");
                }
            });
            measure(end, tunnels.recv().await?).await
        }
        (way, ..) => Err(format!("wrong end of a {} launch", way.name()).into()),
    }
}

async fn dial(address: std::net::SocketAddr) -> Outcome<Carrier> {
    let carrier = OnAsyncStd::dial(format!("http://{address}"), Settings::tunnels()).await;
    carrier.map_err(|error| error.to_string().into())
}

/// Serves on a free port, and says which.
async fn serve<H: Handler + Sync>(server: Server<Runtime, H>) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening {}", listener.local_addr()?);
    server.serve(listener, std::future::pending()).await?;
    Ok(())
}

fn routes() -> Routes {
    Routes::new(official()).prepare()
}
