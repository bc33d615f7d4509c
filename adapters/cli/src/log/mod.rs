//! Log lines: what happens, on stderr, for people or for programs.
//!
//! A line has a time, a level, a fixed text, and fields. Whatever a peer chose stands in a field,
//! where control characters, line ends and characters that change the direction of text are escaped.
//! The lines that peers can cause at will, those of failed calls and of refusals, are limited to
//! 20 a second each; the next line of the kind says how many were left out.

mod events;
mod human;
mod limit;
mod printable;
#[cfg(test)]
mod tests;

use std::{fmt, io, sync::OnceLock};

pub use tracing::Level;
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{MakeWriter, layer},
    layer::SubscriberExt,
    registry::LookupSpan,
};

pub use self::events::{agent, dial, gateway, reloaded};

/// How lines are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Their form.
    pub format: Format,
    /// Lines of lower levels are left out.
    pub level: Level,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `TIME LEVEL text name="value"`.
    Human,
    /// A JSON object with `timestamp`, `level`, `message`, and the fields.
    Json,
}

/// Libraries below log for those who debug them.
const OWN: &str = "grpctunnel_cli";

static FORMAT: OnceLock<Format> = OnceLock::new();

/// Logs to stderr from now on. The first call counts; it also loses to a subscriber that the program
/// has already.
pub fn init(settings: LogSettings) {
    let subscriber = Registry::default().with(lines(settings, io::stderr));
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        // Nobody else sets it.
        let _ = FORMAT.set(settings.format);
    }
}

/// What writes lines.
fn lines<W, S>(settings: LogSettings, writer: W) -> impl Layer<S>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    S: tracing::Subscriber + for<'s> LookupSpan<'s>,
{
    let own = Targets::new().with_target(OWN, settings.level);
    let lines = match settings.format {
        Format::Human => layer()
            .event_format(human::Human)
            .with_writer(writer)
            .boxed(),
        Format::Json => layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_target(false)
            .with_writer(printable::Printable(writer))
            .boxed(),
    };
    lines.with_filter(own)
}

/// Tells why the program ends. People find it behind the program's name, also where nothing is
/// logged.
pub fn error(why: impl fmt::Display) {
    match FORMAT.get() {
        Some(Format::Json) => tracing::error!("{}", OneLine(&why.to_string())),
        _ => {
            use io::Write;
            // That nobody reads it is no reason to stop.
            let _ = writeln!(io::stderr(), "grpctunnel: error: {why}");
        }
    }
}

/// Tells what the program itself does.
pub fn info(what: impl fmt::Display) {
    tracing::info!("{}", OneLine(&what.to_string()));
}

/// Tells what does not work.
pub fn warn(what: impl fmt::Display) {
    tracing::warn!("{}", OneLine(&what.to_string()));
}

/// A text in one line: what is not printable, or changes the direction of text, is escaped.
pub(crate) struct OneLine<'t>(pub(crate) &'t str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for letter in self.0.chars() {
            match letter {
                '"' | '\'' => f.write_char(letter)?,
                letter => write!(f, "{}", letter.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// The most characters of a text that a peer chose.
const LONGEST: usize = 256;

/// The beginning of a text that a peer chose.
fn short(text: &str) -> &str {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    }
}
