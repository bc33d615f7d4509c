//! The suite of the runtimes' adapters: what each must do over real connections, with no runtime
//! of its own. An adapter's tests implement [`Ends`] and take the tests by
//! [`adapter_suite`](crate::adapter_suite).

mod calls;
mod faults;
mod life;
mod peers;

use std::error::Error;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use grpctunnel_driver::{BoxError, Executor, Handler, Options, Runtime, Timer};
use grpctunnel_http2::Settings;
use grpctunnel_tonic::{Channel, ReverseTunnel, TunnelServer, connect};
use http::{Request, Response};
use http_body::Body as HttpBody;
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;

pub use calls::{
    a_forward_tunnel_carries_calls_of_all_kinds, a_reverse_tunnel_carries_calls_of_all_kinds,
    a_tunnel_over_a_transport_of_ones_own, a_tunnel_through_a_tunnel, calls_without_a_tunnel,
    deadlines_and_cancelled_calls_end_at_both_ends,
};
pub use faults::{
    a_client_that_says_nothing_is_sent_away, a_server_outlives_clients_that_speak_no_http2,
    a_server_that_says_nothing_is_given_up, a_server_that_takes_no_tunnels_says_so,
    a_silent_server_is_noticed, silent_clients_are_noticed,
};
pub use life::{
    a_drained_tunnel_refuses_calls_and_ends, a_shutdown_cuts_calls_at_the_end_of_its_grace,
    a_shutdown_waits_for_open_calls, a_tunnel_is_opened_again_after_its_server_was_gone,
};

use crate::services::{grpchan, official};

/// What a test ends with.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(60);
/// A time in place of minutes: between pings, and for their answers.
const SOON: Duration = Duration::from_millis(200);

/// The ends that an adapter makes.
pub trait Ends: Send + Sync + 'static {
    /// Its runtime.
    type Runtime: Executor + Timer + Default;
    /// A connection to a server.
    type Carrier: Service<
            Request<Body>,
            Response = Response<Self::CarrierBody>,
            Error: Into<BoxError>,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static;
    /// The bodies of its responses.
    type CarrierBody: HttpBody<Data = Bytes, Error: Into<BoxError> + Send> + Send + 'static;

    /// Runs a test to its end.
    fn block_on<F: Future>(test: F) -> F::Output;

    /// Connects to `http://HOST:PORT`.
    fn dial(url: String, settings: Settings)
    -> impl Future<Output = Outcome<Self::Carrier>> + Send;

    /// Serves tunnels, and `service` beside them.
    fn serve<H: Handler + Sync>(
        server: Serve<Self::Runtime, H>,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = Outcome> + Send + 'static;

    /// A connection over a transport of its own, whose other end is served.
    fn over_a_pipe<H: Handler + Sync>(
        tunnels: TunnelServer<Self::Runtime, H>,
    ) -> impl Future<Output = Outcome<Self::Carrier>> + Send;
}

/// What a server is made of.
#[derive(Debug)]
pub struct Serve<R, H> {
    /// The tunnels that it takes.
    pub tunnels: TunnelServer<R, H>,
    /// What else it answers.
    pub service: Routes,
    /// The settings of its connections.
    pub settings: Settings,
    /// How long open calls may go on when it shuts down.
    pub grace: Duration,
}

/// A server of the test services that runs until this is dropped, or is told to stop.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    stopped: oneshot::Receiver<Outcome>,
}

impl Server {
    pub(crate) fn start<E: Ends, H: Handler + Sync>(
        tunnels: TunnelServer<E::Runtime, H>,
    ) -> Outcome<Self> {
        Self::start_with::<E, H>(tunnels, Settings::tunnels(), LIMIT)
    }

