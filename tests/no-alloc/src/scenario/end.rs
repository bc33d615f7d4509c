//! One end of the tunnel, with the application on it.

use grpctunnel_core::wire::{Deframer, Piece};
use grpctunnel_core::{Body, Carrier, Event, Input, Key, Role, Time, Transmit, Tunnel, Unread};

use super::Memory;
use super::call::{Call, Outcome};
use super::fault::{Fault, Maybe, hold};
use super::pipe::Pipe;
use super::trace::Trace;

/// Streams at once.
pub(crate) const STREAMS: usize = 2;
/// The largest frame that the other end sends.
const FRAME: usize = 17_000;

/// One end.
pub(crate) struct End<R: Role, M: Memory> {
    pub(crate) tunnel: Tunnel<R, M::Streams>,
    pub(crate) calls: [Option<Call<M>>; STREAMS],
    /// The call that came in last.
    pub(crate) opened: Option<Key>,
    pub(crate) finished: bool,
    deframer: Deframer,
    frame: [u8; FRAME],
    len: usize,
}

impl<R: Role, M: Memory> End<R, M> {
    pub(crate) fn new(tunnel: Tunnel<R, M::Streams>) -> Self {
        Self {
            tunnel,
            calls: [const { None }; STREAMS],
            opened: None,
            finished: false,
            deframer: Deframer::new(FRAME as u32),
            frame: [0; FRAME],
            len: 0,
        }
    }

    pub(crate) fn add(&mut self, key: Key) -> Maybe<&mut Call<M>> {
        let slot = self.calls.get_mut(key.index()).ok_or(Fault::Stream)?;
        hold(slot.is_none(), Fault::Stream)?;
        Ok(slot.insert(Call::new(key)))
    }

    pub(crate) fn call(&mut self, key: Key) -> Maybe<&mut Call<M>> {
        let call = self.calls.get_mut(key.index()).ok_or(Fault::Stream)?;
        let call = call.as_mut().ok_or(Fault::Stream)?;
        hold(call.key == key, Fault::Stream)?;
        Ok(call)
    }

    /// Lets go of a call that is over.
    pub(crate) fn release(&mut self, key: Key) -> Maybe<()> {
        hold(self.call(key)?.outcome == Some(Outcome::Ok), Fault::Outcome)?;
        self.tunnel.release(key).map_err(|_| Fault::Command)?;
        *self.calls.get_mut(key.index()).ok_or(Fault::Stream)? = None;
        Ok(())
    }

    /// Does all that can be done now; false if there was nothing.
    pub(crate) fn work(
        &mut self,
        now: Time,
        from: &mut Pipe,
        to: &mut Pipe,
        trace: &mut Trace,
    ) -> Maybe<bool> {
        let mut moved = self.receive(now, from)?;
        self.events()?;
        for slot in 0..STREAMS {
            moved |= self.read(slot)?;
        }
        // One frame at a time: the pipe is small.
        if to.is_empty()
            && let Some(transmit) = self.tunnel.poll_transmit(now)
        {
            self.send(&transmit, to)?;
            trace.add(to.arrived(usize::MAX));
            moved = true;
        }
        self.events()?;
        Ok(moved)
    }

    fn read(&mut self, slot: usize) -> Maybe<bool> {
        let Some(Some(call)) = self.calls.get_mut(slot) else {
            return Ok(false);
        };
        let taken = call.read()?;
        if taken > 0 && call.outcome.is_none() {
            let done = self.tunnel.consumed(call.key, taken);
            hold(done.is_ok() || call.buffer.is_finished(), Fault::Command)?;
        }
        Ok(taken > 0)
    }

    fn send(&mut self, transmit: &Transmit, to: &mut Pipe) -> Maybe<()> {
        let prefix = &transmit.prefix;
        to.room(prefix.len())?.copy_from_slice(prefix);
        match &transmit.body {
            Body::None => {}
            Body::Static(text) => to.room(text.len())?.copy_from_slice(text.as_bytes()),
            Body::Caller {
                stream,
                part,
                range,
            } => {
                let room = to.room(range.len())?;
                self.call(*stream)?.copy(*part, range.clone(), room)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, now: Time, from: &mut Pipe) -> Maybe<bool> {
        let mut moved = false;
        while !from.is_empty() {
            moved = true;
            let arrived = from.arrived(1_000);
            let next = self.deframer.next(arrived);
            let (taken, piece) = next.map_err(|_| Fault::Framing)?;
            let mut whole = false;
            match piece {
                Some(Piece::Begin { flags, .. }) => {
                    hold(flags == 0, Fault::Framing)?;
                    self.len = 0;
                }
                Some(Piece::Data { bytes, ends }) => {
                    let room = self.frame.get_mut(self.len..self.len + bytes.len());
                    room.ok_or(Fault::Framing)?.copy_from_slice(bytes);
                    self.len += bytes.len();
                    whole = ends;
                }
                None => {}
            }
            from.take(taken);
            if whole {
                self.handle(now)?;
            }
        }
        Ok(moved)
    }

    /// A frame is whole.
    fn handle(&mut self, now: Time) -> Maybe<()> {
        let frame = self.frame.get(..self.len).ok_or(Fault::Framing)?;
        let input = self.tunnel.handle_frame(now, frame);
        match input.map_err(|_| Fault::Tunnel)? {
            Input::Ignored => {}
            Input::Opened { stream, method, .. } => {
                hold(method == "svc/method", Fault::Unexpected)?;
                self.add(stream)?;
                self.opened = Some(stream);
            }
            Input::Headers { stream, .. } => self.call(stream)?.headers = true,
            Input::Data {
                stream,
                bytes,
                begins,
                ends,
                discard,
            } => {
                hold(!discard, Fault::Unexpected)?;
                let slot = self.calls.get_mut(stream.index());
                let call = slot.and_then(Option::as_mut).ok_or(Fault::Stream)?;
                let pushed = call.buffer.push(bytes, begins, ends);
                pushed.map_err(|_| Fault::Buffer)?;
            }
            Input::HalfClosed { stream } => self.call(stream)?.half_closed = true,
            Input::Ended {
                stream,
                why,
                unread,
            } => {
                let outcome = Outcome::of(&why);
                self.finish(stream, outcome, unread)?;
            }
            _ => return Err(Fault::Unexpected),
        }
        Ok(())
    }

    fn events(&mut self) -> Maybe<()> {
        while let Some(event) = self.tunnel.poll_event() {
            match event {
                Event::Ended {
                    stream,
                    why,
                    unread,
                } => self.finish(stream, Outcome::of(&why), unread)?,
                Event::Carrier(Carrier::Finish) => self.finished = true,
                Event::Carrier(Carrier::Abort(_)) => return Err(Fault::Tunnel),
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(&mut self, stream: Key, outcome: Outcome, unread: Unread) -> Maybe<()> {
        self.call(stream)?.buffer.finish(outcome, unread);
        Ok(())
    }
}
