//! The loads, and what is counted of them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use grpctunnel_driver::{Code, Status};
use hdrhistogram::Histogram;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use tokio::{task::JoinSet, time::timeout};
use tower_service::Service;

use super::Load;
use crate::echo::{self, Sent};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Bytes of a call's payload.
const SMALL: usize = 16;
/// What a server answers that has no such method, or has it: both is a call there and back.
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
/// How long a load may go on behind its end.
const SLACK: Duration = Duration::from_secs(10);
/// The longest latency that is told apart, in microseconds.
const LONGEST: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// What answers the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// The echo: everything can be measured.
    Echo,
    /// Another server, which answers small calls with a status.
    Status,
}

impl Answers {
    const fn path(self) -> &'static str {
        match self {
            Self::Echo => echo::PATH,
            Self::Status => HEALTH_CHECK,
        }
    }
}

/// What was measured of one way.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) answers: Answers,
    /// Of calls one after the other, in microseconds.
    pub(super) latencies: Histogram<u64>,
    /// Calls a second, of several at once.
    pub(super) rate: f64,
    /// MiB a second, there and back at once.
    pub(super) throughput: Option<f64>,
}

/// Measures one way.
pub(super) async fn measure<S, B>(
    service: S,
    headers: HeaderMap,
    known: &[Answers],
    load: Load,
) -> Result<Figures, Status>
where
    S: Service<Request<Sent>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let bounded = load.time.saturating_add(SLACK);
    let late = |_| Status::new(Code::DeadlineExceeded, "no answer in time");
    let mut way = Way {
        service,
        headers,
        answers: Answers::Echo,
    };
    way.answers = timeout(SLACK, way.answers(known)).await.map_err(late)??;
    let one = Load {
        in_flight: 1,
        ..load
    };
    let latencies = timeout(bounded, way.clone().calls(one));
    let latencies = latencies.await.map_err(late)??.latencies;
    let calls = timeout(bounded, way.clone().calls(load));
    let rate = calls.await.map_err(late)??.rate();
    let throughput = match way.answers {
        Answers::Status => None,
        Answers::Echo => {
            let exchanging = echo::exchange(&mut way.service, &way.headers, load.time);
            let exchanged = timeout(bounded, exchanging).await.map_err(late)??;
            Some(exchanged.mib_per_second())
        }
    };
    Ok(Figures {
        answers: way.answers,
        latencies,
        rate,
        throughput,
    })
}

/// Calls that were made.
struct Calls {
    latencies: Histogram<u64>,
    took: Duration,
}

impl Calls {
    fn rate(&self) -> f64 {
        let count = u32::try_from(self.latencies.len()).unwrap_or(u32::MAX);
        f64::from(count) / self.took.as_secs_f64()
    }
}

#[derive(Clone)]
struct Way<S> {
    service: S,
    headers: HeaderMap,
    answers: Answers,
}

impl<S, B> Way<S>
where
    S: Service<Request<Sent>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    /// Which of these answers, found out by a call.
    async fn answers(&mut self, known: &[Answers]) -> Result<Answers, Status> {
        let mut unknown = Status::new(Code::Unimplemented, "nothing answers there");
        for answers in known {
            self.answers = *answers;
            match self.call().await {
                Err(status) if self.is_answer(&status) => return Ok(*answers),
                Err(status) if status.code() == Code::Unimplemented => unknown = status,
                answered => return answered.map(|()| *answers),
            }
        }
        Err(unknown)
    }

    async fn call(&mut self) -> Result<(), Status> {
        let path = self.answers.path();
        // A health check of nothing in particular is an empty message.
        let size = match self.answers {
            Answers::Echo => SMALL,
            Answers::Status => 0,
        };
        echo::unary(&mut self.service, path, &self.headers, size).await
    }

    /// Calls until the time is over or there were enough.
    async fn calls(self, load: Load) -> Result<Calls, Status> {
        let begun = Instant::now();
        let mut callers = JoinSet::new();
        let each = load.calls.div_ceil(load.in_flight.into());
        for _ in 0..load.in_flight {
            let mut way = self.clone();
            callers.spawn(async move {
                let mut latencies = histogram()?;
                // One in any case, however little time the process gets.
                while latencies.is_empty()
                    || (latencies.len() < each && begun.elapsed() < load.time)
                {
                    let called = Instant::now();
                    match way.call().await {
                        // Whatever a server makes of it, it is a call there and back.
                        Err(status) if way.is_answer(&status) => {}
                        answered => answered?,
                    }
                    let micros = u64::try_from(called.elapsed().as_micros()).unwrap_or(LONGEST);
                    latencies.saturating_record(micros);
                }
                Ok::<_, Status>(latencies)
            });
        }
        let mut all = histogram()?;
        while let Some(latencies) = callers.join_next().await {
            let latencies = latencies.map_err(internal)??;
            all.add(latencies).map_err(internal)?;
        }
        Ok(Calls {
            latencies: all,
            took: begun.elapsed(),
        })
    }

    fn is_answer(&self, status: &Status) -> bool {
        self.answers == Answers::Status
            && matches!(status.code(), Code::Unimplemented | Code::NotFound)
    }
}

fn histogram() -> Result<Histogram<u64>, Status> {
    Histogram::new_with_bounds(1, LONGEST, DIGITS).map_err(internal)
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::new(Code::Internal, error.to_string())
}
