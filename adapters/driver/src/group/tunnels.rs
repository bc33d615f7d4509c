//! The tunnels of a group.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::client::{Channel, ResponseBody};
use crate::deferred::Deferred;
use crate::error::{BoxError, CallError};
use crate::group::call::GroupResponseFuture;
use crate::group::needs::Needs;
use crate::group::pick::{Candidates, Fit, Member, Pick, RoundRobin};
use crate::group::ready::Change;
use crate::runtime::Runtime;
use crate::tunnel::id::TunnelId;
use crate::watchers::Watchers;

/// Several tunnels to peers that are as good as each other: a tower service of HTTP requests, for
/// generated clients and proxies, which picks one of its tunnels for each call.
///
/// Tunnels are [added](Self::add) and leave as they come and go; clones share them, and a clone can
/// have a [strategy](Self::with_pick) and a [wait](Self::with_max_wait) of its own.
///
/// # Which tunnel is picked
///
/// By turns, or as its [`Pick`] says, one that takes a call at once: it is open, does not drain, its
/// peer answers, and it has room ([`TunnelState::takes_calls`](crate::TunnelState::takes_calls)); and
/// that carries all of it: a call that names a `grpc-encoding` needs
/// [`TRANSPARENT`](crate::Extension::Transparent), one with a `-bin` value that is not UTF-8
/// [`RAW_METADATA`](crate::Extension::RawMetadata). Where all of those are full, the call waits for
/// room on one of them. Where no tunnel of the group carries all of the call, it is given to one
/// that does not, which refuses what it cannot carry.
///
/// A tunnel that drains or whose peer does not answer is never picked. Where there is no other, the
/// call waits as long as another tunnel is [expected](Self::expect), at most
/// [`max_wait`](Self::with_max_wait) and until its own deadline; otherwise it fails UNAVAILABLE,
/// marked [`NeverProcessed`](crate::NeverProcessed). Picking takes no lock of a tunnel.
///
/// # Which calls are made again
///
/// A call that failed with the mark [`NeverProcessed`](crate::NeverProcessed) is made again, on a
/// tunnel where it was not tried: as often as that fails as long as its request body was not polled,
/// then once more, if everything that was read of it is kept. That is at most 64 KiB, kept until the
/// response begins. Its metadata is encoded for the new tunnel; its deadline stays where it was.
/// Nothing else is ever made again.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// # use grpctunnel_driver::{Code, Options, Runtime, Status, TunnelGroup, TunnelService, connect};
/// # use http::{HeaderMap, Request, Response};
/// # use http_body_util::{Empty, Full};
/// # use tower_service::Service;
/// # struct Smol;
/// # impl grpctunnel_driver::Executor for Smol {
/// #     fn execute(&self, task: grpctunnel_driver::Task) {
/// #         smol::spawn(task).detach();
/// #     }
/// # }
/// # impl grpctunnel_driver::Timer for Smol {
/// #     fn sleep_until(&self, deadline: std::time::Instant) -> grpctunnel_driver::Sleep {
/// #         Box::pin(async move {
/// #             smol::Timer::at(deadline).await;
/// #         })
/// #     }
/// # }
/// # #[derive(Clone)]
/// # struct Hello;
/// # impl Service<Request<grpctunnel_driver::RequestBody>> for Hello {
/// #     type Response = Response<Empty<bytes::Bytes>>;
/// #     type Error = std::convert::Infallible;
/// #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
/// #         std::task::Poll::Ready(Ok(()))
/// #     }
/// #     fn call(&mut self, _: Request<grpctunnel_driver::RequestBody>) -> Self::Future {
/// #         std::future::ready(Ok(Status::new(Code::Ok, "").trailers_only(Empty::new())))
/// #     }
/// # }
/// # smol::block_on(async {
/// let runtime = Runtime::new(Smol, Smol);
/// let mut group = TunnelGroup::new(runtime.clone());
///
/// // Two servers, and a tunnel to each. A member leaves the group when it is dropped.
/// let servers = [(); 2].map(|()| TunnelService::new(runtime.clone()).forward(Hello));
/// let mut members = Vec::new();
/// for server in servers.clone() {
///     let channel = connect(server, &runtime, &Options::default(), HeaderMap::new()).await?;
///     members.push(group.add(channel));
/// }
///
/// // One of them shuts down. Calls go to the other; one that was just sent there is made again.
/// servers[0].drain(Duration::from_secs(30));
/// for _ in 0..10 {
///     let request = Request::post("/example.Hello/Say").body(Full::new(bytes::Bytes::new()))?;
///     let response = group.call(request).await?;
///     assert_eq!(response.headers()["grpc-status"], "0");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct TunnelGroup {
    pub(crate) tunnels: Arc<Tunnels>,
    pub(crate) runtime: Runtime,
    pub(crate) max_wait: Duration,
    pick: Arc<dyn Pick>,
}

