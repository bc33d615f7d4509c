//! The admin port: what a command tells of itself over HTTP, and what it can be told.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | a page that shows the rest, and keeps itself up to date |
//! | `GET /healthz` | `{"status":"ok"}` while the process runs |
//! | `GET /ready` | 200 while new calls are wanted, else 503, with the reason: `{"ready":false,"why":"..."}` |
//! | `GET /tunnels` | the tunnels, as JSON: see [`Tunnel`] |
//! | `GET /metrics` | the metrics, in the text format of Prometheus: see [`crate::metrics::METRICS`] |
//! | `POST /tunnels/NAME/drain` | drains the tunnels of an agent, and takes no more of its name |
//! | `POST /tunnels/NAME/admit` | takes tunnels of the name again |
//!
//! HTTP/1.1 and HTTP/2 are spoken. The port is on loopback or a Unix socket, unless it has TLS and a
//! token. With a token everything but `/`, which shows nothing by itself, `/healthz` and `/ready`
//! needs `authorization: Bearer TOKEN`; changes always do. The `Host` of a request has to be an
//! address, `localhost` or a name that was given, so that no website can lend its own name to this
//! port; a change that a browser sends for another origin is refused.

mod allowed;
mod answer;
mod gateway;
mod page;
mod serve;
mod supervised;
mod tunnel;

use std::{fmt, sync::Arc};

pub(crate) use self::gateway::GatewayTunnels;
pub use self::supervised::Supervised;
pub use self::tunnel::{Drained, Tunnel, Tunnels, Way};
use self::{allowed::Allowed, serve::serve};
use crate::{
    address::Address,
    auth::{Secret, TokenSource},
    listener::{BindError, Endpoint, Listener, Protection},
    metrics::Recorder,
    name::Name,
    ready::Ready,
    stop::Stop,
    tls::{FileError, ServerFiles, ServerTls},
};

/// The settings of an admin port.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AdminSettings {
    /// Where it listens.
    pub listen: Address,
    /// TLS. Default: none.
    pub tls: Option<ServerFiles>,
    /// The token that has to be presented. Default: none; then nothing can be changed.
    pub token: Option<TokenSource>,
    /// Names by which browsers may reach it, beside addresses and `localhost`. Default: none.
    pub hosts: Vec<String>,
}

impl AdminSettings {
    /// The defaults, with this address.
    #[must_use]
    pub const fn new(listen: Address) -> Self {
        Self {
            listen,
            tls: None,
            token: None,
            hosts: Vec::new(),
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// When one cannot be read or used.
    pub fn check(&self) -> Result<(), FileError> {
        self.load().map(drop)
    }

    fn load(&self) -> Result<(Option<ServerTls>, Option<Secret>), FileError> {
        let tls = self.tls.as_ref().map(|tls| tls.load(false)).transpose()?;
        let token = self.token.as_ref().map(TokenSource::load).transpose()?;
        Ok((tls, token))
    }
}

/// Why nobody listens at an admin port.
#[derive(Debug)]
#[non_exhaustive]
pub enum AdminError {
    /// Other machines reach the address, and there is no TLS or no token.
    Exposed(Address),
    /// A file is wrong.
    File(FileError),
    /// The address cannot be listened on.
    Io(Address, std::io::Error),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exposed(address) => write!(
                f,
                "--admin {address} can be reached from other machines; add --admin-tls-cert, \
                 --admin-tls-key and --admin-token-file, or use 127.0.0.1:PORT or unix:PATH"
            ),
            Self::File(error) => error.fmt(f),
            Self::Io(address, error) => {
                let why = crate::words::io(error);
                write!(f, "cannot listen on --admin {address}: {why}")
            }
        }
    }
}

impl std::error::Error for AdminError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Exposed(_) => None,
            Self::File(error) => Some(error),
            Self::Io(_, error) => Some(error),
        }
    }
}

type Told<T> = Arc<dyn Fn() -> T + Send + Sync>;
type Change = Arc<dyn Fn(&Name, Drained) -> Option<usize> + Send + Sync>;

/// What an admin port shows and changes.
#[derive(Clone)]
pub struct Panel {
    command: &'static str,
    recorder: Recorder,
    ready: Told<Result<(), String>>,
    tunnels: Told<Tunnels>,
    drain: Option<Change>,
}

impl Panel {
    /// Of a command with this name, which says why it is not ready, and which tunnels it has.
    #[must_use]
    pub fn new(
        command: &'static str,
        recorder: Recorder,
        ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
        tunnels: impl Fn() -> Tunnels + Send + Sync + 'static,
    ) -> Self {
        Self {
            command,
            recorder,
            ready: Arc::new(ready),
            tunnels: Arc::new(tunnels),
            drain: None,
        }
    }

    /// Of an agent or a port: its readiness, and the tunnels that it keeps open.
    #[must_use]
    pub fn supervised(
        command: &'static str,
        recorder: Recorder,
        supervised: Supervised,
        stop: &Stop,
    ) -> Self {
        let (all, stop) = (supervised.clone(), stop.clone());
        let ready = move || match all.has_begun() {
            true => readiness(&stop),
            false => Err("no tunnel is kept open yet".to_owned()),
        };
        Self::new(command, recorder, ready, move || supervised.tunnels())
    }

    /// Agents can be drained and admitted again by this, which says how many tunnels that concerns;
    /// `None` where there is no such agent.
    #[must_use]
    pub fn with_drain(
        self,
        drain: impl Fn(&Name, Drained) -> Option<usize> + Send + Sync + 'static,
    ) -> Self {
        Self {
            drain: Some(Arc::new(drain)),
            ..self
        }
    }
}

/// Why a command is not ready, if it is not.
pub(crate) fn readiness(stop: &Stop) -> Result<(), String> {
    match stop.readiness().now() {
        Ready::Yes => Ok(()),
        why => Err(why.to_string()),
    }
}

impl fmt::Debug for Panel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panel").field(&self.command).finish()
    }
}

/// An admin port that listens and does not serve yet.
#[derive(Debug)]
pub struct Admin {
    listener: Listener,
    endpoint: Endpoint,
    tls: Option<ServerTls>,
    allowed: Allowed,
}

impl Admin {
    /// Listens.
    ///
    /// # Errors
    ///
    /// When a file cannot be read; when the address cannot be listened on, or could be reached from
    /// other machines without TLS and a token.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO.
    pub async fn bind(settings: &AdminSettings) -> Result<Self, AdminError> {
        let (tls, token) = settings.load().map_err(AdminError::File)?;
        let safe = Protection {
            waived: false,
            authenticates: token.is_some(),
            encrypts: tls.is_some(),
        };
        let at = || settings.listen.clone();
        let listener = Listener::bind(&settings.listen, safe).await;
        let listener = listener.map_err(|error| match error {
            BindError::Io(error) => AdminError::Io(at(), error),
            _ => AdminError::Exposed(at()),
        })?;
        let endpoint = listener
            .endpoint()
            .map_err(|error| AdminError::Io(at(), error))?;
        let allowed = Allowed::new(
            &settings.listen,
            settings.hosts.clone(),
            token,
            tls.is_some(),
        );
        Ok(Self {
            listener,
            endpoint,
            tls,
            allowed,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The URL of its page, where a browser can reach it.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let address = self.endpoint.tcp()?;
        Some(format!("{scheme}://{address}/"))
    }

    /// Serves until `stop` ends: it goes on while the command drains.
    pub async fn run(self, panel: Panel, stop: Stop) {
        serve(self, panel, stop).await;
    }
}
