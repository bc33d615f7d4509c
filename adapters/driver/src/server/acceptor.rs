//! Accepting calls: each becomes an HTTP request and a task that handles it.

use std::sync::Arc;

use bytes::Bytes;
use grpctunnel_core::wire::{Extension, Metadata, format_timeout};
use grpctunnel_core::{Code, MethodKind, Server, Side, StreamReason};
use http::header::{CONTENT_TYPE, TE};
use http::uri::{Authority, InvalidUri, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Uri, Version};

use crate::deferred::Deferred;
use crate::grpc::headers::{AUTHORITY, GRPC_CONTENT_TYPE, GRPC_TIMEOUT};
use crate::grpc::metadata::to_headers;
use crate::grpc::status::Status;
use crate::panics::contain;
use crate::server::handler::Handler;
use crate::server::request_body::RequestBody;
use crate::server::task::{TaskGuard, handle};
use crate::telemetry::HandlerSpan;
use crate::tunnel::input::{CallAcceptor, IncomingCall};
use crate::tunnel::shared::Shared;
use crate::tunnel::state::State;

/// Accepts calls for a handler.
pub(crate) struct HandlerAcceptor<H> {
    handler: H,
    accepted: Vec<AcceptedCall>,
}

struct AcceptedCall {
    guard: TaskGuard,
    kind: MethodKind,
    request: Request<()>,
    /// The messages of a request that has come whole.
    whole: Option<Bytes>,
}

impl<H> HandlerAcceptor<H> {
    pub(crate) const fn new(handler: H) -> Self {
        Self {
            handler,
            accepted: Vec::new(),
        }
    }
}

impl<H: Handler> CallAcceptor<Server> for HandlerAcceptor<H> {
    fn accept(
        &mut self,
        shared: &Arc<Shared<Server>>,
        state: &mut State<Server>,
        call: IncomingCall<'_>,
        deferred: &mut Deferred,
    ) {
        let stream = call.stream;
        let kind = state.options.method_kinds.get(call.method);
        let share = state.queue.share();
        state.streams.insert(stream, share, deferred);
        let refusal = state.options.budget.as_ref();
        let refusal = refusal.and_then(|budget| budget.refusal(0));
        let request = match refusal {
            Some(status) => Err(status.with_mark(true)),
            None => request(state, &call),
        };
        match request {
            Ok(mut request) => {
                if kind != MethodKind::Unknown {
                    // The stream was opened a moment ago.
                    if let Ok(mut stream) = state.tunnel.stream(stream) {
                        stream.set_method_kind(kind);
                    }
                    request.extensions_mut().insert(kind);
                }
                if let Some(peer) = shared.peer.get() {
                    request.extensions_mut().insert(peer.clone());
                }
                self.accepted.push(AcceptedCall {
                    guard: TaskGuard::new(shared.clone(), stream),
                    kind,
                    request,
                    whole: None,
                });
            }
            Err(status) => {
                state.close(stream, &status, deferred);
                state.task_done(stream, deferred);
            }
        }
    }

    fn look_after(&mut self, state: &mut State<Server>, deferred: &mut Deferred) {
        self.accepted.retain_mut(|call| {
            let stream = call.guard.stream();
            let Some(entry) = state.streams.get(stream) else {
                return true;
            };
            if entry.end.is_some() {
                // Nobody waits for it any more.
                call.guard.done();
                state.task_done(stream, deferred);
                return false;
            }
            if entry.half_closed
                && let Some((bytes, consumed)) = entry.inbox.take_all()
            {
                entry.count_unread();
                call.whole = Some(bytes);
                state.consumed(stream, consumed);
            }
            true
        });
    }

    fn spawn_accepted(&mut self, shared: &Arc<Shared<Server>>) {
        for accepted in self.accepted.drain(..) {
            let AcceptedCall {
                guard,
                kind,
                request,
                whole,
            } = accepted;
            let Some(handler) = contain(|| self.handler.clone()) else {
                guard.close_panicked();
                continue;
            };
            let body = match whole {
                Some(bytes) => RequestBody::whole(bytes),
                None => guard.request_body(),
            };
            let span = HandlerSpan::new(request.uri().path(), shared.id);
            let task = handle(guard, kind, handler, request.map(|()| body));
            shared.runtime.spawn(span.around(task));
        }
    }
}

/// The HTTP request of a call.
fn request(state: &State<Server>, call: &IncomingCall<'_>) -> Result<Request<()>, Status> {
    let broken = |reason: StreamReason| Status::new(reason.code(Side::Server), reason.text());
    let authority =
        authority(state, &call.metadata).map_err(|_| broken(StreamReason::BadAuthority))?;
    let uri = uri(call.method, authority).ok_or_else(|| broken(StreamReason::UnknownMethod))?;
    let mut headers = to_headers(&call.metadata, state.read_options())
        .map_err(|bad| Status::new(Code::InvalidArgument, bad.text()))?;
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.entry(CONTENT_TYPE).or_insert(GRPC_CONTENT_TYPE);
    if let Some(deadline) = call.deadline {
        let left = format_timeout(deadline.saturating_since(state.now));
        if let Ok(left) = HeaderValue::from_str(&left) {
            headers.insert(GRPC_TIMEOUT, left);
        }
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The authority of a call: the caller's own, where the tunnel carries it.
fn authority(
    state: &State<Server>,
    metadata: &Metadata<'_>,
) -> Result<Option<Authority>, InvalidUri> {
    let transparent = state.tunnel.extensions().contains(Extension::Transparent);
    let entry = metadata.get(AUTHORITY).filter(|_| transparent);
    match entry.and_then(|entry| entry.values().last()) {
        Some(authority) => Authority::try_from(authority).map(Some),
        None => Ok(state.options.authority.clone()),
    }
}

/// The URI of a method, if its name is a path and nothing else.
fn uri(method: &str, authority: Option<Authority>) -> Option<Uri> {
    if method.contains(['?', '#']) {
        return None;
    }
    let path = PathAndQuery::try_from(format!("/{method}")).ok()?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = authority.is_some().then_some(Scheme::HTTP);
    parts.authority = authority;
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_a_path_and_nothing_else() {
        let authority = Authority::from_static("somewhere:1");
        let uri_of = |method: &str| uri(method, Some(authority.clone())).map(|uri| uri.to_string());
        assert_eq!(uri_of("a.B/C").as_deref(), Some("http://somewhere:1/a.B/C"));
        let path = uri("a.B/C", None).map(|uri| uri.to_string());
        assert_eq!(path.as_deref(), Some("/a.B/C"));
        for method in ["a.B/C?x", "a.B/C#x", "a b/C", "a.B/C\r\nx: y"] {
            assert_eq!(uri_of(method), None, "{method:?}");
        }
    }
}
