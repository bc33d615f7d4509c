//! The probe: one tunnel, one call and a bystander, against a server that may do anything.

mod args;
mod bystander;
mod call;
mod report;

use std::time::Duration;

use grpctunnel_tokio::Channel;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Code;
use tonic::metadata::MetadataMap;

pub use args::{Args, CallKind};
pub use report::{Outcome, Report, Stage};

use bystander::Bystander;
use call::Received;

/// The metadata key that tells a server which case is played.
const CASE: &str = "x-case";

/// How long the bystander may take to finish once the time is up.
const LAST_CALL: Duration = Duration::from_millis(400);

/// Plays one case. It returns within a second of `args.guard_ms`, whatever the server does.
pub async fn run(args: &Args) -> (Report, Option<Channel>) {
    let end = Instant::now() + args.guard_ms;
    let mut metadata = MetadataMap::new();
    metadata.insert(CASE, args.case.clone());
    let options = super::options(true);
    let opened = super::open(&args.connect, &options, metadata);
    let channel = match timeout_at(end, opened).await {
        Err(_) => return (Report::late(Outcome::None), None),
        Ok(Err(status)) => return (Report::not_opened(&status), None),
        Ok(Ok(channel)) => channel,
    };
    let report = play(args, &channel, end).await;
    (report, Some(channel))
}

async fn play(args: &Args, channel: &Channel, end: Instant) -> Report {
    let received = Received::default();
    let bystander =
        match timeout_at(end, Bystander::start(channel.clone(), args.bystander_bytes)).await {
            Err(_) => return Report::late(Outcome::Fail),
            Ok(bystander) => bystander,
        };
    let call = async {
        tokio::time::sleep(args.start_delay_ms).await;
        call::make(channel.clone(), args, &received).await
    };
    let mut report = match timeout_at(end, call).await {
        Err(_) => Report::late(Outcome::Fail),
        Ok(Ok(())) => Report::new(Code::Ok, "", Outcome::Fail, Stage::Call),
        Ok(Err(status)) => Report::new(status.code(), status.message(), Outcome::Fail, Stage::Call),
    };
    (report.messages, report.bytes) = received.totals();
    if report.stage == Stage::Call {
        sleep_until(end.min(Instant::now() + args.linger_ms)).await;
    }
    let finish = async { bystander?.finish().await };
    report.bystander = match timeout_at(end.max(Instant::now() + LAST_CALL), finish).await {
        Ok(Ok(())) => Outcome::Ok,
        Ok(Err(status)) => {
            eprintln!("bystander: {status}");
            Outcome::Fail
        }
        Err(_) => {
            eprintln!("bystander: not finished in time");
            Outcome::Fail
        }
    };
    report
}