impl TunnelGroup {
    /// An empty group, which picks by turns. `runtime` keeps the time of calls that wait.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        Self::of(Arc::new(Tunnels::new(None)), runtime, Arc::new(RoundRobin))
    }

    pub(crate) const fn of(tunnels: Arc<Tunnels>, runtime: Runtime, pick: Arc<dyn Pick>) -> Self {
        Self {
            tunnels,
            runtime,
            max_wait: Duration::from_secs(5),
            pick,
        }
    }

    /// The same tunnels, picked in this way. Other clones keep theirs.
    #[must_use]
    pub fn with_pick(self, pick: impl Pick) -> Self {
        Self {
            pick: Arc::new(pick),
            ..self
        }
    }

    /// The same tunnels, with another limit for the wait of a call for a tunnel that is
    /// [expected](Self::expect). Other clones keep theirs. Default: 5 s.
    #[must_use]
    pub fn with_max_wait(self, max_wait: Duration) -> Self {
        Self { max_wait, ..self }
    }

    /// Adds a tunnel, until the result is dropped. The group keeps the tunnel from being drained for
    /// that long. One that is over or drains is not picked, but stays in the group.
    #[must_use = "the tunnel leaves the group when this is dropped"]
    pub fn add(&self, channel: Channel) -> Membership {
        let id = channel.id();
        let extensions = channel.extensions();
        let place = self.tunnels.change(|inner| {
            let place = inner.next;
            inner.next = place.wrapping_add(1);
            let member = Member {
                place,
                channel,
                extensions,
            };
            Arc::make_mut(&mut inner.members).push(Arc::new(member));
            place
        });
        Membership {
            tunnels: self.tunnels.clone(),
            place,
            id,
        }
    }

    /// Says that a tunnel is on its way, until the result is dropped: calls that find no tunnel wait
    /// for it, see [`with_max_wait`](Self::with_max_wait).
    #[must_use = "no tunnel is expected any more when this is dropped"]
    pub fn expect(&self) -> Expected {
        self.tunnels.change(|inner| {
            inner.expected = inner.expected.saturating_add(1);
        });
        Expected {
            tunnels: self.tunnels.clone(),
        }
    }

    /// Whether a tunnel is [expected](Self::expect).
    #[must_use]
    pub fn is_expecting(&self) -> bool {
        self.tunnels.is_expecting()
    }

    /// Whether any tunnel takes a call at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.tunnels.is_ready()
    }

    /// Whether any tunnel takes calls at all: one that is full, or whose peer does not answer now,
    /// counts; see [`TunnelState::is_usable`](crate::TunnelState::is_usable).
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let members = self.tunnels.members();
        let mut states = members.iter().map(|member| member.channel.state());
        states.any(|state| state.is_usable())
    }

    /// Waits until a tunnel takes a call at once. Returns whether one does; if not, `deadline` has
    /// passed.
    pub fn wait_for_ready(
        &self,
        deadline: Instant,
    ) -> impl Future<Output = bool> + Send + 'static + use<> {
        let mut sleep = self.runtime.sleep_until(deadline);
        let (tunnels, mut change) = (self.tunnels.clone(), None);
        poll_fn(move |cx| {
            let look = || tunnels.is_ready().then_some(());
            match Change::poll_until(&mut change, &tunnels, cx, look) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => sleep.as_mut().poll(cx).map(|()| false),
            }
        })
    }

    /// Waits until a tunnel has been added or has left, or has begun or ceased to be
    /// [expected](Self::expect), after this was called.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut change = Change::of_members(&self.tunnels);
        poll_fn(move |cx| change.poll(cx))
    }

    /// The tunnels, in the order in which they were added.
    #[must_use]
    pub fn channels(&self) -> Vec<Channel> {
        let members = self.tunnels.members();
        let channels = members.iter().map(|member| member.channel.clone());
        channels.collect()
    }

    /// How many tunnels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tunnels.members().len()
    }

    /// Whether there is no tunnel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Picks a tunnel for a call that was not `tried`.
    pub(crate) fn pick(&self, call: &Parts, needs: &Needs, tried: &[TunnelId]) -> Option<Channel> {
        let members = self.tunnels.members();
        let carried = |member: &Arc<Member>| {
            member.channel.state().is_usable()
                && needs.are_met_by(&member.channel, member.extensions)
        };
        for lacking in [false, true] {
            // One that carries the call is worth waiting for.
            if lacking && (needs.is_nothing() || members.iter().any(carried)) {
                break;
            }
            for full in [false, true] {
                let candidates = Candidates {
                    members: &members,
                    turn: &self.tunnels.turn,
                    fit: Fit {
                        needs,
                        tried,
                        full,
                        lacking,
                    },
                };
                if let Some(picked) = self.pick.pick(call, &candidates) {
                    return Some(picked.channel().clone());
                }
            }
        }
        None
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

impl fmt::Debug for TunnelGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelGroup")
            .field("tunnels", &self.len())
            .finish_non_exhaustive()
    }
}

