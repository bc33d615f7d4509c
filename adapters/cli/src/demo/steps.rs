//! The steps of the demo: each makes its calls and checks every answer.

use std::{
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use tokio::sync::{mpsc, watch};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Request, Status, Streaming, metadata::MetadataValue};
use tonic_types::StatusExt;

use super::{
    generated::{
        Chunk, GreetRequest, Line, WaitRequest, WorkRequest, WorkStep, depot_client::DepotClient,
    },
    screen::{Meter, MiB, Took},
    service::Seen,
    tally::{Tally, megabytes_per_second, status_line},
};
use crate::words::code_name;

const GREETINGS: u32 = 200;
/// Steps of a job that ends.
pub(super) const JOB_STEPS: u32 = 40;
const STEP_MILLIS: u32 = 25;
const LINES: u32 = 20;
const GIVE_UP_AFTER: u32 = 5;
const ENDLESS: u32 = 1_000_000;
const DEADLINE: Duration = Duration::from_millis(300);
const CHUNK: usize = 256 << 10;
/// How many pieces in a row begin at different places of the pattern.
const SHIFTS: usize = 4096;

/// The caller's connection to the gateway.
///
/// Not tonic's own channel: that one enforces deadlines by itself, and the demo shows those
/// of the tunnel.
pub(super) type Connection = Client<HttpConnector, tonic::body::Body>;

/// The caller: an ordinary gRPC client that knows the gateway only.
#[derive(Debug)]
pub(super) struct Caller {
    /// The generated client.
    pub(super) client: DepotClient<Connection>,
    /// The agent that it wants.
    pub(super) target: MetadataValue<tonic::metadata::Ascii>,
    /// What the service sees.
    pub(super) seen: watch::Receiver<Seen>,
    /// What was measured.
    pub(super) tally: Tally,
}

/// Why a step failed.
#[derive(Debug)]
pub(super) struct Wrong(String);

impl Wrong {
    pub(super) const fn new(what: String) -> Self {
        Self(what)
    }

    pub(super) fn unexpected<T>(what: impl Into<String>) -> Result<T, Self> {
        Err(Self(what.into()))
    }
}

impl From<Status> for Wrong {
    fn from(status: Status) -> Self {
        Self(format!("the call ended with {}", status_line(&status)))
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Caller {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let target = self.target.clone();
        request.metadata_mut().insert(crate::TARGET, target);
        request
    }

    /// One unary call after the other, and one that is refused.
    pub(super) async fn unary(&mut self, meter: &Meter) -> Result<String, Wrong> {
        let mut times = Vec::new();
        for number in 0..GREETINGS {
            times.push(self.greeting(number).await?);
            meter.advance(1);
        }
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let refused = self.refused().await?;
        Ok(format!(
            "{GREETINGS} answered, median {}; 1 refused with {refused} and its details",
            Took(median)
        ))
    }

    /// One unary call, and how long it took.
    pub(super) async fn greeting(&mut self, number: u32) -> Result<Duration, Wrong> {
        let name = format!("caller {number}");
        let expected = format!("Hello, {name}");
        let message = GreetRequest { name };
        self.tally.sent(&message);
        let begun = Instant::now();
        let reply = self.client.greet(self.request(message)).await?.into_inner();
        let took = begun.elapsed();
        if reply.text != expected {
            return Wrong::unexpected(format!("{expected:?} came back as {:?}", reply.text));
        }
        self.tally.received(&reply);
        self.tally.ended(Code::Ok);
        Ok(took)
    }

    /// The same caller with another way to the service, whose calls are not counted with these.
    pub(super) fn elsewhere(&self, client: DepotClient<Connection>) -> Self {
        Self {
            client,
            target: self.target.clone(),
            seen: self.seen.clone(),
            tally: Tally::new(),
        }
    }

    /// Begins a job of `steps` steps.
    async fn work(&mut self, steps: u32, step_millis: u32) -> Result<Streaming<WorkStep>, Wrong> {
        let order = WorkRequest { steps, step_millis };
        self.tally.sent(&order);
        Ok(self.client.work(self.request(order)).await?.into_inner())
    }

    /// Begins a job that ends.
    pub(super) async fn job(&mut self) -> Result<Streaming<WorkStep>, Wrong> {
        self.work(JOB_STEPS, STEP_MILLIS).await
    }

    /// Begins a job that does not end, and waits for its first step.
    pub(super) async fn endless_job(&mut self) -> Result<Streaming<WorkStep>, Wrong> {
        let mut progress = self.work(ENDLESS, 10).await?;
        match progress.message().await? {
            Some(step) => self.tally.received(&step),
            None => return Wrong::unexpected("the job ended by itself"),
        }
        Ok(progress)
    }

    async fn refused(&mut self) -> Result<&'static str, Wrong> {
        let Err(status) = self
            .client
            .greet(self.request(GreetRequest::default()))
            .await
        else {
            return Wrong::unexpected("a request without a name was not refused");
        };
        if status.code() != Code::InvalidArgument {
            return Err(status.into());
        }
        let details = status.get_error_details();
        let named = details
            .bad_request()
            .is_some_and(|bad| bad.field_violations.iter().any(|one| one.field == "name"));
        if !named {
            return Wrong::unexpected("the details of a refused call did not arrive");
        }
        self.tally.ended(status.code());
        Ok(code_name(status.code()))
    }

