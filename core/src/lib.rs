//! gRPC tunnels (`grpctunnel.v1`) as pure state machines: no IO, no clock, no async, no threads,
//! no randomness, `no_std`, no allocator needed.
//!
//! Its place among the crates of grpctunnel: it stands on none; `grpctunnel-driver` stands on it.
//!
//! A tunnel is one bidirectional gRPC stream that carries other calls. One end, the tunnel client,
//! starts them; the other, the tunnel server, handles them; either may have opened the carrier.
//!
#![cfg_attr(feature = "alloc", doc = include_str!("growing.md"))]
//!
//! # Without an allocator
//!
//! [`TunnelClient`] and [`TunnelServer`] are the ends themselves. Payload never enters them: they
//! judge heads and lengths, and say which bytes of the caller's memory go out next.
//!
//! 1. Feed what arrived: [`handle_frame`](Tunnel::handle_frame) for each frame (a
//!    [`wire::Assembler`] puts them together), [`handle_opened`](Tunnel::handle_opened),
//!    [`handle_end`](Tunnel::handle_end), [`handle_timeout`](Tunnel::handle_timeout). Time is
//!    always a parameter.
//! 2. Command: [`open`](Tunnel::open) until it answers [`Full`](OpenError::Full),
//!    then on its [`stream`](Tunnel::stream): [`send_message`](StreamMut::send_message),
//!    [`half_close`](StreamMut::half_close), [`close`](StreamMut::close),
//!    [`consumed`](StreamMut::consumed) ...; [`release`](Tunnel::release) when its handle is gone. A
//!    command that is refused changes nothing.
//! 3. **After each frame and each command**, poll until there is nothing more:
//!    [`poll_event`](Tunnel::poll_event) for what happened, [`poll_transmit`](Tunnel::poll_transmit)
//!    for what to send, and [`poll_timeout`](Tunnel::poll_timeout) for when to come back.
//!
//! Poll after each frame, not after a batch of them: what one frame ends must be handled before the
//! next frame arrives. After [`Full`](OpenError::Full) wait for [`MayOpen`](Event::MayOpen); the
//! core does not queue calls.
//!
//! # The carrier
//!
//! The core knows neither the clock nor the carrier, so three things are the caller's to say:
//!
//! - Bytes came that are no whole frame yet: [`handle_activity`](Tunnel::handle_activity). On a
//!   slow carrier one frame takes longer than an answer may.
//! - Bytes that `poll_transmit` handed out wait because the carrier takes none:
//!   [`set_backlogged`](Tunnel::set_backlogged), unless frames are polled one by one as the
//!   carrier takes them.
//! - The carrier has taken no byte for too long (60 s, or 10 minutes at revision zero): the core
//!   cannot see that, and no timer of its own runs out. `abort` it with [`TunnelReason::Stalled`].
//!
//! Whatever a peer sends is data: it can end its stream ([`StreamReason`]) or its tunnel
//! ([`TunnelReason`]), it cannot panic us, and no bound is left open ([`Limits`]). Every stream that was
//! opened yields exactly one [`End`].
//!
//! A unary call between two ends, with storage in place that follows from two numbers:
//!
//! ```
//! use grpctunnel_core::receive_buffer::{FixedStore, Gathered, Gatherer, ReceiveBuffer};
//! use grpctunnel_core::wire::{self, FixedAssembler, HeadOptions, StatusHead};
//! use grpctunnel_core::*;
//!
//! const STREAMS: usize = 4;
//! const WINDOW: usize = 1_024;
//! type Store = Fixed<STREAMS, STREAMS>;
//! type Buffer = ReceiveBuffer<FixedStore<WINDOW, { boundary_bytes(WINDOW) }>, i32>;
//!
//! type Wire = heapless::Vec<u8, { frame_bytes(WINDOW) + wire::PREFIX_LEN }>;
//!
//! /// The next frame, as bytes; its body is in the memory that was given to the tunnel.
//! fn frame<R: Role>(tunnel: &mut Tunnel<R, Store>, memory: [&[u8]; 3]) -> Option<Wire> {
//!     let transmit = tunnel.poll_transmit(Time::ZERO)?;
//!     let mut bytes = Wire::new();
//!     let [head, message, close] = memory;
//!     let written = transmit.write_to(&mut bytes, |_stream, part| match part {
//!         Part::Open | Part::Headers => head,
//!         Part::Message => message,
//!         Part::Close => close,
//!     });
//!     written.is_ok().then_some(bytes)
//! }
//!
//! let opening = Opening::Accepted(Negotiation::On);
//! let config = Config::small(STREAMS as u32, WINDOW as u32);
//! let mut client = TunnelClient::<Store>::new(Time::ZERO, config.clone(), opening)?;
//! let mut server = TunnelServer::<Store>::new(Time::ZERO, config, opening)?;
//!
//! // The server's settings settle the tunnel.
//! let settings = frame(&mut server, [&[]; 3]).unwrap();
//! let _ = client.handle_frame(Time::ZERO, &settings[wire::PREFIX_LEN..])?;
//! assert!(matches!(client.poll_event(), Some(Event::Settled(wire::Revision::One))));
//!
//! // The client opens a call, sends its request and half-closes.
//! let mut head = heapless::Vec::<u8, 64>::new();
//! let (none, options) = (core::iter::empty(), HeadOptions::default());
//! let encoded = wire::encode_open(&mut head, "greeter/Hello", none.clone(), &options)?;
//! let call = client.open(Time::ZERO, encoded, OpenOptions::default())?;
//! let mut stream = client.stream(call)?;
//! stream.send_message(Envelope::new(5), 5)?;
//! stream.half_close()?;
//!
//! let mut frames = FixedAssembler::<{ frame_bytes(WINDOW) }>::fixed(server.limits().max_frame);
//! let mut handler = None;
//! let mut buffer = Buffer::new();
//! while let Some(bytes) = frame(&mut client, [&head, b"world", &[]]) {
//!     let mut rest = &bytes[..];
//!     while let (taken, Some(frame)) = frames.next(rest)? {
//!         rest = &rest[taken..];
//!         match server.handle_frame(Time::ZERO, frame.bytes)? {
//!             Input::Opened { stream, method: "greeter/Hello", .. } => handler = Some(stream),
//!             Input::Data { bytes, begins, ends, .. } => buffer.push(bytes, begins, ends)?,
//!             Input::HalfClosed { .. } => {}
//!             other => panic!("{other:?}"),
//!         }
//!     }
//! }
//! let handler = handler.unwrap();
//! let mut gatherer = Gatherer::<heapless::Vec<u8, 64>>::default();
//! let (moved, gathered) = gatherer.poll(&mut buffer);
//! assert_eq!(gathered, Gathered::Message(Envelope::new(5)));
//! assert_eq!(gatherer.message(), b"world");
//! server.stream(handler)?.consumed(moved)?;
//!
//! // The server answers and closes; the client reads the answer and the status.
//! server.stream(handler)?.send_message(Envelope::new(3), 3)?;
//! let mut close = heapless::Vec::<u8, 64>::new();
//! let encoded = wire::encode_close(&mut close, StatusHead::default(), none, &options)?;
//! server.stream(handler)?.close(Time::ZERO, encoded, None)?;
//!
//! let mut ended = false;
//! while let Some(bytes) = frame(&mut server, [&[], b"hi!", &close]) {
//!     match client.handle_frame(Time::ZERO, &bytes[wire::PREFIX_LEN..])? {
//!         Input::Data { bytes, .. } => assert_eq!(bytes, b"hi!"),
//!         Input::Ended { why: End::Status { status, .. }, .. } => ended = status.code == 0,
//!         other => panic!("{other:?}"),
//!     }
//! }
//! assert!(ended);
//!
//! // Released on both sides, nothing is left of it.
//! client.release(call)?;
//! server.release(handler)?;
//! while let Some(event) = server.poll_event() {
//!     assert!(matches!(event, Event::Writable(_) | Event::Ended { why: End::Closed, .. }));
//! }
//! assert_eq!((client.streams(), server.streams()), (0, 0));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - `alloc`: `Session`, and storage that grows.
//! - `search`: fingerprints of a tunnel's state, for searches over all of them.
//!
//! # A transport of one's own
//!
//! Where there is no HTTP/2, [`bare`] puts a forward and a reverse tunnel on one stream of bytes.
//! The examples of this package, all without async:
//!
//! - `tcp`: a client and a server over TCP, with threads. `cargo run -p grpctunnel-core --features alloc --example tcp`.
//! - `serial`: two ends on a line of 9,600 baud, in memory that is in place.
//! - `wasm`: a tunnel client in a WebAssembly module, with a native server at the other end of a
//!   pipe. `.ci/wasm` builds and runs it.
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bare;
mod budget;
mod code;
mod error;
mod length;
mod limits;
mod preset;
mod reason;
pub mod receive_buffer;
#[cfg(feature = "alloc")]
pub mod session;
pub mod states;
mod storage;
mod streams;
mod time;
mod tunnel;
mod types;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod window;
#[cfg(not(feature = "internals"))]
#[expect(unreachable_pub, reason = "public where tests name it")]
mod window;
pub mod wire;

pub use code::{Code, Side};
pub use error::{
    CommandError, ConfigError, Gone, MessageIncomplete, OpenError, TooManyBytes, TunnelError,
};
pub use limits::{Bucket, Budgets, Limits, Liveness, ReceiveWindowPolicy, RevisionZeroLimits};
pub use preset::{boundary_bytes, frame_bytes};
pub use reason::{MISSING_RESPONSE, Reason, StreamReason, TunnelReason};
#[cfg(feature = "alloc")]
pub use session::Session;
#[cfg(feature = "alloc")]
pub use storage::Growing;
pub use storage::{Fixed, List, Storage};
pub use time::Time;
pub use tunnel::{
    Client, MemoryBound, Role, Server, StreamMut, StreamRef, Tunnel, TunnelClient, TunnelServer,
};
pub use types::{
    Body, Carrier, Cause, Config, Counters, End, Envelope, Event, Hold, Input, Key, MethodKind,
    Negotiation, OpenOptions, Opening, Part, Timer, Transmit, Unread,
};
