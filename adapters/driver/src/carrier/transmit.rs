//! The body that carries a tunnel's frames.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use grpctunnel_core::{Carrier, TunnelError};
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::body::batch::{Batch, Packer};
use crate::deferred::Deferred;
use crate::grpc::status::Status;
use crate::telemetry;
use crate::tunnel::shared::Shared;
use crate::tunnel::state::TunnelRole;

/// What a [`TransmitBody`] sends next.
enum TransmitEvent {
    /// What was gathered.
    Frames,
    /// How the carrier ends, and the status of an end in good order, if it is not OK.
    End(Carrier, Option<Status>),
}

/// A tunnel that has frames to send, whatever its side.
trait TransmitSource: Send + Sync {
    /// Gathers into `batch`, which is empty. Where nothing is left the task is woken when there is
    /// more, also if something was gathered.
    fn poll_next(
        &self,
        cx: &mut Context<'_>,
        batch: &mut Batch,
        deferred: &mut Deferred,
    ) -> Poll<TransmitEvent>;
    /// Whether there is nothing to send, and the task that asked last is woken when there is. Takes
    /// no lock.
    fn is_parked(&self) -> bool;
    /// The body was dropped before its end.
    fn stop(&self);
}

impl<R: TunnelRole> TransmitSource for Shared<R> {
    fn poll_next(
        &self,
        cx: &mut Context<'_>,
        batch: &mut Batch,
        deferred: &mut Deferred,
    ) -> Poll<TransmitEvent> {
        let now = self.now();
        let limit = self.options.batch.max(1);
        self.with_after(deferred, |state, deferred| {
            state.advance_clock(now);
            let nothing_left = state.gather(limit, deferred);
            state.outgoing.last_polled = state.now;
            std::mem::swap(batch, &mut state.outgoing.batch);
            if nothing_left && state.carrier.is_none() {
                deferred.register(&mut state.outgoing.waker, cx.waker());
                state.outgoing.parked = true;
            }
            if !batch.is_empty() {
                telemetry::sent(R::OWN_SIDE, batch.len());
                return Poll::Ready(TransmitEvent::Frames);
            }
            if let Some(carrier) = &state.carrier {
                state.outgoing.closed = true;
                let status = state.finish_status.clone();
                return Poll::Ready(TransmitEvent::End(carrier.clone(), status));
            }
            Poll::Pending
        })
    }

    fn is_parked(&self) -> bool {
        self.sending_is_parked()
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
/// Where the HTTP stack writes [segments](SegmentedCarrier), each of them is one.
/// Dropping the body before its end loses the carrier, and with it the tunnel.
pub struct TransmitBody {
    /// None when the body is at its end.
    source: Option<Arc<dyn TransmitSource>>,
    role: NetworkRole,
    segments: SegmentedCarrier,
    batch: Batch,
    packer: Packer,
    /// The task that is woken when there is something to send.
    waker: Option<Waker>,
    deferred: Deferred,
}

/// Says that an HTTP stack sends frames of a body that are ready one after the other in one DATA
/// frame, and large ones without a copy. Then [`TransmitBody`] hands out payload as it is. To any
/// other stack that would mean many small DATA frames.
///
/// It is among the extensions of the request that opens a tunnel: the stack that sends that calls
/// [`enable`](Self::enable). A stack that accepts requests puts one that is enabled among their
/// extensions. `grpctunnel-http2` does both.
#[derive(Clone, Debug, Default)]
pub struct SegmentedCarrier(Arc<AtomicBool>);

impl SegmentedCarrier {
    /// One that is enabled.
    #[must_use]
    pub fn enabled() -> Self {
        let segments = Self::default();
        segments.enable();
        segments
    }

    /// Called by the HTTP stack that writes segments, before it asks the body for data.
    pub fn enable(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_enabled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
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
        let mut body = Self::empty();
        body.source = Some(shared);
        body.role = role;
        body
    }

    /// Whether the HTTP stack writes segments.
    pub(crate) const fn segments(&self) -> &SegmentedCarrier {
        &self.segments
    }

    /// Takes over what the HTTP stack of a request says.
    pub(crate) fn set_segments(&mut self, segments: Option<&SegmentedCarrier>) {
        if let Some(segments) = segments {
            self.segments = segments.clone();
        }
    }

    /// An empty body, for a response that is its headers alone.
    pub(crate) fn empty() -> Self {
        Self {
            source: None,
            role: NetworkRole::Server,
            segments: SegmentedCarrier::default(),
            batch: Batch::default(),
            packer: Packer::default(),
            waker: None,
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
        if let Some(bytes) = this.packer.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(source) = &this.source else {
            return Poll::Ready(None);
        };
        let registered = this
            .waker
            .as_ref()
            .filter(|waker| waker.will_wake(cx.waker()));
        if registered.is_some() && source.is_parked() {
            return Poll::Pending;
        }
        let next = source.poll_next(cx, &mut this.batch, &mut this.deferred);
        if registered.is_none() {
            this.waker = Some(cx.waker().clone());
        }
        match next {
            Poll::Pending => Poll::Pending,
            Poll::Ready(TransmitEvent::End(carrier, finish)) => {
                Poll::Ready(this.end(carrier, finish))
            }
            Poll::Ready(TransmitEvent::Frames) => {
                let segments = this.segments.is_enabled();
                this.packer.pack(&mut this.batch, segments);
                Poll::Ready(this.packer.take().map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // At the end there is nothing that was not taken.
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
