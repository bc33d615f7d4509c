//! What each step does.

use core::time::Duration;

use grpctunnel_core::wire::StatusHead;
use grpctunnel_core::{Cause, Client, Hold, MethodKind, Negotiation, OpenOptions, Role, Server};

use super::super::frames::content;
use super::super::model::entries;
use super::super::op::{Kind, Op};
use super::super::store::Store;
use super::steps::number;
use super::{Run, Step};

const fn tenths(tenths: u8) -> Duration {
    Duration::from_millis(100 * tenths as u64)
}

impl<R: Role, S: Store> Run<R, S> {
    pub(super) fn advance(&mut self, time: u8) {
        self.now = self.now.saturating_add(tenths(time));
        self.judge.time_passed();
        self.end.timeout(self.now);
        self.settle();
    }

    /// What both ends do alike. What is neither's to do does nothing.
    fn both(&mut self, step: &Step) {
        match step {
            Step::Raw(bytes) => self.feed(bytes),
            Step::Bulk(bulk) => self.bulk(*bulk),
            Step::Opened { on } => {
                let negotiation = if *on {
                    Negotiation::On
                } else {
                    Negotiation::Off
                };
                self.judge.opened(*on);
                self.end.opened(self.now, negotiation);
            }
            Step::Finished => self.carrier_ends(Cause::Finished),
            Step::Do(Op::Cut) => self.carrier_ends(Cause::Failed),
            Step::Do(op) => self.act(*op),
            Step::Frame(_) => {}
        }
        self.settle();
    }

    fn carrier_ends(&mut self, cause: Cause) {
        self.end.ended(self.now, cause);
        assert!(
            self.end.tunnel.is_ended(),
            "without a carrier there is no tunnel"
        );
    }

    fn act(&mut self, op: Op) {
        match op {
            Op::Send {
                call, size, ready, ..
            } if self.has(number(call)) => {
                let size = usize::from(size);
                let ready = usize::from(ready) % (size + 1);
                self.judge.acted(size);
                self.end.send(number(call), content(0, size), ready).ok();
            }
            Op::Provide { call, bytes, .. } if self.has(number(call)) => {
                self.end.provide(number(call), usize::from(bytes)).ok();
            }
            Op::Read { call, bytes, .. } if self.has(number(call)) => {
                let call = number(call);
                if !self.end.released(call) {
                    self.judge.acted(0);
                    while self.end.read(call, usize::from(bytes)) {}
                }
            }
            Op::StopReading { call, .. } if self.has(number(call)) => {
                self.judge.acted(0);
                self.end.stop_reading(number(call));
            }
            Op::Release { call, .. } if self.has(number(call)) => {
                self.judge.acted(0);
                self.end.release(number(call));
            }
            Op::Transmit { frames, .. } => {
                for _ in 0..=frames {
                    self.transmit();
                }
            }
            Op::Advance { tenths } => self.advance(tenths),
            Op::Drain { tenths: limit, .. } => {
                self.judge.drained();
                self.end.drain(self.now, tenths(limit));
            }
            _ => {}
        }
    }
}

impl<S: Store> Run<Server, S> {
    pub(super) fn step_of_server(&mut self, step: &Step) {
        match step {
            Step::Frame(sent) => self.feed(&sent.by_client()),
            Step::Do(Op::Respond { call, headers }) if self.has(number(*call)) => {
                self.judge.acted(100);
                self.end.respond(number(*call), &entries(*headers)).ok();
                self.settle();
            }
            Step::Do(Op::Close { call, code, hold }) if self.has(number(*call)) => {
                self.close(number(*call), *code, *hold);
            }
            // The kind of a call that lives, told late, binds from then on.
            Step::Do(Op::HalfClose { call }) if self.has(number(*call)) => {
                let key = self.end.key(number(*call));
                if let Ok(mut stream) = self.end.tunnel.stream(key) {
                    stream.set_method_kind(MethodKind::Unary);
                }
                self.settle();
            }
            step => self.both(step),
        }
    }

    fn close(&mut self, call: i64, code: u8, hold: Option<u8>) {
        let status = StatusHead {
            code: i32::from(code % 17),
            message: "",
            details: &[],
        };
        let hold = hold.map_or(Hold::Never, |time| Hold::UntilHalfClose {
            // Whatever is held has left a second behind the last step.
            max: tenths(time % 10),
        });
        self.judge.acted(100);
        let trailers = entries(code);
        self.end.close(self.now, call, status, &trailers, hold).ok();
        self.settle();
    }
}

impl<S: Store> Run<Client, S> {
    pub(super) fn step_of_client(&mut self, step: &Step) {
        match step {
            Step::Frame(sent) => self.feed(&sent.by_server()),
            Step::Do(Op::Open {
                kind,
                deadline,
                headers,
            }) => {
                let kind = match kind {
                    Kind::Unknown => MethodKind::Unknown,
                    Kind::Unary => MethodKind::Unary,
                    Kind::ClientStreaming => MethodKind::ClientStreaming,
                    Kind::ServerStreaming => MethodKind::ServerStreaming,
                    Kind::Bidi => MethodKind::Bidi,
                };
                let deadline = deadline.map(|time| self.now.saturating_add(tenths(time)));
                self.judge.acted(150);
                let entries = entries(*headers);
                let options = OpenOptions { deadline, kind };
                self.end.open(self.now, "svc/m", &entries, options).ok();
                self.settle();
            }
            Step::Do(Op::HalfClose { call }) if self.has(number(*call)) => {
                self.judge.acted(0);
                self.end.half_close(number(*call)).ok();
                self.settle();
            }
            Step::Do(Op::Cancel { call }) if self.has(number(*call)) => {
                self.judge.acted(0);
                self.end.cancel(number(*call)).ok();
                self.settle();
            }
            step => self.both(step),
        }
    }
}
