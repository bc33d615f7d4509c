//! The messages of both tables, as frames.

use grpctunnel_tests::harness::frames::{Fields, Frame, on};
use grpctunnel_tests::protos::grpc::testing::{
    Payload, ResponseParameters, SimpleRequest, SimpleResponse, StreamingOutputCallRequest,
};
use prost::Message as _;

/// Bytes of each message of the bystander.
const ROUND: usize = 10_000;
pub(crate) const UNARY: &str = "/grpc.testing.TestService/UnaryCall";
pub(crate) const DUPLEX: &str = "/grpc.testing.TestService/FullDuplexCall";

/// The first frame of a message of `size` bytes.
pub(crate) fn envelope(id: i64, size: usize, data: &[u8]) -> Frame {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let message = Fields::new().number(1, size).bytes(2, data);
    on(id, &Fields::new().message(3, &message))
}

/// A whole message in one frame.
pub(crate) fn data(id: i64, message: &[u8]) -> Frame {
    envelope(id, message.len(), message)
}

/// A message of exactly so many bytes, not one, that any service understands: one field that none
/// knows.
pub(crate) fn filler(bytes: usize) -> Vec<u8> {
    let overhead = match bytes {
        0 => return Vec::new(),
        1..130 => 2,
        130..16_387 => 3,
        16_387..2_097_156 => 4,
        _ => 5,
    };
    let content = vec![7; bytes.saturating_sub(overhead)];
    Fields::new().bytes(15, &content).done()
}

/// A unary request for an answer with so many bytes of payload.
pub(crate) fn ask(size: i32) -> Vec<u8> {
    let request = SimpleRequest {
        response_size: size,
        ..SimpleRequest::default()
    };
    request.encode_to_vec()
}

/// A request for a stream of answers of these sizes.
pub(crate) fn ask_stream(sizes: &[i32]) -> Vec<u8> {
    ask_slowly(sizes.iter().map(|size| (*size, 0)))
}

/// A request for one answer at once, and one that does not come while a test lasts.
pub(crate) fn ask_and_wait() -> Vec<u8> {
    ask_slowly([(1, 0), (1, 2_000_000_000)])
}

/// A request for a stream of answers of these sizes, each behind so many microseconds.
fn ask_slowly(answers: impl IntoIterator<Item = (i32, i32)>) -> Vec<u8> {
    let parameters = answers
        .into_iter()
        .map(|(size, interval_us)| ResponseParameters {
            size,
            interval_us,
            ..ResponseParameters::default()
        });
    let request = StreamingOutputCallRequest {
        response_parameters: parameters.collect(),
        ..StreamingOutputCallRequest::default()
    };
    request.encode_to_vec()
}

/// The payload of a message of the bystander.
pub(crate) fn payload(round: usize) -> Vec<u8> {
    (0..251_u8).cycle().skip(round).take(ROUND).collect()
}

/// A message of the bystander, which is to get its payload back.
pub(crate) fn question(round: usize) -> Vec<u8> {
    let request = StreamingOutputCallRequest {
        response_parameters: vec![ResponseParameters::default()],
        payload: Some(Payload {
            body: payload(round).into(),
            ..Payload::default()
        }),
        ..StreamingOutputCallRequest::default()
    };
    request.encode_to_vec()
}

/// The answer to a `UnaryCall` with default arguments.
pub(crate) fn response(id: i64) -> Frame {
    let response = SimpleResponse {
        payload: zeros(314),
        ..SimpleResponse::default()
    };
    data(id, &response.encode_to_vec())
}

/// A payload of zeros.
pub(crate) fn zeros(size: i32) -> Option<Payload> {
    Some(Payload {
        body: vec![0; usize::try_from(size).unwrap_or_default()].into(),
        ..Payload::default()
    })
}