    /// A job whose steps arrive one by one.
    pub(super) async fn server_stream(&mut self, meter: &Meter) -> Result<String, Wrong> {
        let mut progress = self.job().await?;
        let mut done = 0;
        while let Some(step) = progress.message().await? {
            self.tally.received(&step);
            if step.done != done + 1 {
                return Wrong::unexpected(format!("step {} came after step {done}", step.done));
            }
            done = step.done;
            meter.advance(1);
        }
        if done != JOB_STEPS {
            return Wrong::unexpected(format!(
                "the stream ended after {done} of {JOB_STEPS} steps"
            ));
        }
        self.tally.ended(Code::Ok);
        Ok(format!("{done} steps, each shown as it was done"))
    }

    /// A conversation: each line is answered before the next is said.
    pub(super) async fn exchange(&mut self, meter: &Meter) -> Result<String, Wrong> {
        let (say, said) = mpsc::channel(1);
        let mut answers = self
            .client
            .converse(self.request(ReceiverStream::new(said)))
            .await?
            .into_inner();
        for number in 1..=LINES {
            let line = Line {
                text: format!("line {number}"),
            };
            let expected = line.text.to_uppercase();
            self.tally.sent(&line);
            if say.send(line).await.is_err() {
                return Wrong::unexpected(format!("the exchange ended before line {number}"));
            }
            let answer = answers.message().await?.unwrap_or_default();
            if answer.text != expected {
                return Wrong::unexpected(format!("{expected:?} came back as {:?}", answer.text));
            }
            self.tally.received(&answer);
            meter.advance(1);
        }
        drop(say);
        if answers.message().await?.is_some() {
            return Wrong::unexpected("an answer came that nobody asked for");
        }
        self.tally.ended(Code::Ok);
        Ok(format!("{LINES} lines, each answered before the next"))
    }

    /// Many chunks up, one receipt back.
    pub(super) async fn upload(&mut self, meter: &Meter, total: u64) -> Result<String, Wrong> {
        let load = Load::new(total);
        let (chunks, outgoing, shown) = (load.chunks(), load.clone(), meter.clone());
        let stream = tokio_stream::iter(0..chunks).map(move |number| {
            let data = outgoing.piece(number);
            shown.advance(data.len() as u64);
            Chunk { data }
        });
        let begun = Instant::now();
        let receipt = self.client.upload(self.request(stream)).await?.into_inner();
        let took = begun.elapsed();
        if (receipt.bytes, receipt.chunks, receipt.crc32) != (total, chunks, load.crc32()) {
            return Wrong::unexpected(format!(
                "{total} bytes in {chunks} chunks arrived as {} bytes in {} chunks, or altered",
                receipt.bytes, receipt.chunks
            ));
        }
        self.tally.sent_bytes(chunks, total);
        self.tally.received(&receipt);
        self.tally.uploaded(total, took);
        self.tally.ended(Code::Ok);
        let rate = megabytes_per_second(total, took);
        Ok(format!("{} at {rate:.0} MB/s, checksum right", MiB(total)))
    }

