//! A world: gateways, dialers, supervisors and calls.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryFutureExt;
use grpctunnel_driver::{
    Code, DialError, Forwarder, MemoryBudget, Options, Registry, Status, SupervisedChannel,
    Supervisor, TunnelGroup, TunnelPeer, TunnelService,
};
use http::request::Parts;
use http::{HeaderMap, Request};
use tower_service::Service;

use super::calls::{AnyBody, CallFuture, SimHandler, make, request};
use super::carrier::{Carrier, Link};
use super::executor::Sim;
use super::model::{Broken, Model};
use super::script::{Op, Script, Setting, Way};

/// Metadata with an agent's number.
const AGENT: &str = "x-agent";
const SECOND: Duration = Duration::from_secs(1);
/// Longer than anything that was planned takes.
const LONG: Duration = Duration::from_secs(600);

/// Where calls are made.
#[derive(Clone)]
enum Caller {
    Group(TunnelGroup),
    Supervised(SupervisedChannel),
    Registry(Registry<usize>),
}

impl Caller {
    /// Calls an agent of so many.
    fn call(&mut self, agent: usize, waits: bool, request: Request<AnyBody>) -> CallFuture {
        match self {
            Self::Group(group) => Box::pin(group.call(request)),
            Self::Supervised(channel) => Box::pin(channel.call(request)),
            Self::Registry(registry) => {
                let registry = registry.clone();
                let mut forwarder = Forwarder::new(move |_: &mut Parts| {
                    let missing = || Status::new(Code::Unavailable, "the agent is not there");
                    match waits {
                        true => Ok(registry.group(agent)),
                        false => registry.get(&agent).ok_or_else(missing),
                    }
                });
                Box::pin(forwarder.call(request).map_err(|never| match never {}))
            }
        }
    }
}

/// Which agent opens a tunnel.
fn agent_of(peer: &TunnelPeer) -> Result<usize, Status> {
    let name = peer.metadata().get(AGENT);
    let name = name.and_then(|name| name.to_str().ok()?.parse().ok());
    name.ok_or_else(|| Status::new(Code::InvalidArgument, "an agent without a number"))
}

struct World {
    sim: Sim,
    model: Model,
    setting: Arc<Setting>,
    gateways: Arc<Mutex<Vec<TunnelService<SimHandler>>>>,
    links: Arc<Mutex<Vec<Link>>>,
    down_until: Arc<Mutex<Duration>>,
    group: TunnelGroup,
    registry: Registry<usize>,
}

/// Plays a script.
///
/// # Errors
/// What rule was broken.
pub(super) fn play(script: &Script) -> Result<(), Broken> {
    let sim = Sim::new(script.seed);
    let faults = script.ops.iter().any(|(_, op)| op.is_fault());
    let calls = script.ops.iter().filter_map(|(_, op)| match op {
        Op::Call(plan) => Some(plan.clone()),
        _ => None,
    });
    let world = World {
        model: Model::new(calls, faults),
        setting: Arc::new(script.setting.clone()),
        gateways: Arc::default(),
        links: Arc::default(),
        down_until: Arc::default(),
        group: TunnelGroup::new(sim.runtime()),
        registry: registry(&sim, &script.setting),
        sim: sim.clone(),
    };
    let result = world.play(script);
    sim.close();
    result
}

fn registry(sim: &Sim, setting: &Setting) -> Registry<usize> {
    let registry = Registry::new(sim.runtime(), agent_of);
    match setting.replace {
        true => registry.with_replacement(3_600 * SECOND),
        false => registry,
    }
}

fn broken<T>(what: String) -> Result<T, Broken> {
    Err(Broken(what))
}

impl World {
    fn play(&self, script: &Script) -> Result<(), Broken> {
        let Setting { way, gateways, .. } = *self.setting;
        for _ in 0..gateways {
            let gateway = self.new_gateway();
            lock(&self.gateways).push(gateway);
        }
        let (supervisors, caller) = match way {
            Way::Forward => {
                let mut builder = Supervisor::forward();
                for number in 0..gateways {
                    builder = builder.gateway(number.to_string(), self.dialer(number));
                }
                let channel = builder
                    .tunnels(self.setting.tunnels)
                    .options(self.setting.dialling.clone())
                    .seed(script.seed)
                    .start(&self.sim.runtime())
                    .map_err(|status| Broken(status.to_string()))?;
                (vec![channel.supervisor()], Caller::Supervised(channel))
            }
            Way::Reverse => {
                let agent = self.agent(0, script.seed)?;
                (vec![agent], Caller::Group(self.group.clone()))
            }
            Way::Registry => {
                let agents = (0..self.setting.agents).map(|agent| self.agent(agent, script.seed));
                let agents = agents.collect::<Result<_, _>>()?;
                (agents, Caller::Registry(self.registry.clone()))
            }
        };
        self.run_ops(script, caller)?;
        self.settle()?;
        self.end(supervisors)
    }

