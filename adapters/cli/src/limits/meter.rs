//! How many bytes wait for the calls of an identity.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use grpctunnel_driver::{RequestBody, ResponseBody};
use grpctunnel_http2::IncomingBody;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;

use crate::held::Held;

/// How old a sum may be: not every call asks every other one.
const FRESH: Duration = Duration::from_millis(10);

/// A body in which bytes wait.
pub(crate) trait Waits {
    /// How many wait in it now.
    fn waiting(&mut self) -> usize;
}

impl Waits for IncomingBody {
    fn waiting(&mut self) -> usize {
        Self::waiting(self)
    }
}

impl Waits for RequestBody {
    fn waiting(&mut self) -> usize {
        Self::waiting(self)
    }
}

impl Waits for ResponseBody {
    fn waiting(&mut self) -> usize {
        Self::waiting(self)
    }
}

impl Waits for tonic::body::Body {
    /// An answer of the gateway's own: a message or two.
    fn waiting(&mut self) -> usize {
        0
    }
}

impl<L: Waits, R: Waits> Waits for Either<L, R> {
    fn waiting(&mut self) -> usize {
        match self {
            Self::Left(body) => body.waiting(),
            Self::Right(body) => body.waiting(),
        }
    }
}

impl<B: Waits + Unpin, T> Waits for Held<B, T> {
    fn waiting(&mut self) -> usize {
        self.body().waiting()
    }
}

/// What a [`Meter`] can ask.
trait Gauge: Send + Sync {
    fn read(&self) -> usize;
}

impl<B: Waits + Send> Gauge for Mutex<B> {
    fn read(&self) -> usize {
        lock(self).waiting()
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads how many bytes wait in the bodies that it watches. Clones are the same meter.
#[derive(Clone, Default)]
pub(super) struct Meter(Arc<Mutex<Gauges>>);

#[derive(Default)]
struct Gauges {
    bodies: Vec<Weak<dyn Gauge>>,
    last: Option<(Instant, usize)>,
}

impl Meter {
    /// Watches a body until it is dropped.
    pub(super) fn watch<B: Waits + Send + 'static>(&self, body: B) -> Metered<B> {
        let body = Arc::new(Mutex::new(body));
        let gauge = Arc::downgrade(&body);
        lock(&self.0).bodies.push(gauge);
        Metered(body)
    }

    /// How many bytes wait, not long ago.
    pub(super) fn read(&self, now: Instant) -> usize {
        let bodies: Vec<_> = {
            let mut gauges = lock(&self.0);
            match gauges.last {
                Some((then, bytes)) if now.saturating_duration_since(then) < FRESH => return bytes,
                _ => {}
            }
            gauges.bodies.retain(|body| body.strong_count() > 0);
            gauges.bodies.iter().filter_map(Weak::upgrade).collect()
        };
        let bytes = bodies.iter().map(|body| body.read());
        let bytes = bytes.fold(0, usize::saturating_add);
        lock(&self.0).last = Some((now, bytes));
        bytes
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bodies = lock(&self.0).bodies.len();
        f.debug_tuple("Meter").field(&bodies).finish()
    }
}

/// A body that a meter watches.
#[derive(Debug)]
pub(crate) struct Metered<B>(Arc<Mutex<B>>);

impl<B: Body + Unpin> Body for Metered<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut *lock(&self.0)).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).size_hint()
    }
}

/// A body that may be watched.
pub(crate) type Watched<B> = Either<B, Metered<B>>;

#[cfg(test)]
mod tests {
    use super::*;

    impl Waits for Vec<u8> {
        fn waiting(&mut self) -> usize {
            self.len()
        }
    }

    #[test]
    fn what_waits_is_summed_of_the_bodies_that_are_there() {
        let (meter, start) = (Meter::default(), Instant::now());
        let (one, two) = (meter.watch(vec![0; 300]), meter.watch(vec![0; 50]));
        assert_eq!(meter.read(start), 350);
        lock(&one.0).truncate(100);
        assert_eq!(meter.read(start), 350, "it is not asked again at once");
        assert_eq!(meter.read(start + FRESH), 150);
        drop(two);
        assert_eq!(meter.read(start + 2 * FRESH), 100);
        drop(one);
        assert_eq!(meter.read(start + 3 * FRESH), 0);
    }
}
