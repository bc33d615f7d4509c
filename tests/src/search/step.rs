//! What a move does.

use core::time::Duration;
use std::rc::Rc;

use grpctunnel_core::wire::Encoded;
use grpctunnel_core::{Cause, CommandError, Envelope, Hold, Key, OpenError, OpenOptions, Side};

use super::call::{Call, Half, Stage};
use super::link::Moves;
use super::moves::{Move, TICK};
use super::scope::Disturbance;
use super::state::{Check, State, World, tunnel};

/// How long a drain lets calls go on, and how long a close is held.
const WAIT: Duration = Duration::from_secs(1);

pub(super) fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn refused(error: impl core::fmt::Debug) -> String {
    format!("the core refused what it must take: {error:?}")
}

impl State {
    /// Makes a move, and checks what follows from it.
    pub(super) fn make(&mut self, world: &World, step: Move) -> Check {
        match step {
            Move::Open(call) => self.open(world, usize::from(call))?,
            Move::HalfClose(call) => self.half_close(usize::from(call))?,
            Move::Respond(call) => self.respond(world, usize::from(call))?,
            Move::Close(call) => self.close(world, usize::from(call), true, Hold::Never)?,
            Move::Send(side, call) => self.send(world, side, usize::from(call))?,
            Move::Provide(side, call) => self.provide(side, usize::from(call))?,
            Move::Read(side, call, all) => self.read(world, side, usize::from(call), all)?,
            Move::Release(side, call) => self.release(side, usize::from(call))?,
            Move::Transmit(side) => self.transmit(world, side)?,
            Move::Deliver(side) => self.deliver(world, side)?,
            Move::Disturb(what, side, call) => {
                self.left = self.left.saturating_sub(1);
                self.disturb(world, what, side, usize::from(call))?;
            }
        }
        self.poll_events(world, step.side())?;
        self.open_again(world);
        self.check_credit(world)
    }

    fn half_close(&mut self, call: usize) -> Check {
        let key = self.key(Side::Client, call)?;
        let client = Rc::make_mut(&mut self.client);
        let mut stream = client.stream(key).map_err(refused)?;
        stream.half_close().map_err(refused)?;
        self.change(Side::Client, call, |half| half.closed = true);
        Ok(())
    }

    fn respond(&mut self, world: &World, call: usize) -> Check {
        let key = self.key(Side::Server, call)?;
        let server = Rc::make_mut(&mut self.server);
        let mut stream = server.stream(key).map_err(refused)?;
        let head = Encoded::kept(len(&world.headers), true);
        stream.respond(head).map_err(refused)?;
        self.change(Side::Server, call, |half| half.responded = true);
        Ok(())
    }

    fn key(&self, side: Side, call: usize) -> Result<Key, String> {
        let key = self.half(side, call).key;
        key.ok_or_else(|| "a move on a call that has no key".into())
    }

    fn change(&mut self, side: Side, call: usize, change: impl FnOnce(&mut Half)) {
        if let Some(half) = self.half_mut(side, call) {
            change(half);
        }
    }

    fn open(&mut self, world: &World, call: usize) -> Check {
        let deadline = world.scope.deadline;
        let options = OpenOptions {
            deadline: deadline.map(|time| self.now.saturating_add(time)),
            ..OpenOptions::default()
        };
        let client = Rc::make_mut(&mut self.client);
        match client.open(self.now, Encoded::kept(len(&world.open), true), options) {
            Ok(key) => {
                self.change(Side::Client, call, |half| {
                    half.key = Some(key);
                    half.stage = Stage::Live;
                });
            }
            Err(OpenError::NotSettled | OpenError::Full) => self.waits = true,
            Err(OpenError::Ended | OpenError::Draining) => {
                self.change(Side::Client, call, |half| half.stage = Stage::Over);
            }
            Err(error) => return Err(refused(error)),
        }
        Ok(())
    }

    fn send(&mut self, world: &World, side: Side, call: usize) -> Check {
        let key = self.key(side, call)?;
        let begun = usize::from(self.half(side, call).begun);
        let Some(size) = world.script(side, call).get(begun).copied() else {
            return Ok(());
        };
        let ready = if world.scope.pieces { size / 2 } else { size };
        let envelope = Envelope::new(size);
        tunnel!(self, side, tunnel => {
            let mut stream = tunnel.stream(key).map_err(refused)?;
            stream.send_message(envelope, ready).map_err(refused)?;
        });
        self.change(side, call, |half| {
            half.begun = half.begun.saturating_add(1);
            half.writing = true;
            half.rest = size.saturating_sub(ready);
        });
        Ok(())
    }

    fn provide(&mut self, side: Side, call: usize) -> Check {
        let key = self.key(side, call)?;
        let rest = self.half(side, call).rest;
        tunnel!(self, side, tunnel => {
            let mut stream = tunnel.stream(key).map_err(refused)?;
            stream.provide(rest).map_err(refused)?;
        });
        self.change(side, call, |half| half.rest = 0);
        Ok(())
    }

