//! Small calls beside bulk.

use std::time::{Duration, Instant};

use futures_util::future::{try_join, try_join_all};
use tonic::Status;

use super::Figures;
use super::stream::up;
use super::unary::small;
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::services::Caller;

/// Uploads beside the small calls.
pub(in super::super) const UPLOADS: usize = 32;
const MESSAGE: usize = 16 << 10;

pub(super) async fn run<T: Caller>(
    client: TestServiceClient<T>,
    time: Duration,
) -> Result<Figures, Status> {
    let uploads = (0..UPLOADS).map(|_| up(client.clone(), MESSAGE, time));
    let calls = latencies(client.clone(), time);
    let (rates, mut latencies) = try_join(try_join_all(uploads), calls).await?;
    latencies.sort_unstable();
    let at = |percent: usize| {
        let index = latencies.len().saturating_sub(1) * percent / 100;
        let latency = latencies.get(index).copied().unwrap_or_default();
        latency.as_secs_f64() * 1e6
    };
    Ok(vec![
        ("call p50 us".to_owned(), at(50)),
        ("call p99 us".to_owned(), at(99)),
        ("uploads MiB/s".to_owned(), rates.into_iter().sum()),
    ])
}

/// How long each call takes, one after the other.
async fn latencies<T: Caller>(
    mut client: TestServiceClient<T>,
    time: Duration,
) -> Result<Vec<Duration>, Status> {
    let request = small();
    let start = Instant::now();
    let mut latencies = Vec::new();
    while start.elapsed() < time {
        let called = Instant::now();
        client.unary_call(request.clone()).await?;
        latencies.push(called.elapsed());
    }
    Ok(latencies)
}
