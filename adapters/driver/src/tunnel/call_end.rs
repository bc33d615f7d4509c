//! How a call ended, in terms of gRPC over HTTP.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use grpctunnel_core::wire::{self, BinDialect, Metadata};
use grpctunnel_core::{Code, End, Reason, Side};
use http::HeaderMap;

use crate::error::{CallError, CarrierEnd, TunnelEnd};
use crate::grpc::metadata::to_headers;
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
}

impl CallEnd {
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
    fn reason(reason: Reason, side: Side) -> Self {
        Self::status(Status::new(reason.code(side), reason.text()))
    }

    /// The end that the core reports to this side. `carrier` is what is known of the carrier's end.
    pub(crate) fn reported(
        why: &End<'_>,
        side: Side,
        dialect: BinDialect,
        carrier: &CarrierEnd,
    ) -> Self {
        match why {
            End::Status {
                status,
                trailers,
                unprocessed,
            } => closed(status, trailers, dialect).marked(*unprocessed),
            // Servers take a request body that fails with CANCELLED for one that is complete.
            End::PeerCancelled => Self::status(Status::new(
                Code::Aborted,
                "the call was cancelled by its caller",
            )),
            End::Deadline => Self::reason(Reason::DeadlineExceeded, side),
            End::Violation(reason) => Self::reason(*reason, side),
            End::TunnelLost { cause, sent } => {
                let text = format!("{}{carrier}", cause.text());
                Self::status(Status::new(Code::Unavailable, text)).marked(!*sent)
            }
            _ if side == Side::Server => {
                Self::status(Status::new(Code::Aborted, "the call has ended"))
            }
            _ => Self::reason(Reason::Cancelled, side),
        }
    }
}

/// The end of a call by the tunnel server's status and trailers.
fn closed(status: &wire::Status<'_>, trailers: &Metadata<'_>, dialect: BinDialect) -> CallEnd {
    let ok = status.code == 0;
    match to_headers(trailers, dialect) {
        Ok(trailers) if ok => CallEnd::new(Status::ok(), trailers),
        Ok(trailers) => CallEnd::new(owned(status), trailers),
        // Without its trailers a success is not one.
        Err(bad) if ok => CallEnd::status(Status::new(
            Code::Internal,
            format!("the trailers cannot be passed on: {bad}"),
        )),
        Err(_) => CallEnd::status(owned(status)),
    }
}

fn owned(status: &wire::Status<'_>) -> Status {
    let details = if status.has_details() {
        whole(status)
    } else {
        Bytes::new()
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
