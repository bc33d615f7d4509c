//! Frames between the tunnels and the carrier, and the books of credit that they must keep.

use grpctunnel_core::wire::PREFIX_LEN;
use grpctunnel_core::{Body, Input, Part, Side, Transmit};

use super::call::{Call, Half, Stage};
use super::link::{Frame, Item, Moves};
use super::state::{Check, State, World, is_fair, other, tunnel};
use super::step::len;

/// The byte at a position of all that an end sends on a call.
const fn payload(position: u32) -> u8 {
    (position % 251) as u8
}

impl State {
    /// One frame leaves an end, if it has one after all.
    pub(super) fn transmit(&mut self, world: &World, side: Side) -> Check {
        let now = self.now;
        let Some(transmit) = tunnel!(self, side, tunnel => tunnel.poll_transmit(now)) else {
            return Ok(());
        };
        let bytes = self.write(world, side, &transmit)?;
        let Some(frame) = Frame::read(side, &bytes) else {
            return Err("a frame that cannot be read".into());
        };
        self.base = self.base.max(frame.id.saturating_add(1));
        for call in 0..self.calls.len() {
            let key = self.half(Side::Client, call).key;
            let id = key.and_then(|key| self.client.inspect(key)?.id());
            if let Some(call) = self.calls.get_mut(call)
                && call.client.stage == Stage::Live
            {
                call.id = id;
            }
        }
        if let Moves::Credit(bytes) = frame.moves {
            let call = self.calls.iter_mut().find(|call| call.id == Some(frame.id));
            if let Some(call) = call {
                let half = call.half_mut(side);
                half.granted = half.granted.saturating_add(bytes);
            }
        }
        self.to(other(side)).put(Item::Frame(frame));
        Ok(())
    }

    /// The bytes of a frame, without its length prefix.
    fn write(&self, world: &World, side: Side, transmit: &Transmit) -> Result<Vec<u8>, String> {
        let prefix = transmit.prefix.get(PREFIX_LEN..).unwrap_or_default();
        let mut bytes = prefix.to_vec();
        match &transmit.body {
            Body::None => {}
            Body::Static(text) => bytes.extend_from_slice(text.as_bytes()),
            Body::Caller {
                stream,
                part,
                range,
            } => {
                let call = self.by_key(side, *stream).ok_or("bytes of no call")?;
                let half = self.half(side, call);
                if half.stage != Stage::Live {
                    return Err(format!("{part:?} of a call that has ended"));
                }
                let head = match part {
                    Part::Open => &world.open,
                    Part::Headers => &world.headers,
                    Part::Close => world.close_head(!half.failed),
                    Part::Message => {
                        let begun = usize::from(half.begun);
                        let earlier = world.script(side, call).iter().take(begun);
                        let sizes: u32 = earlier.sum();
                        let last = world.script(side, call).get(begun.saturating_sub(1));
                        let start = sizes.saturating_sub(last.copied().unwrap_or(0));
                        bytes.extend(range.clone().map(|at| payload(start.saturating_add(at))));
                        return Ok(bytes);
                    }
                };
                let range = range.start as usize..range.end as usize;
                bytes.extend_from_slice(head.get(range).ok_or("bytes beyond a head")?);
            }
        }
        Ok(bytes)
    }

    /// An end takes what is next on the carrier.
    pub(super) fn deliver(&mut self, world: &World, side: Side) -> Check {
        let now = self.now;
        match self.to(side).take() {
            None => Ok(()),
            Some(Item::Opened(negotiation)) => {
                tunnel!(self, side, tunnel => tunnel.handle_opened(now, negotiation));
                Ok(())
            }
            Some(Item::End(cause)) => {
                self.carrier_ends(side, cause);
                Ok(())
            }
            Some(Item::Frame(frame)) => {
                let input = tunnel!(self, side, tunnel => tunnel.handle_frame(now, &frame.bytes));
                match input {
                    Ok(input) => self.take_in(world, side, &frame, input),
                    Err(error) if is_fair(error.reason().into()) => Ok(()),
                    Err(error) => Err(format!("the {side:?} ends the tunnel: {error:?}")),
                }
            }
        }
    }