/// What the clones of a group share.
pub(crate) struct Tunnels {
    inner: Mutex<Inner>,
    turn: AtomicUsize,
    _guard: Option<Box<dyn Send + Sync>>,
}

#[derive(Default)]
struct Inner {
    /// In the order of their places. Copied only where it changes while somebody reads it.
    members: Arc<Vec<Arc<Member>>>,
    next: u64,
    /// Tunnels that are on their way.
    expected: usize,
    /// Counts the changes.
    version: u64,
    /// Woken by each change.
    watchers: Watchers,
}

impl Tunnels {
    /// None yet. `guard` is dropped with the last handle of them.
    pub(crate) fn new(guard: Option<Box<dyn Send + Sync>>) -> Self {
        Self {
            inner: Mutex::default(),
            turn: AtomicUsize::new(0),
            _guard: guard,
        }
    }

    /// No code of users, and of no tunnel, runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn members(&self) -> Arc<Vec<Arc<Member>>> {
        self.lock().members.clone()
    }

    fn is_ready(&self) -> bool {
        let members = self.members();
        members
            .iter()
            .any(|member| member.channel.state().takes_calls())
    }

    pub(crate) fn members_and_version(&self) -> (Arc<Vec<Arc<Member>>>, u64) {
        let inner = self.lock();
        (inner.members.clone(), inner.version)
    }

    /// Whether there is no tunnel, and none is on its way.
    pub(crate) fn is_deserted(&self) -> bool {
        let inner = self.lock();
        inner.members.is_empty() && inner.expected == 0
    }

    /// Whether a tunnel is on its way.
    pub(crate) fn is_expecting(&self) -> bool {
        self.lock().expected > 0
    }

    /// Whether there were changes since `version`; if not, the task is woken by the next.
    pub(crate) fn poll_changed(
        &self,
        version: u64,
        ticket: &mut Option<u64>,
        cx: &Context<'_>,
    ) -> Poll<()> {
        self.with(|inner, deferred| {
            if inner.version == version {
                inner.watchers.watch(ticket, cx, deferred);
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
    }

    pub(crate) fn forget(&self, ticket: Option<u64>) {
        if ticket.is_some() {
            self.with(|inner, deferred| inner.watchers.forget(ticket, deferred));
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner, &mut Deferred) -> T) -> T {
        let mut deferred = Deferred::default();
        let result = act(&mut self.lock(), &mut deferred);
        deferred.run();
        result
    }

    /// What `change` takes out is returned, to be dropped while nothing is locked: the last handle
    /// of a tunnel drains it.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        self.with(|inner, deferred| {
            inner.version = inner.version.wrapping_add(1);
            inner.watchers.wake(deferred);
            change(inner)
        })
    }
}

/// A tunnel in a group, see [`TunnelGroup::add`]. Dropping this takes the tunnel out.
#[must_use = "the tunnel leaves the group when this is dropped"]
pub struct Membership {
    tunnels: Arc<Tunnels>,
    place: u64,
    id: TunnelId,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let removed = self.tunnels.change(|inner| {
            let members = &inner.members;
            let index = members.binary_search_by_key(&self.place, |member| member.place);
            let members = Arc::make_mut(&mut inner.members);
            index.ok().map(|index| members.remove(index))
        });
        drop(removed);
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Membership").field(&self.id).finish()
    }
}

/// A tunnel that is on its way to a group, see [`TunnelGroup::expect`]. Dropping this says that it
/// is there, or does not come.
#[must_use = "no tunnel is expected any more when this is dropped"]
pub struct Expected {
    tunnels: Arc<Tunnels>,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.tunnels.change(|inner| {
            inner.expected = inner.expected.saturating_sub(1);
        });
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").finish_non_exhaustive()
    }
}
