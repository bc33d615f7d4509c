//! What is known of each call, and what must hold.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grpctunnel_driver::Code;

use super::script::{CallPlan, Close, Handle, Send, Take};

/// How a call ended at its caller.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// `None`: it gave up, or its body failed.
    pub(super) code: Option<Code>,
    pub(super) text: String,
    pub(super) never_processed: bool,
    pub(super) messages: usize,
    /// The response was dropped before its end.
    pub(super) dropped: bool,
}

/// What was seen of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Handlers that were started and did not say that they had not processed the call.
    pub(super) handled: usize,
    pub(super) refused: usize,
    /// Whole messages that the handler read.
    pub(super) requests: usize,
    /// The handler read to a clean end.
    pub(super) request_ended: bool,
    /// What the handler sent, and how it ended.
    pub(super) responses: usize,
    pub(super) closed: Option<Code>,
    pub(super) outcome: Option<Outcome>,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub(super) String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug)]
struct Inner {
    calls: Vec<(CallPlan, Seen)>,
    broken: Option<Broken>,
}

/// The model of a world. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Model {
    inner: Arc<Mutex<Inner>>,
    /// Something in the world loses calls.
    faults: bool,
}

impl Model {
    pub(super) fn new(calls: impl Iterator<Item = CallPlan>, faults: bool) -> Self {
        let calls = calls.map(|plan| (plan, Seen::default())).collect();
        let inner = Inner {
            calls,
            broken: None,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            faults,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn plan(&self, call: usize) -> Option<CallPlan> {
        self.lock().calls.get(call).map(|(plan, _)| plan.clone())
    }

    pub(super) fn see(&self, call: usize, see: impl FnOnce(&mut Seen)) {
        if let Some((_, seen)) = self.lock().calls.get_mut(call) {
            see(seen);
        }
    }

    pub(super) fn seen(&self, call: usize) -> Seen {
        let inner = self.lock();
        let seen = inner.calls.get(call).map(|(_, seen)| seen.clone());
        seen.unwrap_or_default()
    }

    /// Notes that a rule was broken. The first one counts.
    pub(super) fn broken(&self, what: String) {
        self.lock().broken.get_or_insert(Broken(what));
    }

    pub(super) fn is_broken(&self) -> bool {
        self.lock().broken.is_some()
    }

    /// Whether every caller has come to an end.
    pub(super) fn is_done(&self) -> bool {
        let inner = self.lock();
        inner.broken.is_some() || inner.calls.iter().all(|(_, seen)| seen.outcome.is_some())
    }

    /// Calls whose caller has not come to an end.
    pub(super) fn stuck(&self) -> Vec<usize> {
        let inner = self.lock();
        let calls = inner.calls.iter().enumerate();
        let stuck = calls.filter(|(_, (_, seen))| seen.outcome.is_none());
        stuck.map(|(call, _)| call).collect()
    }

    /// A handler starts: at most one may, that says that it has processed the call.
    pub(super) fn start(&self, call: usize) {
        self.see(call, |seen| seen.handled += 1);
        let seen = self.seen(call);
        if seen.handled > 1 {
            self.broken(format!("call {call} was made twice: {seen:?}"));
        }
        if let Some(outcome) = seen.outcome
            && outcome.never_processed
        {
            self.broken(format!(
                "call {call} was handled after it had ended as never processed"
            ));
        }
    }

    /// Holds the end of a call against everything that was seen.
    pub(super) fn end(&self, call: usize, outcome: Outcome) {
        self.see(call, |seen| seen.outcome = Some(outcome.clone()));
        let Some(plan) = self.plan(call) else {
            return;
        };
        let seen = self.seen(call);
        if let Err(what) = judge(&plan, &seen, &outcome, self.faults) {
            self.broken(format!("call {call}: {what}; {seen:?}; {plan:?}"));
        }
    }

    /// What was broken, if anything was.
    pub(super) fn check(&self) -> Result<(), Broken> {
        let inner = self.lock();
        if let Some(broken) = &inner.broken {
            return Err(broken.clone());
        }
        for (call, (plan, seen)) in inner.calls.iter().enumerate() {
            let sent = plan.send.iter();
            let messages = sent.filter(|step| matches!(step, Send::Message(_))).count();
            let complete = !plan.send.contains(&Send::Fail);
            if seen.request_ended && (!complete || seen.requests != messages) {
                return Err(Broken(format!(
                    "call {call}: the handler saw the end of a request of {messages} messages: \
                     {seen:?}; {plan:?}"
                )));
            }
        }
        Ok(())
    }
}

/// Whether a call may have ended so.
fn judge(plan: &CallPlan, seen: &Seen, outcome: &Outcome, faults: bool) -> Result<(), String> {
    if outcome.never_processed && seen.handled > 0 {
        return Err("never processed, but a handler saw it".to_owned());
    }
    let Some(code) = outcome.code else {
        return Ok(());
    };
    let steps = plan.handle.iter();
    let responses = steps.filter(|step| matches!(step, Handle::Message(_)));
    if code == Code::Ok {
        if seen.closed != Some(Code::Ok) {
            return Err("OK, but its handler did not say so".to_owned());
        }
        if !outcome.dropped && outcome.messages != responses.count() {
            return Err("OK, but not all of the response came".to_owned());
        }
        return Ok(());
    }
    // From here on the question is whether it may have failed.
    let own = plan.deadline.is_some()
        || plan.cancel.is_some()
        || plan.send.contains(&Send::Fail)
        || matches!(plan.take, Take::Pieces(_));
    if faults || own || outcome.never_processed {
        return Ok(());
    }
    let planned = match plan.close {
        Close::Status(planned) => planned == code,
        Close::Refuse => code == Code::Unavailable,
        Close::Never => false,
    };
    // Without the mark a refusal is only told by its code.
    let refused = seen.handled == 0 && matches!(code, Code::ResourceExhausted | Code::Unavailable);
    if planned || refused {
        Ok(())
    } else {
        Err("failed for no reason".to_owned())
    }
}
