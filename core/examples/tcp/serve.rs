//! The service: `example.Echo/Echo` sends every message back, `example.Echo/Fail` fails.

use grpctunnel_core::session::{CallKey, OwnedStatus, Received, SessionEvent};
use grpctunnel_core::{Code, Session};

/// Does what an event asks for. A verb that is refused meets a call that has just ended.
pub(crate) fn answer(session: &mut Session, event: &SessionEvent) {
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
        SessionEvent::Readable(key) | SessionEvent::Writable(key) => echo(session, *key),
        _ => {}
    }
}

/// A call is read only while there is room for the reply: so one whose caller does not read is not
/// read from either.
fn echo(session: &mut Session, key: CallKey) {
    while session.may_send(key) {
        match session.recv(key) {
            Some(Received::Message(message)) => drop(session.send(key, &message)),
            Some(Received::HalfClosed) => drop(session.close(key, &OwnedStatus::OK)),
            Some(Received::Ended(end)) => eprintln!("a call ended: {}", end.status),
            _ => return,
        }
    }
}
