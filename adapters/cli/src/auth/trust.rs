//! Whom a gateway trusts, and with what. It is read as a whole, and replaced as a whole.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use grpctunnel_driver::{Code, Status};
use http::HeaderMap;
use tokio::sync::watch;

use super::{
    AUTHORIZATION, Allow, Authenticated, Identity, TokensFrom, allow::Verb, token::Tokens,
};
use crate::{
    limits::Limit,
    listener::Endpoint,
    name::Name,
    tls::{FileError, ServerFiles, ServerTls},
};

/// Whom a gateway trusts, and with what: what of its settings may change while it runs.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TrustSettings {
    /// TLS. Default: none.
    pub tls: Option<ServerFiles>,
    /// The tokens that are accepted. Default: none.
    pub tokens: Option<TokensFrom>,
    /// Who may serve and call which names. Needed where anybody has to authenticate, meaningless
    /// elsewhere.
    pub allow: Vec<Allow>,
    /// What each identity may take; the first that fits counts. Default: no limits.
    pub limits: Vec<Limit>,
}

impl TrustSettings {
    /// Whether agents and callers have to authenticate.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        let by_certificate = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        by_certificate || self.tokens.is_some()
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or used, or when the settings contradict each other.
    pub fn check(&self) -> Result<(), LoadError> {
        Trust::load(self).map(drop)
    }
}

/// Why [`TrustSettings`] cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// A file is wrong.
    File(FileError),
    /// Everybody has to authenticate, and nobody may do anything.
    NothingAllowed,
    /// There are rules, and nobody can authenticate.
    NobodyKnown,
    /// TLS or authentication would be switched on or off.
    NeedsRestart,
}

impl From<FileError> for LoadError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::NothingAllowed => f.write_str(
                "no rule allows anybody anything; add --allow, such as --allow \"token:home serve \
                 home\" and --allow \"* call *\"",
            ),
            Self::NobodyKnown => f.write_str(
                "--allow needs --tokens-file or --tls-client-ca: without them nobody can say who \
                 they are",
            ),
            Self::NeedsRestart => f.write_str(
                "TLS and authentication are switched on and off by a restart, not while it runs",
            ),
        }
    }
}

impl Error for LoadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::File(error) => Some(error),
            Self::NothingAllowed | Self::NobodyKnown | Self::NeedsRestart => None,
        }
    }
}

/// What [`TrustSettings`] stand for, read once.
#[derive(Debug)]
pub(crate) struct Trust {
    tls: Option<ServerTls>,
    tokens: Tokens,
    allow: Vec<Allow>,
    limits: Vec<Limit>,
    authenticates: bool,
    anybody: Identity,
}

impl Trust {
    pub(crate) fn load(settings: &TrustSettings) -> Result<Self, LoadError> {
        let authenticates = settings.authenticates();
        match (authenticates, settings.allow.is_empty()) {
            (true, true) => return Err(LoadError::NothingAllowed),
            (false, false) => return Err(LoadError::NobodyKnown),
            _ => {}
        }
        let tokens = settings.tokens.as_ref();
        // With tokens there are two ways to authenticate, and the handshake cannot know which.
        let required = tokens.is_none();
        let tls = settings.tls.as_ref();
        Ok(Self {
            tls: tls.map(|tls| tls.load(required)).transpose()?,
            tokens: tokens.map(Tokens::load).transpose()?.unwrap_or_default(),
            allow: settings.allow.clone(),
            limits: settings.limits.clone(),
            authenticates,
            anybody: Identity::anybody(),
        })
    }

    pub(crate) fn tls(&self) -> Option<&ServerTls> {
        self.tls.as_ref()
    }

    /// What an identity may take.
    pub(crate) fn limit(&self, identity: &Identity) -> Option<&Limit> {
        self.limits.iter().find(|limit| limit.is_for(identity))
    }

    fn certifies(&self, identity: &Identity) -> bool {
        let certificate = identity.certificate();
        let certificate = certificate.zip(self.tls.as_ref());
        certificate.is_some_and(|(certificate, tls)| tls.trusts(certificate))
    }

