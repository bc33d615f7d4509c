//! The command line of `grpctunnel`.

mod ask;
mod check;
mod observe;
mod setup;
mod shared;
#[cfg(test)]
mod tests;
mod tools;
mod trust;

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand};
use http::uri::Authority;

pub use self::{
    ask::{AskArgs, DrainAgentArgs, LsArgs},
    check::CheckArgs,
    observe::{LogForm, LogLevel, ObserveArgs},
    setup::{AgentSettings, PortSettings, SetupError},
    shared::{ConnectArgs, DelayArgs, DrainArgs, ListenArgs, StreamsArgs},
    tools::{CompletionsArgs, DemoArgs, InitArgs, ManArgs},
    trust::{CredentialArgs, LocalCredentialArgs, TrustArgs},
};
use crate::{
    admin::Supervised,
    agent::{Agent, Breaking, Served},
    auth::Credentials,
    dial::DialSettings,
    gateway::GatewaySettings,
    name::Name,
    origin::Origin,
    retry::RetryPolicy,
    routing::{Routing, Rule, Suffix},
    target::Target,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; or ended by a signal, and every call had finished
  1  failed; the reason is on stderr
  2  the command line, the configuration or a file that it names is wrong
  3  ended by a signal, calls were cut off (drain limit, or a second signal)
  4  the gateway refused the credentials";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "grpctunnel",
    version,
    about = "Calls gRPC servers that nobody can reach, through tunnels that they open themselves.",
    after_help = EXIT_CODES,
    max_term_width = 100
)]
pub struct Cli {
    /// The configuration: a TOML file with a section for each command, whose keys are its options
    ///
    /// The command line counts more than the environment, and that more than the file.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One of the commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show every kind of call through a gateway and an agent, in one process on loopback
    #[command(after_help = EXIT_CODES)]
    Demo(DemoArgs),
    /// Listen for agents and for callers, and pass calls from the ones to the others
    #[command(
        long_about = "Listen for agents and for callers, and pass calls from the ones to the \
            others.\n\nOne port serves both. An agent opens a reverse tunnel \
            (grpctunnel.v1.TunnelService/OpenReverseTunnel) and names itself by the metadata \
            x-tunnel-name; without it, it gets a generated name. Any other call is a caller's. It \
            goes, as raw bytes, to the agent that the first of these gives: the metadata \
            x-tunnel-target, the authority (--suffix), the service (--route), --default, the only \
            agent that is connected. Agents of the same name share its calls in turn. Without a \
            target, grpc.health.v1 is answered by the gateway: \"\" is itself, a name is that \
            agent.\n\nGateways chain: x-tunnel-target: hop/name goes to the agent hop, whose \
            local server is a gateway, and there to name. The step . means \"here\".\n\nA call \
            that cannot be passed on ends with UNAVAILABLE (no such agent, or it went away) or \
            with INVALID_ARGUMENT (several agents and none named).\n\nWithout \
            --tokens-file and --tls-client-ca whoever reaches the port can call, and can be an \
            agent. Certificates, keys, tokens, rules and limits are read again when their files \
            change, and by SIGHUP.",
        after_help = EXIT_CODES
    )]
    Gateway(GatewayArgs),
    /// Connect to a gateway, and pass the calls that come from it to a local server
    #[command(
        long_about = "Connect to a gateway, and pass the calls that come from it to a local gRPC \
            server.\n\nCalls go to the local server as raw bytes over as many HTTP/2 connections \
            as its limit of concurrent streams makes necessary. While the local server is down \
            they end with UNAVAILABLE, and the tunnel stays. When the gateway goes away the agent \
            reconnects, after a pause that grows and is never the same for two agents.\n\n\
            Several gateways, and several servers under names of their own: repeat --gateway and \
            --serve.\n\nAn https:// URL means TLS, on both sides.",
        after_help = EXIT_CODES
    )]
    Agent(AgentArgs),
    /// Listen on a local port that stands for a service behind a gateway
    #[command(
        long_about = "Listen on a local port that stands for a service behind a gateway.\n\nCalls \
            go through a forward tunnel to the gateway, and from there to the agent that --name \
            names. Callers need no metadata for that.",
        after_help = EXIT_CODES
    )]
    Dial(DialArgs),
    /// Listen on a local port whose calls all go to one tunnel server
    #[command(
        long_about = "Listen on a local port whose calls all go to one tunnel server.\n\nCalls go \
            through one forward tunnel, so a load balancer in front of the server sends all of \
            them to the same one.",
        after_help = EXIT_CODES
    )]
    Forward(ForwardArgs),
    /// List the tunnels of a running command, by its admin port
    Ls(LsArgs),
    /// Drain an agent at its gateway: it gets no more calls, and is not taken until --undo
    #[command(
        long_about = "Drain an agent at its gateway, by the gateway's admin port.\n\nIt gets no \
            more calls, those that are open may go on until the gateway's --drain-limit, and \
            tunnels of its name are refused until --undo, or until the gateway restarts."
    )]
    Drain(DrainAgentArgs),
    /// Find out step by step what is wrong between here and a gateway
    #[command(
        long_about = "Find out step by step what is wrong between here and a gateway: name, TCP, \
            proxy, TLS, HTTP/2, credentials, tunnel, revision, extensions, round trip, \
            throughput, and whether the tunnel lives without traffic.\n\nIt takes the options of \
            agent, and reads its section of the configuration. The step that fails is told with \
            what to do, and those behind it are not taken. Meanwhile the gateway has one more \
            agent of the name, which leaves all calls to the others.",
        after_help = EXIT_CODES
    )]
    Check(CheckArgs),
    /// Check, show or explain the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write certificates, tokens and a configuration to begin with
    Init(InitArgs),
    /// Print the completions of a shell
    #[command(
        long_about = "Print the completions of a shell.\n\nFor bash: grpctunnel completions bash > \
            ~/.local/share/bash-completion/completions/grpctunnel"
    )]
    Completions(CompletionsArgs),
    /// Print the man page, or write it and those of all commands to a directory
    Man(ManArgs),
}

