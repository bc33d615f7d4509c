//! The file itself.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{SECTIONS, is_list};
use crate::tls::{FileError, read_text};

/// A file that was read, and whose keys are known.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    sections: Table,
}

/// What is wrong with a file.
#[derive(Debug)]
pub(super) enum Wrong {
    /// It cannot be read.
    File(FileError),
    /// It is no TOML.
    Toml {
        path: PathBuf,
        line: usize,
        why: String,
    },
    /// A section or a key is unknown; the nearest known one.
    Unknown {
        path: PathBuf,
        key: String,
        nearest: Option<String>,
    },
    /// A value is of another kind.
    Kind {
        path: PathBuf,
        key: String,
        expected: &'static str,
    },
}

impl From<FileError> for Wrong {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Toml { path, line, why } => {
                write!(f, "{}, line {line}: not TOML: {why}", path.display())
            }
            Self::Unknown { path, key, nearest } => {
                write!(f, "{}: unknown key {key}", path.display())?;
                match nearest {
                    Some(nearest) => write!(f, "; is {nearest} meant?"),
                    None => f.write_str("; `grpctunnel config example` shows them all"),
                }
            }
            Self::Kind {
                path,
                key,
                expected,
            } => write!(f, "{}: {key}: expected {expected}", path.display()),
        }
    }
}

impl File {
    /// Reads a file, and refuses keys that no command has.
    pub(super) fn read(path: &Path, definition: &clap::Command) -> Result<Self, Wrong> {
        let text = read_text(path)?;
        let parsed = text.parse::<Table>().map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            Wrong::Toml {
                path: path.to_owned(),
                line: before.unwrap_or_default().matches('\n').count() + 1,
                why: error.message().lines().collect::<Vec<_>>().join(" "),
            }
        });
        let file = Self {
            path: path.to_owned(),
            sections: parsed?,
        };
        for (section, keys) in &file.sections {
            let Some(command) = command(definition, section) else {
                return Err(file.unknown(section, &SECTIONS));
            };
            let Value::Table(keys) = keys else {
                return Err(file.kind(section, "a section, as [gateway]"));
            };
            let known: Vec<_> = command.get_arguments().filter_map(key_of).collect();
            let stranger = keys.keys().find(|key| !known.contains(&key.as_str()));
            if let Some(key) = stranger {
                let known: Vec<_> = known.iter().map(|key| format!("{section}.{key}")).collect();
                let known: Vec<_> = known.iter().map(String::as_str).collect();
                return Err(file.unknown(&format!("{section}.{key}"), &known));
            }
        }
        Ok(file)
    }

    /// The sections that it has.
    pub(super) fn sections(&self) -> impl Iterator<Item = &'static str> {
        let has = |section: &&str| self.sections.contains_key(*section);
        SECTIONS.into_iter().filter(has)
    }

    /// What a section adds to the options of a command: all that it has, and that is not given
    /// elsewhere.
    pub(super) fn options(
        &self,
        section: &str,
        command: Option<&clap::Command>,
        is_given: impl Fn(&str) -> bool,
    ) -> Result<Vec<(String, Option<String>)>, Wrong> {
        let mut options = Vec::new();
        let (Some(Value::Table(keys)), Some(command)) = (self.sections.get(section), command)
        else {
            return Ok(options);
        };
        for (key, value) in keys {
            if is_given(key) {
                continue;
            }
            let arg = command.get_arguments().find(|arg| key_of(arg) == Some(key));
            let Some(arg) = arg else {
                continue;
            };
            let name = format!("{section}.{key}");
            let values = self.values(&name, value, arg)?;
            options.extend(values.into_iter().map(|value| (key.clone(), value)));
        }
        Ok(options)
    }

    fn values(
        &self,
        name: &str,
        value: &Value,
        arg: &clap::Arg,
    ) -> Result<Vec<Option<String>>, Wrong> {
        if matches!(arg.get_action(), clap::ArgAction::SetTrue) {
            return match value {
                Value::Boolean(true) => Ok(vec![None]),
                Value::Boolean(false) => Ok(Vec::new()),
                _ => Err(self.kind(name, "true or false")),
            };
        }
        let is_file = arg
            .get_value_names()
            .is_some_and(|names| names.iter().any(|name| name.as_str() == "FILE"));
        let one = |value: &Value, expected| match value {
            Value::String(text) if is_file => {
                let from = self.path.parent().unwrap_or(Path::new(""));
                Ok(Some(from.join(text).to_string_lossy().into_owned()))
            }
            Value::String(text) => Ok(Some(text.clone())),
            Value::Integer(number) => Ok(Some(number.to_string())),
            _ => Err(self.kind(name, expected)),
        };
        match value {
            Value::Array(values) if is_list(arg) => {
                let expected = "a list of texts";
                values.iter().map(|value| one(value, expected)).collect()
            }
            value if is_list(arg) => Ok(vec![one(value, "a text, or a list of texts")?]),
            value => Ok(vec![one(value, "a text or a number")?]),
        }
    }

    fn unknown(&self, key: &str, known: &[&str]) -> Wrong {
        let distance = |known: &&str| strsim::damerau_levenshtein(key, known);
        let nearest = known.iter().copied().min_by_key(distance);
        // A third of it may be wrong; beyond that it is another word.
        let is_near = |known: &&str| distance(known) * 3 <= known.len();
        Wrong::Unknown {
            path: self.path.clone(),
            key: key.to_owned(),
            nearest: nearest.filter(is_near).map(str::to_owned),
        }
    }

    fn kind(&self, key: &str, expected: &'static str) -> Wrong {
        Wrong::Kind {
            path: self.path.clone(),
            key: key.to_owned(),
            expected,
        }
    }
}

fn command<'d>(definition: &'d clap::Command, section: &str) -> Option<&'d clap::Command> {
    let is_section = SECTIONS.contains(&section);
    definition.find_subcommand(section).filter(|_| is_section)
}

/// The key of an option; none for those that make no sense in a file.
pub(super) fn key_of(arg: &clap::Arg) -> Option<&str> {
    let key = arg.get_long();
    key.filter(|key| !matches!(*key, "config" | "help" | "version"))
}
