//! Unary calls.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tonic::Status;

use super::{Figures, figure, payload, signed};
use crate::protos::grpc::testing::SimpleRequest;
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::services::Caller;

/// Bytes of a request's and of a response's payload.
const SMALL: usize = 16;

/// A small request that asks for a small response.
pub(super) fn small() -> SimpleRequest {
    SimpleRequest {
        payload: payload(SMALL),
        response_size: signed(SMALL),
        ..SimpleRequest::default()
    }
}

pub(super) async fn run<T: Caller>(
    client: TestServiceClient<T>,
    in_flight: usize,
    time: Duration,
) -> Result<Figures, Status> {
    let request = small();
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
    Ok(figure("calls/s", count / start.elapsed().as_secs_f64()))
}
