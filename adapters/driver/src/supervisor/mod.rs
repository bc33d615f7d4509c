//! Tunnels that are kept open by the side that dials.

mod attempt;
mod backoff;
mod builder;
mod channel;
mod dial;
mod event;
mod interruption;
mod line;
mod state;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use backoff::Backoff;
pub use builder::{ForwardRole, ReverseRole, SupervisorBuilder};
pub use channel::{SupervisedChannel, SupervisedResponseFuture};
pub use dial::{Dial, DialError};
pub use event::{SupervisorEvent, SupervisorEventKind};
pub use interruption::Interruption;
pub use state::{
    SupervisedPhase, SupervisedTunnel, SupervisorEnd, SupervisorState, SupervisorStates,
};

use crate::runtime::Runtime;
use crate::server::Handler;
use state::{Board, Stop};

/// Keeps tunnels open, for the side that dials: so many to each of several gateways, for ever.
///
/// A tunnel that cannot be opened or is lost is opened again after a pause, see [`Backoff`]. One
/// that the peer drains is replaced before it is over; calls that are open on it go on. Only what
/// the dialer calls [permanent](DialError::permanent), and what
/// [`give_up_on`](SupervisorBuilder::give_up_on) says, ends the attempts.
///
/// Clones are the same supervisor. It is drained when the last clone is dropped.
///
/// ```
/// use grpctunnel_driver::{Runtime, Supervisor, SupervisedPhase};
/// # use grpctunnel_driver::{Executor, RequestBody, Sleep, Task, Timer, TunnelService};
/// # use std::convert::Infallible;
/// # use std::time::{Duration, Instant};
/// # struct Smol;
/// # impl Executor for Smol { fn execute(&self, task: Task) { smol::spawn(task).detach(); } }
/// # impl Timer for Smol {
/// #     fn sleep_until(&self, deadline: Instant) -> Sleep {
/// #         Box::pin(async move { smol::Timer::at(deadline).await; })
/// #     }
/// # }
/// # #[derive(Clone)] struct Handler;
/// # impl tower_service::Service<http::Request<RequestBody>> for Handler {
/// #     type Response = http::Response<http_body_util::Empty<bytes::Bytes>>;
/// #     type Error = Infallible;
/// #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> { std::task::Poll::Ready(Ok(())) }
/// #     fn call(&mut self, _: http::Request<RequestBody>) -> Self::Future { std::future::ready(Ok(Default::default())) }
/// # }
/// # let runtime = Runtime::new(Smol, Smol);
/// # let gateway = TunnelService::new(runtime.clone()).reverse(|tunnel| async move {
/// #     tunnel.channel.closed().await;
/// # });
/// # let (first, second) = (gateway.clone(), gateway);
/// # async fn connect(to: &TunnelService) -> std::io::Result<TunnelService> { Ok(to.clone()) }
/// # smol::block_on(async {
/// // `Handler` handles the calls; `connect` makes an HTTP/2 connection.
/// let supervisor = Supervisor::reverse(Handler)
///     .gateway("first", move || { let first = first.clone(); async move { Ok(connect(&first).await?) } })
///     .gateway("second", move || { let second = second.clone(); async move { Ok(connect(&second).await?) } })
///     .tunnels(2)
///     .start(&runtime)?;
///
/// let mut states = supervisor.states();
/// while let Some(state) = states.next().await {
///     if state.open() == 4 {
///         break;
///     }
/// }
///
/// // Open calls may go on for half a minute.
/// supervisor.drain(Duration::from_secs(30));
/// assert_eq!(supervisor.closed().await.cut_off, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Supervisor {
    handle: Arc<Handle>,
}

/// What the clones of a supervisor share.
struct Handle {
    board: Arc<Board>,
    runtime: Runtime,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.board.set_stop(Stop::Drain(None));
    }
}

impl Supervisor {
    /// Keeps reverse tunnels open, whose calls `handler` handles.
    pub fn reverse<H: Handler>(handler: H) -> SupervisorBuilder<ReverseRole<H>> {
        SupervisorBuilder::new(ReverseRole(handler))
    }

    /// Keeps forward tunnels open, to make calls on: see [`SupervisedChannel`].
    pub fn forward() -> SupervisorBuilder<ForwardRole> {
        SupervisorBuilder::new(ForwardRole(()))
    }

    pub(crate) fn new(board: Arc<Board>, runtime: Runtime) -> Self {
        let handle = Arc::new(Handle { board, runtime });
        Self { handle }
    }

    /// What the tunnels are doing now.
    #[must_use]
    pub fn state(&self) -> SupervisorState {
        self.handle.board.state()
    }

    /// What they are doing, and each change of it.
    pub fn states(&self) -> SupervisorStates {
        SupervisorStates::new(self.handle.board.clone())
    }

    /// Begins to stop: no tunnel is opened any more, and those that are open drain. Their calls may
    /// go on for `limit`, then they end UNAVAILABLE. With the last one everything is over, see
    /// [`closed`](Self::closed). A second call can only shorten the limit.
    pub fn drain(&self, limit: Duration) {
        let until = self.handle.runtime.now().checked_add(limit);
        self.handle.board.set_stop(Stop::Drain(until));
    }

    /// Stops at once: open calls end UNAVAILABLE, attempts are given up.
    pub fn stop(&self) {
        self.handle.board.set_stop(Stop::Now);
    }

    /// Waits until everything is over: the supervisor was stopped, or gave up every tunnel. The
    /// future does not keep the supervisor from being drained.
    pub fn closed(&self) -> impl Future<Output = SupervisorEnd> + Send + 'static + use<> {
        self.handle.board.over()
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Supervisor").field(&self.state()).finish()
    }
}
