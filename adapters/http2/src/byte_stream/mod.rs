//! Tunnels on a bare stream of bytes, without HTTP/2.

mod carrier;

use grpctunnel_core::Side;
use grpctunnel_driver::{
    BareTunnels, Channel, ConnectError, Handler, Options, PipeEnd, Runtime, ServerHandle,
};
use http::Extensions;
use hyper::rt::{Read, Write};

use crate::byte_stream::carrier::Carrier;

/// A stream of bytes in both directions that carries tunnels without HTTP/2, between two ends of
/// this implementation: a pipe, a Unix socket, a WebSocket, a serial line.
///
/// Which end opened it ([`PipeEnd`]), and which end makes calls, is agreed beforehand: nothing of it is
/// on the wire. What one end does must fit what the other does:
///
/// | this end | the other end |
/// | --- | --- |
/// | [`connect`](Self::connect): makes the calls | [`serve`](Self::serve): handles them |
/// | [`serve`](Self::serve) | [`connect`](Self::connect) |
/// | [`connect_and_serve`](Self::connect_and_serve): both | [`connect_and_serve`](Self::connect_and_serve) |
///
/// The stream must be reliable, ordered and private to the tunnels. It brings no encryption, no
/// keepalive and no limit of its own; the tunnels' pings notice a peer that is gone
/// ([`Limits`](grpctunnel_driver::Limits)`::liveness`).
///
/// The tunnels end with the stream, and the stream with the tunnels: it is shut down when both ends
/// have finished in good order, and dropped otherwise.
#[derive(Debug)]
pub struct ByteStream<T> {
    io: T,
    end: PipeEnd,
    extensions: Extensions,
}

impl<T: Read + Write + Unpin + Send + 'static> ByteStream<T> {
    /// This end of a stream of bytes. One of its two ends is the [`PipeEnd::Opener`], the other the
    /// [`PipeEnd::Acceptor`], by whatever the application decides.
    pub fn new(io: T, end: PipeEnd) -> Self {
        Self {
            io,
            end,
            extensions: Extensions::new(),
        }
    }

    /// What is known of the peer: addresses, certificates, a name. Handlers find it in the
    /// [`TunnelPeer`](grpctunnel_driver::TunnelPeer).
    #[must_use]
    pub fn with_extensions(self, extensions: Extensions) -> Self {
        Self { extensions, ..self }
    }

    /// Makes calls that the other end handles. It returns when the tunnel may carry calls.
    ///
    /// # Errors
    /// See [`ConnectError`]: DEADLINE_EXCEEDED where the other end does not answer in time,
    /// UNAVAILABLE or INTERNAL where it is none of this protocol.
    pub async fn connect(
        self,
        runtime: &Runtime,
        options: &Options,
    ) -> Result<Channel, ConnectError> {
        let (tunnels, mut carrier) = self.start(runtime, options)?;
        let channel = carrier.add(Side::Client, |incoming| tunnels.client(incoming))?;
        runtime.spawn(carrier);
        BareTunnels::settled(channel).await
    }

    /// Handles the calls that the other end makes, in tasks of their own. The tunnel is drained when
    /// the handle is dropped.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn serve<H: Handler>(
        self,
        handler: H,
        runtime: &Runtime,
        options: &Options,
    ) -> Result<ServerHandle, ConnectError> {
        let (tunnels, mut carrier) = self.start(runtime, options)?;
        let handle = carrier.add(Side::Server, |incoming| tunnels.server(incoming, handler))?;
        runtime.spawn(carrier);
        Ok(handle)
    }

    /// Makes calls, and handles those of the other end. It returns when this end may make calls.
    ///
    /// The two tunnels drain and end together: where a handle of one is drained, closed or dropped,
    /// the other takes no new calls either, and the stream ends when the calls of both have.
    ///
    /// # Errors
    /// See [`connect`](Self::connect).
    pub async fn connect_and_serve<H: Handler>(
        self,
        handler: H,
        runtime: &Runtime,
        options: &Options,
    ) -> Result<(Channel, ServerHandle), ConnectError> {
        let (tunnels, mut carrier) = self.start(runtime, options)?;
        let channel = carrier.add(Side::Client, |incoming| tunnels.client(incoming))?;
        let handle = carrier.add(Side::Server, |incoming| tunnels.server(incoming, handler))?;
        BareTunnels::link(&channel, &handle);
        runtime.spawn(carrier);
        Ok((BareTunnels::settled(channel).await?, handle))
    }

    fn start(
        self,
        runtime: &Runtime,
        options: &Options,
    ) -> Result<(BareTunnels, Carrier<T>), ConnectError> {
        let tunnels = BareTunnels::new(self.end, runtime, options, self.extensions)?;
        Ok((tunnels, Carrier::new(self.io, self.end)))
    }
}