    /// Whether somebody who was identified before is still known.
    fn knows(&self, identity: &Identity) -> bool {
        if !self.authenticates {
            return true;
        }
        let by_token = identity.has_token();
        let by_certificate = identity.certificate().is_some();
        (by_token || by_certificate)
            && (!by_token || self.tokens.has(identity))
            && (!by_certificate || self.certifies(identity))
    }

    fn allows(&self, identity: &Identity, verb: Verb, name: &Name) -> bool {
        let mut rules = self.allow.iter();
        !self.authenticates || rules.any(|rule| rule.allows(identity, verb, name))
    }
}

/// The [`Trust`] of the moment. Clones follow the same one.
#[derive(Clone, Debug)]
pub(crate) struct Trusted {
    sender: Arc<watch::Sender<Arc<Trust>>>,
    generation: Arc<AtomicU64>,
}

impl Trusted {
    pub(crate) fn new(trust: Trust) -> Self {
        Self {
            sender: Arc::new(watch::Sender::new(Arc::new(trust))),
            generation: Arc::new(AtomicU64::new(0)),
        }
    }

    pub(crate) fn now(&self) -> Arc<Trust> {
        Arc::clone(&self.sender.borrow())
    }

    /// Counts how often it was replaced.
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn replace(&self, trust: Trust) {
        self.sender.send_modify(|now| {
            *now = Arc::new(trust);
            self.generation.fetch_add(1, Ordering::Release);
        });
    }

    pub(crate) fn is_known(&self, identity: &Identity) -> bool {
        self.now().knows(identity)
    }

    pub(crate) fn may_serve(&self, identity: &Identity, name: &Name) -> bool {
        let trust = self.now();
        trust.knows(identity) && trust.allows(identity, Verb::Serve, name)
    }

    pub(crate) fn may_call(&self, identity: &Identity, name: &Name) -> bool {
        self.now().allows(identity, Verb::Call, name)
    }

    /// Who a request comes from, on a connection of whoever is `certified`.
    pub(crate) fn identify(
        &self,
        headers: &HeaderMap,
        certified: Option<&Authenticated>,
        peer: &Endpoint,
    ) -> Result<Authenticated, Status> {
        // Before looking, so that a change in between is not missed.
        let generation = self.generation();
        let trust = self.now();
        let known = |identity: Identity| Authenticated {
            identity,
            peer: peer.clone(),
            standing: Arc::new(Standing(Mutex::new(Some((generation, true))))),
        };
        if !trust.authenticates {
            return Ok(known(trust.anybody.clone()));
        }
        let refused = |text: String| Status::new(Code::Unauthenticated, text);
        let certified = certified.filter(|by| by.standing.is_known(self, &by.identity));
        match (trust.tokens.presented(headers), certified) {
            (Some(Ok(token)), Some(by)) => Ok(known(token.with(&by.identity))),
            (Some(Ok(token)), None) => Ok(known(token.clone())),
            (Some(Err(wrong)), _) => Err(refused(wrong.to_string())),
            (None, Some(by)) => Ok(by.clone()),
            (None, None) => Err(refused(format!(
                "authentication is required: a client certificate, or the metadata \
                 {AUTHORIZATION}: Bearer TOKEN"
            ))),
        }
    }

    /// Waits until this does not hold any more.
    pub(crate) async fn changed(&self, holds: impl Fn(&Self) -> bool) {
        let mut changes = self.sender.subscribe();
        loop {
            if !holds(self) {
                return;
            }
            // The sender is held by this.
            let _ = changes.changed().await;
        }
    }
}

/// Whether an identity is known, looked up once after each change.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<Option<(u64, bool)>>);

impl Standing {
    pub(super) fn is_known(&self, trusted: &Trusted, identity: &Identity) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = trusted.generation();
        match *known {
            Some((then, known)) if then == generation => known,
            _ => {
                let now = trusted.now().knows(identity);
                *known = Some((generation, now));
                now
            }
        }
    }
}
