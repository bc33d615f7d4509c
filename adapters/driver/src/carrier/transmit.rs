//! The body that carries a tunnel's frames.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use grpctunnel_core::{Carrier, TunnelError};
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::deferred::Deferred;
use crate::grpc::status::Status;
use crate::telemetry;
use crate::tunnel::shared::Shared;
use crate::tunnel::state::TunnelRole;

/// What a [`TransmitBody`] sends next.
enum TransmitEvent {
    Frames(Bytes),
    /// How the carrier ends, and the status of an end in good order, if it is not OK.
    End(Carrier, Option<Status>),
}

/// A tunnel that has frames to send, whatever its side.
trait TransmitSource: Send + Sync {
    fn poll_next(&self, cx: &mut Context<'_>, deferred: &mut Deferred) -> Poll<TransmitEvent>;
    /// The body was dropped before its end.
    fn stop(&self);
}

impl<R: TunnelRole> TransmitSource for Shared<R> {
    fn poll_next(&self, cx: &mut Context<'_>, deferred: &mut Deferred) -> Poll<TransmitEvent> {
        let now = self.now();
        let limit = self.options.batch.max(1);
        self.with_after(deferred, |state, deferred| {
            state.advance_clock(now);
            state.gather(limit, deferred);
            state.outgoing.last_polled = state.now;
            let frames = state.outgoing.batch.take();
            if !frames.is_empty() {
                telemetry::sent(R::OWN_SIDE, frames.len());
                return Poll::Ready(TransmitEvent::Frames(frames));
            }
            if let Some(carrier) = &state.carrier {
                state.outgoing.closed = true;
                let status = state.finish_status.clone();
                return Poll::Ready(TransmitEvent::End(carrier.clone(), status));
            }
            deferred.register(&mut state.outgoing.waker, cx.waker());
            state.outgoing.parked = true;
            state.outgoing.batch.shrink();
            Poll::Pending
        })
    }

    fn stop(&self) {
        self.with(|state, deferred| {
            state.outgoing.closed = true;
            deferred.wake(&mut state.driver);
        });
    }
}

/// Which end of the carrier this is, which decides how the carrier ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkRole {
    /// This end opened it.
    Client,
    /// This end accepted it.
    Server,
}

/// The HTTP body of this end of a tunnel's carrier: a request body where this end opened it, a
/// response body where it accepted it.
///
/// Each DATA frame holds everything that was ready to be sent, up to a limit, and is never empty.
/// Dropping the body before its end loses the carrier, and with it the tunnel.
pub struct TransmitBody {
    /// None when the body is at its end.
    source: Option<Arc<dyn TransmitSource>>,
    role: NetworkRole,
    deferred: Deferred,
}

/// This end aborted the tunnel: the RPC that carries it must be reset.
#[derive(Clone, Debug)]
pub struct TransmitError(TunnelError);

impl TransmitError {
    /// Why the tunnel was aborted.
    #[must_use]
    pub const fn tunnel_error(&self) -> &TunnelError {
        &self.0
    }
}

impl fmt::Display for TransmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tunnel was aborted: {}", self.0)
    }
}

impl std::error::Error for TransmitError {}

impl TransmitBody {
    pub(crate) fn new<R: TunnelRole>(shared: Arc<Shared<R>>, role: NetworkRole) -> Self {
        Self {
            source: Some(shared),
            role,
            deferred: Deferred::default(),
        }
    }

    /// An empty body, for a response that is its headers alone.
    pub(crate) fn empty() -> Self {
        Self {
            source: None,
            role: NetworkRole::Server,
            deferred: Deferred::default(),
        }
    }

    fn end(
        &mut self,
        carrier: Carrier,
        finish: Option<Status>,
    ) -> Option<Result<Frame<Bytes>, TransmitError>> {
        self.source = None;
        match (self.role, carrier) {
            (NetworkRole::Client, Carrier::Finish) => None,
            (NetworkRole::Client, Carrier::Abort(error)) => Some(Err(TransmitError(error))),
            (NetworkRole::Server, carrier) => {
                let status = match carrier {
                    Carrier::Finish => finish.unwrap_or_else(Status::ok),
                    Carrier::Abort(error) => Status::new(error.code(), error.to_string()),
                };
                let mut trailers = HeaderMap::new();
                status.write_headers(&mut trailers);
                Some(Ok(Frame::trailers(trailers)))
            }
        }
    }
}

impl Body for TransmitBody {
    type Data = Bytes;
    type Error = TransmitError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransmitError>>> {
        let this = self.get_mut();
        let Some(source) = &this.source else {
            return Poll::Ready(None);
        };
        source
            .poll_next(cx, &mut this.deferred)
            .map(|next| match next {
                TransmitEvent::Frames(bytes) => Some(Ok(Frame::data(bytes))),
                TransmitEvent::End(carrier, finish) => this.end(carrier, finish),
            })
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }
}

impl Drop for TransmitBody {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            source.stop();
        }
    }
}

impl fmt::Debug for TransmitBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransmitBody")
            .field("role", &self.role)
            .field("ended", &self.source.is_none())
            .finish_non_exhaustive()
    }
}