    /// A job that the caller gives up: the service must notice.
    pub(super) async fn cancelled(&mut self) -> Result<String, Wrong> {
        let mut progress = self.work(ENDLESS, 10).await?;
        for _ in 0..GIVE_UP_AFTER {
            match progress.message().await? {
                Some(step) => self.tally.received(&step),
                None => return Wrong::unexpected("the job ended by itself"),
            }
        }
        drop(progress);
        self.tally.ended(Code::Cancelled);
        let stopped = self.seen.wait_for(|seen| seen.job_stopped_at.is_some());
        let Ok(Some(at)) = stopped.await.map(|seen| seen.job_stopped_at) else {
            return Wrong::unexpected("the service is gone");
        };
        Ok(format!(
            "given up after {GIVE_UP_AFTER} steps; the service saw it at step {at}"
        ))
    }

    /// A call that is never answered: its deadline ends it, at both ends.
    pub(super) async fn deadline(&mut self) -> Result<String, Wrong> {
        let mut deadline = DEADLINE;
        loop {
            let mut request = self.request(WaitRequest {});
            request.set_timeout(deadline);
            let begun = Instant::now();
            let Err(status) = self.client.wait(request).await else {
                return Wrong::unexpected("a call that is never answered was answered");
            };
            let took = begun.elapsed();
            if status.code() != Code::DeadlineExceeded {
                return Err(status.into());
            }
            self.tally.ended(status.code());
            let ended = |seen: &Seen| seen.waits_begun > 0 && seen.waits_ended == seen.waits_begun;
            let seen = tokio::time::timeout(deadline, self.seen.wait_for(ended)).await;
            match seen {
                Ok(Ok(_)) => {
                    let code = code_name(status.code());
                    return Ok(format!(
                        "{} set, {code} after {}; the service saw it",
                        Took(deadline),
                        Took(took)
                    ));
                }
                Ok(Err(_)) => return Wrong::unexpected("the service is gone"),
                // On a machine that is so busy the call may not have reached the service in time.
                Err(_) => deadline *= 2,
            }
        }
    }
}

/// What is uploaded: no two pieces near each other are alike, so one that is lost, moved
/// or altered changes the checksum.
#[derive(Clone)]
struct Load {
    pattern: Bytes,
    total: u64,
}

impl Load {
    fn new(total: u64) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(CHUNK + SHIFTS);
        while bytes.len() < CHUNK + SHIFTS {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        Self {
            pattern: bytes.into(),
            total,
        }
    }

    const fn chunks(&self) -> u64 {
        self.total.div_ceil(CHUNK as u64)
    }

    fn piece(&self, number: u64) -> Bytes {
        let rest = self
            .total
            .saturating_sub(number.saturating_mul(CHUNK as u64));
        let size = usize::try_from(rest).unwrap_or(CHUNK).min(CHUNK);
        let begin = usize::try_from(number % SHIFTS as u64).unwrap_or(0);
        self.pattern.slice(begin..begin + size)
    }

    fn crc32(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        for number in 0..self.chunks() {
            crc.update(&self.piece(number));
        }
        crc.finalize()
    }
}

/// How many units each measured step has.
pub(super) const GREETING_UNITS: u64 = GREETINGS as u64;
/// Steps of the job.
pub(super) const JOB_UNITS: u64 = JOB_STEPS as u64;
/// Lines of the exchange.
pub(super) const LINE_UNITS: u64 = LINES as u64;