    /// Starts what dials, and handles the calls.
    fn agent(&self, agent: usize, seed: u64) -> Result<Supervisor, Broken> {
        let mut builder = Supervisor::reverse(self.handler(agent));
        for number in 0..self.setting.gateways {
            builder = builder.gateway(number.to_string(), self.dialer(number));
        }
        let mut metadata = HeaderMap::new();
        metadata.insert(AGENT, agent.into());
        builder
            .tunnels(self.setting.tunnels)
            .options(self.setting.dialling.clone())
            .metadata(metadata)
            .seed(seed.wrapping_add(agent as u64))
            .start(&self.sim.runtime())
            .map_err(|status| Broken(status.to_string()))
    }

    fn handler(&self, agent: usize) -> SimHandler {
        SimHandler {
            agent,
            agents: self.setting.agents,
            sim: self.sim.clone(),
            model: self.model.clone(),
        }
    }

    fn new_gateway(&self) -> TunnelService<SimHandler> {
        let service = TunnelService::new(self.sim.runtime())
            .with_options(self.setting.accepting.clone())
            .forward(self.handler(0));
        if self.setting.way == Way::Registry {
            return service.register(&self.registry);
        }
        let group = self.group.clone();
        service.reverse(move |tunnel| {
            let group = group.clone();
            async move {
                let (draining, closed) = (tunnel.channel.draining(), tunnel.channel.closed());
                let channel = tunnel.channel.clone();
                let member = group.add(tunnel.channel);
                draining.await;
                drop(member);
                closed.await;
                drop(channel);
            }
        })
    }

    fn dialer(&self, gateway: usize) -> impl grpctunnel_driver::Dial + use<> {
        let (sim, setting) = (self.sim.clone(), self.setting.clone());
        let (gateways, links) = (self.gateways.clone(), self.links.clone());
        let down_until = self.down_until.clone();
        move || {
            let (sim, setting) = (sim.clone(), setting.clone());
            let (gateways, links) = (gateways.clone(), links.clone());
            let down_until = down_until.clone();
            async move {
                let (least, more) = setting.delay;
                let delay = least + sim.below(more);
                sim.sleep(Duration::from_micros(delay)).await;
                let is_down = sim.now() < *lock(&down_until);
                let gateway = lock(&gateways).get(gateway).cloned();
                let Some(gateway) = gateway.filter(|_| !is_down) else {
                    return Err(DialError::new("nobody is there"));
                };
                let link = Link::new(&sim, &setting);
                let mut links = lock(&links);
                links.retain(|link| !link.is_over());
                links.push(link.clone());
                Ok(Carrier { link, gateway })
            }
        }
    }

    /// Runs until a time.
    fn run(&self, until: Duration) -> Result<(), Broken> {
        let done = self.sim.run(until, || self.model.is_broken());
        match done {
            Err(endless) => broken(format!("{endless:?}: tasks go on for ever")),
            Ok(_) => {
                self.check_memory()?;
                self.model.check()
            }
        }
    }

    fn run_ops(&self, script: &Script, mut caller: Caller) -> Result<(), Broken> {
        let mut call = 0;
        for (at, op) in &script.ops {
            self.run(Duration::from_millis(u64::from(*at)))?;
            match op {
                Op::Call(plan) => {
                    let request = request(&self.sim, call, plan);
                    let agent = usize::from(plan.agent) % self.setting.agents;
                    let made = caller.call(agent, plan.waits, request);
                    let (sim, model) = (self.sim.clone(), self.model.clone());
                    self.sim.spawn(make(sim, model, call, plan.clone(), made));
                    call += 1;
                }
                Op::Cut { link } => self.with_link(*link, Link::cut),
                Op::Stall { link, millis } => self.with_link(*link, |link| link.stall(*millis)),
                Op::Down { millis } => {
                    let until = self.sim.now() + Duration::from_millis((*millis).into());
                    *lock(&self.down_until) = until;
                }
                Op::Restart { gateway, patient } => {
                    let limit = if *patient { 3_600 } else { 0 };
                    let new = self.new_gateway();
                    let count = self.setting.gateways;
                    let old = lock(&self.gateways)
                        .get_mut(usize::from(*gateway) % count)
                        .map(|place| std::mem::replace(place, new));
                    if let Some(old) = old {
                        old.drain(limit * SECOND);
                    }
                }
                Op::DropTask { task } => self.sim.drop_task(*task),
            }
        }
        Ok(())
    }

