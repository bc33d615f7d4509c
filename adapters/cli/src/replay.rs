//! Requests that can be made again, as long as their beginning is at hand.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame};

/// How much of a request is kept for another try, in bytes.
const KEPT: usize = 64 << 10;

/// The body of a request, to be sent by one attempt after the other until one is answered.
#[derive(Debug)]
pub(crate) struct Replay<B>(Arc<Mutex<Shared<B>>>);

#[derive(Debug)]
struct Shared<B> {
    body: Pin<Box<B>>,
    kept: Vec<Bytes>,
    size: usize,
    /// Whether `kept` is all that came out of `body`.
    whole: bool,
    ended: bool,
}

impl<B> Replay<B> {
    pub(crate) fn new(body: B) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            body: Box::pin(body),
            kept: Vec::new(),
            size: 0,
            whole: true,
            ended: false,
        })))
    }

    /// The body from its beginning. The attempt before this one must be over.
    pub(crate) fn attempt(&self) -> Attempt<B> {
        Attempt {
            shared: Arc::clone(&self.0),
            next: 0,
        }
    }

    /// Whether another attempt would send all of it.
    pub(crate) fn is_whole(&self) -> bool {
        lock(&self.0).whole
    }
}

impl<B> Drop for Replay<B> {
    /// There are no more attempts, so nothing more is kept.
    fn drop(&mut self) {
        lock(&self.0).whole = false;
    }
}

fn lock<B>(shared: &Mutex<Shared<B>>) -> MutexGuard<'_, Shared<B>> {
    // A panic of the body's leaves what is kept as it was.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One attempt's body.
#[derive(Debug)]
pub(crate) struct Attempt<B> {
    shared: Arc<Mutex<Shared<B>>>,
    next: usize,
}

impl<B: Body<Data = Bytes>> Shared<B> {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(data) = frame.data_ref().filter(|_| self.whole) else {
            // Requests of gRPC have no trailers.
            self.whole = false;
            return;
        };
        self.size = self.size.saturating_add(data.len());
        self.whole = self.size <= KEPT;
        if self.whole {
            self.kept.push(data.clone());
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Attempt<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let mut shared = lock(&this.shared);
        if let Some(data) = shared.kept.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(shared.body.as_mut().poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                shared.keep(frame);
                if !shared.whole {
                    // Given back as soon as it is of no use; what is in front of it was sent.
                    shared.kept = Vec::new();
                }
                this.next = shared.kept.len();
            }
            Some(Err(_)) => {
                shared.whole = false;
                shared.ended = true;
            }
            None => shared.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let shared = lock(&self.shared);
        self.next >= shared.kept.len() && (shared.ended || shared.body.is_end_stream())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    type Frames = StreamBody<tokio_stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, String>>>>;

    fn body(sizes: &[usize], then: Option<&str>) -> Frames {
        let data = |size: &usize| Ok(Frame::data(Bytes::from(vec![7; *size])));
        let mut frames: Vec<_> = sizes.iter().map(data).collect();
        frames.extend(then.map(|error| Err(error.to_owned())));
        StreamBody::new(tokio_stream::iter(frames))
    }

    async fn sent(replay: &Replay<Frames>) -> Result<usize, String> {
        Ok(replay.attempt().collect().await?.to_bytes().len())
    }

    #[tokio::test]
    async fn a_short_request_is_sent_whole_each_time() {
        let replay = Replay::new(body(&[5, 0, 100], None));
        // An attempt that ends in the middle takes nothing from the next one.
        let mut first = replay.attempt();
        assert!(first.frame().await.is_some());
        drop(first);
        assert_eq!(sent(&replay).await, Ok(105));
        assert!(replay.is_whole());
        assert_eq!(sent(&replay).await, Ok(105));
        assert!(replay.attempt().frame().await.is_some());
    }

    #[tokio::test]
    async fn a_long_request_is_sent_once() {
        let replay = Replay::new(body(&[KEPT, 1, 3], None));
        assert_eq!(sent(&replay).await, Ok(KEPT + 4));
        assert!(!replay.is_whole());
    }

    #[tokio::test]
    async fn a_request_that_broke_is_not_whole() {
        let replay = Replay::new(body(&[5], Some("broken")));
        assert_eq!(sent(&replay).await, Err("broken".to_owned()));
        assert!(!replay.is_whole());
    }

    #[tokio::test]
    async fn nothing_is_kept_once_there_is_an_answer() {
        let replay = Replay::new(body(&[5, 6], None));
        let mut attempt = replay.attempt();
        assert!(attempt.frame().await.is_some());
        drop(replay);
        assert!(attempt.frame().await.is_some());
        assert!(lock(&attempt.shared).kept.is_empty());
        assert!(attempt.frame().await.is_none());
    }
}
