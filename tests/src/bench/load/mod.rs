//! The loads: calls on any channel, and what is counted of them.

mod beside;
mod link;
mod stream;
mod unary;

#[cfg(feature = "net")]
pub(super) use beside::UPLOADS;

use std::time::Duration;

use bytes::Bytes;
use tonic::Status;

use super::row::{Direction, Load};
use crate::protos::grpc::testing::Payload;
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::services::Caller;

/// How long a load runs before it is measured.
pub(super) const WARM_UP: Duration = Duration::from_millis(150);
const MIB: f64 = 1_048_576.0;

type Figures = Vec<(String, f64)>;

/// Runs a load for `time`, and returns its figures: name with unit, and value.
pub(super) async fn run(
    load: Load,
    channel: impl Caller,
    time: Duration,
) -> Result<Figures, Status> {
    // A message of "4 MiB" has its field headers too.
    let client = TestServiceClient::new(channel)
        .max_decoding_message_size(8 << 20)
        .max_encoding_message_size(8 << 20);
    match load {
        Load::Unary { in_flight } => unary::run(client, in_flight, time).await,
        Load::Stream { direction, size } => {
            let rate = match direction {
                Direction::Up => stream::up(client, size, time).await?,
                Direction::Down => stream::down(client, size, time).await?,
            };
            Ok(figure("MiB/s", rate))
        }
        Load::Beside => beside::run(client, time).await,
        Load::Cold(direction) => link::cold(client, direction, time).await,
        Load::Fresh => link::fresh(client, time).await,
        Load::Idle | Load::Tcp(_) => Err(Status::internal("no load of calls")),
    }
}

/// Makes one small call.
#[cfg(feature = "net")]
pub(super) async fn one_call(channel: impl Caller) -> Result<(), Status> {
    let mut client = TestServiceClient::new(channel);
    client.unary_call(unary::small()).await.map(drop)
}

fn figure(name: &str, value: f64) -> Figures {
    vec![(name.to_owned(), value)]
}

fn payload(size: usize) -> Option<Payload> {
    Some(Payload {
        body: Bytes::from(vec![0; size]),
        ..Payload::default()
    })
}

/// A size where a message has a signed number of 32 bits.
fn signed(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}
