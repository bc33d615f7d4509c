//! What one connection of a gateway sees: tunnels are opened, calls pass, and a browser or a load
//! balancer is told what this is.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use grpctunnel_driver::{Code, Status, TransmitBody, TunnelService};
use grpctunnel_http2::{Connection, Error, IncomingBody, Settings};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{Either, Full};
use tower_service::Service;

use crate::{
    INSTANCE, NAME,
    admin::GatewayTunnels,
    admission::Purpose,
    answer::{Page, or_refused, refuse},
    audit::{Refused, RefusedKind},
    auth::{AUTHORIZATION, Authenticated, Guard, GuardedBody},
    held::Held,
    limits::{ConnectionPermits, Permit},
    listener::Endpoint,
    metrics::{Observed, ObservedBody},
    name::Name,
    stop::Stop,
};

/// The body of a response of the gateway.
pub(crate) type FrontBody = Either<
    Held<TransmitBody, Permit>,
    Either<ObservedBody<GuardedBody>, Either<grpctunnel_driver::ResponseBody, Full<Bytes>>>,
>;

type Answer = Result<Response<FrontBody>, Error>;

/// The service that one connection of the gateway sees.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) guard: Guard,
    pub(crate) calls: Observed<Guard>,
    pub(crate) tunnels: TunnelService<Observed<Guard>>,
    pub(crate) instance: HeaderValue,
    pub(crate) peer: Endpoint,
    /// Who the connection belongs to by its client certificate.
    pub(crate) certified: Option<Authenticated>,
    pub(crate) permits: ConnectionPermits,
    pub(crate) listed: GatewayTunnels,
    pub(crate) purpose: Purpose,
    pub(crate) stop: Stop,
}

/// What whoever accepts a tunnel finds of its opening.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) by: Authenticated,
    pub(crate) name: Name,
    /// Whether the agent said its name.
    pub(crate) named: bool,
    pub(crate) since: Instant,
}

impl Front {
    /// Opens a tunnel. Whoever accepts a reverse one finds [`Opened`] in the extensions.
    async fn open(mut self, by: Authenticated, mut request: Request<IncomingBody>) -> Answer {
        let trust = self.guard.trusted.now();
        let limit = trust.limit(&by.identity);
        let permit = match self.guard.accounts.tunnel(&by.identity, limit) {
            Ok(permit) => permit,
            Err(exceeded) => {
                return Ok(self.deny(Some(&by), RefusedKind::Tunnel, "tunnel", &exceeded.status()));
            }
        };
        if request.uri().path() == TunnelService::OPEN_REVERSE_TUNNEL {
            let (name, named) = match name_of(request.headers()) {
                Ok(name) => name,
                Err(status) => {
                    return Ok(self.deny(Some(&by), RefusedKind::Tunnel, "tunnel", &status));
                }
            };
            if !self.guard.trusted.may_serve(&by.identity, &name) {
                let text = format!("no rule allows {} to serve {name}", by.identity);
                let status = Status::new(Code::PermissionDenied, text);
                let what = format!("tunnel of agent {name}");
                return Ok(self.deny(Some(&by), RefusedKind::Tunnel, &what, &status));
            }
            if self.listed.is_drained(&name) {
                let text = format!("agent {name} is drained, and not taken for now");
                let status = Status::new(Code::Unavailable, text);
                let what = format!("tunnel of agent {name}");
                return Ok(self.deny(Some(&by), RefusedKind::Tunnel, &what, &status));
            }
            request.extensions_mut().insert(Opened {
                by: by.clone(),
                name,
                named,
                since: Instant::now(),
            });
        }
        // What opened the tunnel has been read, and is nobody else's business.
        request.headers_mut().remove(AUTHORIZATION);
        request.extensions_mut().insert(by);
        if let Some(connection) = request.extensions().get::<Connection>() {
            // All calls of a tunnel share the windows, and it bounds what each holds.
            connection.raise_windows(&Settings::tunnels());
        }
        self.purpose.tunnel();
        let answered = self.tunnels.call(request).await;
        let mut response = answered.unwrap_or_else(|never| match never {});
        response.headers_mut().insert(INSTANCE, self.instance);
        Ok(response.map(|body| Either::Left(Held::new(body, permit))))
    }

