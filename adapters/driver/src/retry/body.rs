//! Request bodies that can be sent again, as long as their beginning is kept.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

/// How much of a request is kept for another attempt, in bytes.
const KEPT: usize = 64 << 10;
/// What the record of a frame takes beside its bytes.
const FRAME: usize = size_of::<Bytes>();

/// A request body that is sent by one attempt after the other, until the call has a response.
///
/// [`TunnelGroup`](crate::TunnelGroup) does that by itself; this is for code that makes calls again
/// on other services. What was read of the body is kept, at most 64 KiB; drop this when the response
/// begins, and nothing more is.
///
/// ```
/// # use bytes::Bytes;
/// # use grpctunnel_driver::{NeverProcessed, ResponseBody, RetryBody};
/// # use http::{Request, Response, request::Parts};
/// # use http_body_util::Full;
/// # use tower_service::Service;
/// # async fn call<S>(mut first: S, mut second: S, head: Parts, body: Full<Bytes>) -> Result<Response<ResponseBody>, S::Error>
/// # where S: Service<Request<grpctunnel_driver::Attempt<Full<Bytes>>>, Response = Response<ResponseBody>> {
/// let body = RetryBody::new(body);
/// let response = first.call(Request::from_parts(head.clone(), body.attempt())).await?;
/// if response.extensions().get::<NeverProcessed>().is_none() || !body.is_whole() {
///     return Ok(response);
/// }
/// second.call(Request::from_parts(head, body.attempt())).await
/// # }
/// ```
#[derive(Debug)]
pub struct RetryBody<B>(Arc<Mutex<Shared<B>>>);

#[derive(Debug)]
struct Shared<B> {
    body: Pin<Box<B>>,
    kept: Vec<Bytes>,
    /// The first of them that the present attempt has not sent.
    next: usize,
    /// What they take, in bytes.
    size: usize,
    /// Whether `kept` is all that came out of `body`.
    whole: bool,
    /// Whether `body` was ever polled.
    polled: bool,
    ended: bool,
}

impl<B> RetryBody<B> {
    /// A body of which nothing was read.
    pub fn new(body: B) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            body: Box::pin(body),
            kept: Vec::new(),
            next: 0,
            size: 0,
            whole: true,
            polled: false,
            ended: false,
        })))
    }

    /// The body from its beginning. The attempt before this one must be over.
    #[must_use]
    pub fn attempt(&self) -> Attempt<B> {
        lock(&self.0).next = 0;
        Attempt(Arc::clone(&self.0))
    }

    /// Whether another attempt would send all of it: what was read is kept.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        lock(&self.0).whole
    }

    /// Whether any attempt has asked for its first frame.
    #[must_use]
    pub fn was_polled(&self) -> bool {
        lock(&self.0).polled
    }
}

impl<B> Drop for RetryBody<B> {
    /// There are no more attempts, so nothing more is kept.
    fn drop(&mut self) {
        lock(&self.0).stop_keeping();
    }
}

fn lock<B>(shared: &Mutex<Shared<B>>) -> MutexGuard<'_, Shared<B>> {
    // A panic of the body's leaves what is kept as it was.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Body<Data: Buf>> Shared<B> {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.polled = true;
        let frame = ready!(self.body.as_mut().poll_frame(cx));
        let frame = frame.map(|frame| {
            frame.map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
        });
        self.ended = !matches!(&frame, Some(Ok(_)));
        match &frame {
            Some(Ok(frame)) if self.whole => self.keep(frame.data_ref()),
            Some(Err(_)) => self.stop_keeping(),
            _ => {}
        }
        Poll::Ready(frame)
    }

    /// Keeps the data of a frame. One without is trailers, which requests of gRPC do not have.
    fn keep(&mut self, data: Option<&Bytes>) {
        let taken = data.map_or(KEPT, |data| data.len().saturating_add(FRAME));
        self.size = self.size.saturating_add(taken);
        match data {
            Some(data) if self.size <= KEPT => {
                self.kept.push(data.clone());
                self.next = self.kept.len();
            }
            _ => self.stop_keeping(),
        }
    }
}

impl<B> Shared<B> {
    /// Gives back what was sent, which is of no use any more.
    fn stop_keeping(&mut self) {
        self.whole = false;
        self.kept.drain(..self.next.min(self.kept.len()));
        self.next = 0;
        self.kept.shrink_to_fit();
    }

    /// The next of the kept frames that the present attempt has not sent.
    fn next_kept(&mut self) -> Option<Bytes> {
        let data = self.kept.get(self.next)?.clone();
        self.next = self.next.saturating_add(1);
        if !self.whole {
            self.stop_keeping();
        }
        Some(data)
    }
}

/// The body of one attempt, see [`RetryBody::attempt`].
#[derive(Debug)]
pub struct Attempt<B>(Arc<Mutex<Shared<B>>>);

impl<B: Body<Data: Buf>> Body for Attempt<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut shared = lock(&self.0);
        if let Some(data) = shared.next_kept() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        shared.poll_body(cx)
    }

    fn is_end_stream(&self) -> bool {
        let shared = lock(&self.0);
        shared.next >= shared.kept.len() && (shared.ended || shared.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let shared = lock(&self.0);
        let kept = shared.kept.iter().skip(shared.next).map(Bytes::len);
        let kept = kept.fold(0_u64, |sum, len| sum.saturating_add(len as u64));
        let rest = shared.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(kept));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(kept)) {
            hint.set_upper(upper);
        }
        hint
    }
}
