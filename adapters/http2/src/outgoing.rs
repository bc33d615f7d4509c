//! Bodies that this end sends.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Buf;
use grpctunnel_driver::BoxError;
use h2::SendStream;
use http_body::Body;

/// A chunk of a body, or its end without one.
pub(crate) struct Chunk<D>(Option<D>);

impl<D: Buf> Buf for Chunk<D> {
    fn remaining(&self) -> usize {
        self.0.as_ref().map_or(0, Buf::remaining)
    }

    fn chunk(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], Buf::chunk)
    }

    fn advance(&mut self, n: usize) {
        if let Some(data) = &mut self.0 {
            data.advance(n);
        }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let data = self.0.as_ref();
        data.map_or(0, |data| data.chunks_vectored(into))
    }
}

/// How the sending of a body ended.
pub(crate) enum Sent {
    /// All of it was handed to HTTP/2.
    Complete,
    /// Nobody takes the rest: the peer reset the stream, or the connection ended.
    Stopped,
    /// The body failed. The stream is still open.
    Failed(BoxError),
}

/// Sends a body, which is asked for more only when there is room for it.
pub(crate) async fn send_body<B>(stream: &mut SendStream<Chunk<B::Data>>, body: B) -> Sent
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    poll_fn(|cx| poll_send(stream, body.as_mut(), cx)).await
}

fn poll_send<B>(
    stream: &mut SendStream<Chunk<B::Data>>,
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Sent>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    loop {
        if ready!(poll_room(stream, cx)).is_none() {
            return Poll::Ready(Sent::Stopped);
        }
        let sent = match ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let last = body.is_end_stream();
                    // Peers count empty frames as abuse.
                    if !last && !data.has_remaining() {
                        continue;
                    }
                    let sent = stream.send_data(Chunk(Some(data)), last);
                    if !last && sent.is_ok() {
                        continue;
                    }
                    sent
                }
                Err(frame) => match frame.into_trailers() {
                    Ok(mut trailers) => {
                        crate::headers::remove_connection_specific(&mut trailers);
                        stream.send_trailers(trailers)
                    }
                    // A kind of frame that HTTP does not have yet.
                    Err(_) => continue,
                },
            },
            Some(Err(error)) => return Poll::Ready(Sent::Failed(error.into())),
            None => stream.send_data(Chunk(None), true),
        };
        return Poll::Ready(match sent {
            Ok(()) => Sent::Complete,
            Err(_) => Sent::Stopped,
        });
    }
}

/// Waits until a byte could be sent; none if never.
fn poll_room<D: Buf>(stream: &mut SendStream<Chunk<D>>, cx: &mut Context<'_>) -> Poll<Option<()>> {
    stream.reserve_capacity(1);
    if stream.capacity() > 0 {
        // Woken by a reset while the body has nothing.
        return match stream.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => Poll::Ready(Some(())),
        };
    }
    loop {
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(0)) => {}
            Some(Ok(_)) => return Poll::Ready(Some(())),
            Some(Err(_)) | None => return Poll::Ready(None),
        }
    }
}
