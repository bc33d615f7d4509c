//! The service: `example.Echo/Echo` sends every message back, `example.Echo/Fail` fails.

use std::collections::HashMap;

use grpctunnel_core::session::{CallKey, OwnedStatus, Received, SendError, SessionEvent};
use grpctunnel_core::{Code, Session};

/// All calls that are served.
#[derive(Default)]
pub(crate) struct Echo {
    /// Replies that have no room yet. A call is read only when its last reply was taken: so one whose
    /// caller does not read is not read from either.
    waiting: HashMap<CallKey, Vec<u8>>,
}

impl Echo {
    /// Does what an event asks for. A verb that is refused meets a call that has just ended.
    pub(crate) fn event(&mut self, session: &mut Session, event: &SessionEvent) {
        match event {
            SessionEvent::Incoming => {
                while let Some(call) = session.accept() {
                    let refusal = match call.method.as_str() {
                        "example.Echo/Echo" => continue,
                        "example.Echo/Fail" => {
                            OwnedStatus::new(Code::FailedPrecondition, "it was to fail")
                        }
                        _ => OwnedStatus::new(Code::Unimplemented, "no such method"),
                    };
                    let _ = session.close(call.key, &refusal);
                }
            }
            SessionEvent::Readable(key) | SessionEvent::Writable(key) => self.echo(session, *key),
            _ => {}
        }
    }

    fn echo(&mut self, session: &mut Session, key: CallKey) {
        loop {
            if let Some(reply) = self.waiting.remove(&key)
                && session.send(key, &reply) == Err(SendError::Full)
            {
                self.waiting.insert(key, reply);
                return;
            }
            match session.recv(key) {
                Some(Received::Message(message)) => drop(self.waiting.insert(key, message)),
                Some(Received::HalfClosed) => drop(session.close(key, &OwnedStatus::OK)),
                Some(Received::Ended(end)) => eprintln!("a call ended: {}", end.status),
                _ => return,
            }
        }
    }
}
