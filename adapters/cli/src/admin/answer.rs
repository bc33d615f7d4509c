//! What is asked, and what is answered.

use std::time::Instant;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
        WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{
    Drained, Panel, Tunnel,
    allowed::{Allowed, Denied},
    page,
};
use crate::{metrics, name::Name};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// The version of Prometheus' text format.
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

pub(super) type Answer = Response<Full<Bytes>>;

/// What answers.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) allowed: Allowed,
    pub(super) panel: Panel,
    pub(super) began: Instant,
}

impl Desk {
    /// The answer to a request, whose body means nothing.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Answer {
        let answered = self
            .allowed
            .host(request)
            .and_then(|()| self.route(request));
        let mut answer = answered.unwrap_or_else(|denied| refused(&denied));
        let headers = answer.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if request.method() == Method::HEAD {
            *answer.body_mut() = Full::default();
        }
        answer
    }

    fn route<B>(&self, request: &Request<B>) -> Result<Answer, Denied> {
        let path = request.uri().path();
        let changed = path
            .strip_prefix("/tunnels/")
            .and_then(|rest| rest.rsplit_once('/'));
        if let Some((name, verb)) = changed {
            let verb = match verb {
                "drain" => Drained::Drain,
                "admit" => Drained::Admit,
                _ => return Ok(unknown()),
            };
            if request.method() != Method::POST {
                return Ok(only("POST"));
            }
            self.allowed.change(request)?;
            return Ok(self.change(name, verb));
        }
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let known = matches!(path, "/" | "/healthz" | "/ready" | "/tunnels" | "/metrics");
        match path {
            _ if !known => Ok(unknown()),
            _ if !is_read => Ok(only("GET, HEAD")),
            "/" => Ok(page()),
            "/healthz" => Ok(json(StatusCode::OK, &json!({"status": "ok"}))),
            "/ready" => Ok(self.ready()),
            "/tunnels" => {
                self.allowed.read(request.headers())?;
                Ok(json(StatusCode::OK, &self.tunnels()))
            }
            _ => {
                self.allowed.read(request.headers())?;
                // The gauge is as of this moment.
                metrics::ready((self.panel.ready)().is_ok());
                Ok(answer(
                    StatusCode::OK,
                    METRICS,
                    self.panel.recorder.render(),
                ))
            }
        }
    }

    fn ready(&self) -> Answer {
        match (self.panel.ready)() {
            Ok(()) => json(StatusCode::OK, &json!({"ready": true})),
            Err(why) => {
                let why = json!({"ready": false, "why": why});
                json(StatusCode::SERVICE_UNAVAILABLE, &why)
            }
        }
    }

    fn tunnels(&self) -> Value {
        let now = (self.panel.tunnels)();
        let ready = (self.panel.ready)();
        json!({
            "command": self.panel.command,
            "version": env!("CARGO_PKG_VERSION"),
            "seconds": self.began.elapsed().as_secs(),
            "ready": ready.is_ok(),
            "tunnels": now.tunnels.iter().map(Tunnel::json).collect::<Vec<_>>(),
            "drained": now.drained.iter().map(Name::as_str).collect::<Vec<_>>(),
        })
    }

    fn change(&self, name: &str, verb: Drained) -> Answer {
        let Some(drain) = &self.panel.drain else {
            let why = "agents are drained at their gateway, or by SIGTERM where they run";
            return error(StatusCode::NOT_IMPLEMENTED, why);
        };
        let name: Name = match name.parse() {
            Ok(name) => name,
            Err(bad) => return error(StatusCode::BAD_REQUEST, &format!("not a name: {bad}")),
        };
        match drain(&name, verb) {
            Some(tunnels) => {
                let done = json!({"name": name.as_str(), "tunnels": tunnels});
                json(StatusCode::OK, &done)
            }
            None => {
                let why = match verb {
                    Drained::Drain => format!("agent {name} is not connected"),
                    Drained::Admit => format!("agent {name} was not drained"),
                };
                error(StatusCode::NOT_FOUND, &why)
            }
        }
    }
}

fn answer(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn json(status: StatusCode, value: &Value) -> Answer {
    answer(status, JSON, format!("{value}\n"))
}

fn error(status: StatusCode, why: &str) -> Answer {
    json(status, &json!({"error": why}))
}

fn unknown() -> Answer {
    let why = "there is nothing here; try /, /healthz, /ready, /tunnels or /metrics";
    error(StatusCode::NOT_FOUND, why)
}

fn only(methods: &'static str) -> Answer {
    let mut answer = error(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("expected {methods}"),
    );
    let headers = answer.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(methods));
    answer
}

fn refused(denied: &Denied) -> Answer {
    let mut answer = error(denied.status, denied.why);
    if denied.status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        answer.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    }
    answer
}

fn page() -> Answer {
    let page::Page { text, policy } = page::page();
    let mut answer = answer(StatusCode::OK, HTML, text);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer
}
