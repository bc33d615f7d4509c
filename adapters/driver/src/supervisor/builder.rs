//! The settings of a supervisor.

use std::fmt;
use std::sync::Arc;

use fastrand::Rng;
use grpctunnel_core::{Code, Opening as CoreOpening, Server};
use http::HeaderMap;

use crate::group::TunnelGroup;
use crate::grpc::status::Status;
use crate::options::Options;
use crate::peer::TunnelPeer;
use crate::runtime::Runtime;
use crate::server::Handler;
use crate::supervisor::Supervisor;
use crate::supervisor::attempt::{Open, Opening, open_forward, open_reverse};
use crate::supervisor::backoff::{Backoff, Pauses};
use crate::supervisor::channel::SupervisedChannel;
use crate::supervisor::dial::{Dial, DialError};
use crate::supervisor::event::SupervisorEvent;
use crate::supervisor::interruption::Interruption;
use crate::supervisor::line::{Check, Common, GiveUp, Line, Tell};
use crate::supervisor::state::Board;
use crate::tunnel::state::State;

/// The role of a [`Supervisor`] that handles the calls of its tunnels.
pub struct ReverseRole<H>(pub(crate) H);

/// The role of a [`Supervisor`] that makes calls on its tunnels.
pub struct ForwardRole(pub(crate) ());

/// A gateway: its name, and how to open tunnels to it.
struct Gateway {
    name: Arc<str>,
    opener: Box<dyn Fn() -> Open + Send>,
}

/// Builds a [`Supervisor`]. Every setting but the gateways has a default.
#[must_use = "a supervisor does nothing before it is started"]
pub struct SupervisorBuilder<R> {
    role: R,
    gateways: Vec<Gateway>,
    tunnels: usize,
    options: Options,
    metadata: HeaderMap,
    backoff: Backoff,
    seed: Option<u64>,
    check: Option<Box<Check>>,
    tell: Option<Box<Tell>>,
    give_up: Option<Box<GiveUp>>,
}

impl<R> SupervisorBuilder<R> {
    pub(crate) fn new(role: R) -> Self {
        Self {
            role,
            gateways: Vec::new(),
            tunnels: 1,
            options: Options::default(),
            metadata: HeaderMap::new(),
            backoff: Backoff::default(),
            seed: None,
            check: None,
            tell: None,
            give_up: None,
        }
    }

    /// Tunnels to each gateway. Default: 1.
    pub fn tunnels(mut self, tunnels: usize) -> Self {
        self.tunnels = tunnels;
        self
    }

    /// The options of the tunnels.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Metadata that goes with each request that opens a tunnel. Default: none. What changes, such
    /// as a token that expires, is added by the carrier, as a layer on what [`Dial`] returns.
    pub fn metadata(mut self, metadata: HeaderMap) -> Self {
        self.metadata = metadata;
        self
    }

