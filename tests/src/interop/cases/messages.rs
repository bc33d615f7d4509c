//! Cases about messages.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Failure, expect, show};
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::protos::grpc::testing::{
    Empty, Payload, ResponseParameters, SimpleRequest, StreamingInputCallRequest,
    StreamingOutputCallRequest,
};
use crate::services::Caller;

/// Bytes of what is sent and of what comes back, where there is one of each.
pub(super) const LARGE: (usize, usize) = (271_828, 314_159);
/// Bytes of the requests where there are several.
pub(super) const REQUESTS: [usize; 4] = [27_182, 8, 1_828, 45_904];
/// Bytes of the responses where there are several.
pub(super) const RESPONSES: [usize; 4] = [31_415, 9, 2_653, 58_979];

/// A payload of so many zeros.
#[expect(clippy::unnecessary_wraps, reason = "as the messages have it")]
pub(super) fn zeros(size: usize) -> Option<Payload> {
    Some(Payload {
        body: Bytes::from(vec![0; size]),
        ..Payload::default()
    })
}

/// Checks that a payload is so many zeros.
pub(super) fn check(payload: Option<Payload>, size: usize) -> Result<(), Failure> {
    let body = payload.unwrap_or_default().body;
    expect("bytes of the payload", &body.len(), &size)?;
    match body.iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(place) => Err(format!("byte {place} of the payload is not zero")),
    }
}

/// A size as the messages have it.
pub(super) fn field(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

pub(super) fn parameters(size: usize) -> ResponseParameters {
    ResponseParameters {
        size: field(size),
        ..ResponseParameters::default()
    }
}

/// A request of `sent` zeros for a response of `due` ones.
pub(super) fn duplex(sent: usize, due: usize) -> StreamingOutputCallRequest {
    StreamingOutputCallRequest {
        payload: zeros(sent),
        response_parameters: vec![parameters(due)],
        ..StreamingOutputCallRequest::default()
    }
}

pub(super) async fn empty_unary<T: Caller>(
    mut client: TestServiceClient<T>,
) -> Result<(), Failure> {
    client.empty_call(Empty {}).await.map_err(show)?;
    Ok(())
}

pub(super) async fn large_unary<T: Caller>(
    mut client: TestServiceClient<T>,
) -> Result<(), Failure> {
    let (sent, due) = LARGE;
    let request = SimpleRequest {
        payload: zeros(sent),
        response_size: field(due),
        ..SimpleRequest::default()
    };
    let response = client.unary_call(request).await.map_err(show)?;
    check(response.into_inner().payload, due)
}

pub(super) async fn client_streaming<T: Caller>(
    mut client: TestServiceClient<T>,
) -> Result<(), Failure> {
    let requests = REQUESTS.map(|size| StreamingInputCallRequest {
        payload: zeros(size),
        ..StreamingInputCallRequest::default()
    });
    let response = client.streaming_input_call(tokio_stream::iter(requests));
    let sum = response.await.map_err(show)?.into_inner();
    let due = field(REQUESTS.iter().sum());
    expect("the sum", &sum.aggregated_payload_size, &due)
}

pub(super) async fn server_streaming<T: Caller>(
    mut client: TestServiceClient<T>,
) -> Result<(), Failure> {
    let request = StreamingOutputCallRequest {
        response_parameters: RESPONSES.map(parameters).into(),
        ..StreamingOutputCallRequest::default()
    };
    let responses = client.streaming_output_call(request).await.map_err(show)?;
    let mut responses = responses.into_inner();
    for due in RESPONSES {
        let response = responses.message().await.map_err(show)?;
        check(response.ok_or("a response is missing")?.payload, due)?;
    }
    expect("the end", &responses.message().await.map_err(show)?, &None)
}

pub(super) async fn ping_pong<T: Caller>(mut client: TestServiceClient<T>) -> Result<(), Failure> {
    let gone = |_| "nobody takes the requests".to_owned();
    let (requests, receiver) = mpsc::channel(1);
    let mut exchanges = REQUESTS.into_iter().zip(RESPONSES);
    let (sent, mut due) = exchanges.next().unwrap_or_default();
    // The server may wait for the first request with its headers.
    requests.send(duplex(sent, due)).await.map_err(gone)?;
    let responses = client.full_duplex_call(ReceiverStream::new(receiver));
    let mut responses = responses.await.map_err(show)?.into_inner();
    loop {
        let response = responses.message().await.map_err(show)?;
        check(response.ok_or("a response is missing")?.payload, due)?;
        let Some((sent, next)) = exchanges.next() else {
            break;
        };
        due = next;
        requests.send(duplex(sent, due)).await.map_err(gone)?;
    }
    drop(requests);
    expect("the end", &responses.message().await.map_err(show)?, &None)
}

pub(super) async fn empty_stream<T: Caller>(
    mut client: TestServiceClient<T>,
) -> Result<(), Failure> {
    let nothing = tokio_stream::empty::<StreamingOutputCallRequest>();
    let responses = client.full_duplex_call(nothing).await.map_err(show)?;
    let end = responses.into_inner().message().await;
    expect("the end", &end.map_err(show)?, &None)
}
