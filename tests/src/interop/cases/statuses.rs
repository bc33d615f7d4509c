//! Cases about statuses and metadata.

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::messages::{LARGE, check, duplex, field};
use super::{Failure, expect, show, zeros};
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::protos::grpc::testing::{EchoStatus, Empty, SimpleRequest, StreamingOutputCallRequest};
use crate::services::Caller;

const INITIAL: &str = "x-grpc-test-echo-initial";
const INITIAL_VALUE: &str = "test_initial_metadata_value";
const TRAILING: &str = "x-grpc-test-echo-trailing-bin";
/// As grpc-go has it. The official bytes are not UTF-8, which no tunnel of the known peers carries.
const TRAILING_VALUE: &[u8] = b"\x0a\x0b\x0a\x0b\x0a\x0b";

fn with_metadata<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert(INITIAL, MetadataValue::from_static(INITIAL_VALUE));
    metadata.insert_bin(TRAILING, MetadataValue::from_bytes(TRAILING_VALUE));
    request
}

fn check_initial(metadata: &MetadataMap) -> Result<(), Failure> {
    let values = metadata.get_all(INITIAL).iter();
    let values: Vec<_> = values.map(MetadataValue::to_str).collect();
    match values[..] {
        [Ok(INITIAL_VALUE)] => Ok(()),
        _ => Err(format!("{INITIAL}: {values:?}, not {INITIAL_VALUE:?}")),
    }
}

fn check_trailing(metadata: &MetadataMap) -> Result<(), Failure> {
    let values = metadata.get_all_bin(TRAILING);
    let values: Vec<_> = values.iter().map(MetadataValue::to_bytes).collect();
    match &values[..] {
        [Ok(value)] if value == TRAILING_VALUE => Ok(()),
        _ => Err(format!("{TRAILING}: {values:?}, not {TRAILING_VALUE:?}")),
    }
}

pub(super) async fn custom_metadata<T: Caller>(
    mut client: TestServiceClient<T>,
) -> Result<(), Failure> {
    let (sent, due) = LARGE;
    let request = SimpleRequest {
        payload: zeros(sent),
        response_size: field(due),
        ..SimpleRequest::default()
    };
    let response = client.unary_call(with_metadata(request)).await;
    let response = response.map_err(show)?;
    check_initial(response.metadata())?;
    check_trailing(response.metadata())?;
    check(response.into_inner().payload, due)?;

    let requests = with_metadata(tokio_stream::iter([duplex(sent, due)]));
    let responses = client.full_duplex_call(requests).await.map_err(show)?;
    check_initial(responses.metadata())?;
    let mut responses = responses.into_inner();
    let response = responses.message().await.map_err(show)?;
    check(response.ok_or("the response is missing")?.payload, due)?;
    expect("the end", &responses.message().await.map_err(show)?, &None)?;
    let trailers = responses.trailers().await.map_err(show)?;
    check_trailing(&trailers.unwrap_or_default())
}

/// Checks that a call ended so.
fn check_status(status: &Status, code: Code, message: &str) -> Result<(), Failure> {
    expect("the code", &status.code(), &code)?;
    expect("the message", &status.message(), &message)
}

fn failing(message: &str) -> (EchoStatus, Code) {
    let status = EchoStatus {
        code: Code::Unknown.into(),
        message: message.to_owned(),
    };
    (status, Code::Unknown)
}

async fn unary_fails<T: Caller>(
    client: &mut TestServiceClient<T>,
    message: &str,
) -> Result<(), Failure> {
    let (status, code) = failing(message);
    let request = SimpleRequest {
        response_status: Some(status),
        ..SimpleRequest::default()
    };
    match client.unary_call(request).await {
        Ok(_) => Err("the unary call succeeded".to_owned()),
        Err(status) => check_status(&status, code, message),
    }
}

pub(super) async fn status_code_and_message<T: Caller>(
    mut client: TestServiceClient<T>,
) -> Result<(), Failure> {
    let message = "test status message";
    unary_fails(&mut client, message).await?;
    let (status, code) = failing(message);
    let request = StreamingOutputCallRequest {
        response_status: Some(status),
        ..StreamingOutputCallRequest::default()
    };
    let responses = client.full_duplex_call(tokio_stream::iter([request]));
    let ended = match responses.await {
        Ok(responses) => responses.into_inner().message().await.err(),
        Err(status) => Some(status),
    };
    let status = ended.ok_or("the bidirectional call succeeded")?;
    check_status(&status, code, message)
}

pub(super) async fn special_status_message<T: Caller>(
    mut client: TestServiceClient<T>,
) -> Result<(), Failure> {
    let message = "\t\ntest with whitespace\r\nand Unicode BMP \u{263a} and non-BMP \u{1f608}\t\n";
    unary_fails(&mut client, message).await
}

/// Calls a method that this service does not have.
pub(super) async fn unimplemented<T: Caller>(channel: T, service: &str) -> Result<(), Failure> {
    let path = format!("/grpc.testing.{service}/UnimplementedCall");
    let path = PathAndQuery::try_from(path).map_err(|error| error.to_string())?;
    let mut grpc = Grpc::new(channel);
    let ready = grpc.ready().await;
    ready.map_err(|error| show(Status::from_error(error.into())))?;
    let codec = ProstCodec::<Empty, Empty>::default();
    match grpc.unary(Request::new(Empty {}), path, codec).await {
        Ok(_) => Err("the call succeeded".to_owned()),
        Err(status) => expect("the code", &status.code(), &Code::Unimplemented),
    }
}
