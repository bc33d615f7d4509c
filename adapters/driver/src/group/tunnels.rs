//! The tunnels of a group.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::request::Parts;

use crate::client::Channel;
use crate::group::members::{Expected, Membership, Tunnels};
use crate::group::needs::Needs;
use crate::group::pick::{Candidates, Fit, Member, Pick, RoundRobin};
use crate::group::ready::Change;
use crate::runtime::Runtime;
use crate::tunnel::id::TunnelId;

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
        self.tunnels.add(channel)
    }

    /// Says that a tunnel is on its way, until the result is dropped: calls that find no tunnel wait
    /// for it, see [`with_max_wait`](Self::with_max_wait).
    #[must_use = "no tunnel is expected any more when this is dropped"]
    pub fn expect(&self) -> Expected {
        self.tunnels.expect()
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

impl fmt::Debug for TunnelGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelGroup")
            .field("tunnels", &self.len())
            .finish_non_exhaustive()
    }
}
