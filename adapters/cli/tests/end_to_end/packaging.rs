//! What is shipped beside the program: each file is read as what it is, and every command line in
//! it is one that the program takes.

use std::{collections::BTreeMap, path::Path, time::Duration};

use grpctunnel_cli::{
    args::{Command, InitArgs},
    config, init,
};
use tempfile::TempDir;
use yaml_rust2::{Yaml, YamlLoader};

use crate::{
    program::program,
    support::{Tested, bounded},
};

const GATEWAY: &str = include_str!("../../packaging/systemd/grpctunnel-gateway.service");
const AGENT: &str = include_str!("../../packaging/systemd/grpctunnel-agent.service");
const SOCKET: &str = include_str!("../../packaging/systemd/grpctunnel-gateway.socket");
const USERS: &str = include_str!("../../packaging/systemd/grpctunnel.sysusers");
const CONTAINER: &str = include_str!("../../packaging/Containerfile");
const KUBERNETES: &str = include_str!("../../packaging/kubernetes.yaml");

/// Where the packages expect the configuration.
const CONFIGURATION: &str = "/etc/grpctunnel/";

/// A configuration as `grpctunnel init` writes it, which stands for the one in `/etc`.
struct Home(TempDir);

impl Home {
    fn new() -> Tested<Self> {
        let dir = tempfile::tempdir()?;
        init::init(&InitArgs {
            dir: dir.path().to_owned(),
            host: vec!["gateway.example.com".to_owned()],
            name: "home".parse()?,
        })?;
        Ok(Self(dir))
    }

    /// Reads the arguments of a command line, files included, and gives the longest time that the
    /// command takes to end.
    fn read<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Tested<Duration> {
        let home = format!("{}/", self.0.path().display());
        let arguments = arguments
            .into_iter()
            .map(|argument| argument.replace(CONFIGURATION, &home).into());
        let line = std::iter::once("grpctunnel".into()).chain(arguments);
        match config::parse(line)?.cli.command {
            Command::Gateway(args) => {
                let delay = args.delay.delay();
                let settings = args.settings();
                settings.trust.check()?;
                Ok(delay + settings.drain_limit)
            }
            Command::Agent(args) => Ok(args.settings().load()?.drain_limit),
            _ => Err("another command".into()),
        }
    }
}

/// The keys of a unit, by section.
fn unit(text: &str) -> Tested<BTreeMap<(String, String), Vec<String>>> {
    let mut keys: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let mut section = None;
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            continue;
        }
        let title = line.strip_prefix('[');
        if let Some(title) = title.and_then(|title| title.strip_suffix(']')) {
            section = Some(title.to_owned());
            continue;
        }
        let (key, value) = line.split_once('=').ok_or(format!("no key: {line}"))?;
        let section = section.clone().ok_or(format!("before a section: {line}"))?;
        let values = keys.entry((section, key.to_owned())).or_default();
        values.push(value.to_owned());
    }
    Ok(keys)
}

type Unit = BTreeMap<(String, String), Vec<String>>;

fn key<'u>(unit: &'u Unit, section: &str, key: &str) -> Tested<&'u str> {
    let values = unit.get(&(section.to_owned(), key.to_owned()));
    match values.map(Vec::as_slice) {
        Some([value]) => Ok(value),
        _ => Err(format!("{key} is not there once").into()),
    }
}

#[test]
fn units_start_the_program_and_leave_it_the_time_to_drain() -> Tested {
    let home = Home::new()?;
    for (text, codes) in [(GATEWAY, "2"), (AGENT, "2 4")] {
        let unit = unit(text)?;
        let started = key(&unit, "Service", "ExecStart")?;
        let arguments = started.strip_prefix("/usr/bin/grpctunnel ");
        let ends = home.read(arguments.ok_or("another program")?.split(' '))?;
        let stops = Duration::from_secs(key(&unit, "Service", "TimeoutStopSec")?.parse()?);
        assert!(stops > ends, "{stops:?} for {ends:?}");
        assert_eq!(key(&unit, "Service", "Type")?, "notify");
        assert_eq!(key(&unit, "Service", "SuccessExitStatus")?, "3");
        assert_eq!(key(&unit, "Service", "RestartPreventExitStatus")?, codes);
        let user = key(&unit, "Service", "User")?;
        assert!(USERS.starts_with(&format!("u {user} ")), "{user}");
    }
    Ok(())
}

#[test]
fn the_socket_is_the_one_that_the_gateway_listens_on() -> Tested {
    let socket = unit(SOCKET)?;
    let port = key(&socket, "Socket", "ListenStream")?;
    let home = Home::new()?;
    let text = std::fs::read_to_string(home.0.path().join("grpctunnel.toml"))?;
    assert!(text.contains(&format!("listen = \":{port}\"\n")), "{text}");
    Ok(())
}

