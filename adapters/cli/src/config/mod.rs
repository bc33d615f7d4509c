//! The configuration: one TOML file whose keys are the options of the command line.
//!
//! What a file says becomes options that stand in front of those of the command line, where neither
//! that nor the environment gives them. So a key means what its option means, and is checked by the
//! same code.

mod commands;
mod file;
mod reload;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};

use clap::{
    ArgMatches, CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

pub use self::commands::{check, example, show};
use self::file::{File, Wrong};
pub use self::reload::{Reload, Reloaded};
use crate::args::Cli;

/// What begins the name of each environment variable that stands for an option.
const PREFIX: &str = "GRPCTUNNEL_";
/// The commands that have a section.
const SECTIONS: [&str; 4] = ["gateway", "agent", "dial", "forward"];
/// The commands that read the section of another one, as far as they have its options.
const READERS: [(&str, &str); 1] = [("check", "agent")];

/// The section that a command reads.
fn section_of(command: &str) -> Option<&str> {
    let reader = READERS.iter().find(|(reader, _)| *reader == command);
    let section = reader.map_or(command, |(_, section)| section);
    SECTIONS.contains(&section).then_some(section)
}

/// Where the value of an option comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    CommandLine,
    /// An environment variable.
    Environment,
    /// The file.
    File,
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandLine => "command line",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// The values of an option, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The values, as text.
    pub values: Vec<String>,
    /// Where they come from.
    pub source: Source,
}

/// A command line, with what the environment and the file add to it.
#[derive(Debug)]
pub struct Parsed {
    /// The command line.
    pub cli: Cli,
    /// The options of the command, by their keys.
    pub settings: BTreeMap<String, Setting>,
    /// The file.
    pub file: Option<PathBuf>,
}

/// Why a command line or a configuration cannot be used: one line.
#[derive(Debug)]
pub struct ConfigError {
    text: String,
    /// Help and version are no errors, and go to stdout as they are.
    shown: Option<clap::Error>,
}

impl ConfigError {
    fn new(text: String) -> Self {
        Self { text, shown: None }
    }

