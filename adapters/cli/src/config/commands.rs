//! `grpctunnel config`: check, show, example.

use std::{
    ffi::OsString,
    fmt::Write,
    path::{Path, PathBuf},
};

use super::{
    ConfigError, SECTIONS, Source, definition,
    file::{File, key_of},
    is_list, parse,
};
use crate::args::Command;

/// Reads a configuration and every file that it names. Says which sections it has.
///
/// # Errors
///
/// What is wrong first.
pub fn check(path: &Path) -> Result<Vec<&'static str>, ConfigError> {
    let sections: Vec<_> = File::read(path, &definition())?.sections().collect();
    for section in &sections {
        let line = [
            "grpctunnel".into(),
            "--config".into(),
            path.into(),
            section.into(),
        ];
        let line: [OsString; 4] = line;
        let failed = |why: String| ConfigError::new(format!("{}: {why}", path.display()));
        match parse(line)?.cli.command {
            Command::Gateway(args) => {
                let checked = args.settings().trust.check();
                checked.map_err(|error| failed(error.to_string()))?;
            }
            Command::Agent(args) => {
                let loaded = args.settings().load();
                loaded.map_err(|error| failed(error.to_string()))?;
            }
            Command::Dial(args) => {
                let loaded = args.settings().load();
                loaded.map_err(|error| failed(error.to_string()))?;
            }
            Command::Forward(args) => {
                let loaded = args.settings().load();
                loaded.map_err(|error| failed(error.to_string()))?;
            }
            _ => {}
        }
    }
    Ok(sections)
}

/// What a command would have for its options, as TOML, each with where it comes from.
///
/// # Errors
///
/// When there is no such command, or when the configuration is wrong.
pub fn show(path: Option<PathBuf>, command: &str) -> Result<String, ConfigError> {
    if !SECTIONS.contains(&command) {
        let known = SECTIONS.join(", ");
        return Err(ConfigError::new(format!(
            "there is no configuration of {command}; expected one of {known}"
        )));
    }
    let mut line: Vec<OsString> = vec!["grpctunnel".into()];
    if let Some(path) = path {
        line.extend(["--config".into(), path.into_os_string()]);
    }
    line.push(command.into());
    let parsed = parse(line)?;
    let mut text = format!("[{command}]\n");
    for (key, setting) in &parsed.settings {
        let comment = if setting.values.is_empty() { "# " } else { "" };
        let arg = definition();
        let arg = arg.find_subcommand(command);
        let arg = arg.and_then(|command| {
            let mut args = command.get_arguments();
            args.find(|arg| arg.get_long() == Some(key)).cloned()
        });
        let value = toml(arg.as_ref(), key, &setting.values);
        // Writing to a string does not fail.
        let _ = match setting.source {
            Source::Default if setting.values.is_empty() => writeln!(text, "{comment}{key} = "),
            source => writeln!(text, "{comment}{key} = {value} # {source}"),
        };
    }
    Ok(text)
}

/// The values of an option as TOML.
fn toml(arg: Option<&clap::Arg>, key: &str, values: &[String]) -> String {
    let quoted = |value: &String| {
        let value = match key {
            "proxy" => masked(value),
            _ => value.clone(),
        };
        let is_plain = value == "true" || value == "false" || value.parse::<u64>().is_ok();
        match is_plain {
            true => value,
            false => toml::Value::String(value).to_string(),
        }
    };
    let values: Vec<_> = values.iter().map(quoted).collect();
    match (values.as_slice(), arg.is_some_and(is_list)) {
        ([value], false) => value.clone(),
        _ => format!("[{}]", values.join(", ")),
    }
}

/// The URL of a proxy without its password.
fn masked(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, server))) => format!("{scheme}://***@{server}"),
        _ => url.to_owned(),
    }
}

/// A configuration with every key in it, each with what it means and commented out.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(
        "# The configuration of grpctunnel. Keys are the options of the command line; each is also\n\
         # an environment variable, as GRPCTUNNEL_LISTEN. The command line counts more than the\n\
         # environment, and that more than this file. Files are looked for beside this one.\n",
    );
    let definition = definition();
    for section in SECTIONS {
        let _ = writeln!(text, "\n[{section}]");
        let command = definition.find_subcommand(section);
        for arg in command.into_iter().flat_map(clap::Command::get_arguments) {
            let Some(key) = key_of(arg) else {
                continue;
            };
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
            let _ = writeln!(text, "\n# {help}");
            let _ = writeln!(text, "#{key} = {}", sample(key, arg));
        }
    }
    text
}

/// A value that an option may have: its default, or an example.
fn sample(key: &str, arg: &clap::Arg) -> String {
    let default = arg.get_default_values().first();
    if let Some(default) = default {
        let default = default.to_string_lossy();
        return match default.parse::<u64>() {
            Ok(number) => number.to_string(),
            Err(_) => format!("\"{default}\""),
        };
    }
    if matches!(arg.get_action(), clap::ArgAction::SetTrue) {
        return "false".to_owned();
    }
    let name = arg.get_value_names().and_then(|names| names.first());
    if name.is_some_and(|name| matches!(name.as_str(), "COUNT" | "SECONDS" | "MIB")) {
        return "3".to_owned();
    }
    let value = match (key, name.map_or("", |name| name.as_str())) {
        ("local", _) => "http://127.0.0.1:50051",
        ("allow", _) => "token:home serve home",
        ("limit", _) => "* calls=100 rate=50 burst=200",
        ("serve", _) => "home=http://127.0.0.1:50051",
        ("route", _) => "shop.Cart=home",
        ("retry", _) => "shop.Cart codes=UNAVAILABLE attempts=3",
        ("proxy", _) => "http://proxy:3128",
        ("suffix", _) => "tun.example.com",
        (_, "FILE") => "some.file",
        (_, "URL") => "https://gateway.example.com:7443",
        (_, "ADDR") => "127.0.0.1:7000",
        (_, "AUTHORITY" | "HOST") => "gateway.example.com",
        _ => "home",
    };
    match is_list(arg) {
        true => format!("[\"{value}\"]"),
        false => format!("\"{value}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_example_is_one_and_has_a_value_of_its_kind() {
        let directory = tempfile::tempdir().unwrap();
        for section in SECTIONS {
            let text = example();
            let of_section = text
                .lines()
                .skip_while(|line| *line != format!("[{section}]"));
            let of_section = of_section.skip(1).take_while(|line| !line.starts_with('['));
            let keys = of_section.filter_map(|line| line.strip_prefix('#'));
            let keys = keys.filter(|line| !line.starts_with(' '));
            let text = format!("[{section}]\n{}\n", keys.collect::<Vec<_>>().join("\n"));
            let path = directory.path().join(section);
            std::fs::write(&path, text).unwrap();
            let line: [OsString; 4] = [
                "grpctunnel".into(),
                "--config".into(),
                path.into(),
                section.into(),
            ];
            let parsed = parse(line).unwrap_or_else(|error| panic!("{section}: {error}"));
            let of_file = |setting: &&super::super::Setting| setting.source == Source::File;
            assert!(
                parsed.settings.values().filter(of_file).count() > 5,
                "{section}"
            );
        }
    }
}
