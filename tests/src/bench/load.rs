//! What is measured.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream;
use tonic::Status;

use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::protos::grpc::testing::{
    Payload, ResponseParameters, SimpleRequest, StreamingInputCallRequest,
    StreamingOutputCallRequest,
};
use crate::services::Caller;

/// Bytes of a unary request's and response's payload.
const SMALL: i32 = 16;
/// Bytes of a streamed message's payload.
const LARGE: i32 = 16 << 10;
/// Responses that one download asks for; there are as many downloads as the time takes.
const DOWNLOAD: usize = 65_536;
const MIB: f64 = 1_048_576.0;

/// The figures of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Workload {
    /// Unary calls a second, one after the other.
    Unary1,
    /// Unary calls a second, 64 in flight.
    Unary64,
    /// MiB a second from caller to callee.
    Up,
    /// MiB a second from callee to caller.
    Down,
}

impl Workload {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Unary1, Self::Unary64, Self::Up, Self::Down];

    /// Its name where one process tells another.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unary1 => "unary-1",
            Self::Unary64 => "unary-64",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// What the table says.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Unary1 => "unary 16 B, 1 in flight, calls/s",
            Self::Unary64 => "unary 16 B, 64 in flight, calls/s",
            Self::Up => "stream of 16 KiB up, MiB/s",
            Self::Down => "stream of 16 KiB down, MiB/s",
        }
    }

    /// Measures for `time` and returns the figure.
    pub(super) async fn measure(self, channel: impl Caller, time: Duration) -> Result<f64, Status> {
        let client = TestServiceClient::new(channel);
        match self {
            Self::Unary1 => unary(client, 1, time).await,
            Self::Unary64 => unary(client, 64, time).await,
            Self::Up => up(client, time).await,
            Self::Down => down(client, time).await,
        }
    }
}

fn payload(size: i32) -> Option<Payload> {
    let body = Bytes::from(vec![0; usize::try_from(size).unwrap_or_default()]);
    Some(Payload {
        body,
        ..Payload::default()
    })
}

async fn unary<T: Caller>(
    client: TestServiceClient<T>,
    in_flight: usize,
    time: Duration,
) -> Result<f64, Status> {
    let request = SimpleRequest {
        payload: payload(SMALL),
        response_size: SMALL,
        ..SimpleRequest::default()
    };
    let start = Instant::now();
    let calls = (0..in_flight).map(|_| {
        let (mut client, request) = (client.clone(), request.clone());
        async move {
            let mut count = 0_u32;
            while start.elapsed() < time {
                client.unary_call(request.clone()).await?;
                count += 1;
            }
            Ok::<_, Status>(f64::from(count))
        }
    });
    let count: f64 = try_join_all(calls).await?.into_iter().sum();
    Ok(count / start.elapsed().as_secs_f64())
}

async fn up<T: Caller>(mut client: TestServiceClient<T>, time: Duration) -> Result<f64, Status> {
    let request = StreamingInputCallRequest {
        payload: payload(LARGE),
        ..StreamingInputCallRequest::default()
    };
    let start = Instant::now();
    let (counter, mut counted) = tokio::sync::oneshot::channel();
    let state = (0_u32, Some(counter));
    let requests = stream::unfold(state, move |(count, mut counter)| {
        let next = if start.elapsed() < time {
            Some((request.clone(), (count + 1, counter)))
        } else {
            // Nobody listens only if the call has failed.
            let _ = counter.take().map(|counter| counter.send(count));
            None
        };
        std::future::ready(next)
    });
    client.streaming_input_call(requests).await?;
    let elapsed = start.elapsed().as_secs_f64();
    let count = counted
        .try_recv()
        .map_err(|_| Status::internal("answered before its end"))?;
    Ok(f64::from(count) * f64::from(LARGE) / MIB / elapsed)
}

async fn down<T: Caller>(mut client: TestServiceClient<T>, time: Duration) -> Result<f64, Status> {
    let parameters = ResponseParameters {
        size: LARGE,
        ..ResponseParameters::default()
    };
    let request = StreamingOutputCallRequest {
        response_parameters: vec![parameters; DOWNLOAD],
        ..StreamingOutputCallRequest::default()
    };
    let start = Instant::now();
    let mut bytes = 0.0;
    while start.elapsed() < time {
        let responses = client.streaming_output_call(request.clone()).await?;
        let mut responses = responses.into_inner();
        while start.elapsed() < time
            && let Some(response) = responses.message().await?
        {
            let length = response.payload.unwrap_or_default().body.len();
            bytes += f64::from(u32::try_from(length).unwrap_or_default());
        }
    }
    Ok(bytes / MIB / start.elapsed().as_secs_f64())
}
