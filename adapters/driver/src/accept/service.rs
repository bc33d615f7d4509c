//! Accepting tunnels.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use grpctunnel_core::{Client, Code, Opening, Server, Side};
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::accept::hooks::{Accept, AcceptResult, Hooks, Register, ReverseTunnel, asked};
use crate::accept::tunnels::{Registration, Tunnels};
use crate::carrier::driver::{Driver, OnStart};
use crate::carrier::opening;
use crate::carrier::receive::CarrierReader;
use crate::carrier::transmit::{NetworkRole, TransmitBody};
use crate::client::{Channel, NoAcceptor};
use crate::error::{BoxError, TunnelEnd};
use crate::grpc::status::Status;
use crate::options::Options;
use crate::panics::contain;
use crate::peer::{Direction, TunnelPeer};
use crate::registry::{Registry, RegistryKey};
use crate::runtime::Runtime;
use crate::server::{Handler, HandlerAcceptor, NoHandler};
use crate::tunnel::input::CallAcceptor;
use crate::tunnel::shared::Shared;
use crate::tunnel::state::TunnelRole;

/// Accepts tunnels: the service `grpctunnel.v1.TunnelService`, to be mounted in an HTTP/2 server.
///
/// Clones share their tunnels.
#[derive(Clone)]
pub struct TunnelService<H = NoHandler> {
    runtime: Runtime,
    options: Arc<Options>,
    handler: Option<H>,
    accept: Option<Accept>,
    register: Option<Register>,
    hooks: Hooks,
    tunnels: Arc<Tunnels>,
}

impl TunnelService {
    /// The full name of the service.
    pub const NAME: &'static str = opening::SERVICE;
    /// The path of a request that opens a forward tunnel.
    pub const OPEN_TUNNEL: &'static str = opening::OPEN_TUNNEL;
    /// The path of a request that opens a reverse tunnel.
    pub const OPEN_REVERSE_TUNNEL: &'static str = opening::OPEN_REVERSE_TUNNEL;

    /// A service that accepts no tunnels yet: requests to open one fail with UNIMPLEMENTED.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        Self {
            runtime,
            options: Arc::new(Options::default()),
            handler: None,
            accept: None,
            register: None,
            hooks: Hooks::default(),
            tunnels: Arc::new(Tunnels::default()),
        }
    }
}

