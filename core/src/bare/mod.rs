//! Tunnels on a bare byte stream.
//!
//! A forward tunnel and a reverse one share it, for transports without HTTP/2 (a TCP connection, a
//! UART, a WebSocket) between two ends of ours.
//!
//! Each frame is one length-prefixed message ([`wire::Deframer`](crate::wire::Deframer) finds
//! them), and the first byte of its prefix says which tunnel it belongs to:
//!
//! | flag byte | tunnel | its tunnel client is |
//! | --- | --- | --- |
//! | [`FORWARD`] | forward | the end that opened the pipe |
//! | [`REVERSE`] | reverse | the end that accepted it |
//!
//! Any other flag ends the pipe. Who opened it, and which directions there are, is configuration
//! that both ends share. Nothing is negotiated on the wire: negotiation counts as `on`, so for
//! each direction the tunnel server sends its settings at once.
//!
//! An end of a pipe thus has at most one [`TunnelClient`] and one [`TunnelServer`], and
//! [`Side`] tells which of its own tunnels something belongs to. Both live and die together: a
//! frame that belongs to neither, and the end or the error of one, end both.
//!
//! ```
//! use grpctunnel_core::bare::{Directions, PipeEnd, PipeEvent, Pipe};
//! use grpctunnel_core::wire::PREFIX_LEN;
//! use grpctunnel_core::*;
//!
//! type Store = Fixed<4, 4>;
//!
//! let now = Time::ZERO;
//! let mut opener = Pipe::<Store>::new(now, Config::default(), PipeEnd::Opener, Directions::Both)?;
//! let mut acceptor = Pipe::<Store>::new(now, Config::default(), PipeEnd::Acceptor, Directions::Both)?;
//!
//! // Each end has a tunnel server, whose settings settle the tunnel client of the other end.
//! let (_, settings) = opener.poll_transmit(now).unwrap();
//! let _ = acceptor.handle_frame(now, settings.prefix[0], &settings.prefix[PREFIX_LEN..])?;
//! let settled = acceptor.poll_event();
//! assert!(matches!(settled, Some(PipeEvent::Tunnel(Side::Client, grpctunnel_core::Event::Settled(_)))));
//! assert!(acceptor.client().is_some_and(|client| client.is_open()));
//!
//! // A flag that means nothing ends both tunnels of an end.
//! assert_eq!(acceptor.handle_frame(now, 1, b"").unwrap_err().reason(), TunnelReason::FrameFlags);
//! assert!(acceptor.client().is_some_and(|client| client.is_ended()));
//! assert!(acceptor.server().is_some_and(|server| server.is_ended()));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod end;
mod transmit;

use core::time::Duration;

use crate::code::Side;
use crate::error::{ConfigError, TunnelError};
use crate::reason::TunnelReason;
use crate::storage::Storage;
use crate::time::Time;
use crate::tunnel::{Tunnel, TunnelClient, TunnelServer};
use crate::types::{Carrier, Cause, Config, Event, Input, Negotiation, Opening, Timer};
use crate::wire::Extension;

/// The flag byte of the forward tunnel's frames.
pub const FORWARD: u8 = 0;
/// The flag byte of the reverse tunnel's frames.
pub const REVERSE: u8 = 2;

/// Which end of the pipe this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PipeEnd {
    /// The one that opened it: the tunnel client of the forward tunnel, the tunnel server of the
    /// reverse one.
    Opener,
    /// The one that accepted it: the other way round.
    Acceptor,
}

impl PipeEnd {
    /// The flag byte of the frames of this end's tunnel on that side, in both directions.
    #[must_use]
    pub const fn flags(self, side: Side) -> u8 {
        match (self, side) {
            (Self::Opener, Side::Client) | (Self::Acceptor, Side::Server) => FORWARD,
            (Self::Opener, Side::Server) | (Self::Acceptor, Side::Client) => REVERSE,
        }
    }
}

/// Which tunnels a pipe has. Both ends must be configured alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Directions {
    /// The forward tunnel only: the opener calls.
    Forward,
    /// The reverse tunnel only: the acceptor calls.
    Reverse,
    /// Both: either end calls.
    Both,
}

impl Directions {
    const fn has(self, flag: u8) -> bool {
        match self {
            Self::Forward => flag == FORWARD,
            Self::Reverse => flag == REVERSE,
            Self::Both => flag == FORWARD || flag == REVERSE,
        }
    }
}

/// What happened at a pipe, besides what each frame meant.
#[derive(Clone, Debug)]
#[must_use = "each event is reported once"]
pub enum PipeEvent {
    /// An event of one of this end's tunnels; never [`Event::Carrier`].
    Tunnel(Side, Event),
    /// What is to be done with the byte stream now; nothing more is transmitted.
    /// [`Carrier::Finish`]: end our direction of it, and wait for the other to end.
    /// [`Carrier::Abort`]: close it. It comes after the ends of all streams.
    Carrier(Carrier),
}

