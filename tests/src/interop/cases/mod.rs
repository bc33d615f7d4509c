//! gRPC's official interoperability cases, by their official names, on any channel.

mod compression;
mod ends;
mod messages;
mod statuses;
mod table;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures_util::FutureExt as _;
use tonic::Status;

pub use self::table::{Defect, Results, Table, names, play, results_of};

use self::messages::zeros;
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::services::Caller;

/// How long a case may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What was wrong with a call.
type Failure = String;

/// A case of gRPC's interoperability tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the official description of each names what it does"
)]
pub enum Case {
    EmptyUnary,
    LargeUnary,
    ClientStreaming,
    ServerStreaming,
    PingPong,
    EmptyStream,
    CustomMetadata,
    StatusCodeAndMessage,
    SpecialStatusMessage,
    UnimplementedMethod,
    UnimplementedService,
    CancelAfterBegin,
    CancelAfterFirstResponse,
    TimeoutOnSleepingServer,
    ClientCompressedUnary,
    ServerCompressedUnary,
    ClientCompressedStreaming,
    ServerCompressedStreaming,
}

impl Case {
    /// What every end of a tunnel can carry.
    pub const OFFICIAL: [Self; 14] = [
        Self::EmptyUnary,
        Self::LargeUnary,
        Self::ClientStreaming,
        Self::ServerStreaming,
        Self::PingPong,
        Self::EmptyStream,
        Self::CustomMetadata,
        Self::StatusCodeAndMessage,
        Self::SpecialStatusMessage,
        Self::UnimplementedMethod,
        Self::UnimplementedService,
        Self::CancelAfterBegin,
        Self::CancelAfterFirstResponse,
        Self::TimeoutOnSleepingServer,
    ];
    /// What two ends with the extension `TRANSPARENT` carry, and connections without a tunnel.
    pub const COMPRESSED: [Self; 4] = [
        Self::ClientCompressedUnary,
        Self::ServerCompressedUnary,
        Self::ClientCompressedStreaming,
        Self::ServerCompressedStreaming,
    ];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::OFFICIAL.into_iter().chain(Self::COMPRESSED)
    }

    /// The official name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EmptyUnary => "empty_unary",
            Self::LargeUnary => "large_unary",
            Self::ClientStreaming => "client_streaming",
            Self::ServerStreaming => "server_streaming",
            Self::PingPong => "ping_pong",
            Self::EmptyStream => "empty_stream",
            Self::CustomMetadata => "custom_metadata",
            Self::StatusCodeAndMessage => "status_code_and_message",
            Self::SpecialStatusMessage => "special_status_message",
            Self::UnimplementedMethod => "unimplemented_method",
            Self::UnimplementedService => "unimplemented_service",
            Self::CancelAfterBegin => "cancel_after_begin",
            Self::CancelAfterFirstResponse => "cancel_after_first_response",
            Self::TimeoutOnSleepingServer => "timeout_on_sleeping_server",
            Self::ClientCompressedUnary => "client_compressed_unary",
            Self::ServerCompressedUnary => "server_compressed_unary",
            Self::ClientCompressedStreaming => "client_compressed_streaming",
            Self::ServerCompressedStreaming => "server_compressed_streaming",
        }
    }

    /// Plays the case.
    ///
    /// # Errors
    ///
    /// What was not as the case demands, or that it did not come to an end.
    pub async fn play<T: Caller>(self, channel: T) -> Result<(), Failure> {
        let mut late = async_io::Timer::after(LIMIT).fuse();
        let mut played = Box::pin(self.play_to_its_end(channel)).fuse();
        futures_util::select_biased! {
            outcome = played => outcome,
            _ = late => Err(format!("not finished within {LIMIT:?}")),
        }
    }

    async fn play_to_its_end<T: Caller>(self, channel: T) -> Result<(), Failure> {
        let raw = channel.clone();
        let client = TestServiceClient::new(channel);
        match self {
            Self::EmptyUnary => messages::empty_unary(client).await,
            Self::LargeUnary => messages::large_unary(client).await,
            Self::ClientStreaming => messages::client_streaming(client).await,
            Self::ServerStreaming => messages::server_streaming(client).await,
            Self::PingPong => messages::ping_pong(client).await,
            Self::EmptyStream => messages::empty_stream(client).await,
            Self::CustomMetadata => statuses::custom_metadata(client).await,
            Self::StatusCodeAndMessage => statuses::status_code_and_message(client).await,
            Self::SpecialStatusMessage => statuses::special_status_message(client).await,
            Self::UnimplementedMethod => statuses::unimplemented(raw, "TestService").await,
            Self::UnimplementedService => {
                statuses::unimplemented(raw, "UnimplementedService").await
            }
            Self::CancelAfterBegin => ends::cancel_after_begin(client).await,
            Self::CancelAfterFirstResponse => ends::cancel_after_first_response(client).await,
            Self::TimeoutOnSleepingServer => ends::timeout_on_sleeping_server(client).await,
            Self::ClientCompressedUnary => compression::client_unary(raw).await,
            Self::ServerCompressedUnary => compression::server_unary(raw).await,
            Self::ClientCompressedStreaming => compression::client_streaming(raw).await,
            Self::ServerCompressedStreaming => compression::server_streaming(raw).await,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::all().find(|case| case.name() == name);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::all().map(Self::name).collect();
            format!("no case is called {name:?}; there are {}", names.join(" "))
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err wants it")]
fn show(status: Status) -> Failure {
    status.to_string()
}

fn expect<V: PartialEq + fmt::Debug>(what: &str, got: &V, due: &V) -> Result<(), Failure> {
    if got == due {
        return Ok(());
    }
    Err(format!("{what}: {got:?}, not {due:?}"))
}
