//! HTTP/2 for gRPC and for gRPC tunnels, over any IO and any async runtime.
//!
//! Its place among the crates of grpctunnel: it stands on `grpctunnel-driver`; `grpctunnel-tonic`
//! stands on it.
//!
//! A tunnel is one HTTP/2 stream, and what the stream's connection does decides how the tunnel
//! fares. This crate makes such connections, on `h2`, with the settings that tunnels need and that
//! general HTTP stacks do not offer. It knows no runtime: IO comes as `hyper::rt::{Read, Write}`,
//! tasks and time from a [`Runtime`](grpctunnel_driver::Runtime).
//!
//! - [`connect`] makes a [`Client`]: a `tower::Service` for any HTTP body, to open tunnels with
//!   ([`grpctunnel_driver::connect`]), or to make calls.
//! - [`serve`] serves any `tower::Service`: a
//!   [`TunnelService`](grpctunnel_driver::TunnelService), tonic's `Routes`, or a proxy.
//! - [`Connections`] are those of a server, which shut down together.
//! - [`detect`] tells beforehand whether a client speaks HTTP/2 at all, for servers that answer
//!   HTTP/1 too.
//! - [`ByteStream`] carries tunnels without HTTP/2, over any stream of bytes. It is here since it
//!   needs the same IO traits and no more.
//! - [`Settings`] says what connections are made with, and what they may hold in memory.
//! - A [`Connection`] tells how one fares: open streams, room for more, whether the peer is silent
//!   or leaves. It pings, and shuts down.
//!
//! # What it does for tunnels
//!
//! - *What is sent next is the tunnel's choice.* A body is asked for data when there is room for it
//!   ([`Settings::send_buffer`]), not before. Data of many segments (`Buf::chunks_vectored`) leaves
//!   in one frame, without a copy.
//! - *Calls do not hurt each other.* A connection's window is larger than any stream's, so a call
//!   that nobody reads does not stop the others. A head or trailers that are too large fail their
//!   own call; the reader of a stream has a turn after every 256 KiB, and small frames have a
//!   bound of their own ([`Settings::small_frame_budget`]), so that a pause of this process does
//!   not end the connection.
//! - *Nothing is taken for a success that is not one.* A stream that is reset is an error, whatever
//!   its reason: other stacks report some resets as the end of the body.
//! - *What nobody processed is known*: [`Error::never_processed`].
//!
//! # Example
//!
//! A reverse tunnel's server would be served the same way; here a plain service, over a pipe in
//! memory, on `smol`.
//!
//! ```
//! use std::convert::Infallible;
//! use std::future::{Ready, ready};
//! use std::task::{Context, Poll};
//!
//! use bytes::Bytes;
//! use grpctunnel_driver::{Executor, Runtime, Sleep, Task, Timer};
//! use grpctunnel_http2::{IncomingBody, Settings, connect, serve};
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower_service::Service;
//! # use hyper_util::rt::TokioIo;
//!
//! struct Smol;
//!
//! impl Executor for Smol {
//!     fn execute(&self, task: Task) {
//!         smol::spawn(task).detach();
//!     }
//! }
//!
//! impl Timer for Smol {
//!     fn sleep_until(&self, deadline: std::time::Instant) -> Sleep {
//!         Box::pin(async move {
//!             smol::Timer::at(deadline).await;
//!         })
//!     }
//! }
//!
//! /// Sends requests back.
//! #[derive(Clone)]
//! struct Echo;
//!
//! impl Service<Request<IncomingBody>> for Echo {
//!     type Response = Response<IncomingBody>;
//!     type Error = Infallible;
//!     type Future = Ready<Result<Self::Response, Infallible>>;
//!
//!     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
//!         Poll::Ready(Ok(()))
//!     }
//!
//!     fn call(&mut self, request: Request<IncomingBody>) -> Self::Future {
//!         ready(Ok(Response::new(request.into_body())))
//!     }
//! }
//!
//! # smol::block_on(async {
//! let runtime = Runtime::new(Smol, Smol);
//! // Any IO: a socket, TLS, a pipe.
//! # let (near, far) = tokio::io::duplex(64 << 10);
//! # let (near, far) = (TokioIo::new(near), TokioIo::new(far));
//! let settings = Settings::tunnels();
//! let server = serve(far, Echo, &settings, &runtime);
//!
//! let mut client = connect(near, &settings, &runtime).await?;
//! let request = Request::post("http://localhost/echo").body(Full::new(Bytes::from("hello")))?;
//! let response = client.call(request).await?;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
//!
//! // No more calls; those that are open may finish within 5 s.
//! server.shutdown(std::time::Duration::from_secs(5));
//! server.closed().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod alive;
mod backlog;
mod budget;
mod byte_stream;
mod client;
mod connections;
mod detect;
mod error;
mod frames;
mod headers;
mod incoming;
mod io;
mod outgoing;
mod server;
mod settings;
mod shared;
mod task;
mod window;

pub use budget::{Reserved, WindowBudget};
pub use byte_stream::ByteStream;
pub use client::{Client, ResponseFuture, connect};
pub use connections::{Connections, accept_pause};
pub use detect::{Detected, Rewound, detect};
pub use error::{Error, ErrorKind};
pub use grpctunnel_driver::PipeEnd;
pub use h2::Reason;
pub use incoming::IncomingBody;
pub use server::serve;
pub use settings::{Keepalive, Role, Settings, SilencePing};
pub use shared::Connection;
