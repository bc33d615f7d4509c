//! Calls to the official test service of which every byte that comes back is checked: the
//! counterpart of what the peers' programs do.

mod duplex;
mod ends;
mod expected;
mod kinds;
mod mixed;
mod stress;

use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::services::Caller;

/// What was wrong with a call.
pub type Failure = String;

/// Messages that the streaming calls send.
const MESSAGES: usize = 5;

/// The official test service behind a channel.
#[derive(Clone, Debug)]
pub struct Calls<T> {
    client: TestServiceClient<T>,
    /// Whether payloads are asked to come back. They are zeros otherwise.
    echo: bool,
    /// Whether failed calls are asked for details.
    details: bool,
}

impl<T: Caller> Calls<T> {
    /// To a service that knows the official requests only.
    pub fn official(channel: T) -> Self {
        Self {
            client: TestServiceClient::new(channel),
            echo: false,
            details: false,
        }
    }

    /// To a service that echoes payloads and gives status details on request, as those of all the
    /// test programs do.
    pub fn extended(channel: T) -> Self {
        Self {
            echo: true,
            details: true,
            ..Self::official(channel)
        }
    }
}
