//! The adapters' suite on tokio.

use std::future::Future;
use std::net::TcpListener;

use grpctunnel_tests::suite::{Ends, Outcome, Serve};
use grpctunnel_tokio::http2::Settings;
use grpctunnel_tokio::{
    Carrier, CarrierBody, ConnectInfo, Endpoint, EnteredRuntime, Handler, Server, TunnelServer,
};
use hyper_util::rt::TokioIo;

/// Ends on tokio.
#[derive(Debug)]
enum OnTokio {}

impl Ends for OnTokio {
    type Runtime = EnteredRuntime;
    type Carrier = Carrier;
    type CarrierBody = CarrierBody;

    #[expect(
        clippy::unwrap_used,
        reason = "a helper of tests states what must hold"
    )]
    fn block_on<F: Future>(test: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        runtime.unwrap().block_on(test)
    }

    async fn dial(url: String, settings: Settings) -> Outcome<Carrier> {
        Ok(Endpoint::new(&url)?
            .with_settings(settings)
            .connect()
            .await?)
    }

    async fn serve<H: Handler + Sync>(
        server: Serve<EnteredRuntime, H>,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Outcome {
        listener.set_nonblocking(true)?;
        let serving = Server::new(server.tunnels)
            .with_service(server.service)
            .with_settings(server.settings)
            .with_grace(server.grace)
            .serve(tokio::net::TcpListener::from_std(listener)?, shutdown);
        Ok(serving.await?)
    }

    async fn over_a_pipe<H: Handler + Sync>(tunnels: TunnelServer<H>) -> Outcome<Carrier> {
        let (near, far) = tokio::io::duplex(64 << 10);
        Server::new(tunnels).serve_over(TokioIo::new(far), ConnectInfo::default());
        let endpoint = Endpoint::new("http://pipe")?;
        Ok(endpoint.connect_over(TokioIo::new(near)).await?)
    }
}

grpctunnel_tests::adapter_suite!(OnTokio);
