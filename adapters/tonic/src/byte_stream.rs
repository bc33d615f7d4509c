//! Tunnels on bare streams of bytes, for tonic.

use bytes::Bytes;
use grpctunnel_driver::{BoxError, ConnectError, Options, PipeEnd, Runtime, ServerHandle};
use http::{Extensions, Request, Response};
use http_body::Body;
use hyper::rt::{Read, Write};
use tower_service::Service;

use crate::channel::Channel;
use crate::handler::TonicHandler;
use crate::status::with_tonic_statuses;

/// A stream of bytes in both directions that carries tunnels without HTTP/2, between two ends of
/// this implementation: a pipe, a Unix socket, a WebSocket, a serial line.
///
/// See [`grpctunnel_http2::ByteStream`], which this is for tonic's clients and services.
#[derive(Debug)]
pub struct ByteStream<T> {
    inner: grpctunnel_http2::ByteStream<T>,
    runtime: Runtime,
}

impl<T: Read + Write + Unpin + Send + 'static> ByteStream<T> {
    /// This end of a stream. One of its two ends is the [`PipeEnd::Opener`], the other the
    /// [`PipeEnd::Acceptor`], by whatever the application decides.
    pub fn new(io: T, end: PipeEnd, runtime: Runtime) -> Self {
        Self {
            inner: grpctunnel_http2::ByteStream::new(io, end),
            runtime,
        }
    }

    /// What is known of the peer: addresses, certificates, a name. Handlers find it in the
    /// [`TunnelPeer`](crate::TunnelPeer).
    #[must_use]
    pub fn with_extensions(self, extensions: Extensions) -> Self {
        Self {
            inner: self.inner.with_extensions(extensions),
            ..self
        }
    }

    /// Makes calls that the other end handles. It returns when the tunnel may carry calls.
    ///
    /// # Errors
    /// See [`ConnectError`]: DEADLINE_EXCEEDED where the other end does not answer in time.
    pub async fn connect(self, options: &Options) -> Result<Channel, ConnectError> {
        let channel = self.inner.connect(&self.runtime, options).await?;
        Ok(channel.into())
    }

    /// Handles the calls that the other end makes, with tonic's `Routes` or one generated server. The
    /// tunnel is drained when the handle is dropped.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn serve<S, B>(self, handler: S, options: &Options) -> Result<ServerHandle, ConnectError>
    where
        S: Service<Request<tonic::body::Body>, Response = Response<B>, Error: Into<BoxError>>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let (handler, options) = (
            TonicHandler::new(handler),
            with_tonic_statuses(options.clone()),
        );
        self.inner.serve(handler, &self.runtime, &options)
    }

    /// Makes calls, and handles those of the other end. The two tunnels drain and end together.
    ///
    /// # Errors
    /// See [`connect`](Self::connect).
    pub async fn connect_and_serve<S, B>(
        self,
        handler: S,
        options: &Options,
    ) -> Result<(Channel, ServerHandle), ConnectError>
    where
        S: Service<Request<tonic::body::Body>, Response = Response<B>, Error: Into<BoxError>>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let (handler, options) = (
            TonicHandler::new(handler),
            with_tonic_statuses(options.clone()),
        );
        let both = self
            .inner
            .connect_and_serve(handler, &self.runtime, &options);
        let (channel, handle) = both.await?;
        Ok((channel.into(), handle))
    }
}
