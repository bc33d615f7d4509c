//! What is counted of one call.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use ::metrics::{Counter, SharedString, counter, histogram};
use grpctunnel_driver::{Code, Status};
use http::{Extensions, HeaderMap, Request, Response, StatusCode};

use super::{NONE, agent_label, names};
use crate::{audit::CallFailed, auth::Authenticated, name::Name, words};

/// In the extensions of a response: why the call failed, where its caller must not know.
#[derive(Clone, Debug)]
pub(crate) struct Why(pub(crate) String);

/// Who hears of calls that failed, and how calls are named that name no agent.
#[derive(Clone)]
pub(crate) struct Observer {
    tell: Arc<dyn Fn(CallFailed) + Send + Sync>,
    name: Option<Name>,
}

impl Observer {
    /// `name` is the agent of every call; without it the router tells.
    pub(crate) fn new(
        name: Option<Name>,
        tell: impl Fn(CallFailed) + Send + Sync + 'static,
    ) -> Self {
        Self {
            tell: Arc::new(tell),
            name,
        }
    }

    /// A call begins.
    pub(super) fn begin<B>(&self, request: &Request<B>) -> Record {
        let record = Record(Arc::new(Call {
            observer: self.clone(),
            began: Instant::now(),
            method: request.uri().path().to_owned(),
            by: Authenticated::of(request.extensions()).cloned(),
            agent: OnceLock::new(),
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
            status: Mutex::new(None),
        }));
        if let Some(name) = &self.name {
            record.goes_to(name);
        }
        record
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.name).finish()
    }
}

/// A call, in the extensions of its request. It has ended when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Record(Arc<Call>);

struct Call {
    observer: Observer,
    began: Instant,
    method: String,
    by: Option<Authenticated>,
    agent: OnceLock<Agent>,
    /// Bytes that were not counted yet: it is not known for whom they are.
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    status: Mutex<Option<(Code, String)>>,
}

/// Whom a call is for, and what is counted for it.
struct Agent {
    name: Option<String>,
    label: SharedString,
    request_bytes: Counter,
    response_bytes: Counter,
}

impl Agent {
    fn new(name: Option<String>, label: SharedString) -> Self {
        let bytes = |metric| counter!(metric, "agent" => label.clone());
        Self {
            request_bytes: bytes(names::REQUEST_BYTES),
            response_bytes: bytes(names::RESPONSE_BYTES),
            name,
            label,
        }
    }
}

impl Record {
    /// The call whose request has these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// It goes to the agent of this name.
    pub(crate) fn goes_to(&self, name: &Name) {
        let agent = Agent::new(Some(name.to_string()), agent_label(name));
        // The first counts; a call goes to one agent.
        let _ = self.0.agent.set(agent);
    }

    pub(super) fn requested(&self, bytes: usize) {
        let bytes = bytes as u64;
        match self.0.agent.get() {
            Some(agent) => agent.request_bytes.increment(bytes),
            None => drop(self.0.request_bytes.fetch_add(bytes, Ordering::Relaxed)),
        }
    }

    pub(super) fn responded(&self, bytes: usize) {
        let bytes = bytes as u64;
        match self.0.agent.get() {
            Some(agent) => agent.response_bytes.increment(bytes),
            None => drop(self.0.response_bytes.fetch_add(bytes, Ordering::Relaxed)),
        }
    }

    /// The head of its response, which is all of it where it has a status.
    pub(super) fn answered<B>(&self, response: &Response<B>) {
        if let Some(Why(why)) = response.extensions().get() {
            let code = Status::from_headers(response.headers()).map(|status| status.code());
            return self.end(code.unwrap_or(Code::Unknown), why.clone());
        }
        self.trailers(response.headers());
        if response.status() != StatusCode::OK {
            self.end(Code::Unknown, format!("HTTP {}", response.status()));
        }
    }

    /// Its trailers, or its only headers.
    pub(super) fn trailers(&self, headers: &HeaderMap) {
        if let Some(status) = Status::from_headers(headers) {
            self.end(status.code(), status.message().to_owned());
        }
    }

    /// What it ended with; the first counts.
    pub(super) fn end(&self, code: Code, why: String) {
        let status = &mut *self.0.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.get_or_insert((code, why));
    }
}

impl Drop for Call {
    /// Counts it, once nobody can add to it.
    fn drop(&mut self) {
        let none = || Agent::new(None, NONE.into());
        let agent = self.agent.take().unwrap_or_else(none);
        agent.request_bytes.increment(*self.request_bytes.get_mut());
        agent
            .response_bytes
            .increment(*self.response_bytes.get_mut());
        let status = self
            .status
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let gone = || (Code::Cancelled, "the caller went away".to_owned());
        let (code, why) = status.take().unwrap_or_else(gone);
        let name = words::code_name(code.as_i32().into());
        let duration = self.began.elapsed();
        counter!(names::CALLS, "agent" => agent.label.clone(), "code" => name).increment(1);
        histogram!(names::CALL_SECONDS, "agent" => agent.label).record(duration.as_secs_f64());
        if code == Code::Ok {
            return;
        }
        (self.observer.tell)(CallFailed {
            name: agent.name,
            peer: self.by.as_ref().map(|by| by.peer.clone()),
            identity: self.by.as_ref().map(|by| by.identity.to_string()),
            method: std::mem::take(&mut self.method),
            code,
            duration,
            why,
        });
    }
}
