//! `grpctunnel check`: what is wrong between here and a gateway, step by step.

mod quality;
mod report;
mod secure;
mod tunnel;
mod way;

use std::{fmt, time::Duration};

use self::report::{Fault, Found, Log, Stopped};
pub use self::report::{Finding, Outcome, Report, Step};
use crate::{
    auth::{CredentialSettings, Credentials, TokenSource},
    carrier::Authorized,
    connect::{Connector, Proxy, Watch},
    name::Name,
    origin::Origin,
    words,
};
use grpctunnel_http2::Settings;

/// What is presented to a gateway, in words.
#[derive(Clone, Debug, Default)]
pub(crate) struct PresentedTo(Vec<String>);

impl PresentedTo {
    pub(crate) fn new(settings: &CredentialSettings) -> Self {
        let certificate = settings.tls.identity.as_ref();
        let certificate =
            certificate.map(|(cert, _)| format!("the certificate {}", cert.display()));
        let token = settings.token.as_ref().map(|token| match token {
            TokenSource::File(path) => format!("the token in {}", path.display()),
            TokenSource::Text(_, variable) => format!("the token in {variable}"),
        });
        Self(certificate.into_iter().chain(token).collect())
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for PresentedTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_nothing() {
            true => f.write_str("neither a token nor a certificate was presented"),
            false => f.write_str(&self.0.join(" and ")),
        }
    }
}

/// A local server that is looked at, too.
#[derive(Clone, Debug)]
pub(crate) struct CheckedLocal {
    pub(crate) origin: Origin,
    pub(crate) credentials: Credentials,
}

/// A check of one gateway, with what an agent would be started with.
#[derive(Clone, Debug)]
pub struct Check {
    pub(crate) gateway: Origin,
    pub(crate) name: Option<Name>,
    pub(crate) proxy: Proxy,
    pub(crate) credentials: Credentials,
    pub(crate) presented: PresentedTo,
    pub(crate) local: Option<CheckedLocal>,
    /// How long each step may take.
    pub(crate) limit: Duration,
    /// How long the tunnel has to live without traffic.
    pub(crate) idle: Duration,
}

impl Check {
    /// The gateway.
    #[must_use]
    pub const fn gateway(&self) -> &Origin {
        &self.gateway
    }

    /// The name of the agent, where one was given.
    #[must_use]
    pub const fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Takes the steps until one fails. `tell` hears of each when it was taken.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with IO.
    pub async fn run(&self, mut tell: impl FnMut(&Finding) + Send) -> Report {
        let mut log = Log {
            findings: Vec::new(),
            tell: &mut tell,
        };
        // What stopped it was noted.
        let _: Result<(), Stopped> = self.gateway_steps(&mut log).await;
        if let Some(local) = &self.local {
            let _: Result<(), Stopped> = log.step(Step::Local, reach(local)).await;
        }
        Report {
            gateway: self.gateway.clone(),
            name: self.name.clone(),
            findings: log.findings,
        }
    }

    async fn gateway_steps(&self, log: &mut Log<'_>) -> Result<(), Stopped> {
        let stream = way::open(self, log).await?;
        let client = secure::open(self, stream, log).await?;
        let connection = client.connection().clone();
        let carrier = Authorized::new(client, self.credentials.clone());
        let tunnel = tunnel::open(self, carrier.clone(), log).await?;
        let measured = quality::measure(self, &tunnel, &connection, carrier, log).await;
        tunnel.close();
        // A gateway that does not answer is not waited for.
        let _ = tokio::time::timeout(self.limit, tunnel.closed()).await;
        measured
    }
}

/// Whether HTTP/2 is spoken with the local server, as an agent does.
async fn reach(local: &CheckedLocal) -> Result<((), Found), Fault> {
    let CheckedLocal {
        origin,
        credentials,
    } = local;
    let watch = Watch {
        probe: Duration::from_secs(20),
        pause: Duration::from_secs(5),
        silence: Duration::from_secs(30),
    };
    let connector = Connector::new(origin.clone(), Proxy::None, credentials.clone(), watch);
    match connector.http2(&Settings::calls()).await {
        Ok(_) => Ok(((), Found::good(format!("{origin} speaks HTTP/2")))),
        Err(error) => {
            let error: &(dyn std::error::Error + 'static) = error.as_ref();
            let why = words::spoken(error).map_or_else(|| words::reason(error), str::to_owned);
            Err(Fault::new(
                format!("{origin}: {why}"),
                "is the local server running, and does it speak gRPC there? The agent connects \
                 without it, and its calls end UNAVAILABLE",
            ))
        }
    }
}
