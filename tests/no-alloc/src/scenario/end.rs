//! One end of the tunnel, with the application on it.

use grpctunnel_core::wire::FixedAssembler;
use grpctunnel_core::{
    Body, Carrier, Event, Input, Key, Part, Role, StreamMut, Time, Transmit, Tunnel, Unread,
    frame_bytes,
};

use super::Memory;
use super::call::{Call, Outcome, content};
use super::fault::{Fault, Maybe, hold};
use super::pipe::Pipe;
use super::trace::Trace;

/// Streams at once.
pub(crate) const STREAMS: usize = 2;
/// The largest frame that the other end sends.
const FRAME: usize = frame_bytes(65_536);

/// What an end keeps of its calls.
pub(crate) struct Calls<M: Memory> {
    calls: [Option<Call<M>>; STREAMS],
    /// The call that came in last.
    pub(crate) opened: Option<Key>,
}

/// One end.
pub(crate) struct End<R: Role, M: Memory> {
    pub(crate) tunnel: Tunnel<R, M::Streams>,
    pub(crate) calls: Calls<M>,
    pub(crate) finished: bool,
    frames: FixedAssembler<FRAME>,
}

impl<M: Memory> Calls<M> {
    pub(crate) fn add(&mut self, key: Key) -> Maybe<&mut Call<M>> {
        let call = self.calls.get_mut(key.index()).ok_or(Fault::Stream)?;
        hold(call.is_none(), Fault::Stream)?;
        Ok(call.insert(Call::new(key)))
    }

    pub(crate) fn call(&mut self, key: Key) -> Maybe<&mut Call<M>> {
        let call = self.calls.get_mut(key.index()).ok_or(Fault::Stream)?;
        let call = call.as_mut().ok_or(Fault::Stream)?;
        hold(call.key == key, Fault::Stream)?;
        Ok(call)
    }

    fn head(&self, key: Key, part: Part) -> &[u8] {
        let call = self.calls.get(key.index()).and_then(Option::as_ref);
        call.map_or(&[], |call| call.head(part))
    }

    /// Takes in what a frame means.
    fn handle(&mut self, input: Input<'_>) -> Maybe<()> {
        match input {
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
                let pushed = self.call(stream)?.buffer.push(bytes, begins, ends);
                pushed.map_err(|_| Fault::Buffer)?;
            }
            Input::HalfClosed { stream } => self.call(stream)?.half_closed = true,
            Input::Ended {
                stream,
                why,
                unread,
            } => self.finish(stream, Outcome::of(&why), unread)?,
            _ => return Err(Fault::Unexpected),
        }
        Ok(())
    }

    fn finish(&mut self, stream: Key, outcome: Outcome, unread: Unread) -> Maybe<()> {
        self.call(stream)?.buffer.finish(outcome, unread);
        Ok(())
    }
}

impl<R: Role, M: Memory> End<R, M> {
    pub(crate) fn new(tunnel: Tunnel<R, M::Streams>) -> Self {
        Self {
            tunnel,
            calls: Calls {
                calls: [const { None }; STREAMS],
                opened: None,
            },
            finished: false,
            frames: FixedAssembler::fixed(u32::MAX),
        }
    }

    /// A stream that takes commands.
    pub(crate) fn stream(&mut self, key: Key) -> Maybe<StreamMut<'_, R, M::Streams>> {
        self.tunnel.stream(key).map_err(|_| Fault::Command)
    }

    /// Lets go of a call that is over.
    pub(crate) fn release(&mut self, key: Key) -> Maybe<()> {
        hold(
            self.calls.call(key)?.outcome == Some(Outcome::Ok),
            Fault::Outcome,
        )?;
        self.tunnel.release(key).map_err(|_| Fault::Command)?;
        *self.calls.calls.get_mut(key.index()).ok_or(Fault::Stream)? = None;
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
        let Some(Some(call)) = self.calls.calls.get_mut(slot) else {
            return Ok(false);
        };
        let taken = call.read()?;
        if taken > 0 && call.outcome.is_none() {
            let done = match self.tunnel.stream(call.key) {
                Ok(mut stream) => stream.consumed(taken).is_ok(),
                Err(_) => call.buffer.is_finished(),
            };
            hold(done, Fault::Command)?;
        }
        Ok(taken > 0)
    }

    fn send(&mut self, transmit: &Transmit, to: &mut Pipe) -> Maybe<()> {
        if let Body::Caller {
            part: Part::Message,
            range,
            ..
        } = &transmit.body
        {
            // No message is ever in memory.
            let prefix = &transmit.prefix;
            to.room(prefix.len())?.copy_from_slice(prefix);
            let room = to.room(range.len())?;
            for (byte, offset) in room.iter_mut().zip(range.clone()) {
                *byte = content(offset);
            }
            return Ok(());
        }
        let sent = transmit.write_to(to, |stream, part| self.calls.head(stream, part));
        sent.map_err(|_| Fault::PipeFull)
    }

    fn receive(&mut self, now: Time, from: &mut Pipe) -> Maybe<bool> {
        let mut moved = false;
        while !from.is_empty() {
            moved = true;
            let next = self.frames.next(from.arrived(1_000));
            let (taken, frame) = next.map_err(|_| Fault::Framing)?;
            if let Some(frame) = frame {
                hold(frame.flags == 0, Fault::Framing)?;
                let input = self.tunnel.handle_frame(now, frame.bytes);
                self.calls.handle(input.map_err(|_| Fault::Tunnel)?)?;
            }
            from.take(taken);
        }
        Ok(moved)
    }

    fn events(&mut self) -> Maybe<()> {
        while let Some(event) = self.tunnel.poll_event() {
            match event {
                Event::Ended {
                    stream,
                    why,
                    unread,
                } => self.calls.finish(stream, Outcome::of(&why), unread)?,
                Event::Carrier(Carrier::Finish) => self.finished = true,
                Event::Carrier(Carrier::Abort(_)) => return Err(Fault::Tunnel),
                _ => {}
            }
        }
        Ok(())
    }
}
