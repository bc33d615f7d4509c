//! What the gateway does with a request: a tunnel's opening, or a call to pass on.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use grpctunnel_driver::{Channel, Code, ResponseBody, Status, TransmitBody, TunnelService};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use tower_service::Service;

use crate::{
    NAME, TARGET,
    name::Name,
    registry::{Link, Registry},
};

const TUNNEL_SERVICE: &str = "/grpctunnel.v1.TunnelService/";
const OPEN_REVERSE: &str = "OpenReverseTunnel";
const GRPC: &str = "application/grpc";

/// The body of a response of the gateway.
pub(crate) type FrontBody = Either<TransmitBody, Either<ResponseBody, Empty<Bytes>>>;

type Answer = Result<Response<FrontBody>, Infallible>;

impl Link for Channel {
    fn takes_calls(&self) -> bool {
        let state = self.state();
        state.open && state.settled && !state.draining
    }
}

/// The service that one connection of the gateway sees.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    registry: Registry<Channel>,
    tunnels: TunnelService,
    peer: SocketAddr,
}

impl Front {
    pub(crate) const fn new(
        registry: Registry<Channel>,
        tunnels: TunnelService,
        peer: SocketAddr,
    ) -> Self {
        Self {
            registry,
            tunnels,
            peer,
        }
    }

    /// Opens a tunnel. Whoever accepts it finds its [`Arrival`](crate::registry::Arrival) and
    /// the peer's address in the extensions.
    async fn open(mut self, mut request: Request<Incoming>, reverse: bool) -> Answer {
        if reverse {
            let name = match name_of(request.headers(), self.peer) {
                Ok(name) => name,
                Err(status) => return Ok(refuse(&status)),
            };
            let arrival = self.registry.arriving(name);
            request.extensions_mut().insert(arrival);
            request.extensions_mut().insert(self.peer);
        }
        let response = self.tunnels.call(request).await;
        response.map(|response| response.map(Either::Left))
    }

    /// Passes a call on, its bytes unseen.
    async fn pass(self, mut request: Request<Incoming>) -> Answer {
        if !is_grpc(request.headers()) {
            return Ok(unsupported());
        }
        let target = match target_of(request.headers_mut()) {
            Ok(target) => target,
            Err(status) => return Ok(refuse(&status)),
        };
        let mut channel = match self.registry.choose(target.as_deref()).await {
            Ok(channel) => channel,
            Err(refusal) => return Ok(refuse(&refusal.status())),
        };
        let response = channel.call(request).await;
        Ok(match response {
            Ok(response) => response.map(|body| Either::Right(Either::Left(body))),
            // The caller is gone, or broke its stream: nobody is left to read this.
            Err(error) => refuse(&Status::new(Code::Cancelled, error.to_string())),
        })
    }
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<FrontBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let front = self.clone();
        match request.uri().path().strip_prefix(TUNNEL_SERVICE) {
            Some(method) => {
                let reverse = method == OPEN_REVERSE;
                Box::pin(front.open(request, reverse))
            }
            None => Box::pin(front.pass(request)),
        }
    }
}

/// The name that a tunnel's opening gives its agent, or the address of the peer.
fn name_of(headers: &HeaderMap, peer: SocketAddr) -> Result<Name, Status> {
    let text = match headers.get(NAME) {
        Some(value) => value.to_str().unwrap_or_default().to_owned(),
        None => peer.to_string(),
    };
    text.parse().map_err(|bad| {
        let text = format!("metadata {NAME} is not a name: {bad}");
        Status::new(Code::InvalidArgument, text)
    })
}

/// Takes the agent's name out of a call.
fn target_of(headers: &mut HeaderMap) -> Result<Option<String>, Status> {
    let several = headers.get_all(TARGET).iter().nth(1).is_some();
    let Some(value) = headers.remove(TARGET) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(target) if !several => Ok(Some(target.to_owned())),
        _ => Err(Status::new(
            Code::InvalidArgument,
            format!("metadata {TARGET} must be given once, in ASCII"),
        )),
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    value.is_some_and(|value| value.starts_with(GRPC.as_bytes()))
}

/// A response that is nothing but a status: gRPC's trailers-only.
fn refuse(status: &Status) -> Response<FrontBody> {
    let mut response = empty();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    status.write_headers(headers);
    response
}

/// What gRPC's protocol document wants for a request that is not gRPC.
fn unsupported() -> Response<FrontBody> {
    let mut response = empty();
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

fn empty() -> Response<FrontBody> {
    Response::new(Either::Right(Either::Right(Empty::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static [u8])| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_bytes(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_target_is_taken_out() {
        let mut headers = headers(&[(TARGET, b"pi"), ("other", b"1")]);
        assert_eq!(target_of(&mut headers), Ok(Some("pi".to_owned())));
        assert_eq!(target_of(&mut headers), Ok(None));
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn a_target_that_is_unclear_is_refused() {
        for pairs in [
            &[(TARGET, &b"a"[..]), (TARGET, b"b")][..],
            &[(TARGET, b"\xff")],
        ] {
            let status = target_of(&mut headers(pairs)).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn an_agent_without_a_name_is_named_by_its_address() {
        let peer = "[::1]:7".parse().unwrap();
        let name = |pairs: &[(&'static str, &'static [u8])]| {
            name_of(&headers(pairs), peer).map(|name| name.to_string())
        };
        assert_eq!(name(&[]), Ok("[::1]:7".to_owned()));
        assert_eq!(name(&[(NAME, b"pi")]), Ok("pi".to_owned()));
        for bad in [&b""[..], b"a b", b"\xff"] {
            let status = name(&[(NAME, bad)]).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
        }
    }
}