    fn take_in(&mut self, world: &World, side: Side, frame: &Frame, input: Input<'_>) -> Check {
        match input {
            Input::Opened { stream, .. } => {
                let call = self.calls.iter_mut().find(|call| call.id == Some(frame.id));
                let call = call.ok_or("a call that nobody opened")?;
                if call.server.stage != Stage::Fresh {
                    return Err("a call twice".into());
                }
                call.server.key = Some(stream);
                call.server.stage = Stage::Live;
                Ok(())
            }
            Input::Data {
                stream,
                bytes,
                begins,
                ends,
                discard,
            } => {
                let call = self.by_key(side, stream).ok_or("data for no call")?;
                let script = world.script(other(side), call);
                let half = self.half_mut(side, call).ok_or("data for no call")?;
                for byte in bytes {
                    if *byte != payload(half.taken) {
                        return Err("other bytes than were sent".into());
                    }
                    half.taken = half.taken.saturating_add(1);
                }
                if discard {
                    return Ok(());
                }
                half.taken_in(
                    script,
                    begins.map(|envelope| envelope.size),
                    len(bytes),
                    ends,
                )
            }
            Input::HalfClosed { stream } => {
                let call = self.by_key(side, stream).ok_or("a half-close of no call")?;
                let requests = world.script(Side::Client, call).len();
                let half = self.half_mut(side, call).ok_or("a half-close of no call")?;
                half.peer_closed = true;
                let deaf = half.stopped || half.closed || half.released;
                if !deaf && usize::from(half.messages) != requests {
                    return Err(format!("a half-close after {} requests", half.messages));
                }
                Ok(())
            }
            Input::Ended { stream, why, .. } => self.end(world, side, stream, why),
            _ => Ok(()),
        }
    }

    /// Credit, in each direction of each call that both ends have: what the sender may send, what
    /// is on its way to the receiver and the grants on their way back are what the receiver takes;
    /// that, what it holds unread and what was read and not granted are its window. Grants beyond what
    /// was read are what the window has grown by.
    pub(super) fn check_credit(&self, world: &World) -> Check {
        if !world.scope.flow_control {
            return Ok(());
        }
        for call in &self.calls {
            for side in [Side::Client, Side::Server] {
                self.check_receiver(world, call, side)?;
            }
        }
        Ok(())
    }

    fn check_receiver(&self, world: &World, call: &Call, receiver: Side) -> Check {
        let (half, sender) = (call.half(receiver), call.half(other(receiver)));
        let (Some(own), Some(peer)) = (half.key, sender.key) else {
            return Ok(());
        };
        let cut = self.to_client.over || self.to_server.over;
        if half.stage != Stage::Live || sender.stage != Stage::Live || cut {
            return Ok(());
        }
        let initial = world.window(receiver);
        let sum = |link: &super::link::Link, amount: fn(Moves) -> u32| -> u32 {
            let frames = call.id.map(|id| link.frames(id));
            let frames = frames.into_iter().flatten();
            frames.map(|frame| amount(frame.moves)).sum()
        };
        let data = sum(self.towards(receiver), |moves| match moves {
            Moves::Data(bytes) => bytes,
            _ => 0,
        });
        let grants = sum(self.towards(other(receiver)), |moves| match moves {
            Moves::Credit(bytes) => bytes,
            _ => 0,
        });
        let sends = tunnel!(ref self, other(receiver), tunnel => tunnel.inspect(peer));
        let takes = tunnel!(ref self, receiver, tunnel => tunnel.inspect(own));
        let (Some(may_send), Some(available), Some(unread), Some(window)) = (
            sends.and_then(|it| it.send_credit()),
            takes.and_then(|it| it.receive_credit()),
            takes.map(|it| it.unread()),
            takes.and_then(|it| it.receive_window()),
        ) else {
            return Err("a live call has no credit".into());
        };
        let held = half.held;
        let granted = half.granted;
        let grown = window.saturating_sub(initial);
        let read = half.taken.saturating_sub(held);
        let balances = may_send + data + grants == available
            && unread == held
            && available + half.taken == initial + granted
            && granted <= read + grown
            && window <= initial.max(world.scope.grown);
        if balances {
            return Ok(());
        }
        Err(format!(
            "credit to the {receiver:?}: {may_send} to send + {data} and {grants} on their way \
             against {available}; {unread} unread against {held}; {} came, {granted} granted, \
             {initial} at first and {window} in all",
            half.taken
        ))
    }
}

impl Half {
    /// Bytes of the message that comes; `begins` is its size.
    fn taken_in(&mut self, script: &[u32], begins: Option<u32>, bytes: u32, ends: bool) -> Check {
        let size = script.get(usize::from(self.messages)).copied();
        if begins.is_some() != (self.partial == 0 && !self.inside)
            || begins.is_some_and(|got| Some(got) != size)
        {
            return Err("a message begins where none was begun, or another one".into());
        }
        self.partial = self.partial.saturating_add(bytes);
        self.held = self.held.saturating_add(bytes);
        self.tail = self.tail.saturating_add(bytes);
        self.inside = !ends;
        if ends {
            if Some(self.partial) != size {
                return Err("a message ends before it is whole".into());
            }
            self.messages = self.messages.saturating_add(1);
            self.partial = 0;
            self.tail = 0;
        }
        Ok(())
    }
}
