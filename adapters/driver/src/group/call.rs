//! A call on a group of tunnels.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use grpctunnel_core::Code;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::client::{Channel, ResponseBody, ResponseFuture, deadline, deadline_exceeded};
use crate::error::{BoxError, CallError, NeverProcessed};
use crate::group::needs::Needs;
use crate::group::ready::Change;
use crate::group::tunnels::TunnelGroup;
use crate::grpc::status::Status;
use crate::retry::{Attempt, RetryBody};
use crate::runtime::Sleep;
use crate::telemetry;
use crate::tunnel::id::TunnelId;

/// A call on a [`TunnelGroup`] that has no response yet. Dropping it cancels the call.
pub struct GroupResponseFuture<B> {
    group: TunnelGroup,
    phase: Phase<B>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "most calls are pending for a moment, which an allocation would not make shorter"
)]
enum Phase<B> {
    /// Made at this time.
    New(Request<B>, Instant),
    /// A tunnel is looked for.
    Picking(Call<B>, Wait),
    Calling(Call<B>, ResponseFuture<Attempt<B>>),
    Done,
}

/// What is kept of a call until it has a response.
struct Call<B> {
    head: Parts,
    body: RetryBody<B>,
    needs: Needs,
    made: Instant,
    deadline: Option<Instant>,
    /// The tunnels where it was made.
    tried: Vec<TunnelId>,
    /// It was made again after its body had been polled.
    made_again: bool,
    /// How it failed.
    failed: Option<Response<ResponseBody>>,
}

/// The wait for a tunnel.
#[derive(Default)]
struct Wait {
    change: Option<Change>,
    sleep: Option<Sleep>,
}

impl<B> Unpin for GroupResponseFuture<B> {}

impl<B> GroupResponseFuture<B> {
    pub(crate) fn new(group: TunnelGroup, request: Request<B>) -> Self {
        let made = group.runtime.now();
        Self {
            group,
            phase: Phase::New(request, made),
        }
    }
}

impl<B> Call<B> {
    fn new(request: Request<B>, made: Instant) -> Result<Self, Status> {
        let (head, body) = request.into_parts();
        Ok(Self {
            deadline: deadline(&head.headers, made)?,
            needs: Needs::of(&head.headers),
            body: RetryBody::new(body),
            head,
            made,
            tried: Vec::new(),
            made_again: false,
            failed: None,
        })
    }

    /// Whether a call that failed with this response may be made again.
    fn may_be_made_again(&mut self, response: &Response<ResponseBody>) -> bool {
        if response.extensions().get::<NeverProcessed>().is_none() {
            return false;
        }
        if !self.body.was_polled() {
            return true;
        }
        !std::mem::replace(&mut self.made_again, true) && self.body.is_whole()
    }

    /// The end of a call that found no tunnel: how it failed before, if it did.
    fn no_tunnel(self, group: &TunnelGroup) -> Response<ResponseBody> {
        self.failed.unwrap_or_else(|| {
            let text = match group.len() {
                0 => "there is no tunnel for the call".to_owned(),
                count => {
                    format!("no tunnel takes the call: of {count}, each drains or does not answer")
                }
            };
            let mut response = refuse(&Status::new(Code::Unavailable, text));
            response.extensions_mut().insert(NeverProcessed::new());
            response
        })
    }
}

fn refuse(status: &Status) -> Response<ResponseBody> {
    status.trailers_only(ResponseBody::default())
}

impl Wait {
    /// Picks a tunnel, and waits for one that is expected. `None`: there is none, or none in time.
    fn poll<B>(
        &mut self,
        cx: &mut Context<'_>,
        group: &TunnelGroup,
        call: &Call<B>,
    ) -> Poll<Option<Channel>> {
        let pick = || group.pick(&call.head, &call.needs, &call.tried);
        if self.change.is_none()
            && let Some(picked) = pick()
        {
            return Poll::Ready(Some(picked));
        }
        let look = || match pick() {
            Some(picked) => Some(Some(picked)),
            None => (!group.tunnels.is_expecting()).then_some(None),
        };
        let found = Change::poll_until(&mut self.change, &group.tunnels, cx, look);
        if found.is_ready() {
            return found;
        }
        let sleep = self.sleep.get_or_insert_with(|| {
            let longest = group.runtime.now().checked_add(group.max_wait);
            let until = longest.into_iter().chain(call.deadline).min();
            match until {
                Some(until) => group.runtime.sleep_until(until),
                None => Box::pin(std::future::pending()),
            }
        });
        sleep.as_mut().poll(cx).map(|()| None)
    }
}

impl<B: Body<Error: Into<BoxError>> + Send + 'static> GroupResponseFuture<B> {
    fn poll_picked(
        &self,
        cx: &mut Context<'_>,
        call: &mut Call<B>,
        wait: &mut Wait,
    ) -> Poll<Option<ResponseFuture<Attempt<B>>>> {
        let picked = ready!(wait.poll(cx, &self.group, call));
        Poll::Ready(picked.map(|channel| {
            telemetry::picked(!call.tried.is_empty());
            call.tried.push(channel.id());
            let request = Request::from_parts(call.head.clone(), call.body.attempt());
            channel.call_made(request, call.made)
        }))
    }
}

impl<B: Body<Error: Into<BoxError>> + Send + 'static> Future for GroupResponseFuture<B> {
    type Output = Result<Response<ResponseBody>, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match std::mem::replace(&mut self.phase, Phase::Done) {
                Phase::New(request, made) => match Call::new(request, made) {
                    Ok(call) => self.phase = Phase::Picking(call, Wait::default()),
                    Err(status) => return Poll::Ready(Ok(refuse(&status))),
                },
                Phase::Picking(mut call, mut wait) => {
                    match self.poll_picked(cx, &mut call, &mut wait) {
                        Poll::Pending => {
                            self.phase = Phase::Picking(call, wait);
                            return Poll::Pending;
                        }
                        Poll::Ready(Some(calling)) => self.phase = Phase::Calling(call, calling),
                        Poll::Ready(None) => {
                            let now = self.group.runtime.now();
                            let late = call.deadline.is_some_and(|deadline| deadline <= now);
                            return Poll::Ready(Ok(if late {
                                refuse(&deadline_exceeded())
                            } else {
                                call.no_tunnel(&self.group)
                            }));
                        }
                    }
                }
                Phase::Calling(mut call, mut calling) => match Pin::new(&mut calling).poll(cx) {
                    Poll::Pending => {
                        self.phase = Phase::Calling(call, calling);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(response)) if call.may_be_made_again(&response) => {
                        call.failed = Some(response);
                        self.phase = Phase::Picking(call, Wait::default());
                    }
                    // What was kept is given back with the call.
                    Poll::Ready(result) => return Poll::Ready(result),
                },
                // Polled again after it was ready.
                Phase::Done => return Poll::Pending,
            }
        }
    }
}

impl<B: Body<Error: Into<BoxError>> + Send + 'static> Service<Request<B>> for TunnelGroup {
    type Response = Response<ResponseBody>;
    type Error = CallError;
    type Future = GroupResponseFuture<B>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> GroupResponseFuture<B> {
        GroupResponseFuture::new(self.clone(), request)
    }
}

impl<B> fmt::Debug for GroupResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::New(..) => "new",
            Phase::Picking(..) => "waiting for a tunnel",
            Phase::Calling(..) => "made",
            Phase::Done => "done",
        };
        f.debug_tuple("GroupResponseFuture").field(&phase).finish()
    }
}
