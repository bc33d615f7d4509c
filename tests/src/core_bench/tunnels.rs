//! Calls and chunks through the driver: both ends in memory, on an executor that does nothing else.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use bytes::Bytes;
use grpctunnel_driver::{
    Channel, Executor, MethodKind, Options, RequestBody, Runtime, Sleep, Task, Timer,
    TunnelService, connect,
};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tower_service::Service;

use super::{Rounds, right, rounds, there};
use crate::harness::fail;

/// Bytes of a unary call's messages, and of a chunk.
const SMALL: usize = 16;
const CHUNK: usize = 16 << 10;

/// A task to be polled.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Woken {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Tasks that were started and not polled yet.
#[derive(Clone, Default)]
struct Started(Arc<Mutex<Vec<Task>>>);

impl Executor for Started {
    fn execute(&self, task: Task) {
        let mut started = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        started.push(task);
    }
}

/// A clock of which nothing is ever due.
struct Never;

impl Timer for Never {
    fn sleep_until(&self, _: Instant) -> Sleep {
        Box::pin(pending())
    }
}

/// Polls the tasks of both ends.
#[derive(Default)]
struct Tasks {
    started: Started,
    tasks: Vec<(Task, Arc<Woken>)>,
}

impl Tasks {
    /// Polls a future, and whatever is woken, until it is ready.
    fn run<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            let mut any = self.poll();
            if woken.take() {
                any = true;
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
                {
                    return output;
                }
            }
            if !any {
                fail("nothing is woken, and the call has not ended");
            }
        }
    }

    /// Polls what was woken. Whether there was anything.
    fn poll(&mut self) -> bool {
        {
            let started = self.started.0.lock();
            let mut started = started.unwrap_or_else(PoisonError::into_inner);
            let started = started.drain(..).map(|task| {
                let woken = Woken(AtomicBool::new(true));
                (task, Arc::new(woken))
            });
            self.tasks.extend(started);
        }
        let mut any = false;
        self.tasks.retain_mut(|(task, woken)| {
            if !woken.take() {
                return true;
            }
            any = true;
            let waker = Waker::from(Arc::clone(woken));
            let mut cx = Context::from_waker(&waker);
            task.as_mut().poll(&mut cx).is_pending()
        });
        any
    }
}

/// A tunnel and the tasks of its ends.
struct Ends {
    tasks: Tasks,
    channel: Channel,
}

impl Ends {
    fn new() -> Self {
        let mut tasks = Tasks::default();
        let runtime = Runtime::new(tasks.started.clone(), Never);
        let service = TunnelService::new(runtime.clone()).forward(Handler);
        let options = Options::default();
        let opening = connect(service, &runtime, &options, HeaderMap::new());
        let channel = right(tasks.run(opening));
        Self { tasks, channel }
    }
}

/// Reads the request, then answers with a message.
#[derive(Clone)]
struct Handler;

impl Service<Request<RequestBody>> for Handler {
    type Response = Response<Messages>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Messages>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        Box::pin(async move {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                right(frame);
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            Ok(Response::new(Messages {
                messages: VecDeque::from([message(SMALL)]),
                trailers: Some(trailers),
            }))
        })
    }
}

/// A body of messages that are there.
struct Messages {
    messages: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.messages.pop_front().map(Frame::data);
        let next = next.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(next.map(Ok))
    }
}

/// A message with gRPC's prefix.
fn message(size: usize) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(size).unwrap_or_default().to_be_bytes());
    bytes.resize(5 + size, 0);
    Bytes::from(bytes)
}

fn call(ends: &mut Ends, messages: VecDeque<Bytes>, kind: MethodKind) {
    let mut request = Request::new(Messages {
        messages,
        trailers: None,
    });
    *request.uri_mut() = http::Uri::from_static("http://somewhere/service.Name/Method");
    request.extensions_mut().insert(kind);
    let response = ends.channel.call(request);
    let body = ends
        .tasks
        .run(async { right(response.await).into_body().collect().await });
    there(right(body).trailers());
}

/// A unary call from its request to its trailers.
pub fn tunnelled_call() -> Rounds {
    let mut ends = Ends::new();
    let message = message(SMALL);
    rounds(move || {
        let messages = VecDeque::from([message.clone()]);
        call(&mut ends, messages, MethodKind::Unary);
    })
}

/// 16 KiB of an upload, as a message of its own.
pub fn tunnelled_chunk() -> Rounds {
    let mut ends = Ends::new();
    let message = message(CHUNK);
    Box::new(move |chunks| {
        let messages = (0..chunks).map(|_| message.clone()).collect();
        call(&mut ends, messages, MethodKind::ClientStreaming);
    })
}
