//! Bodies that this end sends.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Buf;
use grpctunnel_driver::BoxError;
use h2::SendStream;
use http::HeaderMap;
use http_body::Body;

/// Bytes of a body that are sent in one DATA frame, as far as they are ready and there is room for
/// them, the last piece aside.
const GATHERED: usize = 64 << 10;

/// Pieces of a body that leave in one DATA frame; none at its end.
pub(crate) struct Chunk<D> {
    /// The piece that is written next. Most chunks have no other.
    first: Option<D>,
    rest: VecDeque<D>,
    len: usize,
}

impl<D: Buf> Chunk<D> {
    const fn new() -> Self {
        Self {
            first: None,
            rest: VecDeque::new(),
            len: 0,
        }
    }

    fn push(&mut self, piece: D) {
        if !piece.has_remaining() {
            return;
        }
        self.len += piece.remaining();
        if self.first.is_none() {
            self.first = Some(piece);
        } else {
            self.rest.push_back(piece);
        }
    }
}

impl<D: Buf> Buf for Chunk<D> {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.first.as_ref().map_or(&[], Buf::chunk)
    }

    fn advance(&mut self, n: usize) {
        self.len = self.len.saturating_sub(n);
        let mut left = n;
        while let Some(piece) = &mut self.first {
            let step = left.min(piece.remaining());
            piece.advance(step);
            left -= step;
            if piece.has_remaining() {
                return;
            }
            self.first = self.rest.pop_front();
        }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for piece in self.first.iter().chain(&self.rest) {
            let Some(space) = into.get_mut(filled..).filter(|space| !space.is_empty()) else {
                break;
            };
            filled += piece.chunks_vectored(space);
        }
        filled
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
    B: Body<Error: Into<BoxError>>,
{
    let mut body = pin!(body);
    poll_fn(|cx| poll_send(stream, body.as_mut(), cx)).await
}

fn poll_send<B: Body<Error: Into<BoxError>>>(
    stream: &mut SendStream<Chunk<B::Data>>,
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Sent> {
    loop {
        if ready!(poll_room(stream, cx)).is_none() {
            return Poll::Ready(Sent::Stopped);
        }
        // As much as there is room for; what is not used of it goes back to the connection.
        stream.reserve_capacity(GATHERED);
        let room = stream.capacity();
        let (chunk, next) = gather(body.as_mut(), room, cx);
        let last = matches!(next, Next::End);
        if last || chunk.has_remaining() {
            // Peers count empty frames as abuse, but for the last.
            if stream.send_data(chunk, last).is_err() {
                return Poll::Ready(Sent::Stopped);
            }
        } else if let Next::Pending = next {
            stream.reserve_capacity(1);
            return Poll::Pending;
        }
        match next {
            // What is asked for next waits until there is room for it.
            Next::More | Next::Pending => {}
            Next::End => return Poll::Ready(Sent::Complete),
            Next::Trailers(trailers) => {
                return Poll::Ready(match stream.send_trailers(trailers) {
                    Ok(()) => Sent::Complete,
                    Err(_) => Sent::Stopped,
                });
            }
            Next::Failed(error) => return Poll::Ready(Sent::Failed(error)),
        }
    }
}

/// What follows the data that a body has now.
enum Next {
    More,
    Pending,
    End,
    Trailers(HeaderMap),
    Failed(BoxError),
}

/// The data that a body has now, until it fills the room, the last piece aside.
fn gather<B>(mut body: Pin<&mut B>, room: usize, cx: &mut Context<'_>) -> (Chunk<B::Data>, Next)
where
    B: Body<Error: Into<BoxError>>,
{
    let mut chunk = Chunk::new();
    let next = loop {
        let frame = match body.as_mut().poll_frame(cx) {
            Poll::Pending => break Next::Pending,
            Poll::Ready(None) => break Next::End,
            Poll::Ready(Some(Err(error))) => break Next::Failed(error.into()),
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        match frame.into_data() {
            Ok(data) => {
                chunk.push(data);
                if body.is_end_stream() {
                    break Next::End;
                }
                if chunk.remaining() >= room {
                    break Next::More;
                }
            }
            Err(frame) => {
                // Another kind of frame is one that HTTP does not have yet.
                if let Ok(mut trailers) = frame.into_trailers() {
                    crate::headers::remove_connection_specific(&mut trailers);
                    break Next::Trailers(trailers);
                }
            }
        }
    };
    (chunk, next)
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
