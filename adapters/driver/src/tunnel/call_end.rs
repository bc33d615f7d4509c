//! How a call ended, in terms of gRPC over HTTP.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use grpctunnel_core::wire::{self, Metadata};
use grpctunnel_core::{Code, End, Side, StreamReason};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::error::{CallError, CarrierEnd, TunnelEnd};
use crate::grpc::headers::{GRPC_ENCODING, is_good};
use crate::grpc::metadata::{ReadOptions, to_headers};
use crate::grpc::status::Status;

/// How a call ended, for its reader.
#[derive(Debug)]
pub(crate) enum CallEnd {
    /// With a status. At a tunnel server: why the request is not complete.
    Status {
        status: Status,
        trailers: HeaderMap,
        /// No handler saw the call, and it may succeed at another try.
        never_processed: bool,
        /// How the tunnel ended, if the call was lost with it.
        lost: Option<Arc<TunnelEnd>>,
    },
    /// The caller's own request body failed.
    Failed(CallError),
    /// At a tunnel server: it was closed by this end.
    Closed,
}

impl CallEnd {
    /// Whether dropping it runs no code of others.
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self, Self::Closed)
    }

    pub(crate) const fn new(status: Status, trailers: HeaderMap) -> Self {
        Self::Status {
            status,
            trailers,
            never_processed: false,
            lost: None,
        }
    }

    pub(crate) fn status(status: Status) -> Self {
        Self::new(status, HeaderMap::new())
    }

    pub(crate) fn never_processed(status: Status) -> Self {
        Self::status(status).marked(true)
    }

    /// The same, marked as never processed if it was.
    fn marked(mut self, unprocessed: bool) -> Self {
        if let Self::Status {
            never_processed, ..
        } = &mut self
        {
            *never_processed = unprocessed;
        }
        self
    }

    /// The same, of a call that was lost with its tunnel.
    pub(crate) fn with_tunnel_end(mut self, end: Option<Arc<TunnelEnd>>) -> Self {
        if let Self::Status { lost, .. } = &mut self {
            *lost = end;
        }
        self
    }

    /// The end of a call by a rule or limit of the tunnel.
    fn reason(reason: StreamReason, side: Side) -> Self {
        Self::status(Status::new(reason.code(side), reason.text()))
    }

    /// The end that the core reports to this side. `carrier` is what is known of the carrier's end.
    pub(crate) fn reported(
        why: &End<'_>,
        side: Side,
        options: ReadOptions,
        carrier: &CarrierEnd,
    ) -> Self {
        match why {
            End::Status {
                status,
                trailers,
                unprocessed,
            } => closed(status, trailers, options).marked(*unprocessed),
            // Servers take a request body that fails with CANCELLED for one that is complete.
            End::PeerCancelled => Self::status(Status::new(
                Code::Aborted,
                "the call was cancelled by its caller",
            )),
            End::Deadline => Self::reason(StreamReason::DeadlineExceeded, side),
            End::Violation(reason) => Self::reason(*reason, side),
            End::TunnelLost { cause, sent } => {
                let text = format!("{}{carrier}", cause.text());
                Self::status(Status::new(Code::Unavailable, text)).marked(!*sent)
            }
            _ if side == Side::Server => Self::Closed,
            _ => Self::reason(StreamReason::Cancelled, side),
        }
    }
}

/// The end of a call by the tunnel server's status and trailers.
fn closed(status: &wire::Status<'_>, trailers: &Metadata<'_>, options: ReadOptions) -> CallEnd {
    let end = owned(status, trailers);
    match to_headers(trailers, options) {
        Ok(mut trailers) => {
            for name in [CONTENT_TYPE, GRPC_ENCODING] {
                if !is_good(&trailers, &name) {
                    trailers.remove(name);
                }
            }
            CallEnd::new(end, trailers)
        }
        // Without its trailers a success is not one.
        Err(bad) if end.is_ok() => CallEnd::status(Status::new(
            Code::Internal,
            format!("the trailers cannot be passed on: {bad}"),
        )),
        Err(_) => CallEnd::status(end),
    }
}

fn owned(status: &wire::Status<'_>, trailers: &Metadata<'_>) -> Status {
    let details = match trailers.status_details() {
        Some(details) => Bytes::copy_from_slice(details),
        None if status.has_details() => whole(status),
        None => Bytes::new(),
    };
    Status::from_wire(status.code, status.message, details)
}

/// The status as it came, byte for byte.
fn whole(status: &wire::Status<'_>) -> Bytes {
    let mut bytes = BytesMut::new();
    for part in status.raw_parts() {
        bytes.extend_from_slice(part);
    }
    bytes.freeze()
}
