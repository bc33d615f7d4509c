//! The encoder for the status of a `close_stream`.

use super::prefix::varint_len;
use super::put::{field_len, put_field, put_length, put_varint};
use super::sink::{Sink, SinkFull};
use super::status::{Parts, any_messages};

/// A status to send.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusHead<'a> {
    /// `code`, a gRPC status code; 0 is OK.
    pub code: i32,
    /// `message`, shortened where the status is too large.
    pub message: &'a str,
    /// A serialized `google.rpc.Status`, as `grpc-status-details-bin` holds it, or nothing. Its
    /// `details` are copied byte for byte; its code and message are not used. Bytes that are no
    /// such message, or hold a string that is not UTF-8 (known peers end the whole tunnel over
    /// one), are left out. Where `RAW_METADATA` is in effect they arrive as they are.
    pub details: &'a [u8],
}

const SHORTENED: &str = " [message shortened]";
const DETAILS_DROPPED: &str = " [details dropped: larger than the tunnel's limit]";

/// If less than this is left for the message, the details are dropped instead of shortening it.
const LEAST_MESSAGE: usize = 64;

/// Whether a peer can decode what is copied from these bytes. A string that is not UTF-8 would end its
/// whole tunnel.
fn is_status(details: &[u8]) -> bool {
    let mut parts = Parts::default();
    parts.merge(details).is_ok() && parts.is_utf8()
}

/// Takes nothing but these bytes, in their order.
struct Rest<'a>(&'a [u8]);

impl Sink for Rest<'_> {
    fn reserve(&mut self, len: usize) -> Result<(), SinkFull> {
        if len <= self.0.len() {
            Ok(())
        } else {
            Err(SinkFull)
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        self.0 = self.0.strip_prefix(bytes).ok_or(SinkFull)?;
        Ok(())
    }
}

/// A status, shortened to fit its limit.
pub(super) struct Fitted<'a> {
    code: u64,
    message: &'a str,
    marker: &'static str,
    details: &'a [u8],
    /// The details as they came, where what is written of them here is not the same.
    pub(super) raw_details: Option<&'a [u8]>,
    pub(super) dropped: u32,
}

impl<'a> Fitted<'a> {
    /// `raw`: bytes of any kind can travel besides.
    pub(super) fn new(status: StatusHead<'a>, max: usize, raw: bool) -> Self {
        let mut fitted = Self {
            code: i64::from(status.code).cast_unsigned(),
            message: status.message,
            marker: "",
            details: status.details,
            raw_details: None,
            dropped: 0,
        };
        if raw && !fitted.arrives_as(status.details) {
            let fits = status.details.len() <= max;
            fitted.raw_details = fits.then_some(status.details);
            fitted.dropped = u32::from(!fits);
        }
        if !is_status(status.details) {
            fitted.details = &[];
            fitted.dropped = u32::from(fitted.raw_details.is_none());
        }
        let details = fitted.details_len();
        let room = max.saturating_sub(details);
        let fits = fitted.message.len() <= room;
        if details > max || details > 0 && !fits && room < LEAST_MESSAGE {
            fitted.details = &[];
            fitted.raw_details = None;
            fitted.dropped = 1;
            fitted.marker = DETAILS_DROPPED;
            fitted.shorten(max);
        } else if !fits {
            fitted.marker = SHORTENED;
            fitted.shorten(room);
        }
        fitted
    }

    /// Whether a reader of the status has these bytes as its details; none need no comparison. It
    /// takes a status without a `details` for one that had no such bytes.
    fn arrives_as(&self, bytes: &[u8]) -> bool {
        let mut rest = Rest(bytes);
        bytes.is_empty()
            || (any_messages(bytes).next().is_some()
                && self.len() == bytes.len()
                && self.put(&mut rest).is_ok()
                && rest.0.is_empty())
    }

    fn shorten(&mut self, max: usize) {
        let mut end = max
            .saturating_sub(self.marker.len())
            .min(self.message.len());
        while !self.message.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        self.message = self.message.get(..end).unwrap_or_default();
    }

    fn message_len(&self) -> usize {
        self.message.len().saturating_add(self.marker.len())
    }

    fn details_len(&self) -> usize {
        let details = any_messages(self.details).map(|any| field_len(any.len()));
        details.fold(0, usize::saturating_add)
    }

    pub(super) const fn is_ok(&self) -> bool {
        self.code == 0
    }

    pub(super) fn len(&self) -> usize {
        let code = match self.code {
            0 => 0,
            code => 1 + varint_len(code) as usize,
        };
        let message = match self.message_len() {
            0 => 0,
            len => field_len(len),
        };
        code.saturating_add(message)
            .saturating_add(self.details_len())
    }

    pub(super) fn put(&self, out: &mut impl Sink) -> Result<(), SinkFull> {
        if self.code != 0 {
            out.put(&[1 << 3])?;
            put_varint(out, self.code)?;
        }
        if self.message_len() > 0 {
            put_length(out, 2, self.message_len())?;
            out.put(self.message.as_bytes())?;
            out.put(self.marker.as_bytes())?;
        }
        for any in any_messages(self.details) {
            put_field(out, 3, any)?;
        }
        Ok(())
    }
}