#[test]
fn the_container_builds_this_package_and_starts_this_program() -> Tested {
    let known = [
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "EXPOSE",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    ];
    let mut lines = CONTAINER
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let instruction = |line: &'static str| line.split_once(' ').ok_or("no instruction");
    let instructions: Vec<_> = lines.by_ref().map(instruction).collect::<Result<_, _>>()?;
    for (name, _) in &instructions {
        assert!(known.contains(name), "{name}");
    }
    let all = |wanted: &str| {
        let found = instructions.iter().filter(move |(name, _)| *name == wanted);
        found.map(|(_, rest)| *rest).collect::<Vec<_>>()
    };
    let from = all("FROM");
    let base = from.first().ok_or("no base")?;
    assert!(
        base.contains(&format!("rust:{}", env!("CARGO_PKG_RUST_VERSION"))),
        "{base}"
    );
    let stage = base.rsplit_once(" AS ").ok_or("no name")?.1;
    let run = all("RUN").join("\n");
    assert!(
        run.contains(&format!("-p {} ", env!("CARGO_PKG_NAME")))
            || run.ends_with(env!("CARGO_PKG_NAME")),
        "{run}"
    );
    let copied = all("COPY");
    let program = copied
        .iter()
        .find_map(|copy| copy.strip_prefix(&format!("--from={stage} ")))
        .and_then(|copy| copy.split_once(' '))
        .ok_or("the program is not copied")?;
    assert!(
        program.0.ends_with("/target/release/grpctunnel"),
        "{program:?}"
    );
    let entry: Vec<String> = serde_json::from_str(all("ENTRYPOINT").first().ok_or("none")?)?;
    assert_eq!(entry, [program.1]);
    let default: Vec<String> = serde_json::from_str(all("CMD").first().ok_or("none")?)?;
    assert_eq!(default, ["--help"]);
    Ok(())
}

fn text(yaml: &Yaml) -> Tested<&str> {
    Ok(yaml.as_str().ok_or("no text")?)
}

fn list(yaml: &Yaml) -> &[Yaml] {
    yaml.as_vec().map_or(&[], Vec::as_slice)
}

/// Whether one of these has this name.
fn named(all: &Yaml, name: &Yaml) -> bool {
    !name.is_badvalue() && list(all).iter().any(|one| one["name"] == *name)
}

#[test]
fn kubernetes_starts_the_program_and_leaves_it_the_time_to_drain() -> Tested {
    let home = Home::new()?;
    let documents = YamlLoader::load_from_str(KUBERNETES)?;
    let of_kind = |kind| {
        documents
            .iter()
            .filter(move |one| one["kind"].as_str() == Some(kind))
    };
    let mut labels = Vec::new();
    for deployment in of_kind("Deployment") {
        let template = &deployment["spec"]["template"];
        let (pod, label) = (&template["spec"], &template["metadata"]["labels"]);
        assert_eq!(deployment["spec"]["selector"]["matchLabels"], *label);
        labels.push(label);
        let grace = pod["terminationGracePeriodSeconds"].as_i64();
        let grace = Duration::from_secs(u64::try_from(grace.ok_or("no grace")?)?);
        for container in list(&pod["containers"]) {
            let arguments = list(&container["args"]).iter().map(text);
            let ends = home.read(arguments.collect::<Tested<Vec<_>>>()?)?;
            assert!(grace > ends, "{grace:?} for {ends:?}");
            for mount in list(&container["volumeMounts"]) {
                assert!(named(&pod["volumes"], &mount["name"]), "{mount:?}");
                assert_eq!(format!("{}/", text(&mount["mountPath"])?), CONFIGURATION);
            }
            for probe in ["readinessProbe", "livenessProbe"] {
                let probe = &container[probe];
                for port in [&probe["httpGet"]["port"], &probe["tcpSocket"]["port"]] {
                    assert!(
                        port.is_badvalue() || named(&container["ports"], port),
                        "{port:?}"
                    );
                }
                let command = list(&probe["exec"]["command"]).iter().map(text);
                let command = command.collect::<Tested<Vec<_>>>()?;
                if let [path, asks @ ..] = &*command {
                    assert_eq!(*path, "/usr/bin/grpctunnel");
                    let line = [path].into_iter().chain(asks).map(Into::into);
                    let Command::Ls(_) = config::parse(line)?.cli.command else {
                        return Err(format!("another command: {asks:?}").into());
                    };
                    let admin = asks.last().ok_or("no admin port")?;
                    let arguments = list(&container["args"]);
                    let has = arguments.iter().any(|one| one.as_str() == Some(admin));
                    assert!(has, "{admin}");
                }
            }
        }
    }
    assert_eq!(labels.len(), 2, "a gateway and an agent");
    for service in of_kind("Service") {
        assert!(labels.contains(&&service["spec"]["selector"]));
    }
    assert_eq!(of_kind("Service").count(), 1);
    Ok(())
}

#[tokio::test]
async fn man_pages_and_completions_know_every_command_and_option() -> Tested {
    bounded(async {
        let home = tempfile::tempdir()?;
        let dir = home.path().join("man");
        let dir = dir.to_string_lossy();
        let output = program(&["man", &dir]).output().await?;
        let said = String::from_utf8(output.stderr)?;
        assert!(output.status.success(), "{said}");
        for (page, option) in [
            ("grpctunnel.1", "config"),
            ("grpctunnel-gateway.1", "drain"),
            ("grpctunnel-agent.1", "serve"),
            ("grpctunnel-config-show.1", "COMMAND"),
        ] {
            let page = std::fs::read_to_string(Path::new(&*dir).join(page))?;
            assert!(page.contains(".TH") && page.contains(option), "{page}");
        }
        let output = program(&["man"]).output().await?;
        assert!(String::from_utf8(output.stdout)?.contains(".TH grpctunnel 1"));
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let output = program(&["completions", shell]).output().await?;
            let script = String::from_utf8(output.stdout)?;
            assert!(script.contains("drain-delay"), "{shell}");
        }
        let output = program(&["completions", "tcsh"]).output().await?;
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8(output.stderr)?.contains("zsh"));
        Ok(())
    })
    .await
}
