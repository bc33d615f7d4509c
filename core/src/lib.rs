//! gRPC tunnels (`grpctunnel.v1`) as pure state machines: no IO, no clock, no async, no threads,
//! no randomness, `no_std`, and no allocator needed.
//!
//! A tunnel is one bidirectional gRPC stream that carries other calls. [`TunnelClient`] is the
//! end that starts them, [`TunnelServer`] the end that handles them; either may have opened the
//! carrier. Payload never enters the core: it judges heads and lengths, and says which bytes of
//! the caller's memory go out next.
//!
//! # The loop
//!
//! 1. Feed what arrived: [`handle_frame`](Tunnel::handle_frame) for each frame (the
//!    [`wire::Deframer`] finds them), [`handle_opened`](Tunnel::handle_opened),
//!    [`handle_end`](Tunnel::handle_end), [`handle_timeout`](Tunnel::handle_timeout). Time is
//!    always a parameter.
//! 2. Command: [`open`](Tunnel::open), [`send_message`](Tunnel::send_message),
//!    [`half_close`](Tunnel::half_close), [`close`](Tunnel::close), [`consumed`](Tunnel::consumed),
//!    [`release`](Tunnel::release) ... A command that is refused changes nothing.
//! 3. Poll until there is nothing more: [`poll_transmit`](Tunnel::poll_transmit) for what to
//!    send, [`poll_event`](Tunnel::poll_event) for what happened, and
//!    [`poll_timeout`](Tunnel::poll_timeout) for when to come back.
//!
//! Whatever a peer sends is data: it can end its stream or its tunnel ([`Reason::scope`] says
//! which), it cannot panic us, and no bound is left open ([`Limits`]). Every stream that was
//! opened yields exactly one [`End`].
//!
//! # Example: no allocator
//!
//! A unary call between two ends, frame by frame, with storage for four streams in place:
//!
//! ```
//! use grpctunnel_core::wire::{self, HeadOptions, StatusHead};
//! use grpctunnel_core::*;
//!
//! type Store = Fixed<4, 8>;
//!
//! /// Moves one frame to the other end; `memory` holds what the frame may name.
//! fn frame<R: Role>(tunnel: &mut Tunnel<R, Store>, memory: [&[u8]; 3]) -> Option<heapless::Vec<u8, 256>> {
//!     let transmit = tunnel.poll_transmit(Time::ZERO)?;
//!     let mut bytes = heapless::Vec::new();
//!     bytes.extend_from_slice(&transmit.prefix[wire::PREFIX_LEN..]).ok()?;
//!     match transmit.body {
//!         Body::None => {}
//!         Body::Static(text) => bytes.extend_from_slice(text.as_bytes()).ok()?,
//!         Body::Caller { part, range, .. } => {
//!             let [head, message, close] = memory;
//!             let memory = match part {
//!                 Part::Open | Part::Headers => head,
//!                 Part::Message => message,
//!                 Part::Close => close,
//!             };
//!             bytes.extend_from_slice(&memory[range.start as usize..range.end as usize]).ok()?;
//!         }
//!     }
//!     Some(bytes)
//! }
//!
//! let opening = Opening::Accepted(Negotiation::On);
//! let mut client = TunnelClient::<Store>::new(Time::ZERO, Config::default(), opening);
//! let mut server = TunnelServer::<Store>::new(Time::ZERO, Config::default(), opening);
//!
//! // The server's settings settle the tunnel.
//! let settings = frame(&mut server, [&[]; 3]).unwrap();
//! client.handle_frame(Time::ZERO, &settings)?;
//! assert!(matches!(client.poll_event(), Some(Event::Settled(wire::Revision::One))));
//!
//! // The client opens a call, sends its request and half-closes.
//! let mut head = heapless::Vec::<u8, 64>::new();
//! let none = core::iter::empty();
//! let encoded = wire::encode_open(&mut head, "greeter/Hello", none.clone(), &HeadOptions::default())?;
//! let call = client.open(Time::ZERO, encoded, OpenOptions::default())?;
//! client.send_message(call, Envelope::new(5), 5)?;
//! client.half_close(call)?;
//!
//! let mut handler = None;
//! while let Some(bytes) = frame(&mut client, [&head, b"world", &[]]) {
//!     match server.handle_frame(Time::ZERO, &bytes)? {
//!         Input::Opened { stream, method, .. } => {
//!             assert_eq!(method, "greeter/Hello");
//!             handler = Some(stream);
//!         }
//!         Input::Data { stream, bytes, ends, .. } => {
//!             assert_eq!((bytes, ends), (&b"world"[..], true));
//!             server.consumed(stream, 5)?;
//!         }
//!         Input::HalfClosed { .. } => {}
//!         other => panic!("{other:?}"),
//!     }
//! }
//!
//! // The server answers and closes; the client reads the answer and the status.
//! let handler = handler.unwrap();
//! server.send_message(handler, Envelope::new(3), 3)?;
//! let mut close = heapless::Vec::<u8, 64>::new();
//! let encoded = wire::encode_close(&mut close, StatusHead::default(), none, &HeadOptions::default())?;
//! server.close(Time::ZERO, handler, encoded, None)?;
//!
//! let mut ended = false;
//! while let Some(bytes) = frame(&mut server, [&[], b"hi!", &close]) {
//!     match client.handle_frame(Time::ZERO, &bytes)? {
//!         Input::Data { bytes, .. } => assert_eq!(bytes, b"hi!"),
//!         Input::Ended { why: End::Status { status, .. }, .. } => ended = status.code == 0,
//!         other => panic!("{other:?}"),
//!     }
//! }
//! assert!(ended);
//!
//! // Released on both sides, nothing is left of it.
//! client.release(call);
//! server.release(handler);
//! while let Some(event) = server.poll_event() {
//!     assert!(matches!(event, Event::Writable(_) | Event::Ended { why: End::Closed, .. }));
//! }
//! assert_eq!((client.streams(), server.streams()), (0, 0));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - `alloc`: `Growing` storage and receive buffers that grow.
//! - `search`: fingerprints of a tunnel's state, for searches over all of them.
//!
//! # A transport of one's own
//!
//! Where there is no HTTP/2, [`bare`] puts a forward and a reverse tunnel on one stream of bytes.
//! The example `tcp` of this package is a whole client and server over TCP, with threads and
//! nothing async: `cargo run --features alloc --example tcp`.
//!
#![cfg_attr(feature = "alloc", doc = include_str!("growing.md"))]
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bare;
mod budget;
mod error;
mod limits;
mod links;
mod message;
pub mod receive_buffer;
#[cfg(feature = "alloc")]
pub mod session;
pub mod states;
mod storage;
mod stream;
mod table;
mod time;
mod timers;
mod tunnel;
mod types;
pub mod window;
pub mod wire;

pub use error::{
    Code, CommandError, MISSING_RESPONSE, OpenError, Reason, Scope, Side, TunnelError,
};
pub use limits::{Bucket, Budgets, Limits, Liveness, ReceiveWindowPolicy, RevisionZeroLimits};
#[cfg(feature = "alloc")]
pub use session::Session;
#[cfg(feature = "alloc")]
pub use storage::Growing;
pub use storage::{Fixed, List, Storage};
pub use time::Time;
pub use tunnel::{Client, MemoryBound, Role, Server, Tunnel, TunnelClient, TunnelServer};
pub use types::{
    Body, Carrier, Cause, Config, Counters, End, Envelope, Event, Hold, Input, Key, MethodKind,
    Negotiation, OpenOptions, Opening, Part, Transmit, Unread,
};