/// What the caller was asked to do with the byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Announced {
    Nothing,
    Finish,
    Abort,
}

/// One end of a bare byte stream, with the tunnels on it.
///
/// It is used as a [`Tunnel`] is: `handle_*` takes what arrived, `poll_*` hands out what is to be
/// done, and commands on streams go to [`client_mut`](Self::client_mut) and
/// [`server_mut`](Self::server_mut). The two tunnels share the byte stream fairly, by bytes.
#[derive(Clone, Debug)]
pub struct Pipe<S: Storage> {
    end: PipeEnd,
    client: Option<TunnelClient<S>>,
    server: Option<TunnelServer<S>>,
    /// The latest time that was passed in.
    now: Time,
    /// Bytes that the client sent beyond those of the server, while both had some to send.
    ahead: i64,
    draining: bool,
    /// The peer finished the byte stream when nothing was open, which is no error.
    clean: bool,
    /// Both tunnels have ended, and what ended the first of them was noted.
    over: bool,
    due: Option<Carrier>,
    announced: Announced,
    error: Option<TunnelError>,
}

impl<S: Storage> Pipe<S> {
    /// One end of a byte stream that is open from `now` on. `config` is for the tunnels at this
    /// end; its limits hold for each of them. `DRAIN` and `PING` are offered in addition to its
    /// extensions, since they need nothing of the caller and the other end is one of ours.
    ///
    /// # Errors
    /// A setting is out of its range; see [`Config::validate`].
    pub fn new(
        now: Time,
        mut config: Config,
        end: PipeEnd,
        directions: Directions,
    ) -> Result<Self, ConfigError> {
        config.extensions = config
            .extensions
            .with(Extension::Drain)
            .with(Extension::Ping);
        Self::opened(
            now,
            config,
            end,
            directions,
            Opening::Accepted(Negotiation::On),
        )
    }

    /// The same on a byte stream that comes to be in another way. Of one direction only it is a
    /// gRPC stream: its frames have the flag 0.
    pub(crate) fn opened(
        now: Time,
        config: Config,
        end: PipeEnd,
        directions: Directions,
        opening: Opening,
    ) -> Result<Self, ConfigError> {
        let client = directions
            .has(end.flags(Side::Client))
            .then(|| Tunnel::new(now, config.clone(), opening))
            .transpose()?;
        let server = directions
            .has(end.flags(Side::Server))
            .then(|| Tunnel::new(now, config, opening))
            .transpose()?;
        Ok(Self {
            end,
            client,
            server,
            now,
            ahead: 0,
            draining: false,
            clean: false,
            over: false,
            due: None,
            announced: Announced::Nothing,
            error: None,
        })
    }

    /// The tunnel on which this end calls, if its direction is enabled.
    #[must_use]
    pub const fn client(&self) -> Option<&TunnelClient<S>> {
        self.client.as_ref()
    }

    /// The same, for commands.
    pub const fn client_mut(&mut self) -> Option<&mut TunnelClient<S>> {
        self.client.as_mut()
    }

    /// The tunnel on which this end is called, if its direction is enabled.
    #[must_use]
    pub const fn server(&self) -> Option<&TunnelServer<S>> {
        self.server.as_ref()
    }

    /// The same, for commands.
    pub const fn server_mut(&mut self) -> Option<&mut TunnelServer<S>> {
        self.server.as_mut()
    }

