//! A channel that outlives its tunnels.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::client::ResponseBody;
use crate::error::{BoxError, CallError};
use crate::group::{GroupResponseFuture, Pick, TunnelGroup};
use crate::supervisor::Supervisor;

/// The forward tunnels of a [`Supervisor`] as one service, which outlives each of them: a tower
/// service of HTTP requests, for generated clients and proxies.
///
/// A call picks a tunnel, and is made again where that is safe, as [`TunnelGroup`] says. Where there
/// is none, it waits for one that is being opened, at most [`max_wait`](Self::with_max_wait).
///
/// Clones are the same channel. Its supervisor is drained when the last clone of both is dropped and
/// no call waits.
///
/// ```
/// use grpctunnel_driver::Supervisor;
/// # use grpctunnel_driver::{DialError, Executor, RequestBody, Runtime, Sleep, Status, Task, Timer, TunnelService};
/// # use bytes::Bytes;
/// # use http::Request;
/// # use http_body_util::{Empty, Full};
/// # use std::convert::Infallible;
/// # use std::time::{Duration, Instant};
/// # use tower_service::Service;
/// # struct Smol;
/// # impl Executor for Smol { fn execute(&self, task: Task) { smol::spawn(task).detach(); } }
/// # impl Timer for Smol {
/// #     fn sleep_until(&self, deadline: Instant) -> Sleep {
/// #         Box::pin(async move { smol::Timer::at(deadline).await; })
/// #     }
/// # }
/// # #[derive(Clone)] struct Handler;
/// # impl Service<Request<RequestBody>> for Handler {
/// #     type Response = http::Response<Empty<Bytes>>;
/// #     type Error = Infallible;
/// #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> { std::task::Poll::Ready(Ok(())) }
/// #     fn call(&mut self, _: Request<RequestBody>) -> Self::Future {
/// #         let response = http::Response::builder().header("grpc-status", "0").body(Empty::new());
/// #         std::future::ready(Ok(response.unwrap_or_default()))
/// #     }
/// # }
/// # let runtime = Runtime::new(Smol, Smol);
/// # let server = TunnelService::new(runtime.clone()).forward(Handler);
/// # smol::block_on(async {
/// // `connect` makes an HTTP/2 connection.
/// # let connect = move || { let server = server.clone(); async move { Ok::<_, DialError>(server) } };
/// let mut channel = Supervisor::forward()
///     .gateway("server", connect)
///     .tunnels(2)
///     .start(&runtime)?;
///
/// // It waits for the first tunnel.
/// let request = Request::post("/example.Greeter/Greet").body(Full::<Bytes>::default())?;
/// let response = channel.call(request).await?;
/// assert_eq!(response.headers()["grpc-status"], "0");
///
/// channel.supervisor().drain(Duration::from_secs(30));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct SupervisedChannel {
    group: TunnelGroup,
    supervisor: Supervisor,
}

impl SupervisedChannel {
    pub(crate) const fn new(group: TunnelGroup, supervisor: Supervisor) -> Self {
        Self { group, supervisor }
    }

    /// What keeps the tunnels open: to see what they are doing, and to stop.
    #[must_use]
    pub fn supervisor(&self) -> Supervisor {
        self.supervisor.clone()
    }

    /// The same channel, picking a tunnel for each call in another way than by turns. Other clones
    /// keep theirs.
    #[must_use]
    pub fn with_pick(self, pick: impl Pick) -> Self {
        let group = self.group.with_pick(pick);
        Self { group, ..self }
    }

    /// The same channel, with another limit for the wait of a call for a tunnel. Other clones keep
    /// theirs. Default: 5 s.
    #[must_use]
    pub fn with_max_wait(self, max_wait: Duration) -> Self {
        let group = self.group.with_max_wait(max_wait);
        Self { group, ..self }
    }

    /// Whether any tunnel takes a call at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.group.is_ready()
    }

    /// Waits until a tunnel takes a call at once. Returns whether one does; if not, `deadline` has
    /// passed. The future does not keep the supervisor from being drained.
    pub fn wait_for_ready(
        &self,
        deadline: Instant,
    ) -> impl Future<Output = bool> + Send + 'static + use<> {
        self.group.wait_for_ready(deadline)
    }
}

impl<B: Body<Error: Into<BoxError>> + Send + 'static> Service<Request<B>> for SupervisedChannel {
    type Response = Response<ResponseBody>;
    type Error = CallError;
    type Future = SupervisedResponseFuture<B>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> SupervisedResponseFuture<B> {
        SupervisedResponseFuture {
            call: self.group.call(request),
            supervisor: Some(self.supervisor.clone()),
        }
    }
}

impl fmt::Debug for SupervisedChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SupervisedChannel")
            .field(&self.group)
            .finish()
    }
}

/// A call on a [`SupervisedChannel`] that has no response yet. Dropping it cancels the call.
pub struct SupervisedResponseFuture<B> {
    call: GroupResponseFuture<B>,
    /// Keeps the tunnels from being drained while the call may need another one.
    supervisor: Option<Supervisor>,
}

impl<B: Body<Error: Into<BoxError>> + Send + 'static> Future for SupervisedResponseFuture<B> {
    type Output = Result<Response<ResponseBody>, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = Pin::new(&mut self.call).poll(cx);
        if poll.is_ready() {
            self.supervisor = None;
        }
        poll
    }
}

impl<B> fmt::Debug for SupervisedResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}
