//! Cases through a reverse tunnel: its opening names them, the end that took the tunnel plays them,
//! and tells the opener, through the tunnel, what came of each.

use std::str::FromStr as _;

use tokio::sync::mpsc;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::cases::Case;
use crate::protos::grpc::testing::Empty;
use crate::protos::grpc::testing::test_service_client::TestServiceClient;
use crate::services::Caller;

/// Metadata of the opening: the cases, with commas between.
pub const CASES: &str = "x-interop-cases";
/// Metadata of an `EmptyCall`: a line that says what came of one case.
pub const REPORT: &str = "x-interop-report-bin";

/// What came of one case, as a line. The line begins with `ok` where all was right.
pub async fn played<T: Caller>(name: &str, channel: T) -> String {
    let outcome = match Case::from_str(name) {
        Ok(case) => case.play(channel).await,
        Err(unknown) => Err(unknown),
    };
    match outcome {
        Ok(()) => format!("ok {name}"),
        Err(why) => format!("FAILED {name}: {why}"),
    }
}

/// Plays the cases that the opening of a reverse tunnel names, if it names any, and reports each.
///
/// # Errors
///
/// The end of a report that did not arrive.
pub async fn play_for_opener<T: Caller>(opening: &MetadataMap, channel: T) -> Result<bool, Status> {
    let Some(names) = opening.get(CASES).and_then(|names| names.to_str().ok()) else {
        return Ok(false);
    };
    for name in names.split(',') {
        let line = played(name, channel.clone()).await;
        let mut report = Request::new(Empty {});
        let value = MetadataValue::from_bytes(line.as_bytes());
        report.metadata_mut().insert_bin(REPORT, value);
        let mut client = TestServiceClient::new(channel.clone());
        client.empty_call(report).await?;
    }
    Ok(true)
}

/// Sees the reports among the calls of the test service.
#[must_use]
pub fn reports() -> (
    impl Interceptor + Clone + Send + Sync + 'static,
    mpsc::UnboundedReceiver<String>,
) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let see = move |request: Request<()>| {
        let report = request.metadata().get_bin(REPORT);
        if let Some(line) = report.and_then(|value| value.to_bytes().ok()) {
            // Nobody may be interested any more.
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
        Ok(request)
    };
    (see, receiver)
}
