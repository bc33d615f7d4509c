//! Stands in front of the router: no call passes that is not somebody's.

use std::{
    convert::Infallible,
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use grpctunnel_driver::{Code, ResponseBody, Status, TunnelPeer};
use http::{Extensions, Request, Response};
use http_body::Body;
use http_body_util::Either;
use tower_service::Service;

use super::{Identity, Trusted, trust::Standing};
use crate::{
    answer::refuse,
    audit::{Audit, Refused, RefusedKind},
    held::Held,
    limits::{Accounts, Permit, Waits, Watched},
    listener::Endpoint,
    name::Name,
    refusal::Refusal,
    router::{RoutedBody, Router},
};

/// Who opened a tunnel, or makes a call. It is attached where that was found out, never read from
/// what the peer sends.
#[derive(Clone, Debug)]
pub(crate) struct Authenticated {
    pub(crate) identity: Identity,
    pub(crate) peer: Endpoint,
    pub(crate) standing: Arc<Standing>,
}

impl Authenticated {
    pub(crate) fn new(identity: Identity, peer: Endpoint) -> Self {
        Self {
            identity,
            peer,
            standing: Arc::default(),
        }
    }

    /// Who makes a call: its own, or whoever opened the tunnel that it comes through.
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get::<Self>().or_else(|| {
            let tunnel = extensions.get::<TunnelPeer>()?;
            tunnel.extensions().get::<Self>()
        })
    }
}

/// Whoever makes a call, as what handles it finds them in the extensions of the request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    by: Authenticated,
    trusted: Trusted,
    audit: Audit,
}

impl Caller {
    /// Whether there may be such an agent for this caller.
    pub(crate) fn may_call(&self, name: &Name) -> bool {
        self.trusted.may_call(&self.by.identity, name)
    }

    /// Notes that a call had nowhere to go, and says why.
    pub(crate) fn refused(&self, path: &str, name: Option<&Name>, refusal: &Refusal) -> String {
        let is_forbidden = name.is_some_and(|name| !self.may_call(name));
        // Whoever reads this may know what the caller may not.
        let why = match is_forbidden {
            true => "no rule allows it".to_owned(),
            false => refusal.to_string(),
        };
        self.audit.refused(Refused {
            kind: RefusedKind::Call,
            peer: self.by.peer.clone(),
            identity: Some(self.by.identity.to_string()),
            what: match name {
                Some(name) => format!("call {path} to {name}"),
                None => format!("call {path}"),
            },
            why: why.clone(),
        });
        why
    }
}

/// The router behind the check of who calls.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub(crate) router: Router,
    pub(crate) trusted: Trusted,
    pub(crate) accounts: Accounts,
    pub(crate) audit: Audit,
}

/// The body of a response.
pub(crate) type GuardedBody = Either<Held<Watched<RoutedBody>, Permit>, ResponseBody>;

impl Guard {
    fn admit(&self, extensions: &Extensions) -> Result<(Authenticated, Permit), Status> {
        let Some(by) = Authenticated::of(extensions) else {
            return Err(Status::new(Code::Unauthenticated, "nobody makes this call"));
        };
        let admitted = self.check(by);
        admitted
            .map(|permit| (by.clone(), permit))
            .inspect_err(|status| {
                self.audit.refused(Refused {
                    kind: RefusedKind::Call,
                    peer: by.peer.clone(),
                    identity: Some(by.identity.to_string()),
                    what: "call".to_owned(),
                    why: status.message().to_owned(),
                });
            })
    }

    fn check(&self, by: &Authenticated) -> Result<Permit, Status> {
        if !by.standing.is_known(&self.trusted, &by.identity) {
            let text = "the credentials that the tunnel was opened with are not valid any more";
            return Err(Status::new(Code::Unauthenticated, text));
        }
        let trust = self.trusted.now();
        let taken = self.accounts.call(&by.identity, trust.limit(&by.identity));
        taken.map_err(|exceeded| exceeded.status())
    }
}

impl<B> Service<Request<B>> for Guard
where
    B: Body<Data = Bytes> + Waits + Unpin + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<GuardedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (by, permit) = match self.admit(request.extensions()) {
            Ok(admitted) => admitted,
            Err(status) => {
                let response = refuse(&status).map(Either::Right);
                return Box::pin(std::future::ready(Ok(response)));
            }
        };
        request.extensions_mut().insert(Caller {
            by,
            trusted: self.trusted.clone(),
            audit: self.audit.clone(),
        });
        let mut router = self.router.clone();
        let request = request.map(|body| permit.watch(body));
        Box::pin(async move {
            let response = router.call(request).await?;
            Ok(response.map(|body| Either::Left(Held::new(permit.watch(body), permit))))
        })
    }
}