    /// The pauses between attempts.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The seed of the pauses, which are the same for the same seed. Default: from the system's
    /// randomness. For tests and simulations.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Is asked about each tunnel that was opened, before it carries calls, with what its peer said
    /// of itself. One that is refused is ended, and opened again after a pause unless the error is
    /// [permanent](DialError::permanent). Must not block. Default: all are taken.
    pub fn check(
        mut self,
        check: impl Fn(Option<&TunnelPeer>) -> Result<(), DialError> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Box::new(check));
        self
    }

    /// Decides whether a tunnel is given up because of what happened to it, as with a peer that
    /// refuses the credentials:
    ///
    /// ```
    /// use grpctunnel_driver::{Code, Interruption, Supervisor};
    /// # let builder = Supervisor::reverse(Handler);
    /// # #[derive(Clone)] struct Handler;
    /// # impl tower_service::Service<http::Request<grpctunnel_driver::RequestBody>> for Handler {
    /// #     type Response = http::Response<http_body_util::Empty<bytes::Bytes>>;
    /// #     type Error = std::convert::Infallible;
    /// #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
    /// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> { std::task::Poll::Ready(Ok(())) }
    /// #     fn call(&mut self, _: http::Request<grpctunnel_driver::RequestBody>) -> Self::Future { std::future::ready(Ok(Default::default())) }
    /// # }
    /// let builder = builder.give_up_on(|why| match why {
    ///     Interruption::Refused(error) => error.code() == Code::Unauthenticated,
    ///     _ => false,
    /// });
    /// ```
    ///
    /// Must not block. Default: never. What the dialer or the check call permanent is given up in
    /// any case.
    pub fn give_up_on(
        mut self,
        give_up: impl Fn(&Interruption) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.give_up = Some(Box::new(give_up));
        self
    }

    /// Is called with everything that happens, in order for each tunnel: for logs. Must not block.
    /// Default: nobody is told.
    pub fn on_event(mut self, tell: impl Fn(&SupervisorEvent<'_>) + Send + Sync + 'static) -> Self {
        self.tell = Some(Box::new(tell));
        self
    }

    fn add(
        mut self,
        name: impl Into<Arc<str>>,
        opener: impl Fn() -> Open + Send + 'static,
    ) -> Self {
        self.gateways.push(Gateway {
            name: name.into(),
            opener: Box::new(opener),
        });
        self
    }

    /// Starts the tasks.
    fn start_tasks(
        self,
        runtime: Runtime,
        group: Option<TunnelGroup>,
    ) -> Result<Supervisor, Status> {
        let invalid = |text| Status::new(Code::InvalidArgument, text);
        if self.gateways.is_empty() {
            return Err(invalid("a supervisor needs a gateway"));
        }
        if self.tunnels == 0 {
            return Err(invalid(
                "a supervisor needs a tunnel to each gateway: `tunnels` is 0",
            ));
        }
        let options = Arc::new(self.options);
        State::<Server>::new(options.clone(), CoreOpening::Requested)
            .map_err(|error| Status::new(Code::InvalidArgument, error.to_string()))?;
        let mut random = self.seed.map_or_else(Rng::new, Rng::with_seed);
        let per_gateway = self.tunnels;
        let lines = self
            .gateways
            .iter()
            .flat_map(|gateway| std::iter::repeat_n(gateway, per_gateway));
        let board = Board::new(lines.clone().map(|gateway| gateway.name.clone()));
        let common = Arc::new(Common {
            board: board.clone(),
            opening: Arc::new(Opening {
                runtime: runtime.clone(),
                options,
                metadata: self.metadata,
            }),
            group,
            check: self.check,
            tell: self.tell,
            give_up: self.give_up,
        });
        let lines: Vec<_> = lines
            .enumerate()
            .map(|(number, gateway)| {
                let pauses = Pauses::new(self.backoff, random.fork());
                let (name, open) = (gateway.name.clone(), (gateway.opener)());
                Line::new(common.clone(), number, name, open, pauses)
            })
            .collect();
        for line in lines {
            runtime.spawn(line.run());
        }
        Ok(Supervisor::new(board, runtime))
    }
}

impl<H: Handler> SupervisorBuilder<ReverseRole<H>> {
    /// Adds a gateway, which gets tunnels of its own. `name` is what states and events call it.
    pub fn gateway(self, name: impl Into<Arc<str>>, dial: impl Dial) -> Self {
        let dial = Arc::new(dial);
        let handler = self.role.0.clone();
        self.add(name, move || open_reverse(dial.clone(), handler.clone()))
    }

    /// Starts the supervisor.
    ///
    /// # Errors
    /// INVALID_ARGUMENT where there is no gateway or no tunnel to it, or the options hold a value
    /// that no tunnel can have; INTERNAL if there is no runtime. Nothing was sent.
    pub fn start(self, runtime: &Runtime) -> Result<Supervisor, Status> {
        self.start_tasks(runtime.capture()?, None)
    }
}

impl SupervisorBuilder<ForwardRole> {
    /// Adds a gateway, which gets tunnels of its own. `name` is what states and events call it.
    pub fn gateway(self, name: impl Into<Arc<str>>, dial: impl Dial) -> Self {
        let dial = Arc::new(dial);
        self.add(name, move || open_forward(dial.clone()))
    }

    /// Starts the supervisor. Calls may be made at once; they wait for the first tunnel.
    ///
    /// # Errors
    /// As those of a [reverse one](SupervisorBuilder::<ReverseRole<H>>::start).
    pub fn start(self, runtime: &Runtime) -> Result<SupervisedChannel, Status> {
        let runtime = runtime.capture()?;
        let group = TunnelGroup::new(runtime.clone());
        let supervisor = self.start_tasks(runtime, Some(group.clone()))?;
        Ok(SupervisedChannel::new(group, supervisor))
    }
}

impl<R> fmt::Debug for SupervisorBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gateways: Vec<_> = self.gateways.iter().map(|gateway| &gateway.name).collect();
        f.debug_struct("SupervisorBuilder")
            .field("gateways", &gateways)
            .field("tunnels", &self.tunnels)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}
