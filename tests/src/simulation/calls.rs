//! Callers and handlers that do what their plans say, and hold what they see against each other.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::{Either, poll_fn, select};
use futures_util::stream;
use grpctunnel_driver::{
    BoxError, CallError, Code, GRPC_CONTENT_TYPE, NeverProcessed, RequestBody, ResponseBody, Status,
};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use tower_service::Service;

use super::executor::{Sim, Sleeping};
use super::model::{Model, Outcome};
use super::script::{CallPlan, Close, Handle, Send as SendStep, Take};

pub(super) type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
pub(super) type CallFuture =
    Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, CallError>> + Send>>;

fn millis(millis: u16) -> Duration {
    Duration::from_millis(millis.into())
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug)]
enum Direction {
    Request,
    Response,
}

/// The byte of a message at a place: whatever is mixed up, moved or lost shows.
fn byte(call: usize, direction: Direction, message: usize, place: usize) -> u8 {
    let direction = match direction {
        Direction::Request => 3,
        Direction::Response => 101,
    };
    let sum = call * 31 + message * 7 + direction + place + place / 256 * 13;
    sum.to_le_bytes()[0]
}

fn message(call: usize, direction: Direction, number: usize, size: u32) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(size);
    bytes.extend((0..size as usize).map(|place| byte(call, direction, number, place)));
    bytes.freeze()
}

/// Takes messages apart, and compares them with what was to be sent.
struct Reader {
    call: usize,
    direction: Direction,
    sizes: Vec<u32>,
    rest: BytesMut,
    /// Whole messages so far.
    messages: usize,
}

impl Reader {
    fn new(call: usize, direction: Direction, sizes: Vec<u32>) -> Self {
        Self {
            call,
            direction,
            sizes,
            rest: BytesMut::new(),
            messages: 0,
        }
    }

    /// Takes bytes in. An error says what is wrong with them.
    fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.rest.extend_from_slice(bytes);
        loop {
            let Some((prefix, payload)) = self.rest.split_at_checked(5) else {
                return Ok(());
            };
            let expected = self.sizes.get(self.messages);
            let Some(&size) = expected else {
                return Err(format!("a message more than {}", self.messages));
            };
            let mut exact = vec![0];
            exact.extend_from_slice(&size.to_be_bytes());
            if prefix != exact {
                return Err(format!("message {} begins {prefix:?}", self.messages));
            }
            let size = size as usize;
            let come = payload.len().min(size);
            let (call, direction, number) = (self.call, self.direction, self.messages);
            let is_right =
                |(place, got): (usize, &u8)| *got == byte(call, direction, number, place);
            if come == size && !payload.iter().take(size).enumerate().all(is_right) {
                return Err(format!("message {number} has other bytes"));
            }
            if come < size {
                return Ok(());
            }
            let _ = self.rest.split_to(5 + size);
            self.messages += 1;
        }
    }
}

/// The request of a caller.
struct PlannedBody {
    sim: Sim,
    call: usize,
    steps: VecDeque<SendStep>,
    number: usize,
    sleep: Option<Sleeping>,
    failed: bool,
}

impl Body for PlannedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if let Some(sleep) = &mut this.sleep {
                if Pin::new(sleep).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.sleep = None;
            }
            if this.failed {
                return Poll::Ready(None);
            }
            match this.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(SendStep::Pause(pause)) => this.sleep = Some(this.sim.sleep(millis(pause))),
                Some(SendStep::Fail) => {
                    this.failed = true;
                    return Poll::Ready(Some(Err("the caller's body failed".into())));
                }
                Some(SendStep::Message(size)) => {
                    let bytes = message(this.call, Direction::Request, this.number, size);
                    this.number += 1;
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
            }
        }
    }
}

