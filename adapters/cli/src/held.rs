//! Bodies that hold something until they end.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};

/// A body, and what is held until it has ended or is dropped.
#[derive(Debug)]
pub(crate) struct Held<B, T> {
    body: Pin<Box<B>>,
    held: Option<T>,
}

impl<B, T> Held<B, T> {
    pub(crate) fn new(body: B, held: T) -> Self {
        Self {
            body: Box::pin(body),
            held: Some(held),
        }
    }
}

impl<B: Unpin, T> Held<B, T> {
    pub(crate) fn body(&mut self) -> &mut B {
        self.body.as_mut().get_mut()
    }
}

impl<B: Body, T: Unpin> Body for Held<B, T> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = self.body.as_mut().poll_frame(cx);
        let is_last = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            Poll::Ready(_) => true,
            Poll::Pending => false,
        };
        if is_last {
            self.held = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
