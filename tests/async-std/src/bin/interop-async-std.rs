//! Ends of tunnels on async-std or smol, for the tests with real peers.

use std::env;
use std::net::TcpListener;

use grpctunnel_async_std::http2::Settings;
use grpctunnel_async_std::{
    Channel, Network, Options, ReverseTunnel, Server, TunnelServer, connect, serve_reverse,
};
use grpctunnel_async_std_tests::{OnAsyncStd, OnSmol, runtime};
use grpctunnel_tests::interop::calls::Calls;
use grpctunnel_tests::interop::reverse_cases::{play_for_opener, played};
use grpctunnel_tests::services::{Caller, WithCompression, grpchan, official};
use grpctunnel_tests::suite::{Ends, Outcome};
use tonic::metadata::MetadataMap;
use tonic::service::Routes;

const USAGE: &str = "interop-async-std async-std|smol [--no-flow-control] COMMAND

  serve               serve directly and over forward tunnels, and call through reverse ones;
                      the first line is `listening ADDR`, and each reverse tunnel says how it went
  direct ADDR         call without a tunnel
  forward ADDR        call through a forward tunnel
  cases ADDR NAMES    play official cases through a forward tunnel, with commas between the names;
                      a line for each says `ok NAME` or `FAILED NAME: WHY`
  reverse ADDR NAME   serve over a reverse tunnel with the metadata `x-tunnel-name`, until it ends";

fn main() -> Outcome {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let mut options = Options::default();
    arguments.retain(|argument| {
        let off = argument == "--no-flow-control";
        options.flow_control &= !off;
        !off
    });
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.split_first() {
        Some((&"async-std", command)) => OnAsyncStd::block_on(run::<OnAsyncStd>(command, options)),
        Some((&"smol", command)) => OnSmol::block_on(run::<OnSmol>(command, options)),
        _ => Err(USAGE.into()),
    }
}

async fn run<E>(command: &[&str], options: Options) -> Outcome
where
    E: Ends<Runtime: Network<Listener = TcpListener>>,
{
    match command {
        ["serve"] => serve::<E>(options).await,
        ["direct", address] => call(dial::<E>(address).await?).await,
        ["forward", address] => {
            let (carrier, runtime) = (dial::<E>(address).await?, runtime::<E::Runtime>());
            let channel = connect(carrier, &runtime, &options, MetadataMap::new()).await?;
            call(channel.clone()).await?;
            channel.close();
            println!("{}", channel.closed().await);
            Ok(())
        }
        ["cases", address, names] => {
            let (carrier, runtime) = (dial::<E>(address).await?, runtime::<E::Runtime>());
            let channel = connect(carrier, &runtime, &options, MetadataMap::new()).await?;
            for name in names.split(',') {
                println!("{}", played(name, channel.clone()).await);
            }
            channel.close();
            println!("{}", channel.closed().await);
            Ok(())
        }
        ["reverse", address, name] => {
            let (carrier, runtime) = (dial::<E>(address).await?, runtime::<E::Runtime>());
            let mut metadata = MetadataMap::new();
            metadata.insert("x-tunnel-name", name.parse()?);
            let handle = serve_reverse(carrier, services(), &runtime, &options, metadata).await?;
            println!("tunnel open");
            println!("{}", handle.closed().await);
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}

async fn dial<E: Ends>(address: &str) -> Outcome<E::Carrier> {
    E::dial(format!("http://{address}"), Settings::tunnels()).await
}

async fn serve<E>(options: Options) -> Outcome
where
    E: Ends<Runtime: Network<Listener = TcpListener>>,
{
    let tunnels = TunnelServer::<E::Runtime>::new()
        .with_options(options)
        .forward(services())
        .reverse(called_back);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening {}", listener.local_addr()?);
    let serving = Server::new(tunnels).with_service(services());
    Ok(serving.serve(listener, std::future::pending()).await?)
}

fn services() -> Routes {
    Routes::new(WithCompression(official())).add_service(grpchan())
}

async fn called_back(tunnel: ReverseTunnel) {
    match play_for_opener(&tunnel.metadata, tunnel.channel.clone()).await {
        Ok(false) => {}
        Ok(true) => return tunnel.channel.close(),
        Err(status) => return println!("reverse: {status}"),
    }
    match call::<Channel>(tunnel.channel).await {
        Ok(()) => println!("reverse: ok"),
        Err(error) => println!("reverse: {error}"),
    }
}

/// Calls of all kinds, of which everything that comes back is checked.
async fn call<T: Caller>(channel: T) -> Outcome {
    let calls = Calls::extended(channel);
    calls.large().await?;
    calls.fail(7).await?;
    Ok(calls.mixed(50).await?)
}