    fn with_link(&self, number: u8, act: impl FnOnce(&Link)) {
        let link = {
            let links = lock(&self.links);
            links.get(usize::from(number) % links.len().max(1)).cloned()
        };
        if let Some(link) = link {
            act(&link);
        }
    }

    /// Every call comes to an end.
    fn settle(&self) -> Result<(), Broken> {
        let until = self.sim.now() + LONG;
        let model = &self.model;
        let run = || self.sim.run(until, || model.is_done());
        match run() {
            Err(endless) => return broken(format!("{endless:?}: tasks go on for ever")),
            Ok(true) => {}
            Ok(false) => {
                let stuck = model.stuck();
                let seen: Vec<_> = stuck.iter().map(|call| model.seen(*call)).collect();
                let plans: Vec<_> = stuck.iter().map(|call| model.plan(*call)).collect();
                self.sim.wake_all();
                let woken = self.sim.run(self.sim.now() + SECOND, || model.is_done());
                let lost = if matches!(woken, Ok(true)) {
                    "; a wake-up was lost"
                } else {
                    ""
                };
                return broken(format!(
                    "calls {stuck:?} are stuck{lost}: {seen:?}; {plans:?}"
                ));
            }
        }
        self.check_memory()?;
        model.check()
    }

    /// The supervisor stops, the gateways drain, and nothing is left.
    fn end(&self, supervisors: Vec<Supervisor>) -> Result<(), Broken> {
        let left = Arc::new(Mutex::new(supervisors.len()));
        for supervisor in supervisors {
            if self.setting.gentle {
                supervisor.drain(10 * SECOND);
            } else {
                supervisor.stop();
            }
            let left = left.clone();
            self.sim.spawn(async move {
                supervisor.closed().await;
                *lock(&left) -= 1;
            });
        }
        let gateways: Vec<_> = lock(&self.gateways).drain(..).collect();
        for gateway in &gateways {
            gateway.drain(10 * SECOND);
        }
        let until = self.sim.now() + LONG;
        let ended = self.sim.run(until, || self.sim.alive() == 0);
        self.model.check()?;
        match ended {
            Err(endless) => return broken(format!("{endless:?}: tasks go on for ever")),
            Ok(false) => {
                let left = *lock(&left);
                let tunnels: usize = gateways.iter().map(TunnelService::tunnels).sum();
                return broken(format!(
                    "{} tasks are left at the end, {tunnels} tunnels at the gateways, and {left} \
                     supervisors",
                    self.sim.alive()
                ));
            }
            Ok(true) => {}
        }
        let keys = self.registry.keys();
        if !keys.is_empty() || !self.registry.all().is_empty() {
            return broken(format!("the registry still knows {keys:?} at the end"));
        }
        for budget in self.budgets() {
            let (waiting, grown) = (budget.waiting(), budget.grown());
            if waiting != 0 || grown != 0 {
                return broken(format!(
                    "{waiting} bytes wait and {grown} are grown at the end"
                ));
            }
        }
        Ok(())
    }

    fn budgets(&self) -> impl Iterator<Item = &MemoryBudget> {
        let all = [&self.setting.dialling, &self.setting.accepting];
        all.into_iter()
            .filter_map(|options| options.budget.as_ref())
    }

    /// What waits stays below what the options promise for so many tunnels.
    fn check_memory(&self) -> Result<(), Broken> {
        let links = lock(&self.links);
        let tunnels = links.len() as u64;
        for options in [&self.setting.dialling, &self.setting.accepting] {
            let bound = most_waiting(options).saturating_mul(tunnels);
            let waiting = options.budget.as_ref().map_or(0, MemoryBudget::waiting);
            if waiting as u64 > bound {
                return broken(format!("{waiting} bytes wait in {tunnels} tunnels"));
            }
        }
        Ok(())
    }
}

/// What waits in one tunnel at most.
fn most_waiting(options: &Options) -> u64 {
    options.memory_bound().total_flow_controlled()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
