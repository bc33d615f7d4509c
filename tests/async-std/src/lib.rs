//! The ends that the async-std adapter makes, on both of its runtimes.

use std::future::Future;
use std::net::TcpListener;

use grpctunnel_async_std::http2::Settings;
use grpctunnel_async_std::{
    AsyncStdRuntime, Carrier, CarrierBody, ConnectInfo, Endpoint, Executor, FuturesIo, Handler,
    Network, Runtime, Server, SmolRuntime, Timer, TunnelServer,
};
use grpctunnel_tests::suite::{Ends, Outcome, Serve};

/// Ends on async-std.
#[derive(Debug)]
pub enum OnAsyncStd {}

/// Ends on smol.
#[derive(Debug)]
pub enum OnSmol {}

impl Ends for OnAsyncStd {
    type Runtime = AsyncStdRuntime;
    type Carrier = Carrier;
    type CarrierBody = CarrierBody;

    fn block_on<F: Future>(test: F) -> F::Output {
        async_std::task::block_on(test)
    }

    async fn dial(url: String, settings: Settings) -> Outcome<Carrier> {
        dial::<AsyncStdRuntime>(&url, settings).await
    }

    async fn serve<H: Handler + Sync>(
        server: Serve<AsyncStdRuntime, H>,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Outcome {
        serve(server, listener, shutdown).await
    }

    async fn over_a_pipe<H: Handler + Sync>(
        tunnels: TunnelServer<AsyncStdRuntime, H>,
    ) -> Outcome<Carrier> {
        over_a_pipe(tunnels).await
    }
}

impl Ends for OnSmol {
    type Runtime = SmolRuntime;
    type Carrier = Carrier;
    type CarrierBody = CarrierBody;

    fn block_on<F: Future>(test: F) -> F::Output {
        smol::block_on(test)
    }

    async fn dial(url: String, settings: Settings) -> Outcome<Carrier> {
        dial::<SmolRuntime>(&url, settings).await
    }

    async fn serve<H: Handler + Sync>(
        server: Serve<SmolRuntime, H>,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Outcome {
        serve(server, listener, shutdown).await
    }

    async fn over_a_pipe<H: Handler + Sync>(
        tunnels: TunnelServer<SmolRuntime, H>,
    ) -> Outcome<Carrier> {
        over_a_pipe(tunnels).await
    }
}

/// Tasks and timers of one of the runtimes.
#[must_use]
pub fn runtime<R: Executor + Timer + Default>() -> Runtime {
    Runtime::new(R::default(), R::default())
}

async fn dial<N: Network>(url: &str, settings: Settings) -> Outcome<Carrier> {
    let endpoint = Endpoint::<N>::new(url)?.with_settings(settings);
    Ok(endpoint.connect().await?)
}

async fn serve<N: Network<Listener = TcpListener>, H: Handler + Sync>(
    server: Serve<N, H>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Outcome {
    let serving = Server::new(server.tunnels)
        .with_service(server.service)
        .with_settings(server.settings)
        .with_grace(server.grace)
        .serve(listener, shutdown);
    Ok(serving.await?)
}

/// Over a pair of Unix sockets.
async fn over_a_pipe<N: Network, H: Handler + Sync>(
    tunnels: TunnelServer<N, H>,
) -> Outcome<Carrier> {
    let (near, far) = smol::net::unix::UnixStream::pair()?;
    Server::new(tunnels).serve_over(FuturesIo::new(far), ConnectInfo::default());
    let endpoint = Endpoint::<N>::new("http://pipe")?;
    Ok(endpoint.connect_over(FuturesIo::new(near)).await?)
}