impl<H> TunnelService<H> {
    /// Sets the options of the tunnels that are accepted.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = Arc::new(options);
        self
    }

    /// Accepts forward tunnels, whose calls `handler` handles.
    #[must_use]
    pub fn forward<S: Handler>(self, handler: S) -> TunnelService<S> {
        TunnelService {
            runtime: self.runtime,
            options: self.options,
            handler: Some(handler),
            accept: self.accept,
            register: self.register,
            hooks: self.hooks,
            tunnels: self.tunnels,
        }
    }

    /// Accepts reverse tunnels: `accept` is called with each one that may carry calls, and what it
    /// returns runs as a task of its own. The tunnel is drained when the last clone of its channel
    /// is dropped, so that task keeps one, for example until the tunnel is
    /// [`closed`](Channel::closed).
    ///
    /// An error of the task refuses the tunnel: it ends, calls that are open included, and the peer
    /// finds the status as [`TunnelEnd::peer_status`]. [`on_open`](Self::on_open) refuses it earlier.
    #[must_use]
    pub fn reverse<F, T>(mut self, accept: F) -> Self
    where
        F: Fn(ReverseTunnel) -> T + Send + Sync + 'static,
        T: Future<Output: AcceptResult> + Send + 'static,
    {
        self.accept = Some(Arc::new(move |tunnel: ReverseTunnel| {
            // It does not keep the tunnel from being drained.
            let shared = tunnel.channel.shared().clone();
            let task = accept(tunnel);
            Box::pin(async move {
                if let Some(status) = task.await.refusal() {
                    shared.dismiss(status, Duration::ZERO);
                }
            })
        }));
        self
    }

    /// Accepts reverse tunnels, which are found in `registry` until they are over. With
    /// [`reverse`](Self::reverse) beside it, that is called with each one that has been registered.
    #[must_use]
    pub fn register<K: RegistryKey>(mut self, registry: &Registry<K>) -> Self {
        self.register = Some(registry.register());
        self
    }

    /// Calls `hook` with each tunnel, of either direction, that is being opened and that no limit
    /// refuses. It sees what came with the opening: metadata, the connection's addresses and
    /// certificates, what interceptors and layers have added. An error refuses the tunnel, and the
    /// peer finds the status in its [`ConnectError`](crate::ConnectError). If it panics, the tunnel
    /// is refused INTERNAL.
    #[must_use]
    pub fn on_open(
        mut self,
        hook: impl Fn(&TunnelPeer) -> Result<(), Status> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.on_open = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` with each tunnel, of either direction, that is over: once for each that
    /// [`on_open`](Self::on_open) has let in. A registry does not know it any more by then.
    #[must_use]
    pub fn on_close(
        mut self,
        hook: impl Fn(&TunnelPeer, &TunnelEnd) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.on_close = Some(Arc::new(hook));
        self
    }

    /// Begins to drain every tunnel, and refuses new tunnels with UNAVAILABLE. No new calls are
    /// made or accepted; open ones may go on for `limit`. It holds for all clones.
    pub fn drain(&self, limit: Duration) {
        self.tunnels.drain(limit);
    }

    /// Waits until the last tunnel is over.
    pub fn drained(&self) -> impl Future<Output = ()> + Send + 'static + use<H> {
        self.tunnels.clone().drained()
    }

    /// Tunnels that are not over.
    #[must_use]
    pub fn tunnels(&self) -> usize {
        self.tunnels.len()
    }

    fn accept_reverse<B>(&self, parts: Parts, body: B) -> Result<Response<TransmitBody>, Status>
    where
        B: Body<Error: Into<BoxError>> + Send + 'static,
    {
        let accept = self.accept.clone();
        let admit = |peer: &mut TunnelPeer| {
            let register = self.register.as_ref();
            let register = register.map(|register| asked(|| register(peer)));
            let register = register.transpose()?;
            let (metadata, extensions) = (peer.metadata().clone(), peer.extensions().clone());
            let on_start = |shared: Arc<Shared<Client>>| {
                let runtime = shared.runtime.clone();
                let channel = Channel::new(shared);
                let on_start = move || {
                    let kept = register.map(|register| register(channel.clone()));
                    let tunnel = ReverseTunnel {
                        channel,
                        metadata,
                        extensions,
                    };
                    // The tunnel's task survives a panic of the application.
                    let task = accept.and_then(|accept| contain(|| accept(tunnel)));
                    if let Some(task) = task {
                        runtime.spawn(task);
                    }
                    kept
                };
                Box::new(on_start) as OnStart
            };
            Ok(on_start)
        };
        self.accept::<Client, B, _, _>(parts, body, NoAcceptor, admit)
    }

    /// Starts the task of a tunnel that `admit` lets in. That returns what makes the function that
    /// is called when the tunnel may carry calls.
    fn accept<R, B, A, S>(
        &self,
        parts: Parts,
        body: B,
        acceptor: A,
        admit: impl FnOnce(&mut TunnelPeer) -> Result<S, Status>,
    ) -> Result<Response<TransmitBody>, Status>
    where
        R: TunnelRole,
        B: Body<Error: Into<BoxError>> + Send + 'static,
        A: CallAcceptor<R>,
        S: FnOnce(Arc<Shared<R>>) -> OnStart,
    {
        let opening = Opening::Accepted(opening::negotiation(&parts.headers));
        let runtime = self.runtime.capture()?;
        let shared = Shared::<R>::new(runtime.clone(), self.options.clone(), opening)
            .map_err(|error| Status::new(Code::Internal, error.to_string()))?;
        let (registration, unsettled) = self.tunnels.admit(&shared)?;
        let direction = match R::OWN_SIDE {
            Side::Client => Direction::Reverse,
            Side::Server => Direction::Forward,
        };
        let mut peer = TunnelPeer::new(shared.id, direction, parts.headers, parts.extensions);
        let on_start = admit(&mut peer)?;
        self.hooks.open(&peer)?;
        let mut transmit = TransmitBody::new(shared.clone(), NetworkRole::Server);
        transmit.set_segments(peer.extensions().get());
        let opened = Opened {
            hooks: self.hooks.clone(),
            shared: shared.clone(),
            peer: peer.clone(),
            _registration: registration,
        };
        // Set only here, so it cannot have been set.
        let _ = shared.peer.set(peer);
        let on_start = on_start(shared.clone());
        let mut response = opening::accepted(transmit);
        let abort = shared.read(|state| state.outgoing.abort.clone());
        response.extensions_mut().insert(abort);
        let driver = Driver::new(shared, CarrierReader::accepted(body), acceptor)
            .with_guard(opened)
            .on_start(Box::new(move || {
                drop(unsettled);
                on_start()
            }));
        runtime.spawn(driver);
        Ok(response)
    }
}

/// A tunnel that was let in. Dropped when it is over.
struct Opened<R: TunnelRole> {
    hooks: Hooks,
    shared: Arc<Shared<R>>,
    peer: TunnelPeer,
    _registration: Registration,
}

impl<R: TunnelRole> Drop for Opened<R> {
    fn drop(&mut self) {
        let end = self.shared.read(|state| state.tunnel_end());
        self.hooks.close(&self.peer, &end);
    }
}

impl<H: Handler> TunnelService<H> {
    fn answer<B>(&self, request: Request<B>) -> Result<Response<TransmitBody>, Status>
    where
        B: Body<Error: Into<BoxError>> + Send + 'static,
    {
        let (parts, body) = request.into_parts();
        let takes_reverse = self.accept.is_some() || self.register.is_some();
        let text = match (parts.uri.path(), &self.handler) {
            (opening::OPEN_TUNNEL, Some(handler)) => {
                let admit = |_: &mut TunnelPeer| Ok(|_| Box::new(|| None) as OnStart);
                let acceptor = HandlerAcceptor::new(handler.clone());
                return self.accept::<Server, B, _, _>(parts, body, acceptor, admit);
            }
            (opening::OPEN_REVERSE_TUNNEL, _) if takes_reverse => {
                return self.accept_reverse(parts, body);
            }
            (opening::OPEN_TUNNEL, None) => "this server accepts no forward tunnels",
            (opening::OPEN_REVERSE_TUNNEL, _) => "this server accepts no reverse tunnels",
            _ => "grpctunnel.v1.TunnelService has no such method",
        };
        Err(Status::new(Code::Unimplemented, text))
    }
}

impl<H, B> Service<Request<B>> for TunnelService<H>
where
    H: Handler,
    B: Body<Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<TransmitBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<TransmitBody>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let refused = |status: Status| status.trailers_only(TransmitBody::empty());
        std::future::ready(Ok(self.answer(request).unwrap_or_else(refused)))
    }
}

impl<H> fmt::Debug for TunnelService<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelService")
            .field("forward", &self.handler.is_some())
            .field(
                "reverse",
                &(self.accept.is_some() || self.register.is_some()),
            )
            .field("tunnels", &self.tunnels.len())
            .finish_non_exhaustive()
    }
}
