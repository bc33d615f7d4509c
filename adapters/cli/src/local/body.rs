//! The answers of a local server: what of them fits into a tunnel, and how they end.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use grpctunnel_http2::IncomingBody;
use http::{HeaderMap, HeaderName, Response};
use http_body::{Body, Frame};
use tonic::Status;

use super::{pool::Used, status_of};
use crate::origin::Origin;

const STATUS: &str = "grpc-status";
/// What belongs to the status and has limits of its own.
const OF_STATUS: [&str; 3] = [STATUS, "grpc-message", "grpc-status-details-bin"];
/// The metadata of a head or of trailers that a tunnel carries, in bytes and in entries.
const MAX_BYTES: usize = 64 << 10;
const MAX_ENTRIES: usize = 256;
/// What an entry costs beside its bytes, at most.
const ENTRY: usize = 16;

/// Whether a tunnel carries this metadata, as far as can be told beforehand.
fn fits(headers: &HeaderMap) -> bool {
    let (mut bytes, mut entries) = (0_usize, 0_usize);
    for (name, value) in headers {
        let name = name.as_str();
        if OF_STATUS.contains(&name) {
            continue;
        }
        let size = match name.ends_with("-bin") {
            // It travels as the bytes that its base64 stands for.
            true => value.len() / 4 * 3,
            false => value.len(),
        };
        bytes = bytes.saturating_add(name.len() + size + ENTRY);
        entries += 1;
    }
    bytes <= MAX_BYTES && entries <= MAX_ENTRIES
}

fn too_large(what: &str, origin: &Origin) -> Status {
    Status::resource_exhausted(format!(
        "the {what} of the local server {origin} exceed what a tunnel carries, {MAX_BYTES} bytes \
         and {MAX_ENTRIES} entries"
    ))
}

/// An error keeps its status, and loses the metadata that no tunnel carries.
fn bare_error(headers: &HeaderMap) -> Option<HeaderMap> {
    if headers.get(STATUS).is_none_or(|status| status == "0") {
        return None;
    }
    let of_status = OF_STATUS.iter().filter_map(|name| {
        let value = headers.get(*name)?.clone();
        Some((HeaderName::from_static(name), value))
    });
    Some(of_status.collect())
}

/// Whether a response is nothing but its head, which then has the status. A status in front of
/// messages is none, and taken out: only the end says how a call ended.
pub(super) fn is_trailers_only(response: &mut Response<IncomingBody>) -> bool {
    let has_status = response.headers().contains_key(STATUS);
    if has_status && !response.body().is_end_stream() {
        for name in OF_STATUS {
            response.headers_mut().remove(name);
        }
        return false;
    }
    has_status
}

/// The head of a response, as it can be carried.
pub(super) fn fit_head(headers: &mut HeaderMap, origin: &Origin) -> Result<(), Status> {
    if !fits(headers) {
        let bare = bare_error(headers);
        *headers = bare.ok_or_else(|| too_large("headers", origin))?;
    }
    Ok(())
}

/// Trailers, as they can be carried: never an OK that lost something.
fn fit(trailers: HeaderMap, origin: &Origin) -> HeaderMap {
    if fits(&trailers) {
        return trailers;
    }
    bare_error(&trailers).unwrap_or_else(|| trailers_of(too_large("trailers", origin)))
}

/// The body of an answer. Where the connection breaks, or the status is missing, it ends with the
/// trailers that say so.
#[derive(Debug)]
pub(crate) struct LocalBody {
    body: Option<(IncomingBody, Used)>,
    origin: Origin,
    /// Whether it may end without trailers: what was said before them tells the status.
    ends_well: bool,
}

impl LocalBody {
    pub(super) const fn new(
        body: IncomingBody,
        origin: Origin,
        used: Used,
        ends_well: bool,
    ) -> Self {
        Self {
            body: Some((body, used)),
            origin,
            ends_well,
        }
    }

    /// The end of a response without the status that it owes: a reset without an error looks the
    /// same, and both are INTERNAL in gRPC.
    fn no_status(&self) -> Status {
        let origin = &self.origin;
        Status::internal(format!(
            "the local server {origin} ended its response without a status"
        ))
    }
}

impl Body for LocalBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some((body, _)) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) if frame.is_trailers() => {
                self.body = None;
                match frame.into_trailers() {
                    Ok(trailers) if self.ends_well || trailers.contains_key(STATUS) => {
                        Frame::trailers(fit(trailers, &self.origin))
                    }
                    _ => Frame::trailers(trailers_of(self.no_status())),
                }
            }
            Some(Ok(frame)) => frame,
            None => {
                self.body = None;
                if self.ends_well {
                    return Poll::Ready(None);
                }
                Frame::trailers(trailers_of(self.no_status()))
            }
            Some(Err(error)) => {
                self.body = None;
                Frame::trailers(trailers_of(status_of(&error, &self.origin)))
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let Some((body, _)) = &self.body else {
            return true;
        };
        self.ends_well && body.is_end_stream()
    }
}

fn trailers_of(status: Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // A message that is no header value leaves the code alone.
    if status.add_header(&mut trailers).is_err() {
        let bare = Status::new(status.code(), "");
        let _ = bare.add_header(&mut trailers);
    }
    trailers
}