    fn close(&mut self, world: &World, call: usize, ok: bool, hold: Hold) -> Check {
        let key = self.key(Side::Server, call)?;
        let head = len(world.close_head(ok));
        let server = Rc::make_mut(&mut self.server);
        // What is due now happens first, and may end the call.
        let due = server.poll_timeout().is_some_and(|time| time <= self.now);
        let head = Encoded::kept(head, ok);
        let mut stream = server.stream(key).map_err(refused)?;
        match stream.close(self.now, head, Some(hold)) {
            Err(CommandError::Gone) if due => return Ok(()),
            closed => closed.map_err(refused)?,
        }
        self.change(Side::Server, call, |half| {
            half.closed = true;
            half.failed = !ok;
            half.held = 0;
            half.tail = 0;
            // What was provided in part is given up.
            if half.rest > 0 {
                half.writing = false;
                half.rest = 0;
            }
        });
        Ok(())
    }

    fn read(&mut self, world: &World, side: Side, call: usize, all: bool) -> Check {
        let key = self.key(side, call)?;
        let readable = self.readable(world, side, call);
        let bytes = if all { readable } else { readable.min(1) };
        tunnel!(self, side, tunnel => {
            let mut stream = tunnel.stream(key).map_err(refused)?;
            stream.consumed(bytes).map_err(refused)?;
        });
        self.change(side, call, |half| {
            half.held = half.held.saturating_sub(bytes);
            half.tail = half.tail.min(half.held);
        });
        Ok(())
    }

    /// The handle, or the handler, is gone; its end may still have to come.
    fn release(&mut self, side: Side, call: usize) -> Check {
        let key = self.key(side, call)?;
        tunnel!(self, side, tunnel => tunnel.release(key)).map_err(refused)?;
        self.change(side, call, |half| {
            half.released = true;
            half.held = 0;
            half.tail = 0;
            if half.stage == Stage::Ended {
                half.over();
            }
        });
        Ok(())
    }

    fn disturb(&mut self, world: &World, what: Disturbance, side: Side, call: usize) -> Check {
        match what {
            Disturbance::Cancel => {
                let key = self.key(Side::Client, call)?;
                let client = Rc::make_mut(&mut self.client);
                client.stream(key).map_err(refused)?.cancel();
                Ok(())
            }
            Disturbance::Time => {
                self.now = self.now.max(self.timer(side));
                let now = self.now;
                tunnel!(self, side, tunnel => tunnel.handle_timeout(now));
                Ok(())
            }
            Disturbance::Tick => {
                self.now = self.now.saturating_add(TICK);
                Ok(())
            }
            Disturbance::Fail => self.close(world, call, false, Hold::Never),
            Disturbance::CloseEarly => {
                let hold = Hold::UntilHalfClose { max: WAIT };
                self.close(world, call, true, hold)
            }
            Disturbance::StopReading => {
                let key = self.key(side, call)?;
                tunnel!(self, side, tunnel => {
                    tunnel.stream(key).map_err(refused)?.stop_reading();
                });
                self.change(side, call, |half| {
                    half.stopped = true;
                    half.held = 0;
                    half.tail = 0;
                });
                Ok(())
            }
            Disturbance::Drop => self.release(side, call),
            Disturbance::CarrierFinishes => {
                let own = self.to(side);
                own.items.clear();
                own.over = true;
                self.carrier_ends(side, Cause::Finished);
                Ok(())
            }
            Disturbance::CarrierBreaks => {
                self.to_client.cut();
                self.to_server.cut();
                Ok(())
            }
            Disturbance::ClientDrains | Disturbance::ServerDrains => {
                self.drains = true;
                // Its application knows that nothing can be opened any more.
                self.waits &= side == Side::Server;
                let now = self.now;
                tunnel!(self, side, tunnel => tunnel.drain(now, WAIT));
                Ok(())
            }
        }
    }

    pub(super) fn carrier_ends(&mut self, side: Side, cause: Cause) {
        let now = self.now;
        tunnel!(self, side, tunnel => tunnel.handle_end(now, cause));
    }

    /// A call that is over at both ends is opened again, if the scope says so.
    fn open_again(&mut self, world: &World) {
        if !world.scope.again || self.client.is_ended() || self.client.is_draining() {
            return;
        }
        for call in &mut self.calls {
            // Its `new_stream` may still be on its way to a server that has not heard of it.
            let unheard = |id| {
                let mut frames = self.to_server.frames(id);
                frames.any(|frame| frame.moves == Moves::Call)
            };
            let over = call.client.stage == Stage::Over
                && match call.server.stage {
                    Stage::Over => true,
                    Stage::Fresh => !call.id.is_some_and(unheard),
                    Stage::Live | Stage::Ended => false,
                };
            if over {
                *call = Call::default();
            }
        }
    }
}
