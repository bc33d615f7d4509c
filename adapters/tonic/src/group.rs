//! Several tunnels as one tonic channel.

use std::future::Future;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use grpctunnel_driver::{
    BoxError, Expected, GroupResponseFuture, Membership, Pick, ResponseBody, Runtime,
};
use http::{Request, Response};
use http_body::Body;
use tonic::Status;
use tower_service::Service;

use crate::channel::{Channel, ResponseFuture};

/// Several tunnels to peers that are as good as each other: give it, or a clone, to any generated
/// client.
///
/// It picks a tunnel for each call, and makes a call again that was never processed, as
/// [`grpctunnel_driver::TunnelGroup`] says. A call that fails has the sources of one on a
/// [`Channel`].
#[derive(Clone, Debug)]
pub struct TunnelGroup {
    inner: grpctunnel_driver::TunnelGroup,
}

impl TunnelGroup {
    /// An empty group, which picks by turns. `runtime` keeps the time of calls that wait.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        grpctunnel_driver::TunnelGroup::new(runtime).into()
    }

    /// The group beneath, which speaks HTTP bodies of any kind and knows no tonic.
    #[must_use]
    pub const fn raw(&self) -> &grpctunnel_driver::TunnelGroup {
        &self.inner
    }

    /// The same tunnels, picked in this way. Other clones keep theirs.
    #[must_use]
    pub fn with_pick(self, pick: impl Pick) -> Self {
        self.inner.with_pick(pick).into()
    }

    /// The same tunnels, with another limit for the wait of a call for a tunnel that is
    /// [expected](Self::expect). Other clones keep theirs. 5 s by default.
    #[must_use]
    pub fn with_max_wait(self, max_wait: Duration) -> Self {
        self.inner.with_max_wait(max_wait).into()
    }

    /// Adds a tunnel, until the result is dropped. The group keeps the tunnel from being drained for
    /// that long.
    #[must_use = "the tunnel leaves the group when this is dropped"]
    pub fn add(&self, channel: &Channel) -> Membership {
        self.inner.add(channel.raw().clone())
    }

    /// Says that a tunnel is on its way, until the result is dropped: calls that find no tunnel wait
    /// for it.
    #[must_use = "no tunnel is expected any more when this is dropped"]
    pub fn expect(&self) -> Expected {
        self.inner.expect()
    }

    /// Whether any tunnel takes a call at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.inner.is_ready()
    }

    /// Waits until a tunnel takes a call at once. Returns whether one does; if not, `deadline` has
    /// passed.
    pub fn wait_for_ready(
        &self,
        deadline: Instant,
    ) -> impl Future<Output = bool> + Send + 'static + use<> {
        self.inner.wait_for_ready(deadline)
    }

    /// Waits until tunnels come or go, after this was called.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.inner.changed()
    }

    /// The tunnels, in the order in which they were added.
    #[must_use]
    pub fn channels(&self) -> Vec<Channel> {
        let channels = self.inner.channels().into_iter();
        channels.map(Channel::from).collect()
    }

    /// How many tunnels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether there is no tunnel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }
}

impl From<grpctunnel_driver::TunnelGroup> for TunnelGroup {
    fn from(inner: grpctunnel_driver::TunnelGroup) -> Self {
        Self { inner }
    }
}

impl<B> Service<Request<B>> for TunnelGroup
where
    B: Body<Data: bytes::Buf, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Status;
    type Future = ResponseFuture<GroupResponseFuture<B>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture::new(self.inner.call(request))
    }
}
