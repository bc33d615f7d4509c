//! The body that carries a tunnel's frames.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::error::TunnelEnd;

/// The HTTP body of this end of a tunnel's carrier: a request body where this end opened it, a
/// response body where it accepted it.
#[derive(Debug)]
pub struct TransmitBody {}

/// This end gave the tunnel up: the carrier's RPC is to be reset.
#[derive(Clone, Debug)]
pub struct TransmitError(TunnelEnd);

impl std::fmt::Display for TransmitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for TransmitError {}

impl Body for TransmitBody {
    type Data = Bytes;
    type Error = TransmitError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransmitError>>> {
        Poll::Ready(None)
    }
}
