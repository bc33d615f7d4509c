//! A TLS stream that remembers why it failed: HTTP/2 above it keeps only the text.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{
    client::TlsStream,
    rustls::{Error as TlsError, ProtocolVersion},
};

/// Why a stream failed, once it has.
pub(crate) type Failure = Arc<OnceLock<TlsError>>;

/// A TLS stream of a client.
#[derive(Debug)]
pub(crate) struct Remembering<T> {
    stream: TlsStream<T>,
    failure: Failure,
}

impl<T> Remembering<T> {
    pub(super) fn new(stream: TlsStream<T>) -> Self {
        Self {
            stream,
            failure: Failure::default(),
        }
    }

    /// The version of TLS that is spoken.
    pub(crate) fn version(&self) -> &'static str {
        match self.stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        }
    }

    /// Where the failure will be found.
    pub(crate) fn failure(&self) -> Failure {
        Arc::clone(&self.failure)
    }

    fn note<R>(&self, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if let Poll::Ready(Err(error)) = &polled
            && let Some(error) = error.get_ref().and_then(|error| error.downcast_ref())
        {
            // The first one is the cause.
            let _ = self.failure.set(TlsError::clone(error));
        }
        polled
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Remembering<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.note(polled)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Remembering<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
