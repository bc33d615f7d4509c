//! The service: `example.Echo/Echo` sends every message back, `example.Echo/Fail` fails.

use std::collections::HashMap;

use grpctunnel_core::session::{
    CallKey, IncomingCall, OwnedStatus, Received, SendError, SessionEvent,
};
use grpctunnel_core::{Code, Session};

use crate::connection::Connection;

/// Replies that have no room yet. A call is read only when its last reply was taken: so one whose
/// caller does not read is not read from either.
type Waiting = HashMap<CallKey, Vec<u8>>;

/// Answers calls until the connection is over.
pub(crate) fn answer(connection: &Connection) {
    let mut waiting = Waiting::new();
    while let Some(event) = connection.event() {
        connection.with(|session, _| match event {
            SessionEvent::Incoming => {
                while let Some(call) = session.accept() {
                    accept(session, &call, &mut waiting);
                }
            }
            SessionEvent::Readable(key) | SessionEvent::Writable(key) => {
                advance(session, key, &mut waiting);
            }
            _ => {}
        });
    }
}

/// A verb that is refused meets a call that has just ended.
fn accept(session: &mut Session, call: &IncomingCall, waiting: &mut Waiting) {
    let refusal = match call.method.as_str() {
        "example.Echo/Echo" => return advance(session, call.key, waiting),
        "example.Echo/Fail" => OwnedStatus::new(Code::FailedPrecondition, "it was to fail"),
        _ => OwnedStatus::new(Code::Unimplemented, "no such method"),
    };
    let _ = session.close(call.key, &refusal);
}

fn advance(session: &mut Session, key: CallKey, waiting: &mut Waiting) {
    loop {
        if let Some(reply) = waiting.remove(&key)
            && session.send(key, &reply) == Err(SendError::Full)
        {
            waiting.insert(key, reply);
            return;
        }
        match session.recv(key) {
            Some(Received::Message(message)) => drop(waiting.insert(key, message)),
            Some(Received::HalfClosed) => drop(session.close(key, &OwnedStatus::OK)),
            Some(Received::Ended(end)) => println!("a call ended: {}", end.status),
            _ => return,
        }
    }
}
