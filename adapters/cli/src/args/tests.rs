//! Command lines, and what is said of wrong ones.

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
    let agent = agent.settings().agent;
    assert_eq!(agent.gateways, ["http://gw:9".parse().unwrap()]);
    assert_eq!(agent.served, [served("pi=http://[::1]:50051").unwrap()]);
    assert_eq!(agent.drain_limit, Duration::from_secs(30));
}

#[test]
fn an_agent_serves_several_servers_at_several_gateways() {
    let line = "grpctunnel agent --gateway http://a:1 --gateway http://b:2 \
        --serve one=http://h:1 --serve two=unix:/run/two.sock";
    let Command::Agent(agent) = parse(line).unwrap().command else {
        panic!("another command");
    };
    let agent = agent.settings().agent;
    assert_eq!(agent.gateways.len(), 2);
    let names = agent.served.iter().map(|served| served.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["one", "two"]);
    for bad in [
        "grpctunnel agent --gateway http://a:1",
        "grpctunnel agent --gateway http://a:1 --name n",
        "grpctunnel agent --gateway http://a:1 --local http://h:1",
        "grpctunnel agent --gateway http://a:1 --serve http://h:1",
        "grpctunnel agent --name n --local http://h:1",
    ] {
        assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad}");
    }
}

#[test]
fn a_slip_in_the_address_names_what_is_expected() {
    for bad in ["7000", "localhost", "http://h:1", "::1:7000"] {
        let error = parse(&format!("grpctunnel gateway --listen {bad}")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("HOST:PORT"), "{error}");
    }
}

#[test]
fn a_wrong_value_names_the_option_and_what_is_expected() {
    let line = "grpctunnel agent --gateway ftp://gw:9 --name pi --local http://h:1";
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
