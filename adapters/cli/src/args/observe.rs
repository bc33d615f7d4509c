//! Options by which a command tells what it does.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::trust::token;
use crate::log::{Format, Level, LogSettings};
use crate::{address::Address, admin::AdminSettings, tls::ServerFiles};

/// The environment variable that holds the token of the admin port.
pub(super) const ADMIN_TOKEN: &str = "GRPCTUNNEL_ADMIN_TOKEN";

/// What a command tells of itself.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Observation")]
pub struct ObserveArgs {
    /// The form of log lines, which go to stderr
    #[arg(long, value_name = "FORM", default_value = "human")]
    pub log: LogForm,
    /// The least level of log lines
    ///
    /// `warn` leaves out what comes and goes, and calls that ended as their servers wanted.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
    /// The admin port: a page, /metrics, /healthz, /ready and /tunnels [default: none]
    ///
    /// Its address is printed on stdout as `admin on ADDR`. Beyond loopback and unix:PATH it needs
    /// TLS and a token.
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<Address>,
    /// The certificate of the admin port, as PEM: it speaks TLS
    #[arg(
        long,
        value_name = "FILE",
        requires = "admin_tls_key",
        requires = "admin"
    )]
    pub admin_tls_cert: Option<PathBuf>,
    /// The private key of --admin-tls-cert, as PEM
    #[arg(long, value_name = "FILE", requires = "admin_tls_cert")]
    pub admin_tls_key: Option<PathBuf>,
    /// The file with the token that the admin port wants; nothing can be changed there without
    ///
    /// It holds the token and nothing else. The variable GRPCTUNNEL_ADMIN_TOKEN holds the same text.
    #[arg(long, value_name = "FILE", requires = "admin")]
    pub admin_token_file: Option<PathBuf>,
    /// A name by which browsers reach the admin port; may be repeated
    ///
    /// Addresses and localhost need not be given.
    #[arg(long, value_name = "HOST", requires = "admin")]
    pub admin_host: Vec<String>,
}

impl ObserveArgs {
    /// The admin port, if there is to be one.
    #[must_use]
    pub fn admin(&self) -> Option<AdminSettings> {
        let files = self.admin_tls_cert.clone().zip(self.admin_tls_key.clone());
        let mut settings = AdminSettings::new(self.admin.clone()?);
        settings.tls = files.map(|(cert, key)| ServerFiles::new(cert, key));
        settings.token = token(self.admin_token_file.clone(), ADMIN_TOKEN);
        settings.hosts.clone_from(&self.admin_host);
        Some(settings)
    }

    /// How lines are logged.
    #[must_use]
    pub const fn log(&self) -> LogSettings {
        LogSettings {
            format: match self.log {
                LogForm::Human => Format::Human,
                LogForm::Json => Format::Json,
            },
            level: match self.log_level {
                LogLevel::Error => Level::ERROR,
                LogLevel::Warn => Level::WARN,
                LogLevel::Info => Level::INFO,
                LogLevel::Debug => Level::DEBUG,
            },
        }
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    /// For people: the time, the level, a sentence, and what it is about.
    Human,
    /// For programs: a JSON object in each line.
    Json,
}

/// The level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// The command cannot go on.
    Error,
    /// Something does not work, here or at the other end.
    Warn,
    /// What happens.
    Info,
    /// Details.
    Debug,
}
