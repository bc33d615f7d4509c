//! Reading a carrier.

use std::future::{Future, Pending};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use grpctunnel_core::Cause;
use http::Response;
use http::response::Parts;
use http_body::Body;

use crate::carrier::opening;
use crate::carrier::transmit::NetworkRole;
use crate::error::{BoxError, CarrierEnd};
use crate::grpc::status::Status;

/// Frames, or parts of them, and bytes that one poll reads before other tasks get their turn.
const MAX_FRAMES: usize = 64;
const MAX_BYTES: usize = 256 << 10;

/// How much one poll may still read.
pub(crate) struct ReadBudget {
    frames: usize,
    bytes: usize,
}

impl ReadBudget {
    pub(crate) const fn new() -> Self {
        Self {
            frames: MAX_FRAMES,
            bytes: MAX_BYTES,
        }
    }

    pub(crate) const fn is_spent(&self) -> bool {
        self.frames == 0 || self.bytes == 0
    }

    /// Spends one frame, or a part of one.
    pub(crate) const fn spend(&mut self, bytes: usize) {
        self.frames = self.frames.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The receiving direction of a carrier.
enum Incoming<F, B> {
    /// The response to the request that opens the tunnel is outstanding.
    Opening(Pin<Box<F>>),
    Open(Pin<Box<B>>),
    Ended,
}

/// What is read from a carrier.
pub(crate) enum CarrierEvent {
    /// The tunnel's RPC was accepted, with these headers.
    Response(Parts),
    /// Bytes, never none.
    Data(Bytes),
    /// It ended.
    End(CarrierEnd, Cause),
}

impl CarrierEvent {
    fn status(status: Option<Status>) -> Self {
        let ok = status.as_ref().is_some_and(Status::is_ok);
        let end = CarrierEnd {
            status: status.filter(|status| !status.is_ok()),
            ..CarrierEnd::default()
        };
        Self::End(end, if ok { Cause::Finished } else { Cause::Failed })
    }

    fn error(error: BoxError) -> Self {
        let end = CarrierEnd {
            error: Some(error.into()),
            ..CarrierEnd::default()
        };
        Self::End(end, Cause::Failed)
    }
}

/// Reads a carrier.
pub(crate) struct CarrierReader<F, B> {
    incoming: Incoming<F, B>,
    role: NetworkRole,
}

impl<F, B> CarrierReader<F, B> {
    /// Of a carrier that this end opens: `response` is the one to its request.
    pub(crate) fn opening(response: F) -> Self {
        Self {
            incoming: Incoming::Opening(Box::pin(response)),
            role: NetworkRole::Client,
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.incoming, Incoming::Open(_))
    }

    pub(crate) const fn has_ended(&self) -> bool {
        matches!(self.incoming, Incoming::Ended)
    }

    /// Stops reading.
    pub(crate) fn stop(&mut self) {
        self.incoming = Incoming::Ended;
    }

    fn end(&mut self, end: CarrierEvent) -> CarrierEvent {
        self.incoming = Incoming::Ended;
        end
    }
}

impl<B> CarrierReader<Pending<Result<Response<B>, BoxError>>, B> {
    /// Of a carrier that this end accepted: `body` is the one of its request.
    pub(crate) fn accepted(body: B) -> Self {
        Self {
            incoming: Incoming::Open(Box::pin(body)),
            role: NetworkRole::Server,
        }
    }
}

impl<F, B> CarrierReader<F, B>
where
    F: Future<Output = Result<Response<B>, BoxError>>,
    B: Body<Error: Into<BoxError>>,
{
    /// The next event. `Pending`, too, when the budget is spent.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        budget: &mut ReadBudget,
    ) -> Poll<CarrierEvent> {
        while !budget.is_spent() {
            let frame = match &mut self.incoming {
                Incoming::Opening(response) => {
                    return response
                        .as_mut()
                        .poll(cx)
                        .map(|response| self.opened(response));
                }
                Incoming::Ended => return Poll::Pending,
                Incoming::Open(body) => match body.as_mut().poll_frame(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(frame) => frame,
                },
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    return Poll::Ready(self.end(CarrierEvent::error(error.into())));
                }
                None => return Poll::Ready(self.finished()),
            };
            match frame.into_data() {
                Ok(mut data) if data.has_remaining() => {
                    let len = data.remaining();
                    return Poll::Ready(CarrierEvent::Data(data.copy_to_bytes(len)));
                }
                // A frame without bytes counts, too.
                Ok(_) => budget.spend(0),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let end = CarrierEvent::status(Status::from_headers(&trailers));
                    return Poll::Ready(self.end(end));
                }
            }
        }
        Poll::Pending
    }

    fn opened(&mut self, response: Result<Response<B>, BoxError>) -> CarrierEvent {
        let (parts, body) = match response {
            Ok(response) => response.into_parts(),
            Err(error) => return self.end(CarrierEvent::error(error)),
        };
        if let Some(status) = opening::refusal(&parts, body.is_end_stream()) {
            return self.end(CarrierEvent::status(Some(status)));
        }
        self.incoming = Incoming::Open(Box::pin(body));
        CarrierEvent::Response(parts)
    }

    /// The end without trailers: a request has none, a response was cut off.
    fn finished(&mut self) -> CarrierEvent {
        let end = match self.role {
            NetworkRole::Client => CarrierEvent::status(None),
            NetworkRole::Server => CarrierEvent::End(CarrierEnd::default(), Cause::Finished),
        };
        self.end(end)
    }
}
