//! How a call ended, in terms of gRPC over HTTP.

use bytes::{Bytes, BytesMut};
use grpctunnel_core::wire::{self, BinDialect, Metadata};
use grpctunnel_core::{Code, End, Side, StreamReason};
use http::HeaderMap;

use crate::error::{CallError, CarrierEnd};
use crate::grpc::metadata::to_headers;
use crate::grpc::status::Status;

/// How a call ended, for its reader.
#[derive(Debug)]
pub(crate) enum CallEnd {
    /// With a status. At a tunnel server: why the request is not complete.
    Status {
        status: Status,
        trailers: HeaderMap,
        never_processed: bool,
    },
    /// The caller's own request body failed.
    Failed(CallError),
}

impl CallEnd {
    pub(crate) fn status(status: Status) -> Self {
        Self::Status {
            status,
            trailers: HeaderMap::new(),
            never_processed: false,
        }
    }

    pub(crate) fn never_processed(status: Status) -> Self {
        Self::Status {
            status,
            trailers: HeaderMap::new(),
            never_processed: true,
        }
    }

    /// The end of a call by a rule or limit of the tunnel.
    fn reason(reason: StreamReason, side: Side) -> Self {
        Self::status(Status::new(reason.code(side), reason.text()))
    }

    /// The end that the core reports to this side. `carrier` is what is known of the carrier's end.
    pub(crate) fn new(
        why: &End<'_>,
        side: Side,
        dialect: BinDialect,
        carrier: &CarrierEnd,
    ) -> Self {
        match why {
            End::Status {
                status, trailers, ..
            } => closed(status, trailers, dialect),
            // Servers take a request body that fails with CANCELLED for one that is complete.
            End::PeerCancelled => Self::status(Status::new(
                Code::Aborted,
                "the call was cancelled by its caller",
            )),
            End::Deadline => Self::reason(StreamReason::DeadlineExceeded, side),
            End::Violation(reason) => Self::reason(*reason, side),
            End::TunnelLost { cause, sent } => {
                let text = format!("{}{carrier}", cause.text());
                let status = Status::new(Code::Unavailable, text);
                if *sent {
                    Self::status(status)
                } else {
                    Self::never_processed(status)
                }
            }
            _ if side == Side::Server => {
                Self::status(Status::new(Code::Aborted, "the call has ended"))
            }
            _ => Self::reason(StreamReason::Cancelled, side),
        }
    }
}

/// The end of a call by the tunnel server's status and trailers.
fn closed(status: &wire::Status<'_>, trailers: &Metadata<'_>, dialect: BinDialect) -> CallEnd {
    let ok = status.code == 0;
    match to_headers(trailers, dialect) {
        Ok(trailers) => CallEnd::Status {
            status: if ok { Status::ok() } else { owned(status) },
            trailers,
            never_processed: false,
        },
        // Without its trailers a success is not one.
        Err(bad) if ok => CallEnd::status(Status::new(
            Code::Internal,
            format!("the trailers cannot be passed on: {bad}"),
        )),
        Err(_) => CallEnd::Status {
            status: owned(status),
            trailers: HeaderMap::new(),
            never_processed: false,
        },
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
