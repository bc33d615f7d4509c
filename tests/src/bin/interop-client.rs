//! gRPC's official interoperability cases, without a tunnel, through a forward tunnel, or by the
//! other end through a reverse tunnel.

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use grpctunnel_tests::interop::cases::Case;
use grpctunnel_tests::interop::reverse_cases::{CASES, played, reports};
use grpctunnel_tests::interop::{connection, open, options, serve_reverse_with};
use grpctunnel_tests::services::{Caller, WithCompression, grpchan, official};
use grpctunnel_tokio::{BinDialect, Options};
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;

/// Plays official interoperability cases of gRPC against grpc.testing.TestService.
///
/// A line for each case says `ok NAME` or `FAILED NAME: WHY`; the exit code is 0 if all were ok.
#[derive(Debug, Parser)]
#[command(name = "interop-client")]
struct Args {
    /// Where to connect to, as `HOST:PORT`.
    #[arg(long, value_name = "ADDR")]
    connect: String,
    /// How the calls travel. Through a reverse tunnel the other end makes them: the cases are named
    /// in the metadata `x-interop-cases` of its opening.
    #[arg(long, value_enum, default_value = "none")]
    tunnel: Tunnel,
    /// The cases, by their official names, with commas between. Default: all but those of
    /// compression.
    #[arg(long = "case", value_name = "NAME", value_delimiter = ',')]
    cases: Vec<Case>,
    /// Offer and accept revision zero of the protocol only.
    #[arg(long)]
    no_flow_control: bool,
    /// The other end is of the Go module's first version, which does not negotiate.
    #[arg(long)]
    old_peer: bool,
    /// The other end is of grpctunnel-py, which writes binary metadata in its own way.
    #[arg(long)]
    python_peer: bool,
}

/// How the calls travel.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tunnel {
    None,
    Forward,
    Reverse,
}

impl Args {
    fn options(&self) -> Options {
        let mut options = options(!self.no_flow_control);
        options.old_peer = self.old_peer;
        if self.python_peer {
            options.bin_dialect = BinDialect::Latin1;
        }
        options
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = Args::parse();
    if args.cases.is_empty() {
        args.cases = Case::OFFICIAL.into();
    }
    let all_ok = match args.tunnel {
        Tunnel::None => play(&args.cases, connection(&args.connect).await?).await,
        Tunnel::Forward => {
            let channel = open(&args.connect, &args.options(), MetadataMap::new()).await?;
            let all_ok = play(&args.cases, channel.clone()).await;
            channel.close();
            println!("{}", channel.closed().await);
            all_ok
        }
        Tunnel::Reverse => serve(&args).await?,
    };
    Ok(if all_ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn play<T: Caller>(cases: &[Case], channel: T) -> bool {
    let mut all_ok = true;
    for case in cases {
        let line = played(case.name(), channel.clone()).await;
        all_ok &= line.starts_with("ok ");
        println!("{line}");
    }
    all_ok
}

/// Serves until the tunnel ends. A case that was not reported has failed.
async fn serve(args: &Args) -> Result<bool, Box<dyn Error>> {
    let names: Vec<_> = args.cases.iter().map(|case| case.name()).collect();
    let mut metadata = MetadataMap::new();
    metadata.insert(CASES, names.join(",").parse()?);
    let (see, mut reported) = reports();
    let service = InterceptedService::new(WithCompression(official()), see);
    let services = Routes::new(service).add_service(grpchan());
    let tunnel = serve_reverse_with(services, &args.connect, &args.options(), metadata).await?;
    println!("tunnel open");
    let end = tunnel.closed().await;
    let mut all_ok = true;
    let mut missing = names;
    // Every report was a call, and those are over.
    while let Ok(line) = reported.try_recv() {
        all_ok &= line.starts_with("ok ");
        missing.retain(|name| !line.split([' ', ':']).any(|word| word == *name));
        println!("{line}");
    }
    for name in &missing {
        println!("FAILED {name}: not reported");
    }
    println!("{end}");
    Ok(all_ok && missing.is_empty())
}