    /// The help or the version that was asked for.
    #[must_use]
    pub const fn shown(&self) -> Option<&clap::Error> {
        self.shown.as_ref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ConfigError {}

impl From<Wrong> for ConfigError {
    fn from(wrong: Wrong) -> Self {
        Self::new(wrong.to_string())
    }
}

/// The definition of the command line, with an environment variable for each option.
fn definition() -> clap::Command {
    Cli::command()
        .mut_subcommands(|command| match section_of(command.get_name()) {
            Some(_) => command.mut_args(with_variable),
            None => command,
        })
        .mut_args(with_variable)
}

fn with_variable(arg: clap::Arg) -> clap::Arg {
    let option = arg.get_long();
    let Some(option) = option.filter(|option| !matches!(*option, "help" | "version")) else {
        return arg;
    };
    let variable = variable(option);
    let is_list = is_list(&arg);
    let arg = arg.env(variable).hide_env(true);
    // A variable has one text; each of its lines is a value.
    match is_list {
        true => arg.value_delimiter('\n'),
        false => arg,
    }
}

fn is_list(arg: &clap::Arg) -> bool {
    matches!(arg.get_action(), clap::ArgAction::Append)
}

/// The environment variable of an option.
fn variable(option: &str) -> String {
    format!("{PREFIX}{}", option.to_uppercase().replace('-', "_"))
}

/// Reads a command line, the environment and the file that one of them names.
///
/// # Errors
///
/// When one of them is wrong, or asks for help.
pub fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Parsed, ConfigError> {
    let line: Vec<OsString> = line.into_iter().collect();
    let definition = definition();
    let place = command_of(&line);
    let command = place
        .and_then(|place| line.get(place))
        .and_then(|name| name.to_str());
    let command = command.and_then(|command| Some((command, section_of(command)?)));
    let path = config_of(&line).or_else(|| std::env::var_os(variable("config")).map(Into::into));
    let (Some(path), Some((command, section)), Some(place)) = (path, command, place) else {
        return finish(&definition, &line, &[], None);
    };
    let file = File::read(&path, &definition)?;
    let is_given = |key: &str| given(&line, key) || std::env::var_os(variable(key)).is_some();
    let command = definition.find_subcommand(command);
    let added = file.options(section, command, is_given)?;
    let mut whole = line;
    let options = added
        .iter()
        .map(|(key, value)| option(key, value.as_deref()));
    whole.splice(place + 1..place + 1, options);
    finish(&definition, &whole, &added, Some(path))
}

/// The options that a file adds: keys and their values; none for a switch.
type Added = [(String, Option<String>)];

fn option(key: &str, value: Option<&str>) -> OsString {
    match value {
        Some(value) => format!("--{key}={value}").into(),
        None => format!("--{key}").into(),
    }
}

fn finish(
    definition: &clap::Command,
    line: &[OsString],
    added: &Added,
    path: Option<PathBuf>,
) -> Result<Parsed, ConfigError> {
    let matches = definition.clone().try_get_matches_from(line);
    let matches = matches.map_err(|error| told(error, added, path.as_deref()))?;
    let settings = matches
        .subcommand()
        .filter(|(name, _)| SECTIONS.contains(name))
        .and_then(|(name, matches)| Some((definition.find_subcommand(name)?, matches)))
        .map(|(command, matches)| settings(command, matches, added))
        .unwrap_or_default();
    let cli = Cli::from_arg_matches(&matches);
    let cli = cli.map_err(|error| told(error, added, path.as_deref()))?;
    Ok(Parsed {
        cli,
        settings,
        file: path,
    })
}

fn settings(
    command: &clap::Command,
    matches: &ArgMatches,
    added: &Added,
) -> BTreeMap<String, Setting> {
    let options = command.get_arguments().filter_map(|arg| {
        let key = arg.get_long().filter(|key| *key != "config")?;
        let id = arg.get_id().as_str();
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) if added.iter().any(|(added, _)| added == key) => {
                Source::File
            }
            Some(ValueSource::CommandLine) => Source::CommandLine,
            Some(ValueSource::EnvVariable) => Source::Environment,
            _ => Source::Default,
        };
        let is_switch = matches!(arg.get_action(), clap::ArgAction::SetTrue);
        let values = match is_switch {
            true => vec![matches.get_flag(id).to_string()],
            false => {
                let values = matches.get_raw(id).into_iter().flatten();
                values
                    .map(|value| value.to_string_lossy().into_owned())
                    .collect()
            }
        };
        Some((key.to_owned(), Setting { values, source }))
    });
    options.collect()
}

/// The place of the command in a command line.
fn command_of(line: &[OsString]) -> Option<usize> {
    let mut place = 1;
    loop {
        let word = line.get(place)?;
        match word.to_str() {
            Some("--config") => place += 2,
            Some(option) if option.starts_with('-') => place += 1,
            _ => return Some(place),
        }
    }
}

/// The file that a command line names.
fn config_of(line: &[OsString]) -> Option<PathBuf> {
    let place = line.iter().position(|word| is_option(word, "config"))?;
    let word = line.get(place)?.to_str()?;
    match word.split_once('=') {
        Some((_, path)) => Some(path.into()),
        None => line.get(place + 1).map(PathBuf::from),
    }
}

fn given(line: &[OsString], key: &str) -> bool {
    line.iter().any(|word| is_option(word, key))
}

fn is_option(word: &OsStr, key: &str) -> bool {
    let rest = word.to_str().and_then(|word| word.strip_prefix("--"));
    let rest = rest.and_then(|rest| rest.strip_prefix(key));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// What is wrong, in one line, and in which file if it is one's.
fn told(error: clap::Error, added: &Added, path: Option<&Path>) -> ConfigError {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    {
        return ConfigError {
            text: String::new(),
            shown: Some(error),
        };
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let (mut what, mut rest) = (Vec::new(), text.lines());
    for line in rest.by_ref() {
        let line = line.trim();
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        if !line.is_empty() {
            what.push(line);
        }
    }
    let text = what.join("; ").replace(":; ", ": ");
    let option = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) => option.split_whitespace().next(),
        _ => None,
    };
    let key = option.and_then(|option| option.strip_prefix("--"));
    let is_of_file = key.is_some_and(|key| added.iter().any(|(added, _)| added == key));
    let text = match path.filter(|_| is_of_file) {
        Some(path) => format!("{}: {text}", path.display()),
        None => format!("{text}; see grpctunnel --help"),
    };
    ConfigError::new(text)
}