    pub(crate) fn start_with<E: Ends, H: Handler + Sync>(
        tunnels: TunnelServer<E::Runtime, H>,
        settings: Settings,
        grace: Duration,
    ) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (stop, stopping) = oneshot::channel::<()>();
        let (done, stopped) = oneshot::channel();
        let server = Serve {
            tunnels,
            service: services(),
            settings,
            grace,
        };
        let serving = E::serve(server, listener, async {
            let _ = stopping.await;
        });
        runtime::<E>().spawn(async move {
            let _ = done.send(serving.await);
        });
        Ok(Self {
            address,
            stop: Some(stop),
            stopped,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Begins to shut it down.
    pub(crate) fn stop(&mut self) {
        self.stop = None;
    }

    /// Waits until it has shut down.
    pub(crate) async fn stopped(self) -> Outcome {
        self.stopped.await?
    }
}

/// Runs a test, which may not take for ever.
pub(crate) fn run<E: Ends>(test: impl Future<Output = Outcome>) -> Outcome {
    E::block_on(async {
        let limit = async_io::Timer::after(LIMIT);
        match select(pin!(test), limit).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Err(format!("not done after {LIMIT:?}").into()),
        }
    })
}

pub(crate) fn runtime<E: Ends>() -> Runtime {
    Runtime::new(E::Runtime::default(), E::Runtime::default())
}

/// The test services.
pub(crate) fn services() -> Routes {
    Routes::new(official()).add_service(grpchan())
}

/// Takes forward tunnels.
pub(crate) fn forward<E: Ends>(options: Options) -> TunnelServer<E::Runtime, impl Handler + Sync> {
    TunnelServer::<E::Runtime>::new()
        .with_options(options)
        .forward(official())
}

/// Takes reverse tunnels, and hands them out.
pub(crate) fn reverse<E: Ends>(
    options: Options,
) -> (
    TunnelServer<E::Runtime>,
    mpsc::UnboundedReceiver<ReverseTunnel>,
) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let tunnels = TunnelServer::<E::Runtime>::new()
        .with_options(options)
        .reverse(move |tunnel| {
            let sender = sender.clone();
            async move {
                let _ = sender.send(tunnel);
            }
        });
    (tunnels, receiver)
}

pub(crate) fn flow_control(on: bool) -> Options {
    let mut options = Options::default();
    options.flow_control = on;
    options
}

/// A forward tunnel on a connection of its own.
pub(crate) async fn open<E: Ends>(url: String) -> Outcome<Channel> {
    let carrier = E::dial(url, Settings::tunnels()).await?;
    open_on::<E>(carrier).await
}

pub(crate) async fn open_on<E: Ends>(carrier: E::Carrier) -> Outcome<Channel> {
    let metadata = MetadataMap::new();
    Ok(connect(carrier, &runtime::<E>(), &Options::default(), metadata).await?)
}

/// The tests of the suite, for an adapter's [`Ends`].
#[macro_export]
macro_rules! adapter_suite {
    ($ends:ty) => {
        $crate::adapter_suite! { $ends:
            a_client_that_says_nothing_is_sent_away,
            a_drained_tunnel_refuses_calls_and_ends,
            a_forward_tunnel_carries_calls_of_all_kinds,
            a_reverse_tunnel_carries_calls_of_all_kinds,
            a_server_outlives_clients_that_speak_no_http2,
            a_server_that_says_nothing_is_given_up,
            a_server_that_takes_no_tunnels_says_so,
            a_shutdown_cuts_calls_at_the_end_of_its_grace,
            a_shutdown_waits_for_open_calls,
            a_silent_server_is_noticed,
            a_tunnel_is_opened_again_after_its_server_was_gone,
            a_tunnel_over_a_transport_of_ones_own,
            a_tunnel_through_a_tunnel,
            calls_without_a_tunnel,
            deadlines_and_cancelled_calls_end_at_both_ends,
            silent_clients_are_noticed,
        }
    };
    ($ends:ty: $($test:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() -> $crate::suite::Outcome {
                $crate::suite::$test::<$ends>()
            }
        )*
    };
}
