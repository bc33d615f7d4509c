//! Our server of the interoperability tests.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use grpctunnel_tokio::{
    Channel, MethodKind, MethodKinds, Options, ReverseTunnel, Server, TunnelServer,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::reverse_cases::play_for_opener;
use crate::services::{KeyedTunnels, Trigger, WithCompression, grpchan, official};

/// Metadata of an opening that names the reverse tunnel, in the order in which they are looked at.
const NAMES: [&str; 2] = ["test-client-key", "x-tunnel-name"];
/// How long a drained tunnel's calls may go on: as good as without end, since a test server that
/// shuts down is to end no call.
const DRAIN_LIMIT: Duration = Duration::from_secs(86_400);
/// Bytes of the largest message that is taken, as in gRPC: tonic gathers messages.
const MAX_MESSAGE: u32 = 4 << 20;

/// A server that offers, on one port, the test services directly and over forward tunnels, takes
/// reverse tunnels, and calls through them when `TunnelTestService` is asked to.
#[derive(Clone, Debug)]
pub struct InteropServer {
    options: Options,
    tunnels: KeyedTunnels<Channel>,
    trigger_time: Duration,
}

impl InteropServer {
    /// With the settings of [`options`].
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            tunnels: KeyedTunnels::default(),
            trigger_time: Duration::from_secs(2),
        }
    }

    /// Serves in this process, on a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start(self) -> io::Result<Running> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let tunnels = self.tunnels.clone();
        let task = tokio::spawn(self.serve(listener, std::future::pending()));
        Ok(Running {
            address,
            tunnels,
            task,
        })
    }

    /// Serves until `shutdown` is ready, then lets every live call come to its end: tunnels refuse
    /// new calls, and end with their last.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let tunnels = self.tunnels.clone();
        let service = TunnelServer::new()
            .with_options(self.options)
            .forward(Routes::new(WithCompression(official())).add_service(grpchan()))
            .reverse(move |tunnel| keep(tunnels.clone(), tunnel));
        let direct = Routes::new(WithCompression(official()))
            .add_service(Trigger::service(self.tunnels, self.trigger_time));
        let serving = Server::new(service)
            .with_service(direct)
            .with_grace(DRAIN_LIMIT)
            .serve(listener, shutdown);
        // tokio takes its own listeners as they are.
        let _ = serving.await;
    }
}

/// A server in this process. It listens until it is dropped.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    tunnels: KeyedTunnels<Channel>,
    task: JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The reverse tunnel of this name, as soon as there is one; its name is the metadata
    /// `test-client-key` or `x-tunnel-name` of its opening, else "".
    pub async fn tunnel(&self, name: &str) -> Channel {
        self.tunnels.get(name).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The settings of the tests' ends.
#[must_use]
pub fn options(flow_control: bool) -> Options {
    let mut options = Options::default();
    options.flow_control = flow_control;
    options.limits.max_message = MAX_MESSAGE;
    options.method_kinds = method_kinds();
    options
}

/// How the methods of the test services exchange messages.
fn method_kinds() -> MethodKinds {
    const KINDS: [(&str, MethodKind); 12] = [
        ("grpc.testing.TestService/EmptyCall", MethodKind::Unary),
        ("grpc.testing.TestService/UnaryCall", MethodKind::Unary),
        (
            "grpc.testing.TestService/CacheableUnaryCall",
            MethodKind::Unary,
        ),
        (
            "grpc.testing.TestService/UnimplementedCall",
            MethodKind::Unary,
        ),
        (
            "grpc.testing.TestService/StreamingOutputCall",
            MethodKind::ServerStreaming,
        ),
        (
            "grpc.testing.TestService/StreamingInputCall",
            MethodKind::ClientStreaming,
        ),
        ("grpc.testing.TestService/FullDuplexCall", MethodKind::Bidi),
        ("grpc.testing.TestService/HalfDuplexCall", MethodKind::Bidi),
        ("grpchantesting.TestService/Unary", MethodKind::Unary),
        (
            "grpchantesting.TestService/ClientStream",
            MethodKind::ClientStreaming,
        ),
        (
            "grpchantesting.TestService/ServerStream",
            MethodKind::ServerStreaming,
        ),
        ("grpchantesting.TestService/BidiStream", MethodKind::Bidi),
    ];
    KINDS.into_iter().collect()
}

/// Keeps a reverse tunnel for as long as it lives, or plays the cases that its opening names.
async fn keep(tunnels: KeyedTunnels<Channel>, tunnel: ReverseTunnel) {
    match play_for_opener(&tunnel.metadata, tunnel.channel.clone()).await {
        Ok(false) => {}
        Ok(true) | Err(_) => return tunnel.channel.close(),
    }
    let name = NAMES
        .iter()
        .find_map(|name| tunnel.metadata.get(*name)?.to_str().ok());
    let name = name.unwrap_or_default().to_owned();
    let closed = tunnel.channel.closed();
    let added = tunnels.add(name, tunnel.channel);
    closed.await;
    drop(added);
}
