//! One stream of messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream;
use tonic::Status;

use super::{MIB, payload, signed};
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::protos::grpc::testing::{
    ResponseParameters, StreamingInputCallRequest, StreamingOutputCallRequest,
};
use crate::services::Caller;

/// Responses that one download asks for; there are as many downloads as the time takes.
const DOWNLOAD: usize = 65_536;

/// MiB a second of payload, from the first message to the response.
pub(super) async fn up<T: Caller>(
    mut client: TestServiceClient<T>,
    size: usize,
    time: Duration,
) -> Result<f64, Status> {
    let request = StreamingInputCallRequest {
        payload: payload(size),
        ..StreamingInputCallRequest::default()
    };
    let start = Instant::now();
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    let requests = stream::unfold((), move |()| {
        let next = (start.elapsed() < time).then(|| {
            counter.fetch_add(1, Ordering::Relaxed);
            (request.clone(), ())
        });
        std::future::ready(next)
    });
    client.streaming_input_call(requests).await?;
    let elapsed = start.elapsed().as_secs_f64();
    let count = f64::from(count.load(Ordering::Relaxed));
    Ok(count * f64::from(signed(size)) / MIB / elapsed)
}

/// MiB a second of payload.
pub(super) async fn down<T: Caller>(
    mut client: TestServiceClient<T>,
    size: usize,
    time: Duration,
) -> Result<f64, Status> {
    let request = download(size, DOWNLOAD);
    let start = Instant::now();
    let mut bytes = 0.0;
    while start.elapsed() < time {
        let responses = client.streaming_output_call(request.clone()).await?;
        let mut responses = responses.into_inner();
        while start.elapsed() < time
            && let Some(response) = responses.message().await?
        {
            bytes += f64::from(signed(response.payload.unwrap_or_default().body.len()));
        }
    }
    Ok(bytes / MIB / start.elapsed().as_secs_f64())
}

/// Asks for so many responses of this size.
pub(super) fn download(size: usize, count: usize) -> StreamingOutputCallRequest {
    let parameters = ResponseParameters {
        size: signed(size),
        ..ResponseParameters::default()
    };
    StreamingOutputCallRequest {
        response_parameters: vec![parameters; count],
        ..StreamingOutputCallRequest::default()
    }
}
