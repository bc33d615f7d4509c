//! The sample service: it knows nothing of tunnels.

use std::{pin::Pin, time::Duration};

use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt, wrappers::IntervalStream};
use tonic::{Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use super::generated::{
    Chunk, GreetReply, GreetRequest, Line, Receipt, WaitReply, WaitRequest, WorkRequest, WorkStep,
    depot_server::Depot,
};

/// What the service saw of callers that gave up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The step at which the last unfinished job was stopped.
    pub(super) job_stopped_at: Option<u32>,
    /// Calls of `Wait` that began.
    pub(super) waits_begun: u32,
    /// Calls of `Wait` whose caller gave up.
    pub(super) waits_ended: u32,
}

/// The sample service.
#[derive(Clone, Debug)]
pub(super) struct SampleDepot {
    seen: watch::Sender<Seen>,
}

impl SampleDepot {
    /// A service, and what it sees.
    pub(super) fn new() -> (Self, watch::Receiver<Seen>) {
        let (seen, watcher) = watch::channel(Seen::default());
        (Self { seen }, watcher)
    }
}

/// A running job; dropped before its last step, it was given up.
struct Job {
    steps: u32,
    done: u32,
    seen: watch::Sender<Seen>,
}

impl Job {
    const fn step(&mut self) -> WorkStep {
        self.done = self.done.saturating_add(1);
        WorkStep { done: self.done }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.done < self.steps {
            self.seen
                .send_modify(|seen| seen.job_stopped_at = Some(self.done));
        }
    }
}

/// A call of `Wait`: dropping it is its only end.
struct Waiting(watch::Sender<Seen>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.send_modify(|seen| seen.waits_ended += 1);
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Depot for SampleDepot {
    type WorkStream = Answers<WorkStep>;
    type ConverseStream = Answers<Line>;

    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetReply>, Status> {
        let name = request.into_inner().name;
        if name.is_empty() {
            let details = ErrorDetails::with_bad_request_violation("name", "must not be empty");
            return Err(Status::with_error_details(
                tonic::Code::InvalidArgument,
                "whom shall I greet?",
                details,
            ));
        }
        Ok(Response::new(GreetReply {
            text: format!("Hello, {name}"),
        }))
    }

    async fn work(
        &self,
        request: Request<WorkRequest>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let WorkRequest { steps, step_millis } = request.into_inner();
        let pace = Duration::from_millis(u64::from(step_millis.max(1)));
        let mut job = Job {
            steps,
            done: 0,
            seen: self.seen.clone(),
        };
        let ticks = IntervalStream::new(tokio::time::interval(pace));
        let count = usize::try_from(steps).unwrap_or(usize::MAX);
        let progress = ticks.take(count).map(move |_| Ok(job.step()));
        Ok(Response::new(Box::pin(progress)))
    }

    async fn converse(
        &self,
        request: Request<Streaming<Line>>,
    ) -> Result<Response<Self::ConverseStream>, Status> {
        let answers = request.into_inner().map(|line| {
            let text = line?.text.to_uppercase();
            Ok(Line { text })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn upload(
        &self,
        request: Request<Streaming<Chunk>>,
    ) -> Result<Response<Receipt>, Status> {
        let mut chunks = request.into_inner();
        let mut crc = crc32fast::Hasher::new();
        let mut receipt = Receipt::default();
        while let Some(chunk) = chunks.message().await? {
            crc.update(&chunk.data);
            receipt.bytes += chunk.data.len() as u64;
            receipt.chunks += 1;
        }
        receipt.crc32 = crc.finalize();
        Ok(Response::new(receipt))
    }

    async fn wait(&self, _request: Request<WaitRequest>) -> Result<Response<WaitReply>, Status> {
        self.seen.send_modify(|seen| seen.waits_begun += 1);
        let _waiting = Waiting(self.seen.clone());
        std::future::pending().await
    }
}
