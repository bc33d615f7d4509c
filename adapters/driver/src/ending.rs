//! What the core says about the end of a stream, as a status.

use bytes::{Bytes, BytesMut};
use grpctunnel_core::wire::{self, BinDialect, Metadata};
use grpctunnel_core::{Code, End, Reason, Side};
use http::HeaderMap;

use crate::metadata::leaving;
use crate::state::{Half, State};
use crate::status::Status;
use crate::stream::Ending;

/// How a stream ended, for whoever reads it.
pub(crate) fn ending_of<R: Half>(state: &State<R>, why: &End<'_>) -> Ending {
    match why {
        End::Status {
            status, trailers, ..
        } => closed(status, trailers, state.options.bin_dialect),
        // A request body that fails with CANCELLED would be taken for one that is complete.
        End::PeerCancelled => Ending::status(Status::new(
            Code::Aborted,
            "the call was cancelled by its caller",
        )),
        End::Deadline => of_reason(Reason::DeadlineExceeded, R::END),
        End::Violation(reason) => of_reason(*reason, R::END),
        End::TunnelLost { cause, sent } => {
            let status = Status::new(Code::Unavailable, lost_text(state, *cause));
            if *sent {
                Ending::status(status)
            } else {
                Ending::never_processed(status)
            }
        }
        _ if R::END == Side::Server => {
            Ending::status(Status::new(Code::Aborted, "the call has ended"))
        }
        _ => of_reason(Reason::Cancelled, R::END),
    }
}

fn of_reason(reason: Reason, side: Side) -> Ending {
    Ending::status(Status::new(reason.code(side), reason.text()))
}

/// Why a tunnel was lost, with all that is known of it.
pub(crate) fn lost_text<R: Half>(state: &State<R>, cause: Reason) -> String {
    let mut text = cause.text().to_owned();
    if let Some(status) = &state.peer_status {
        text.push_str("; the peer said: ");
        text.push_str(&status.to_string());
    }
    if let Some(error) = &state.transport_error {
        text.push_str("; the transport said: ");
        text.push_str(error);
    }
    text
}

/// The tunnel server's status and trailers.
fn closed(status: &wire::Status<'_>, trailers: &Metadata<'_>, dialect: BinDialect) -> Ending {
    let ok = status.code == 0;
    match leaving(trailers, dialect) {
        Ok(trailers) => Ending::Status {
            status: if ok { Status::ok() } else { owned(status) },
            trailers,
            never_processed: false,
        },
        // A success whose trailers are lost is none.
        Err(bad) if ok => Ending::status(Status::new(
            Code::Internal,
            format!("the trailers cannot be handed on: {bad}"),
        )),
        Err(_) => Ending::Status {
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
