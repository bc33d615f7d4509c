//! Calls, as functions that wait.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use grpctunnel_core::bare::Pipe;
use grpctunnel_core::receive_buffer::{GrowingStore, ReceiveBuffer};
use grpctunnel_core::wire::{HeadOptions, encode_open};
use grpctunnel_core::{
    Code, CommandError, End, Envelope, Event, Growing, Input, Key, OpenError, OpenOptions, Part,
    Reason, Side, Time, Unread,
};

use crate::connection::{App, Connection, Outcome, State};
use crate::gather::{Gather, Gathered};

/// How a call ended, if not well: a gRPC status.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    code: i32,
    message: String,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Code::from_i32(self.code) {
            Some(code) => write!(f, "{code:?}: {}", self.message),
            None => write!(f, "code {}: {}", self.code, self.message),
        }
    }
}

impl std::error::Error for Status {}

fn status(code: Code, message: &str) -> Status {
    Status {
        code: code.as_i32(),
        message: message.to_owned(),
    }
}

fn of(reason: Reason) -> Status {
    status(reason.code(Side::Client), reason.text())
}

/// The status of a call that ended; `None` if that was well.
fn status_of(end: &End<'_>) -> Option<Status> {
    match end {
        End::Status { status, .. } if status.code == 0 => None,
        End::Status { status, .. } => Some(Status {
            code: status.code,
            message: status.message.to_owned(),
        }),
        End::Deadline => Some(of(Reason::DeadlineExceeded)),
        End::Violation(reason) => Some(of(*reason)),
        End::TunnelLost { cause, .. } => Some(of(*cause)),
        _ => Some(of(Reason::Cancelled)),
    }
}

/// What the tunnel's memory holds of one call.
struct Record {
    head: Vec<u8>,
    request: Vec<u8>,
    buffer: ReceiveBuffer<GrowingStore, Option<Status>>,
}

/// The memory of all calls.
#[derive(Default)]
pub(crate) struct Caller {
    calls: HashMap<Key, Record>,
}

impl Caller {
    fn finish(&mut self, stream: Key, end: &End<'_>, unread: Unread) {
        if let Some(call) = self.calls.get_mut(&stream) {
            call.buffer.finish(status_of(end), unread);
        }
    }
}

impl App for Caller {
    fn input(&mut self, _: &mut Pipe<Growing>, _: Time, input: Input<'_>) {
        match input {
            Input::Data {
                stream,
                bytes,
                begins,
                ends,
                discard: false,
            } => {
                if let Some(call) = self.calls.get_mut(&stream) {
                    // It grows as far as the receive window, so there is always room.
                    let _ = call.buffer.push(bytes, begins, ends);
                }
            }
            Input::Ended {
                stream,
                why,
                unread,
            } => self.finish(stream, &why, unread),
            _ => {}
        }
    }

    fn event(&mut self, _: &mut Pipe<Growing>, _: Time, event: Event) {
        if let Event::Ended {
            stream,
            why,
            unread,
        } = event
        {
            self.finish(stream, &why, unread);
        }
    }

    fn part(&self, stream: Key, part: Part) -> &[u8] {
        match (self.calls.get(&stream), part) {
            (Some(call), Part::Open) => &call.head,
            (Some(call), Part::Message) => &call.request,
            _ => &[],
        }
    }
}

/// A call in progress. Dropping it cancels what is not over.
pub(crate) struct Call<'c> {
    connection: &'c Connection<Caller>,
    key: Key,
    gather: Gather,
    ended: bool,
}

impl Connection<Caller> {
    /// Begins a call, once the tunnel takes one. It ends at the latest after `timeout`.
    pub(crate) fn open(&self, method: &str, timeout: Duration) -> Outcome<Call<'_>> {
        let mut head = Vec::new();
        let none = std::iter::empty::<(&str, &[u8])>();
        let encoded = encode_open(&mut head, method, none, &HeadOptions::default())?;
        let options = OpenOptions {
            deadline: Some(self.now().saturating_add(timeout)),
            ..OpenOptions::default()
        };
        let key = self.wait_for(|State { pipe, app, .. }, now| {
            let client = pipe.client_mut()?;
            match client.open(now, encoded, options) {
                // An event tells when to try again.
                Err(OpenError::NotSettled | OpenError::Full) => None,
                Err(error) => Some(Err(error)),
                Ok(key) => {
                    let record = Record {
                        head: std::mem::take(&mut head),
                        request: Vec::new(),
                        buffer: ReceiveBuffer::new(),
                    };
                    app.calls.insert(key, record);
                    Some(Ok(key))
                }
            }
        })?;
        Ok(Call {
            connection: self,
            key,
            gather: Gather::default(),
            ended: false,
        })
    }
}

impl Call<'_> {
    /// Sends a message, once the last one is out. To a call that is over it sends nothing:
    /// `receive` tells how it ended.
    pub(crate) fn send(&mut self, message: Vec<u8>) -> Outcome {
        let len = u32::try_from(message.len())?;
        let mut message = Some(message);
        let key = self.key;
        self.connection.wait_for(|State { pipe, app, .. }, _| {
            match pipe
                .client_mut()?
                .send_message(key, Envelope::new(len), len)
            {
                Err(CommandError::Busy) => None,
                Err(CommandError::Gone) => Some(Ok(())),
                Err(error) => Some(Err(error.into())),
                Ok(()) => {
                    app.calls.get_mut(&key)?.request = message.take()?;
                    Some(Ok(()))
                }
            }
        })
    }

    /// Says that no further message follows.
    pub(crate) fn half_close(&mut self) -> Outcome {
        let key = self.key;
        self.connection.wait_for(|state, _| {
            Some(match state.pipe.client_mut()?.half_close(key) {
                Ok(()) | Err(CommandError::Gone) => Ok(()),
                Err(error) => Err(error.into()),
            })
        })
    }

    /// The next message, once it is here; `None` when the call ended well.
    pub(crate) fn receive(&mut self) -> Result<Option<Vec<u8>>, Status> {
        if self.ended {
            return Ok(None);
        }
        let key = self.key;
        let gather = &mut self.gather;
        let gathered = self.connection.wait_for(|State { pipe, app, .. }, _| {
            let call = app.calls.get_mut(&key)?;
            let (moved, gathered) = gather.next(&mut call.buffer);
            // A call that is over needs no credit.
            let _ = pipe.client_mut()?.consumed(key, moved);
            match gathered {
                Gathered::Message(message) => Some(Ok(message)),
                Gathered::Ended(end) => Some(Err(end)),
                Gathered::Pending => None,
            }
        });
        match gathered {
            Ok(message) => Ok(Some(message)),
            Err(end) => {
                self.ended = true;
                end.map_or(Ok(None), Err)
            }
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let key = self.key;
        self.connection.wait_for(|State { pipe, app, .. }, _| {
            pipe.client_mut()?.release(key);
            app.calls.remove(&key);
            Some(())
        });
    }
}