/// The request of a call.
pub(super) fn request(sim: &Sim, call: usize, plan: &CallPlan) -> Request<AnyBody> {
    let body = PlannedBody {
        sim: sim.clone(),
        call,
        steps: plan.send.iter().copied().collect(),
        number: 0,
        sleep: None,
        failed: false,
    };
    let mut request = Request::new(body.boxed_unsync());
    let headers = request.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    if let Ok(uri) = format!("/sim.S/{call}").parse() {
        *request.uri_mut() = uri;
    }
    if let Some(deadline) = plan.deadline
        && let Ok(timeout) = HeaderValue::try_from(format!("{deadline}m"))
    {
        request.headers_mut().insert("grpc-timeout", timeout);
    }
    request
}

fn request_sizes(plan: &CallPlan) -> Vec<u32> {
    let steps = plan.send.iter();
    let sizes = steps.filter_map(|step| match step {
        SendStep::Message(size) => Some(*size),
        SendStep::Pause(_) | SendStep::Fail => None,
    });
    sizes.collect()
}

fn response_sizes(plan: &CallPlan) -> Vec<u32> {
    let steps = plan.handle.iter();
    let sizes = steps.filter_map(|step| match step {
        Handle::Message(size) => Some(*size),
        _ => None,
    });
    sizes.collect()
}

/// Makes a call, and tells the model how it ended.
pub(super) async fn make(sim: Sim, model: Model, call: usize, plan: CallPlan, made: CallFuture) {
    let calling = pin!(take(&sim, &model, call, &plan, made));
    let outcome = match plan.cancel {
        None => calling.await,
        Some(after) => match select(calling, sim.sleep(millis(after))).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Outcome::default(),
        },
    };
    model.end(call, outcome);
}

async fn take(sim: &Sim, model: &Model, call: usize, plan: &CallPlan, made: CallFuture) -> Outcome {
    let mut outcome = Outcome::default();
    let Ok(response) = made.await else {
        if !plan.send.contains(&SendStep::Fail) {
            model.broken(format!("call {call}: its body did not fail"));
        }
        return outcome;
    };
    outcome.never_processed = response.extensions().get::<NeverProcessed>().is_some();
    let mut status = Status::from_headers(response.headers());
    let mut body = response.into_body();
    let mut reader = Reader::new(call, Direction::Response, response_sizes(plan));
    let mut pieces = 0;
    loop {
        if matches!(plan.take, Take::Pieces(most) if pieces == most) {
            outcome.dropped = true;
            break;
        }
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let frame = match frame {
            None => break,
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                if !plan.send.contains(&SendStep::Fail) {
                    model.broken(format!("call {call}: its body did not fail"));
                }
                return outcome;
            }
        };
        match frame.into_data() {
            Ok(bytes) => {
                if let Err(what) = reader.push(&bytes) {
                    model.broken(format!("the response of call {call}: {what}"));
                }
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                status = status.or_else(|| Status::from_headers(&trailers));
            }
        }
        pieces += 1;
        if let Take::Slowly(pause) = plan.take {
            sim.sleep(millis(pause)).await;
        }
    }
    outcome.messages = reader.messages;
    if status.is_none() && !outcome.dropped {
        model.broken(format!("call {call}: a response without a status"));
    }
    if let Some(status) = status {
        outcome.code = Some(status.code());
        status.message().clone_into(&mut outcome.text);
    }
    outcome
}

/// The handler of every call of an agent.
#[derive(Clone)]
pub(super) struct SimHandler {
    pub(super) agent: usize,
    /// Of how many.
    pub(super) agents: usize,
    pub(super) sim: Sim,
    pub(super) model: Model,
}

/// A handler at work.
struct Handling {
    sim: Sim,
    model: Model,
    call: usize,
    steps: VecDeque<Handle>,
    close: Close,
    body: Option<RequestBody>,
    reader: Reader,
    sent: usize,
    done: bool,
}

