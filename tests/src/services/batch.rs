//! The calls that the Go module's test client makes through a tunnel, for as long as wanted.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use tonic::Status;

use super::Caller;
use crate::protos::grpchantesting::Message;
use crate::protos::grpchantesting::test_service_client::TestServiceClient;

/// Requests of one streaming call, and responses asked for.
const MESSAGES: i32 = 10;

/// Makes calls of all four kinds side by side for `time`, one after another of each kind, each
/// checked; returns how many there were.
///
/// # Errors
///
/// That of the first call that failed or was answered wrongly.
pub async fn send_batches<T: Caller>(channel: T, time: Duration) -> Result<usize, Status> {
    let end = Instant::now() + time;
    let (unary, up, down, both) = futures_util::try_join!(
        repeat(&channel, end, unary),
        repeat(&channel, end, client_stream),
        repeat(&channel, end, server_stream),
        repeat(&channel, end, bidi_stream),
    )?;
    Ok(unary + up + down + both)
}

async fn repeat<T: Caller, F: Future<Output = Result<(), Status>>>(
    channel: &T,
    end: Instant,
    call: impl Fn(TestServiceClient<T>) -> F,
) -> Result<usize, Status> {
    let mut count = 0;
    while count == 0 || Instant::now() < end {
        call(TestServiceClient::new(channel.clone())).await?;
        count += 1;
    }
    Ok(count)
}

/// A request with `repeats` times four bytes of payload.
fn request(repeats: usize) -> Message {
    Message {
        count: MESSAGES,
        payload: Bytes::from([0, 1, 2, 3].repeat(repeats)),
        ..Message::default()
    }
}

async fn unary<T: Caller>(mut client: TestServiceClient<T>) -> Result<(), Status> {
    let request = request(100);
    let response = client.unary(request.clone()).await?.into_inner();
    check(&request, &response, 0)
}

async fn client_stream<T: Caller>(mut client: TestServiceClient<T>) -> Result<(), Status> {
    let request = request(10_000);
    let requests = stream::iter((0..MESSAGES).map({
        let request = request.clone();
        move |_| request.clone()
    }));
    let response = client.client_stream(requests).await?.into_inner();
    check(&request, &response, MESSAGES)
}

async fn server_stream<T: Caller>(mut client: TestServiceClient<T>) -> Result<(), Status> {
    let request = request(1_000);
    let mut responses = client.server_stream(request.clone()).await?.into_inner();
    let mut received = 0;
    while let Some(response) = responses.message().await? {
        check(&request, &response, 0)?;
        received += 1;
    }
    check_number(received)
}

async fn bidi_stream<T: Caller>(mut client: TestServiceClient<T>) -> Result<(), Status> {
    let request = request(1_000);
    let requests = stream::iter((0..MESSAGES).map({
        let request = request.clone();
        move |_| request.clone()
    }));
    let mut responses = client.bidi_stream(requests).await?.into_inner();
    let mut received = 0;
    while let Some(response) = responses.message().await? {
        received += 1;
        check(&request, &response, received)?;
    }
    check_number(received)
}

fn check(request: &Message, response: &Message, count: i32) -> Result<(), Status> {
    if response.payload == request.payload && response.count == count {
        return Ok(());
    }
    Err(Status::data_loss(format!(
        "wrong response: {} bytes and count {}, not {} and {count}",
        response.payload.len(),
        response.count,
        request.payload.len(),
    )))
}

fn check_number(received: i32) -> Result<(), Status> {
    if received == MESSAGES {
        return Ok(());
    }
    Err(Status::data_loss(format!(
        "{received} responses, not {MESSAGES}"
    )))
}
