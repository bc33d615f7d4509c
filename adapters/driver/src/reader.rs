//! The incoming half of a carrier.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use grpctunnel_core::Cause;
use http::Response;
use http::response::Parts;
use http_body::Body;

use crate::error::BoxError;
use crate::opening;
use crate::status::Status;
use crate::transmit::Network;

/// Frames, or pieces of such, and bytes that one poll takes in before others get their turn.
const MAX_FRAMES: usize = 64;
const MAX_BYTES: usize = 256 << 10;

/// How far one poll may go.
pub(crate) struct Allowance {
    frames: usize,
    bytes: usize,
}

impl Allowance {
    pub(crate) const fn new() -> Self {
        Self {
            frames: MAX_FRAMES,
            bytes: MAX_BYTES,
        }
    }

    pub(crate) const fn is_spent(&self) -> bool {
        self.frames == 0 || self.bytes == 0
    }

    /// For one frame, or a piece of one.
    pub(crate) const fn spend(&mut self, bytes: usize) {
        self.frames = self.frames.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The incoming half of a carrier.
pub(crate) enum Carrier<F, B> {
    /// The response to the request that opens the tunnel is outstanding.
    Opening(Pin<Box<F>>),
    Open(Pin<Box<B>>),
    Ended,
}

/// What was read.
pub(crate) enum News {
    /// The tunnel's RPC was accepted, with these headers.
    Response(Parts),
    /// Bytes, never none.
    Chunk(Bytes),
    /// It ended.
    End(CarrierEnd),
}

/// How a carrier ended, as far as it was told.
pub(crate) struct CarrierEnd {
    pub(crate) status: Option<Status>,
    pub(crate) error: Option<BoxError>,
    pub(crate) cause: Cause,
}

impl CarrierEnd {
    fn status(status: Option<Status>) -> Self {
        let ok = status.as_ref().is_some_and(Status::is_ok);
        Self {
            status: status.filter(|status| !status.is_ok()),
            error: None,
            cause: if ok { Cause::Finished } else { Cause::Failed },
        }
    }

    fn error(error: BoxError) -> Self {
        Self {
            status: None,
            error: Some(error),
            cause: Cause::Failed,
        }
    }
}

/// Reads a carrier.
pub(crate) struct Reader<F, B> {
    carrier: Carrier<F, B>,
    network: Network,
}

impl<F, B> Reader<F, B> {
    pub(crate) fn new(carrier: Carrier<F, B>) -> Self {
        let network = match carrier {
            Carrier::Opening(_) => Network::Client,
            Carrier::Open(_) | Carrier::Ended => Network::Server,
        };
        Self { carrier, network }
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.carrier, Carrier::Open(_))
    }

    pub(crate) const fn has_ended(&self) -> bool {
        matches!(self.carrier, Carrier::Ended)
    }

    /// Reads no further.
    pub(crate) fn stop(&mut self) {
        self.carrier = Carrier::Ended;
    }

    fn ended(&mut self, end: CarrierEnd) -> News {
        self.carrier = Carrier::Ended;
        News::End(end)
    }
}

impl<F, B> Reader<F, B>
where
    F: Future<Output = Result<Response<B>, BoxError>>,
    B: Body<Data: Buf, Error: Into<BoxError>>,
{
    /// The next thing that there is to take in. `Pending`, too, when the allowance is spent.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        allowance: &mut Allowance,
    ) -> Poll<News> {
        while !allowance.is_spent() {
            let frame = match &mut self.carrier {
                Carrier::Opening(response) => {
                    return response
                        .as_mut()
                        .poll(cx)
                        .map(|response| self.opened(response));
                }
                Carrier::Ended => return Poll::Pending,
                Carrier::Open(body) => match body.as_mut().poll_frame(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(frame) => frame,
                },
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    return Poll::Ready(self.ended(CarrierEnd::error(error.into())));
                }
                None => return Poll::Ready(self.finished()),
            };
            match frame.into_data() {
                Ok(mut data) if data.has_remaining() => {
                    let len = data.remaining();
                    return Poll::Ready(News::Chunk(data.copy_to_bytes(len)));
                }
                // An empty one is not free.
                Ok(_) => allowance.spend(0),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let end = CarrierEnd::status(Status::from_headers(&trailers));
                    return Poll::Ready(self.ended(end));
                }
            }
        }
        Poll::Pending
    }

    fn opened(&mut self, response: Result<Response<B>, BoxError>) -> News {
        let (parts, body) = match response {
            Ok(response) => response.into_parts(),
            Err(error) => return self.ended(CarrierEnd::error(error)),
        };
        if let Some(status) = opening::refusal(&parts) {
            return self.ended(CarrierEnd::status(Some(status)));
        }
        self.carrier = Carrier::Open(Box::pin(body));
        News::Response(parts)
    }

    /// The body ended without trailers: a request has none, a response was cut.
    fn finished(&mut self) -> News {
        let mut end = CarrierEnd::status(None);
        if self.network == Network::Server {
            end.cause = Cause::Finished;
        }
        self.ended(end)
    }
}