impl Command {
    /// What the command tells of itself, if it runs for long.
    #[must_use]
    pub const fn observe(&self) -> Option<&ObserveArgs> {
        match self {
            Self::Gateway(args) => Some(&args.observe),
            Self::Agent(args) => Some(&args.observe),
            Self::Dial(args) => Some(&args.port.observe),
            Self::Forward(args) => Some(&args.port.observe),
            Self::Demo(_)
            | Self::Ls(_)
            | Self::Drain(_)
            | Self::Check(_)
            | Self::Config(_)
            | Self::Init(_)
            | Self::Completions { .. }
            | Self::Man { .. } => None,
        }
    }
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the file and every file that it names, and say what is wrong with them
    Check,
    /// Print the options that a command would have, and where each comes from
    Show {
        /// The command: gateway, agent, dial or forward
        command: String,
    },
    /// Print a configuration with every key in it
    Example,
}

/// The command line of `grpctunnel gateway`.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// Where it listens.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Take the authority NAME.DOMAIN for the agent NAME
    #[arg(long, value_name = "DOMAIN")]
    pub suffix: Option<Suffix>,
    /// Send a service to an agent, by the beginning of package.Service/Method; may be repeated
    ///
    /// The longest that fits counts. It ends where a name in it ends: `shop` is not `shopping`.
    #[arg(long, value_name = "PREFIX=NAME")]
    pub route: Vec<Rule>,
    /// The agent of calls that nothing else gives one [default: the only one that is connected]
    #[arg(long, value_name = "NAME")]
    pub default: Option<Name>,
    /// Make calls again that failed: "PREFIX codes=CODE,... KEY=VALUE ..."; may be repeated
    ///
    /// PREFIX is the beginning of package.Service/Method, or *; the longest that fits counts. The
    /// keys are those of a gRPC service config: codes, attempts, backoff, max-backoff, multiplier,
    /// tokens, token-ratio. Only a call is made again of which no answer came and whose request has
    /// at most 64 KiB.
    #[arg(long, value_name = "POLICY")]
    pub retry: Vec<RetryPolicy>,
    /// Whom it trusts, and with what.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// How many calls may be open on a tunnel.
    #[command(flatten)]
    pub streams: StreamsArgs,
    /// What callers' connections may hold of what nobody has read, in MiB
    ///
    /// It also bounds how many connections there are: one for every 128 KiB. As much again may wait
    /// in the tunnels together; beyond it new calls are refused.
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..=1_048_576)
    )]
    pub memory: u32,
    /// How many connections may begin their handshakes in a second
    ///
    /// Those beyond that wait, and the addresses that they come from take turns: after a restart all
    /// agents come at once.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 300,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub handshake_rate: u16,
    /// How it begins to end.
    #[command(flatten)]
    pub delay: DelayArgs,
    /// What a first Ctrl-C or SIGTERM leaves to the calls that are open.
    #[command(flatten)]
    pub drain: DrainArgs,
    /// What it tells of itself.
    #[command(flatten)]
    pub observe: ObserveArgs,
}

