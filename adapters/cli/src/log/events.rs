//! What happens at gateways, agents and ports, as log lines.

use grpctunnel_driver::Code;

use super::{limit::Limit, short};
use crate::{
    agent::{AgentEvent, LocalEvent},
    audit::{CallFailed, Refused, RefusedKind},
    config::Reloaded,
    dial::DialEvent,
    gateway::GatewayEvent,
    listener::Endpoint,
    name::Name,
    origin::Origin,
    words,
};

static CALLS: Limit = Limit::new();
static REFUSALS: Limit = Limit::new();

/// Logs what happens at a gateway.
pub fn gateway(event: GatewayEvent) {
    match event {
        GatewayEvent::Joined {
            name,
            named,
            peer,
            identity,
            others,
        } => {
            tracing::info!(
                name = name.as_str(),
                peer = peer.to_string(),
                identity,
                named,
                "agent joined"
            );
            share(&name, &peer, &others);
        }
        GatewayEvent::Left {
            name,
            peer,
            identity,
            end,
        } => {
            let (name, peer) = (name.as_str(), peer.to_string());
            tracing::info!(name, peer, identity, why = words::end(&end), "agent left");
        }
        GatewayEvent::Dialled { peer, identity } => {
            tracing::info!(peer = peer.to_string(), identity, "forward tunnel opened");
        }
        GatewayEvent::HungUp {
            peer,
            identity,
            end,
        } => {
            let (peer, why) = (peer.to_string(), words::end(&end));
            tracing::info!(peer, identity, why, "forward tunnel is over");
        }
        GatewayEvent::Revoked { peer, identity } => tracing::warn!(
            peer = peer.to_string(),
            identity,
            "the credentials of a forward tunnel are not valid any more; it drains"
        ),
        GatewayEvent::Dismissed {
            name,
            peer,
            identity,
        } => tracing::warn!(
            name = name.as_str(),
            peer = peer.to_string(),
            identity,
            "agent may not serve this name any more; its tunnel drains"
        ),
        GatewayEvent::Refused(refused) => refusal(&refused),
        GatewayEvent::CallFailed(failed) => call(&failed),
        GatewayEvent::TurnedAway { count, why } => turned_away(count, &why),
    }
}

/// Agents of one name are meant, or a mistake.
fn share(name: &Name, peer: &Endpoint, others: &[Endpoint]) {
    if others.is_empty() {
        return;
    }
    let tunnels = others.len() + 1;
    let others: Vec<_> = others.iter().map(Endpoint::to_string).collect();
    tracing::info!(
        name = name.as_str(),
        peer = peer.to_string(),
        others = others.join(", "),
        tunnels,
        "agents of one name share its calls"
    );
}

/// Logs what happens at an agent.
pub fn agent(event: AgentEvent) {
    let gateway_of = |gateway: Origin| gateway.to_string();
    match event {
        AgentEvent::Connected { gateway, name } => {
            let gateway = gateway_of(gateway);
            tracing::info!(name = name.as_str(), gateway, "connected");
        }
        AgentEvent::Failed { gateway, why } => {
            let gateway = gateway_of(gateway);
            tracing::warn!(gateway, why, "not connected");
        }
        AgentEvent::Lost { gateway, why } => {
            let gateway = gateway_of(gateway);
            tracing::warn!(gateway, why, "lost the tunnel");
        }
        AgentEvent::Pausing { gateway, pause } => {
            let (gateway, seconds) = (gateway_of(gateway), tenths(pause.as_secs_f64()));
            tracing::info!(gateway, seconds, "reconnecting");
        }
        AgentEvent::GaveUp { gateway, name, why } => {
            let gateway = gateway_of(gateway);
            tracing::error!(name = name.as_str(), gateway, why, "gave up");
        }
        AgentEvent::Local { local, event } => {
            let local = local.to_string();
            match event {
                LocalEvent::Lost { why } => {
                    tracing::warn!(local, why, "cannot hand calls to the local server");
                }
                LocalEvent::Back => tracing::info!(local, "calls reach the local server again"),
            }
        }
        AgentEvent::CallFailed(failed) => call(&failed),
    }
}

/// Logs what happens at a port whose calls go to this server.
pub fn dial(server: &Origin, event: DialEvent) {
    let server = server.to_string();
    match event {
        DialEvent::Connected => tracing::info!(server, "connected"),
        DialEvent::Failed { why } => tracing::warn!(server, why, "not connected"),
        DialEvent::Lost { why } => tracing::warn!(server, why, "lost the tunnel"),
        DialEvent::Pausing { pause } => {
            let seconds = tenths(pause.as_secs_f64());
            tracing::info!(server, seconds, "reconnecting");
        }
        DialEvent::CallFailed(failed) => call(&failed),
        DialEvent::TurnedAway { count, why } => turned_away(count, &why),
    }
}

/// Logs what came of a change of the configuration.
pub fn reloaded(reloaded: Reloaded) {
    match reloaded {
        Reloaded::Applied => tracing::info!("read the configuration and its files again"),
        Reloaded::Partly(keys) => {
            let restart = keys.join(", ");
            tracing::warn!(
                restart,
                "read the configuration and its files again; some of it needs a restart"
            );
        }
        Reloaded::Refused(why) => tracing::error!(why, "the configuration stays as it was"),
    }
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

fn turned_away(count: u64, why: &str) {
    tracing::warn!(count, why, "connections turned away");
}

/// A refused call fails, and is logged as one that did.
fn refusal(refused: &Refused) {
    if refused.kind == RefusedKind::Call {
        return;
    }
    let Some(left_out) = REFUSALS.admit() else {
        return;
    };
    tracing::warn!(
        peer = refused.peer.to_string(),
        identity = refused.identity.as_deref(),
        what = short(&refused.what),
        why = short(&refused.why),
        left_out = some(left_out),
        "refused"
    );
}

fn call(failed: &CallFailed) {
    let Some(left_out) = CALLS.admit() else {
        return;
    };
    let seconds = failed.duration.as_secs_f64();
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                name = failed.name.as_deref(),
                peer = failed.peer.as_ref().map(ToString::to_string),
                identity = failed.identity.as_deref(),
                method = short(&failed.method),
                code = words::code_name(failed.code.as_i32().into()),
                seconds,
                why = short(&failed.why),
                left_out = some(left_out),
                "call failed"
            )
        };
    }
    match is_expected(failed.code) {
        true => line!(info),
        false => line!(warn),
    }
}

const fn some(count: u64) -> Option<u64> {
    match count {
        0 => None,
        count => Some(count),
    }
}

/// Whether a working server ends calls like this.
const fn is_expected(code: Code) -> bool {
    matches!(
        code,
        Code::Ok
            | Code::Cancelled
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
    )
}