    /// Who a request comes from, and whether they may have another connection.
    fn admit(&self, headers: &HeaderMap) -> Result<Authenticated, Box<Response<FrontBody>>> {
        let trusted = &self.guard.trusted;
        let by = trusted.identify(headers, self.certified.as_ref(), &self.peer);
        let by = by.map_err(|status| {
            Box::new(self.deny(None, RefusedKind::Request, "request", &status))
        })?;
        let trust = trusted.now();
        let limit = trust.limit(&by.identity);
        let counted = self
            .permits
            .count(&self.guard.accounts, &by.identity, limit);
        match counted {
            Ok(()) => Ok(by),
            Err(exceeded) => {
                let status = exceeded.status();
                let kind = RefusedKind::Connection;
                Err(Box::new(self.deny(Some(&by), kind, "connection", &status)))
            }
        }
    }

    /// Refuses something, and notes it. The instance is told in any case: an agent has to find out
    /// that its local server is its gateway.
    fn deny(
        &self,
        by: Option<&Authenticated>,
        kind: RefusedKind,
        what: &str,
        status: &Status,
    ) -> Response<FrontBody> {
        self.guard.audit.refused(Refused {
            kind,
            peer: self.peer.clone(),
            identity: by.map(|by| by.identity.to_string()),
            what: what.to_owned(),
            why: status.message().to_owned(),
        });
        let mut response = refused(status);
        let headers = response.headers_mut();
        headers.insert(INSTANCE, self.instance.clone());
        response
    }
}

impl Service<Request<IncomingBody>> for Front {
    type Response = Response<FrontBody>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<IncomingBody>) -> Self::Future {
        if let Some(page) = Page::of(&request, !self.stop.is_leaving()) {
            let text = Full::from(page.text);
            let response = page.head().map(|()| Either::Right(text));
            return Box::pin(std::future::ready(Ok(response.map(inner))));
        }
        let by = match self.admit(request.headers()) {
            Ok(by) => by,
            Err(refused) => return Box::pin(std::future::ready(Ok(*refused))),
        };
        let front = self.clone();
        if front.guard.router.opens_tunnel(&request) {
            return Box::pin(front.open(by, request));
        }
        if front.purpose.owes_tunnel() {
            let text = "the gateway has no room for more callers";
            let status = Status::new(Code::Unavailable, text);
            return Box::pin(std::future::ready(Ok(refused(&status))));
        }
        request.extensions_mut().insert(by);
        let mut calls = front.calls;
        Box::pin(async move {
            let answered = calls.call(request).await;
            let response = or_refused(answered.unwrap_or_else(|never| match never {}))?;
            Ok(response.map(|body| Either::Right(Either::Left(body))))
        })
    }
}

fn inner(body: Either<grpctunnel_driver::ResponseBody, Full<Bytes>>) -> FrontBody {
    Either::Right(Either::Right(body))
}

fn refused(status: &Status) -> Response<FrontBody> {
    refuse(status).map(|body| inner(Either::Left(body)))
}

/// The name that a tunnel's opening gives its agent, or a generated one; and whether it gave one.
fn name_of(headers: &HeaderMap) -> Result<(Name, bool), Status> {
    let Some(value) = headers.get(NAME) else {
        return Ok((Name::generated(), false));
    };
    let name = value.to_str().unwrap_or_default().parse();
    let name = name.map_err(|bad| {
        let text = format!("the metadata {NAME} is not a name: {bad}");
        Status::new(Code::InvalidArgument, text)
    })?;
    Ok((name, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_named_by_its_metadata_or_by_the_gateway() {
        let name = |value: Option<&[u8]>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(NAME, HeaderValue::from_bytes(value).unwrap());
            }
            name_of(&headers)
        };
        assert_eq!(name(Some(b"Pi")), Ok(("pi".parse().unwrap(), true)));
        let (generated, named) = name(None).unwrap();
        assert!(!named && generated.as_str().starts_with("agent-"));
        for bad in [&b""[..], b"a b", b"127.0.0.1:7", b"\xff"] {
            let status = name(Some(bad)).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains("DNS label"), "{status}");
        }
    }
}