impl Handling {
    /// Goes on until there is something to send. `None`: nothing more is.
    async fn next(&mut self) -> Option<Frame<Bytes>> {
        while let Some(step) = self.steps.pop_front() {
            match step {
                Handle::Message(size) => {
                    let bytes = message(self.call, Direction::Response, self.sent, size);
                    self.sent += 1;
                    let sent = self.sent;
                    self.model.see(self.call, |seen| seen.responses = sent);
                    return Some(Frame::data(bytes));
                }
                Handle::Pause(pause) => self.sim.sleep(millis(pause)).await,
                Handle::DropRequest => self.body = None,
                Handle::Read(messages) => {
                    let until = self.reader.messages + usize::from(messages);
                    self.read(until).await;
                }
                Handle::ReadAll => self.read(usize::MAX).await,
            }
        }
        if std::mem::replace(&mut self.done, true) {
            return None;
        }
        let code = match self.close {
            Close::Status(code) => code,
            Close::Refuse => Code::Ok,
            Close::Never => std::future::pending().await,
        };
        self.model.see(self.call, |seen| seen.closed = Some(code));
        let mut trailers = HeaderMap::new();
        Status::new(code, "").write_headers(&mut trailers);
        Some(Frame::trailers(trailers))
    }

    /// Reads until there were so many messages, or to the end.
    async fn read(&mut self, until: usize) {
        while self.reader.messages < until
            && let Some(body) = &mut self.body
        {
            match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
                Some(Ok(frame)) => {
                    let bytes = frame.into_data().unwrap_or_default();
                    if let Err(what) = self.reader.push(&bytes) {
                        let call = self.call;
                        self.model
                            .broken(format!("the request of call {call}: {what}"));
                    }
                    let requests = self.reader.messages;
                    self.model.see(self.call, |seen| seen.requests = requests);
                }
                Some(Err(_)) => self.body = None,
                None => {
                    self.body = None;
                    let clean = self.reader.rest.is_empty();
                    self.model.see(self.call, |seen| seen.request_ended = true);
                    if !clean {
                        let call = self.call;
                        self.model
                            .broken(format!("the request of call {call} ends in a message"));
                    }
                }
            }
        }
    }
}

impl SimHandler {
    fn refuse(&self, call: usize) -> Option<Response<AnyBody>> {
        if self.model.seen(call).refused > 0 {
            return None;
        }
        self.model.see(call, |seen| seen.refused += 1);
        let empty = http_body_util::Empty::new().map_err(|never| match never {});
        let mut response = Response::new(empty.boxed_unsync());
        Status::new(Code::Unavailable, "not here").write_headers(response.headers_mut());
        response.extensions_mut().insert(NeverProcessed::new());
        Some(response)
    }

    async fn handle(self, request: Request<RequestBody>) -> Response<AnyBody> {
        let path = request.uri().path();
        let call = path.strip_prefix("/sim.S/").and_then(|id| id.parse().ok());
        let plan = call.and_then(|call: usize| Some((call, self.model.plan(call)?)));
        let Some((call, plan)) = plan else {
            self.model.broken(format!("a call of {path}"));
            std::future::pending().await
        };
        if usize::from(plan.agent) % self.agents != self.agent {
            let agent = self.agent;
            self.model
                .broken(format!("call {call} came to agent {agent}: {plan:?}"));
        }
        if plan.close == Close::Refuse
            && let Some(response) = self.refuse(call)
        {
            return response;
        }
        self.model.start(call);
        let mut handling = Handling {
            reader: Reader::new(call, Direction::Request, request_sizes(&plan)),
            sim: self.sim,
            model: self.model,
            call,
            steps: plan.handle.into(),
            close: plan.close,
            body: Some(request.into_body()),
            sent: 0,
            done: false,
        };
        let first = match plan.respond_first {
            true => None,
            false => handling.next().await,
        };
        let frames = stream::unfold((first, handling), |(first, mut handling)| async move {
            let frame = match first {
                Some(frame) => frame,
                None => handling.next().await?,
            };
            Some((Ok(frame), (None, handling)))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

impl Service<Request<RequestBody>> for SimHandler {
    type Response = Response<AnyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnyBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let handler = self.clone();
        Box::pin(async move { Ok(handler.handle(request).await) })
    }
}
