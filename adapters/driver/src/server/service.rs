//! Accepting tunnels.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Pending, Ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use grpctunnel_core::{Client, Code, ConfigError, Negotiation, Opening, Server};
use http::request::Parts;
use http::{Extensions, HeaderMap, Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::client::{Channel, NoCalls};
use crate::driver::Driver;
use crate::error::BoxError;
use crate::opening;
use crate::options::Options;
use crate::peer::TunnelPeer;
use crate::reader::Carrier;
use crate::runtime::{Runtime, Task};
use crate::server::admit::Calls;
use crate::server::{Handler, NoHandler};
use crate::shared::Shared;
use crate::status::Status;
use crate::transmit::{Network, TransmitBody};
use crate::tunnels::Tunnels;

/// A reverse tunnel that was accepted and may carry calls.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReverseTunnel {
    /// To make calls on it. The tunnel is drained when the last clone is gone.
    pub channel: Channel,
    /// The headers of the request that opened it.
    pub metadata: HeaderMap,
    /// What the HTTP stack attached to that request: connection info, certificates.
    pub extensions: Extensions,
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

    /// A service that takes no tunnels yet: both openings answer UNIMPLEMENTED.
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
    /// The settings of all tunnels that are accepted from now on.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = Arc::new(options);
        self
    }

    /// Takes forward tunnels, whose calls `handler` handles.
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

    /// Takes reverse tunnels: `accept` is called with each one that may carry calls, and what it
    /// returns runs as a task of its own. The tunnel lives as long as its channel or a clone, so
    /// `accept` keeps one for as long as the tunnel is wanted, for example until it is
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

    /// Begins to drain every tunnel, and refuses new ones UNAVAILABLE: new calls are refused or
    /// not made, those that are open may go on for `limit`. Clones drain too.
    pub fn drain(&self, limit: Duration) {
        self.tunnels.drain(limit);
    }

    /// Waits until there is no tunnel.
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
        let opening = Opening::Accepted(negotiation(&parts.headers));
        let shared = Shared::<Client>::new(self.runtime.clone(), self.options.clone(), opening);
        let shared = match shared {
            Ok(shared) => shared,
            Err(error) => return misconfigured(&error),
        };
        let transmit = TransmitBody::new(shared.clone(), Network::Server);
        let member = self.tunnels.enter(&shared);
        let tunnel = ReverseTunnel {
            channel: Channel::new(shared.clone()),
            metadata: parts.headers.clone(),
            extensions: parts.extensions.clone(),
        };
        // Nobody else can have set it.
        let _ = shared
            .peer
            .set(TunnelPeer::new(parts.headers, parts.extensions));
        let accept = accept.clone();
        let runtime = self.runtime.clone();
        let hook = Box::new(move || {
            // A panic of the application's is not the end of the tunnel's task.
            let task = catch_unwind(AssertUnwindSafe(|| accept(tunnel)));
            if let Ok(task) = task {
                runtime.spawn(task);
            }
        });
        let driver = Driver::new(shared, incoming(body), NoCalls)
            .on_start(hook)
            .member(member);
        self.runtime.spawn(driver);
        opening::accepted(transmit)
    }
}

impl<H: Handler> TunnelService<H> {
    fn accept_forward<B>(&self, handler: &H, parts: Parts, body: B) -> Response<TransmitBody>
    where
        B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
    {
        let opening = Opening::Accepted(negotiation(&parts.headers));
        let shared = Shared::<Server>::new(self.runtime.clone(), self.options.clone(), opening);
        let shared = match shared {
            Ok(shared) => shared,
            Err(error) => return misconfigured(&error),
        };
        let transmit = TransmitBody::new(shared.clone(), Network::Server);
        let member = self.tunnels.enter(&shared);
        // Nobody else can have set it.
        let _ = shared
            .peer
            .set(TunnelPeer::new(parts.headers, parts.extensions));
        let calls = Calls::new(handler.clone());
        let driver = Driver::new(shared, incoming(body), calls).member(member);
        self.runtime.spawn(driver);
        opening::accepted(transmit)
    }

    fn answer<B>(&self, request: Request<B>) -> Response<TransmitBody>
    where
        B: Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
    {
        let (parts, body) = request.into_parts();
        if self.tunnels.is_draining() {
            let text = "the tunnel server is shutting down";
            return opening::refused(&Status::new(Code::Unavailable, text));
        }
        if self.tunnels.waiting() >= self.options.max_unsettled {
            let text = "too many tunnels that are not settled (options.max_unsettled)";
            return opening::refused(&Status::new(Code::ResourceExhausted, text));
        }
        match (parts.uri.path(), &self.handler, &self.accept) {
            (opening::OPEN_TUNNEL, Some(handler), _) => self.accept_forward(handler, parts, body),
            (opening::OPEN_REVERSE_TUNNEL, _, Some(accept)) => {
                self.accept_reverse(accept, parts, body)
            }
            (opening::OPEN_TUNNEL, None, _) => unimplemented("no forward tunnels are taken here"),
            (opening::OPEN_REVERSE_TUNNEL, _, None) => {
                unimplemented("no reverse tunnels are taken here")
            }
            _ => unimplemented("grpctunnel.v1.TunnelService has no such method"),
        }
    }
}

fn misconfigured(error: &ConfigError) -> Response<TransmitBody> {
    opening::refused(&Status::new(Code::Internal, error.to_string()))
}

fn unimplemented(text: &'static str) -> Response<TransmitBody> {
    opening::refused(&Status::new(Code::Unimplemented, text))
}

fn negotiation(headers: &HeaderMap) -> Negotiation {
    let values = headers.get_all(Negotiation::HEADER);
    Negotiation::from_header(values.iter().map(|value| value.as_bytes()))
}

/// The incoming half of a carrier that this end accepted.
fn incoming<B>(body: B) -> Carrier<Pending<Result<Response<B>, BoxError>>, B> {
    Carrier::Open(Box::pin(body))
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
