//! What the test peers add to the official service, asked for by request metadata so that an
//! official client sees the official behaviour.

use prost::Message as _;
use prost_types::Any;
use tonic::{Request, Status};

use grpctunnel_proto::google::rpc;

/// Request metadata that asks for the request's payload in each response, in place of zeros.
pub const ECHO_PAYLOAD: &str = "x-echo-payload";
/// Request metadata that asks for details on a failed call; its value becomes a reason in them.
pub const STATUS_DETAILS: &str = "x-status-details";

/// What one request asks for beyond the official behaviour.
#[derive(Clone, Debug, Default)]
pub(super) struct Extras {
    pub(super) echo: bool,
    reason: Option<String>,
}

impl Extras {
    pub(super) fn asked_by<T>(request: &Request<T>) -> Self {
        let metadata = request.metadata();
        let reason = metadata.get(STATUS_DETAILS);
        Self {
            echo: metadata.contains_key(ECHO_PAYLOAD),
            reason: reason.and_then(|value| Some(value.to_str().ok()?.to_owned())),
        }
    }

    /// Adds the details, where they were asked for.
    pub(super) fn detailed(&self, status: Status) -> Status {
        let Some(reason) = &self.reason else {
            return status;
        };
        let (code, message) = (status.code(), status.message().to_owned());
        let details = rpc::Status {
            code: code.into(),
            message: message.clone(),
            details: status_details(reason),
        };
        Status::with_details(code, message, details.encode_to_vec().into())
    }
}

/// The details of a failed call: a message that everybody knows, and one of a type that nobody
/// knows, whose bytes are neither a message nor text.
#[must_use]
pub fn status_details(reason: &str) -> Vec<Any> {
    let info = ErrorInfo {
        reason: reason.to_owned(),
        domain: "interop.example".to_owned(),
    };
    vec![
        Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
            value: info.encode_to_vec(),
        },
        Any {
            type_url: "type.googleapis.com/interop.Opaque".to_owned(),
            value: vec![0x00, 0xff, 0xfe, 0x80, 0x01],
        },
    ]
}

/// `google.rpc.ErrorInfo`, as far as it is used here.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
}
