//! A service whose calls are counted.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use grpctunnel_driver::Code;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{Observer, Record};
use crate::limits::Waits;

/// A service whose calls are counted, from their heads to their ends.
#[derive(Clone, Debug)]
pub(crate) struct Observed<S> {
    pub(crate) inner: S,
    pub(crate) observer: Observer,
}

impl<S, B, R> Service<Request<B>> for Observed<S>
where
    S: Service<Request<ObservedBody<B>>, Response = Response<R>>,
    B: Body,
    R: Body,
{
    type Response = Response<ObservedBody<R>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let record = self.observer.begin(&request);
        request.extensions_mut().insert(record.clone());
        let half = Half::Request;
        let counted = record.clone();
        let request = request.map(|body| ObservedBody {
            body,
            half,
            record: Some(counted),
        });
        Answering {
            answer: self.inner.call(request),
            record: Some(record),
        }
    }
}

pin_project! {
    /// A call that was not answered yet.
    pub(crate) struct Answering<F> {
        #[pin]
        answer: F,
        record: Option<Record>,
    }
}

impl<F, R, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ObservedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(cx));
        let record = this.record.take();
        if let (Ok(response), Some(record)) = (&answer, &record) {
            record.answered(response);
        }
        let half = Half::Response;
        Poll::Ready(answer.map(|response| response.map(|body| ObservedBody { body, half, record })))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Request,
    Response,
}

pin_project! {
    /// A body whose bytes are counted; of a response the end is noted, too.
    pub(crate) struct ObservedBody<B> {
        #[pin]
        body: B,
        half: Half,
        record: Option<Record>,
    }
}

impl<B: Waits> Waits for ObservedBody<B> {
    fn waiting(&mut self) -> usize {
        self.body.waiting()
    }
}

impl<B: Body> Body for ObservedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = ready!(this.body.poll_frame(cx));
        let Some(record) = this.record.as_ref() else {
            return Poll::Ready(polled);
        };
        let is_over = match (&polled, *this.half) {
            (Some(Ok(frame)), half) => match (frame.data_ref(), half) {
                (Some(data), Half::Request) => {
                    record.requested(data.remaining());
                    false
                }
                (Some(data), Half::Response) => {
                    record.responded(data.remaining());
                    false
                }
                (None, Half::Request) => true,
                (None, Half::Response) => {
                    frame
                        .trailers_ref()
                        .inspect(|headers| record.trailers(headers));
                    true
                }
            },
            (Some(Err(_)), Half::Response) => {
                record.end(Code::Unavailable, "the answer broke off".to_owned());
                true
            }
            (None, Half::Response) => {
                record.end(Code::Unknown, "it ended without a status".to_owned());
                true
            }
            (Some(Err(_)) | None, Half::Request) => true,
        };
        if is_over {
            *this.record = None;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
