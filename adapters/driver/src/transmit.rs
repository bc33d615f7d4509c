//! The body that carries a tunnel's frames.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use grpctunnel_core::{Carrier, TunnelError};
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::after::After;
use crate::shared::Shared;
use crate::state::Half;
use crate::status::Status;

/// What a [`TransmitBody`] gives next.
enum Next {
    Frames(Bytes),
    End(Carrier),
}

/// A tunnel whose frames are sent.
trait Source: Send + Sync {
    fn poll_next(&self, cx: &mut Context<'_>, after: &mut After) -> Poll<Next>;
    /// Nobody sends any more.
    fn stop(&self);
}

impl<R: Half> Source for Shared<R> {
    fn poll_next(&self, cx: &mut Context<'_>, after: &mut After) -> Poll<Next> {
        let now = self.now();
        let limit = self.options.batch.max(1);
        self.with_after(after, |state, after| {
            state.touch(now);
            state.gather(limit, after);
            state.outgoing.asked = state.now;
            if !state.outgoing.batch.is_empty() {
                return Poll::Ready(Next::Frames(state.outgoing.batch.split().freeze()));
            }
            if let Some(carrier) = &state.carrier {
                state.outgoing.gone = true;
                return Poll::Ready(Next::End(carrier.clone()));
            }
            after.register(&mut state.outgoing.waker, cx.waker());
            state.outgoing.parked = true;
            Poll::Pending
        })
    }

    fn stop(&self) {
        self.with(|state, after| {
            state.outgoing.gone = true;
            after.wake(&mut state.driver);
        });
    }
}

/// Who opened the carrier, which decides how its end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Client,
    Server,
}

/// The HTTP body of this end of a tunnel's carrier: a request body where this end opened it, a
/// response body where it accepted it.
///
/// Each DATA frame holds everything that was ready to be sent, up to a limit, and is never empty.
/// Dropping the body before its end is a loss of the carrier.
pub struct TransmitBody {
    /// None when the body is at its end.
    source: Option<Arc<dyn Source>>,
    network: Network,
    after: After,
}

/// This end gave the tunnel up: the RPC that carries it is to be reset.
#[derive(Clone, Debug)]
pub struct TransmitError(TunnelError);

impl TransmitError {
    /// Why.
    #[must_use]
    pub const fn tunnel_error(&self) -> &TunnelError {
        &self.0
    }
}

impl fmt::Display for TransmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tunnel was given up: {}", self.0)
    }
}

impl std::error::Error for TransmitError {}

impl TransmitBody {
    pub(crate) fn new<R: Half>(shared: Arc<Shared<R>>, network: Network) -> Self {
        Self {
            source: Some(shared),
            network,
            after: After::default(),
        }
    }

    /// The body of a response that is its headers alone.
    pub(crate) fn empty() -> Self {
        Self {
            source: None,
            network: Network::Server,
            after: After::default(),
        }
    }

    fn end(&mut self, carrier: Carrier) -> Option<Result<Frame<Bytes>, TransmitError>> {
        self.source = None;
        match (self.network, carrier) {
            (Network::Client, Carrier::Finish) => None,
            (Network::Client, Carrier::Abort(error)) => Some(Err(TransmitError(error))),
            (Network::Server, carrier) => {
                let status = match carrier {
                    Carrier::Finish => Status::ok(),
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
            .poll_next(cx, &mut this.after)
            .map(|next| match next {
                Next::Frames(bytes) => Some(Ok(Frame::data(bytes))),
                Next::End(carrier) => this.end(carrier),
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
            .field("network", &self.network)
            .field("ended", &self.source.is_none())
            .finish_non_exhaustive()
    }
}