impl GatewayArgs {
    /// The settings of the gateway.
    #[must_use]
    pub fn settings(self) -> GatewaySettings {
        let mut settings = GatewaySettings::new(self.listen.listen);
        settings.insecure = self.listen.insecure;
        settings.trust = self.trust.settings();
        settings.routing = Routing {
            suffix: self.suffix,
            rules: self.route,
            default: self.default,
        };
        settings.retries = self.retry;
        settings.max_streams = self.streams.max_streams;
        settings.memory = usize::try_from(self.memory).map_or(usize::MAX, |mib| mib << 20);
        settings.handshake_rate = self.handshake_rate.into();
        settings.drain_limit = self.drain.limit();
        settings
    }
}

/// The command line of `grpctunnel agent`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["local", "serve"]))]
pub struct AgentArgs {
    /// The gateway, as https://HOST:PORT, or http://HOST:PORT without TLS; may be repeated
    ///
    /// Once the agent can be called, `connected to URL as NAME` is printed on stdout.
    #[arg(long, value_name = "URL", required = true)]
    pub gateway: Vec<Origin>,
    /// The name of the server that --local gives, for callers
    #[arg(long, requires = "local")]
    pub name: Option<Name>,
    /// The local gRPC server, as http://HOST:PORT, https://HOST:PORT or unix:PATH
    #[arg(long, value_name = "URL", requires = "name")]
    pub local: Option<Origin>,
    /// A local gRPC server and its name; may be repeated
    #[arg(long, value_name = "NAME=URL", value_parser = served)]
    pub serve: Vec<Served>,
    /// What local servers see as :authority [default: what the caller sent, else their HOST:PORT]
    #[arg(long, value_name = "AUTHORITY")]
    pub local_authority: Option<Authority>,
    /// The most connections to a local server
    ///
    /// Another one is made when those that exist carry as many calls as the server allows on one.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub local_connections: u16,
    /// Leave a local server alone after so many failures, one after the other [default: never]
    ///
    /// A failure is UNAVAILABLE, from the server or because it cannot be reached. Calls go to
    /// another agent of the name meanwhile, where there is one.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub break_after: Option<u32>,
    /// How long it is left alone, in seconds; then one call finds out whether it works again
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub break_for: u64,
    /// Tunnels of each name to each gateway
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub connections: u16,
    /// How many calls may be open on a tunnel.
    #[command(flatten)]
    pub streams: StreamsArgs,
    /// How it connects.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// What is presented to local servers.
    #[command(flatten)]
    pub local_credentials: LocalCredentialArgs,
    /// Present a token also to servers elsewhere that speak no TLS
    #[arg(long)]
    pub insecure: bool,
    /// What a first Ctrl-C or SIGTERM leaves to the calls that are open.
    #[command(flatten)]
    pub drain: DrainArgs,
    /// What it tells of itself.
    #[command(flatten)]
    pub observe: ObserveArgs,
}