    /// Takes in one frame, without its prefix; `flags` is the first byte of that. Returns which
    /// of this end's tunnels it was for, and what it means there.
    ///
    /// # Errors
    /// The pipe has ended, because of this frame or before; the first error is returned again.
    /// A flag byte of no enabled direction is [`TunnelReason::FrameFlags`].
    pub fn handle_frame<'f>(
        &mut self,
        now: Time,
        flags: u8,
        frame: &'f [u8],
    ) -> Result<(Side, Input<'f>), TunnelError> {
        self.handle_activity(now);
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let result = match (&mut self.client, &mut self.server) {
            (Some(client), _) if flags == self.end.flags(Side::Client) => {
                (Side::Client, client.handle_frame(now, frame))
            }
            (_, Some(server)) if flags == self.end.flags(Side::Server) => {
                (Side::Server, server.handle_frame(now, frame))
            }
            // Two tunnels that have ended without an error have nothing to say to it.
            _ => {
                return match self.abort(now, TunnelReason::FrameFlags) {
                    Some(error) => Err(error),
                    None => Ok((Side::Client, Input::Ignored)),
                };
            }
        };
        self.spread();
        match (result, &self.error) {
            ((side, Ok(input)), _) => Ok((side, input)),
            ((_, Err(_)), Some(error)) => Err(error.clone()),
            // One tunnel is over because the other was drained, which is no error of the pipe.
            ((side, Err(_)), None) => Ok((side, Input::Ignored)),
        }
    }

    /// The response headers of a gRPC stream came.
    #[cfg(feature = "alloc")]
    pub(crate) fn handle_opened(&mut self, now: Time, negotiation: Negotiation) {
        self.advance(now);
        if let Some(client) = &mut self.client {
            client.handle_opened(now, negotiation);
        }
        if let Some(server) = &mut self.server {
            server.handle_opened(now, negotiation);
        }
        self.spread();
    }

    /// The byte stream ended: cleanly, if it did between two frames and no error was seen. Every
    /// open stream of both tunnels is lost.
    pub fn handle_end(&mut self, now: Time, cause: Cause) {
        self.handle_timeout(now);
        let idle = self
            .client
            .as_ref()
            .is_none_or(|it| it.is_open() && it.active_streams() == 0)
            && self
                .server
                .as_ref()
                .is_none_or(|it| it.is_open() && it.active_streams() == 0);
        self.clean |= idle && cause == Cause::Finished;
        if let Some(client) = &mut self.client {
            client.handle_end(now, cause);
        }
        if let Some(server) = &mut self.server {
            server.handle_end(now, cause);
        }
        self.spread();
    }

    /// Says that bytes came, of a frame that is not whole yet. Whole frames say so themselves, and
    /// what comes for one tunnel shows that the peer of the other lives.
    pub fn handle_activity(&mut self, now: Time) {
        self.advance(now);
        if let Some(client) = &mut self.client {
            client.handle_activity(now);
        }
        if let Some(server) = &mut self.server {
            server.handle_activity(now);
        }
        self.spread();
    }

    /// Says whether bytes that `poll_transmit` handed out wait in the caller's memory until the
    /// byte stream takes them; as [`Tunnel::set_backlogged`].
    pub fn set_backlogged(&mut self, now: Time, backlogged: bool) {
        self.advance(now);
        if let Some(client) = &mut self.client {
            client.set_backlogged(now, backlogged);
        }
        if let Some(server) = &mut self.server {
            server.set_backlogged(now, backlogged);
        }
        self.spread();
    }

    /// Gives the pipe up for a reason that the caller found: a frame that its framer refused, a
    /// byte stream that ended inside one, or that makes no progress. Returns the error that ended
    /// the pipe, which is the first one if it had ended before; `None` if it had ended without
    /// one.
    pub fn abort(&mut self, now: Time, reason: TunnelReason) -> Option<TunnelError> {
        self.handle_timeout(now);
        let client = self.client.as_mut().and_then(|it| it.abort(now, reason));
        let server = self.server.as_mut().and_then(|it| it.abort(now, reason));
        if self.error.is_none() {
            self.error = client.or(server);
        }
        self.error.clone()
    }

    /// Runs every timer of both tunnels that has expired.
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
        if let Some(client) = &mut self.client {
            client.handle_timeout(now);
        }
        if let Some(server) = &mut self.server {
            server.handle_timeout(now);
        }
        self.spread();
    }

    /// When `handle_timeout` must be called next; `None`: there is no timer.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let client = self.client.as_ref().and_then(Tunnel::poll_timeout);
        let server = self.server.as_ref().and_then(Tunnel::poll_timeout);
        client.into_iter().chain(server).min()
    }

    /// The timer that `poll_timeout` is about, and which tunnel's it is.
    #[must_use]
    pub fn next_timer(&self) -> Option<(Time, Side, Timer)> {
        let client = self.client.as_ref().and_then(Tunnel::next_timer);
        let server = self.server.as_ref().and_then(Tunnel::next_timer);
        let client = client.map(|(time, timer)| (time, Side::Client, timer));
        let server = server.map(|(time, timer)| (time, Side::Server, timer));
        client
            .into_iter()
            .chain(server)
            .min_by_key(|(time, _, _)| *time)
    }

    /// Begins to drain both tunnels: no new streams in either direction; the byte stream is
    /// finished when the last stream of both has ended. Streams that are open after `limit` end
    /// UNAVAILABLE. A second call can only shorten the limit. A tunnel that is drained alone, or
    /// whose peer says that it drains, drains the other too, which has no limit then.
    pub fn drain(&mut self, now: Time, limit: Duration) {
        self.advance(now);
        self.draining = true;
        if let Some(client) = &mut self.client {
            client.drain(now, limit);
        }
        if let Some(server) = &mut self.server {
            server.drain(now, limit);
        }
    }

    /// Whether frames are to be read now; false only while a reader without flow control is
    /// behind, in either tunnel.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.client.as_ref().is_none_or(Tunnel::wants_read)
            && self.server.as_ref().is_none_or(Tunnel::wants_read)
    }

    /// Whether both tunnels are over, or this end has finished them.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.client.as_ref().is_none_or(Tunnel::is_ended)
            && self.server.as_ref().is_none_or(Tunnel::is_ended)
    }

    /// The error that ended the pipe, if one did. None where either end finished it and no stream was
    /// open.
    #[must_use]
    pub const fn error(&self) -> Option<&TunnelError> {
        self.error.as_ref()
    }

    fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }
}
