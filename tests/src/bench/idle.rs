//! What idle connections take, tunnels or plain ones, at both of their ends.

use std::any::Any;
use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use grpctunnel_tokio::tonic_transport;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::time::sleep;
use tonic::Request;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;

use super::load;
use super::role::{accept, listen};
use super::row::Load;
use super::words::{End, Way, begins, say};
use crate::interop::{Outcome, connection, options};
use crate::protos::grpc::testing::test_service_server::TestServiceServer;
use crate::services::{Caller, Official};

/// How long a process waits for memory to be given back before it looks.
const SETTLE: Duration = Duration::from_millis(1_500);
/// How often it looks whether something has happened.
const LOOK: Duration = Duration::from_millis(20);
/// How long it stays for the other end to look.
const STAY: Duration = Duration::from_secs(30);

/// Runs something, and returns by how many bytes that changed what is allocated.
pub type Live = fn(&mut dyn FnMut()) -> i64;

/// Plays one end of `count` connections in this process.
///
/// # Errors
///
/// When a call or a connection fails.
pub fn play(count: usize, end: &End, live: Live) -> Outcome {
    let row = end.rows.iter().find(|row| row.load == Load::Idle);
    let row = row.ok_or("not the row of idle connections")?;
    allow_files(count)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let look = Look {
        runtime,
        live,
        count,
    };
    begins(row);
    let role = if end.is_caller { "caller" } else { "callee" };
    let figures = match (end.way, end.connect) {
        (Way::Direct, None) => look.handle(serve(count)),
        (Way::Reverse, Some(address)) => look.handle(open(count, address)),
        (Way::Direct, Some(address)) => look.call(dial(count, address)),
        (Way::Reverse, None) => look.call(accept_all(count)),
        (way, _) => Err(format!("no idle connections of {}", way.name()).into()),
    }?;
    let figures: Vec<(String, f64)> = figures
        .into_iter()
        .map(|(name, value)| (format!("{role}, {name} bytes"), value))
        .collect();
    say(row, Duration::ZERO, &figures);
    look.runtime.block_on(sleep(STAY));
    Ok(())
}

/// What holds connections, and how many calls they have handled.
struct Handling {
    _connections: Box<dyn Any>,
    handled: Arc<AtomicUsize>,
}

/// Looks at this process.
struct Look {
    runtime: Runtime,
    live: Live,
    count: usize,
}

type Figures = Vec<(&'static str, f64)>;

impl Look {
    /// What the connections take that handle calls, before one and after.
    fn handle(&self, open: impl Future<Output = Outcome<Handling>>) -> Outcome<Figures> {
        let before = resident();
        let (opened, unused) = self.run(async {
            let opened = open.await;
            sleep(SETTLE).await;
            opened
        });
        let opened = opened?;
        let unused = (resident() - before, unused);
        let (result, more) = self.run(async {
            reaches(&opened.handled, self.count).await;
            sleep(SETTLE).await;
            Ok(())
        });
        result?;
        Ok(self.figures(unused, (resident() - before, unused.1 + more)))
    }

    /// The same of those that make calls.
    fn call<T: Caller>(&self, open: impl Future<Output = Outcome<Vec<T>>>) -> Outcome<Figures> {
        let before = resident();
        let (channels, unused) = self.run(async {
            let channels = open.await;
            sleep(SETTLE).await;
            channels
        });
        let channels = channels?;
        let unused = (resident() - before, unused);
        let (result, more) = self.run(async {
            // The other end looks first.
            sleep(SETTLE).await;
            for channel in &channels {
                load::one_call(channel.clone()).await?;
            }
            sleep(SETTLE).await;
            Ok(())
        });
        result?;
        Ok(self.figures(unused, (resident() - before, unused.1 + more)))
    }

    /// Runs a future, and returns with its output by how much what is allocated has grown.
    fn run<T>(&self, future: impl Future<Output = Outcome<T>>) -> (Outcome<T>, f64) {
        let mut future = Some(future);
        let mut output = Err("it did not run".into());
        let live = (self.live)(&mut || {
            if let Some(future) = future.take() {
                output = self.runtime.block_on(future);
            }
        });
        (output, live as f64)
    }

    fn figures(&self, unused: (f64, f64), used: (f64, f64)) -> Figures {
        let each = |bytes: f64| bytes / self.count as f64;
        vec![
            ("unused, resident", each(unused.0)),
            ("unused, live heap", each(unused.1)),
            ("after a call, resident", each(used.0)),
            ("after a call, live heap", each(used.1)),
        ]
    }
}

/// A service that counts the calls that it gets.
fn routes(handled: &Arc<AtomicUsize>) -> Routes {
    let handled = Arc::clone(handled);
    let count = move |request: Request<()>| {
        handled.fetch_add(1, Ordering::Relaxed);
        Ok(request)
    };
    Routes::new(TestServiceServer::with_interceptor(Official, count)).prepare()
}

async fn serve(count: usize) -> Outcome<Handling> {
    let (accepted, handled) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let counter = Arc::clone(&accepted);
    let incoming = tonic_transport::incoming(listen().await?).inspect(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let router = tonic_transport::server().add_routes(routes(&handled));
    tokio::spawn(router.serve_with_incoming(incoming));
    reaches(&accepted, count).await;
    Ok(Handling {
        _connections: Box::new(()),
        handled,
    })
}

async fn open(count: usize, address: std::net::SocketAddr) -> Outcome<Handling> {
    let handled = Arc::default();
    let (options, handler) = (options(true), routes(&handled));
    let mut tunnels = Vec::with_capacity(count);
    for _ in 0..count {
        let carrier = grpctunnel_tokio::dial(&format!("http://{address}")).await?;
        let (handler, metadata) = (handler.clone(), MetadataMap::new());
        let tunnel = grpctunnel_tokio::serve_reverse(carrier, handler, &options, metadata);
        tunnels.push(tunnel.await?);
    }
    Ok(Handling {
        _connections: Box::new(tunnels),
        handled,
    })
}

async fn dial(
    count: usize,
    address: std::net::SocketAddr,
) -> Outcome<Vec<tonic::transport::Channel>> {
    let mut channels = Vec::with_capacity(count);
    for _ in 0..count {
        channels.push(connection(address).await?);
    }
    Ok(channels)
}

async fn accept_all(count: usize) -> Outcome<Vec<grpctunnel_tokio::Channel>> {
    let mut tunnels = accept().await?;
    let mut channels = Vec::with_capacity(count);
    while channels.len() < count {
        channels.push(tunnels.recv().await.ok_or("no tunnel came")?);
    }
    Ok(channels)
}

async fn reaches(counter: &AtomicUsize, count: usize) {
    while counter.load(Ordering::Relaxed) < count {
        sleep(LOOK).await;
    }
}

/// Bytes of this process that are resident.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(f64::NAN) * 1024.0
}

/// Allows this process a file for each connection.
fn allow_files(count: usize) -> Outcome {
    let mut limit = getrlimit(Resource::Nofile);
    let needed = u64::try_from(count)?.saturating_add(100);
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = Some(needed);
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(())
}
