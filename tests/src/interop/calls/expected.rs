//! What a call sends, and what must come back.

use bytes::Bytes;
use prost::Message as _;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Status};

use super::Failure;
use crate::protos::grpc::testing::{Payload, ResponseParameters};
use crate::services::{ECHO_PAYLOAD, STATUS_DETAILS, status_details};
use grpctunnel_proto::google::rpc;

const INITIAL: &str = "x-grpc-test-echo-initial";
const TRAILING: &str = "x-grpc-test-echo-trailing-bin";

/// One call: its seed makes its payload and its metadata different from all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) seed: usize,
    pub(super) size: usize,
    pub(super) echo: bool,
    pub(super) details: bool,
}

impl Call {
    pub(super) fn payload(self) -> Payload {
        // A linear congruential generator is random enough to show what is lost or moved.
        let mut state = u64::try_from(self.seed).unwrap_or_default() | 1 << 40;
        let body: Vec<u8> = (0..self.size)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect();
        Payload {
            body: Bytes::from(body),
            ..Payload::default()
        }
    }

    pub(super) fn size_field(self) -> i32 {
        i32::try_from(self.size).unwrap_or(i32::MAX)
    }

    /// Asks for one response of this call's size.
    pub(super) fn parameters(self) -> ResponseParameters {
        ResponseParameters {
            size: self.size_field(),
            ..ResponseParameters::default()
        }
    }

    pub(super) fn request<R>(self, message: R) -> Request<R> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        if let Ok(initial) = self.initial().parse() {
            metadata.insert(INITIAL, initial);
        }
        metadata.insert_bin(
            TRAILING,
            MetadataValue::from_bytes(self.trailing().as_bytes()),
        );
        if self.echo {
            metadata.insert(ECHO_PAYLOAD, MetadataValue::from_static("on"));
        }
        if self.details
            && let Ok(reason) = self.reason().parse()
        {
            metadata.insert(STATUS_DETAILS, reason);
        }
        request
    }

    fn initial(self) -> String {
        format!("initial of call {}", self.seed)
    }

    /// Text whose UTF-8 bytes are not its Latin-1 bytes, so that a mistaken dialect shows.
    fn trailing(self) -> String {
        format!("trailing ☂ é of call {}", self.seed)
    }

    fn reason(self) -> String {
        format!("REASON_{}", self.seed)
    }

    /// Compares the payload of a response with what is due.
    pub(super) fn check(self, payload: Option<Payload>) -> Result<(), Failure> {
        let body = payload.unwrap_or_default().body;
        let right = if self.echo {
            body == self.payload().body
        } else {
            body.len() == self.size && body.iter().all(|byte| *byte == 0)
        };
        if right {
            return Ok(());
        }
        Err(format!(
            "a response of {} bytes is not the {} that are due",
            body.len(),
            self.size
        ))
    }

    pub(super) fn check_headers(self, metadata: &MetadataMap) -> Result<(), Failure> {
        let values: Vec<_> = metadata.get_all(INITIAL).iter().collect();
        match values[..] {
            [value] if *value == *self.initial() => Ok(()),
            _ => Err(format!(
                "{INITIAL} is {values:?}, not one {:?}",
                self.initial()
            )),
        }
    }

    pub(super) fn check_trailers(self, metadata: &MetadataMap) -> Result<(), Failure> {
        let values: Vec<_> = metadata.get_all_bin(TRAILING).iter().collect();
        match values[..] {
            [value] if value.to_bytes().is_ok_and(|bytes| bytes == self.trailing()) => Ok(()),
            _ => Err(format!(
                "{TRAILING} is {values:?}, not one {:?}",
                self.trailing()
            )),
        }
    }

    /// Compares a status with what was asked for, details and trailers included.
    pub(super) fn check_status(
        self,
        status: &Status,
        code: Code,
        message: &str,
    ) -> Result<(), Failure> {
        if status.code() != code || status.message() != message {
            return Err(format!(
                "the call ended with {status}, not {code:?} {message:?}"
            ));
        }
        self.check_trailers(status.metadata())?;
        if !self.details {
            return Ok(());
        }
        let details = rpc::Status::decode(status.details()).map_err(|error| error.to_string())?;
        if details.details == status_details(&self.reason()) {
            return Ok(());
        }
        Err(format!("the details are {:?}", details.details))
    }
}