impl AgentArgs {
    /// The settings of the agent.
    #[must_use]
    pub fn settings(self) -> AgentSettings {
        let auth_retries = self.connect.credentials.auth_retries;
        let named = self.name.zip(self.local);
        let named = named.map(|(name, local)| Served { name, local });
        let agent = Agent {
            gateways: self.gateway,
            served: named.into_iter().chain(self.serve).collect(),
            local_authority: self.local_authority,
            local_connections: self.local_connections.into(),
            connections: self.connections.into(),
            max_streams: self.streams.max_streams,
            proxy: self.connect.proxy(),
            retry_limit: self.connect.retry_limit(),
            drain_limit: self.drain.limit(),
            breaking: self.break_after.map(|after| Breaking {
                after,
                pause: Duration::from_secs(self.break_for),
            }),
            auth_retries,
            supervised: Supervised::default(),
            credentials: Credentials::default(),
            local_credentials: Credentials::default(),
        };
        AgentSettings {
            agent,
            credentials: self.connect.credentials.settings(),
            local_credentials: self.local_credentials.settings(),
            insecure: self.insecure,
        }
    }
}

fn served(text: &str) -> Result<Served, String> {
    let (name, local) = text
        .split_once('=')
        .ok_or("expected NAME=URL, such as home=http://127.0.0.1:50051")?;
    Ok(Served {
        name: name.parse().map_err(|bad| format!("{name:?}: {bad}"))?,
        local: local.parse().map_err(|bad| format!("{local:?}: {bad}"))?,
    })
}

/// The command line of `grpctunnel dial`.
#[derive(Debug, Args)]
pub struct DialArgs {
    /// The gateway, as https://HOST:PORT, or http://HOST:PORT without TLS
    #[arg(long, value_name = "URL")]
    pub gateway: Origin,
    /// The agent, or the way there: names with / between them
    #[arg(long)]
    pub name: Target,
    /// What it shares with `forward`.
    #[command(flatten)]
    pub port: PortArgs,
}

impl DialArgs {
    /// The settings of the local port.
    #[must_use]
    pub fn settings(self) -> PortSettings {
        self.port.settings(self.gateway, Some(self.name))
    }
}

/// The command line of `grpctunnel forward`.
#[derive(Debug, Args)]
pub struct ForwardArgs {
    /// The tunnel server, as https://HOST:PORT, or http://HOST:PORT without TLS
    #[arg(long, value_name = "URL")]
    pub server: Origin,
    /// What it shares with `dial`.
    #[command(flatten)]
    pub port: PortArgs,
}

impl ForwardArgs {
    /// The settings of the local port.
    #[must_use]
    pub fn settings(self) -> PortSettings {
        self.port.settings(self.server, None)
    }
}

/// The options of a local port whose calls go through a forward tunnel.
#[derive(Debug, Args)]
pub struct PortArgs {
    /// Where it listens.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// How it connects.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// How it begins to end.
    #[command(flatten)]
    pub delay: DelayArgs,
    /// What a first Ctrl-C or SIGTERM leaves to the calls that are open.
    #[command(flatten)]
    pub drain: DrainArgs,
    /// What it tells of itself.
    #[command(flatten)]
    pub observe: ObserveArgs,
}

impl PortArgs {
    fn settings(self, server: Origin, target: Option<Target>) -> PortSettings {
        let mut settings = DialSettings::new(server, self.listen.listen);
        settings.target = target;
        settings.insecure = self.listen.insecure;
        settings.proxy = self.connect.proxy();
        settings.retry_limit = self.connect.retry_limit();
        settings.drain_limit = self.drain.limit();
        settings.auth_retries = self.connect.credentials.auth_retries;
        PortSettings {
            dial: settings,
            credentials: self.connect.credentials.settings(),
        }
    }
}
