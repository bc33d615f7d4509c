//! Loads over a link that delays.

use std::time::{Duration, Instant};

use futures_util::stream;
use tonic::{Status, Streaming};

use super::super::row::Direction;
use super::stream::download;
use super::{Figures, MIB, payload, signed};
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::protos::grpc::testing::{
    ResponseParameters, SimpleRequest, StreamingOutputCallRequest, StreamingOutputCallResponse,
};
use crate::services::Caller;

/// Bytes of a message.
const MESSAGE: usize = 64 << 10;
/// Messages of an upload that one answer, of one byte, stands for.
const ACKNOWLEDGED: usize = 8;
/// More messages than any link carries in the time.
const MANY: usize = 1 << 18;
/// Bytes of the large request and of the large response.
const LARGE: usize = 4 << 20;
/// How long the connection is used before.
const USED: Duration = Duration::from_secs(2);

/// MiB that the callee (up) or the caller (down) has received in each second.
pub(super) async fn cold<T: Caller>(
    client: TestServiceClient<T>,
    direction: Direction,
    time: Duration,
) -> Result<Figures, Status> {
    let start = Instant::now();
    let (responses, bytes) = stream_of(client, direction, start, time).await?;
    let carried = carried(responses, bytes, start, time).await?;
    let mut figures: Figures = Vec::new();
    let seconds = carried.iter().enumerate();
    figures.extend(seconds.map(|(second, mib)| (format!("second {} MiB", second + 1), *mib)));
    figures.push(("all MiB".to_owned(), carried.iter().sum()));
    Ok(figures)
}

/// Begins a stream in one direction. Also returns what each of its responses stands for, in MiB.
async fn stream_of<T: Caller>(
    mut client: TestServiceClient<T>,
    direction: Direction,
    start: Instant,
    time: Duration,
) -> Result<(Streaming<StreamingOutputCallResponse>, f64), Status> {
    let message = f64::from(signed(MESSAGE)) / MIB;
    match direction {
        Direction::Down => {
            let responses = client.streaming_output_call(download(MESSAGE, MANY));
            Ok((responses.await?.into_inner(), message))
        }
        Direction::Up => {
            let request = StreamingOutputCallRequest {
                payload: payload(MESSAGE),
                ..StreamingOutputCallRequest::default()
            };
            let requests = stream::unfold(1_usize, move |count| {
                let next = (start.elapsed() < time).then(|| {
                    let mut request = request.clone();
                    if count % ACKNOWLEDGED == 0 {
                        let answer = ResponseParameters {
                            size: 1,
                            ..ResponseParameters::default()
                        };
                        request.response_parameters.push(answer);
                    }
                    (request, count + 1)
                });
                std::future::ready(next)
            });
            let responses = client.full_duplex_call(requests).await?;
            let acknowledged = f64::from(signed(ACKNOWLEDGED));
            Ok((responses.into_inner(), message * acknowledged))
        }
    }
}

/// What came in each second.
async fn carried(
    mut responses: Streaming<StreamingOutputCallResponse>,
    bytes: f64,
    start: Instant,
    time: Duration,
) -> Result<Vec<f64>, Status> {
    let seconds = usize::try_from(time.as_secs()).unwrap_or(1).max(1);
    let mut carried = vec![0.0; seconds];
    while start.elapsed() < time && responses.message().await?.is_some() {
        let second = usize::try_from(start.elapsed().as_secs()).unwrap_or(usize::MAX);
        if let Some(carried) = carried.get_mut(second) {
            *carried += bytes;
        }
    }
    Ok(carried)
}

/// How long a large request and a large response take on a connection that was used in both
/// directions.
pub(super) async fn fresh<T: Caller>(
    mut client: TestServiceClient<T>,
    time: Duration,
) -> Result<Figures, Status> {
    let used = USED.min(time);
    for direction in [Direction::Up, Direction::Down] {
        cold(client.clone(), direction, used).await?;
    }
    let request = SimpleRequest {
        payload: payload(LARGE),
        response_size: 1,
        ..SimpleRequest::default()
    };
    let start = Instant::now();
    client.unary_call(request).await?;
    let request_took = start.elapsed();
    let request = SimpleRequest {
        response_size: signed(LARGE),
        ..SimpleRequest::default()
    };
    let start = Instant::now();
    client.unary_call(request).await?;
    Ok(vec![
        ("request ms".to_owned(), request_took.as_secs_f64() * 1e3),
        (
            "response ms".to_owned(),
            start.elapsed().as_secs_f64() * 1e3,
        ),
    ])
}
