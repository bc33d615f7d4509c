//! The command line of `grpctunnel`.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::{name::Name, origin::Origin};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for gateway and agent: ended by a signal, every call finished
  1  failed; the reason is on stderr
  2  the command line is wrong
  3  ended by a signal, calls were cut off (drain limit, or a second signal)";

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
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One of the three commands.
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
            x-tunnel-name; without it, its name is its address. Any other call is a caller's: it \
            goes, as raw bytes, to the agent that the metadata x-tunnel-target names; without it, \
            to the only agent that is connected. Agents of the same name share its calls in \
            turn.\n\nA call that cannot be passed on ends with UNAVAILABLE (no such agent, or it \
            went away) or with INVALID_ARGUMENT (several agents and no x-tunnel-target).\n\nPlain \
            HTTP/2 with prior knowledge only: no TLS and no authentication yet, so whoever reaches \
            the port can call, and can be an agent.",
        after_help = EXIT_CODES
    )]
    Gateway(GatewayArgs),
    /// Connect to a gateway, and pass the calls that come from it to a local server
    #[command(
        long_about = "Connect to a gateway, and pass the calls that come from it to a local gRPC \
            server.\n\nCalls go to the local server as raw bytes over one HTTP/2 connection. \
            While the local server is down they end with UNAVAILABLE, and the tunnel stays. When \
            the gateway goes away the agent connects anew, after a pause that grows and is never \
            the same for two agents.\n\nPlain HTTP/2 with prior knowledge only, on both sides: no \
            TLS yet.",
        after_help = EXIT_CODES
    )]
    Agent(AgentArgs),
}

/// The command line of `grpctunnel demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Size of the upload, in MiB
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=4096)
    )]
    pub upload: u32,
}

/// The command line of `grpctunnel gateway`.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// Where to listen, as HOST:PORT; port 0 takes a free one
    ///
    /// The address is printed on stdout as `listening on ADDR`.
    #[arg(long, value_name = "ADDR")]
    pub listen: String,
    /// What a first Ctrl-C or SIGTERM leaves to the calls that are open.
    #[command(flatten)]
    pub drain: DrainArgs,
}

/// The command line of `grpctunnel agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// The gateway, as http://HOST:PORT
    ///
    /// Once the agent can be called, `connected to URL as NAME` is printed on stdout.
    #[arg(long, value_name = "URL")]
    pub gateway: Origin,
    /// The name that callers give as x-tunnel-target
    #[arg(long)]
    pub name: Name,
    /// The local gRPC server, as http://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub local: Origin,
    /// The longest pause before connecting anew, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub retry_limit: u64,
    /// What a first Ctrl-C or SIGTERM leaves to the calls that are open.
    #[command(flatten)]
    pub drain: DrainArgs,
}

/// The option that `gateway` and `agent` share.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// How long open calls may go on after Ctrl-C or SIGTERM, in seconds
    ///
    /// New calls are refused meanwhile. A second signal ends the open ones at once.
    #[arg(
        long = "drain-limit",
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(0..=86_400)
    )]
    pub seconds: u64,
}

impl DrainArgs {
    /// The limit as a duration.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn agent_takes_its_three_values() {
        let line = "grpctunnel agent --gateway http://gw:9 --name pi --local http://[::1]:50051";
        let Command::Agent(agent) = parse(line).unwrap().command else {
            panic!("another command");
        };
        assert_eq!(agent.gateway.to_string(), "http://gw:9");
        assert_eq!(agent.name.as_str(), "pi");
        assert_eq!(agent.local.to_string(), "http://[::1]:50051");
        assert_eq!(agent.drain.limit(), Duration::from_secs(30));
    }

    #[test]
    fn a_wrong_value_names_the_option_and_what_is_expected() {
        let line = "grpctunnel agent --gateway https://gw:9 --name pi --local http://h:1";
        let error = parse(line).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("--gateway"), "{text}");
        assert!(text.contains("http://HOST:PORT"), "{text}");
    }

    #[test]
    fn a_missing_option_is_named() {
        let text = parse("grpctunnel gateway").unwrap_err().to_string();
        assert!(text.contains("--listen <ADDR>"), "{text}");
    }
}
