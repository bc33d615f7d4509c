//! Accepting tunnels.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use grpctunnel_core::{Client, Code, Opening, Server, Side};
use http::request::Parts;
use http::{Extensions, HeaderMap, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::accept::tunnels::Tunnels;
use crate::carrier::driver::{Driver, OnStart};
use crate::carrier::opening;
use crate::carrier::receive::CarrierReader;
use crate::carrier::transmit::{NetworkRole, TransmitBody};
use crate::client::{Channel, NoAcceptor};
use crate::error::BoxError;
use crate::grpc::status::Status;
use crate::options::Options;
use crate::panics::contain;
use crate::peer::{Direction, TunnelPeer, opening_metadata};
use crate::runtime::{Runtime, Task};
use crate::server::{Handler, HandlerAcceptor, NoHandler};
use crate::tunnel::input::CallAcceptor;
use crate::tunnel::shared::Shared;
use crate::tunnel::state::TunnelRole;

/// A reverse tunnel that was accepted and may carry calls.
///
/// Its `Debug` form shows no metadata, which may hold credentials.
#[non_exhaustive]
pub struct ReverseTunnel {
    /// To make calls on it. The tunnel is drained when the last clone is dropped.
    pub channel: Channel,
    /// The metadata of the request that opened it, without the protocol's own headers; see
    /// [`TunnelPeer::metadata`].
    pub metadata: HeaderMap,
    /// What the HTTP stack attached to that request: connection info, certificates.
    pub extensions: Extensions,
}

impl fmt::Debug for ReverseTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReverseTunnel")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

type Accept = Arc<dyn Fn(ReverseTunnel) -> Task + Send + Sync>;

/// Accepts tunnels: the service `grpctunnel.v1.TunnelService`, to be mounted in an HTTP/2 server.
///
/// Clones share their tunnels.
#[derive(Clone)]
pub struct TunnelService<H = NoHandler> {
    runtime: Runtime,
    options: Arc<Options>,
    handler: Option<H>,
    accept: Option<Accept>,
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
            tunnels: self.tunnels,
        }
    }

    /// Accepts reverse tunnels: `accept` is called with each one that may carry calls, and what it
    /// returns runs as a task of its own. The tunnel is drained when the last clone of its channel
    /// is dropped, so that task keeps one, for example until the tunnel is
    /// [`closed`](Channel::closed).
    #[must_use]
    pub fn reverse<F, T>(mut self, accept: F) -> Self
    where
        F: Fn(ReverseTunnel) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        self.accept = Some(Arc::new(move |tunnel| Box::pin(accept(tunnel))));
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

    fn accept_reverse<B>(&self, accept: &Accept, parts: Parts, body: B) -> Response<TransmitBody>
    where
        B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
    {
        let metadata = opening_metadata(parts.headers.clone());
        let extensions = parts.extensions.clone();
        let accept = accept.clone();
        self.accept::<Client, B, _>(parts, body, NoAcceptor, |shared| {
            let runtime = shared.runtime.clone();
            let tunnel = ReverseTunnel {
                channel: Channel::new(shared),
                metadata,
                extensions,
            };
            Box::new(move || {
                // The tunnel's task survives a panic of the application.
                if let Some(task) = contain(|| accept(tunnel)) {
                    runtime.spawn(task);
                }
            })
        })
    }

    /// Starts the task of a tunnel. `on_start` returns what is called when it may carry calls.
    fn accept<R, B, A>(
        &self,
        parts: Parts,
        body: B,
        acceptor: A,
        on_start: impl FnOnce(Arc<Shared<R>>) -> OnStart,
    ) -> Response<TransmitBody>
    where
        R: TunnelRole,
        B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
        A: CallAcceptor<R>,
    {
        let opening = Opening::Accepted(opening::negotiation(&parts.headers));
        let runtime = match self.runtime.capture() {
            Ok(runtime) => runtime,
            Err(status) => return refused(&status),
        };
        let shared = Shared::<R>::new(runtime.clone(), self.options.clone(), opening);
        let shared = match shared {
            Ok(shared) => shared,
            Err(error) => return refused(&Status::new(Code::Internal, error.to_string())),
        };
        let admitted = self.tunnels.admit(&shared, self.options.max_unsettled);
        let (registration, unsettled) = match admitted {
            Ok(admitted) => admitted,
            Err(status) => return refused(&status),
        };
        let transmit = TransmitBody::new(shared.clone(), NetworkRole::Server);
        let direction = match R::OWN_SIDE {
            Side::Client => Direction::Reverse,
            Side::Server => Direction::Forward,
        };
        let peer = TunnelPeer::new(direction, parts.headers, parts.extensions);
        // Set only here, so it cannot have been set.
        let _ = shared.peer.set(peer);
        let on_start = on_start(shared.clone());
        let driver = Driver::new(shared, CarrierReader::accepted(body), acceptor)
            .with_guard(registration)
            .on_start(Box::new(move || {
                drop(unsettled);
                on_start();
            }));
        runtime.spawn(driver);
        opening::accepted(transmit)
    }
}

impl<H: Handler> TunnelService<H> {
    fn answer<B>(&self, request: Request<B>) -> Response<TransmitBody>
    where
        B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
    {
        let (parts, body) = request.into_parts();
        match (parts.uri.path(), &self.handler, &self.accept) {
            (opening::OPEN_TUNNEL, Some(handler), _) => {
                let acceptor = HandlerAcceptor::new(handler.clone());
                self.accept::<Server, B, _>(parts, body, acceptor, |_| Box::new(|| {}))
            }
            (opening::OPEN_REVERSE_TUNNEL, _, Some(accept)) => {
                self.accept_reverse(accept, parts, body)
            }
            (opening::OPEN_TUNNEL, None, _) => {
                unimplemented("this server accepts no forward tunnels")
            }
            (opening::OPEN_REVERSE_TUNNEL, _, None) => {
                unimplemented("this server accepts no reverse tunnels")
            }
            _ => unimplemented("grpctunnel.v1.TunnelService has no such method"),
        }
    }
}

fn unimplemented(text: &'static str) -> Response<TransmitBody> {
    refused(&Status::new(Code::Unimplemented, text))
}

fn refused(status: &Status) -> Response<TransmitBody> {
    status.trailers_only(TransmitBody::empty())
}

impl<H, B> Service<Request<B>> for TunnelService<H>
where
    H: Handler,
    B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<TransmitBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<TransmitBody>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        std::future::ready(Ok(self.answer(request)))
    }
}

impl<H> fmt::Debug for TunnelService<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelService")
            .field("forward", &self.handler.is_some())
            .field("reverse", &self.accept.is_some())
            .field("tunnels", &self.tunnels.len())
            .finish_non_exhaustive()
    }
}
