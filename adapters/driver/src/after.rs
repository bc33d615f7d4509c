//! What is left to do when a tunnel's lock has been given back.

use std::task::Waker;

use bytes::Bytes;

use crate::stream::Stream;

/// Wakers to call, and things of the caller's to drop.
///
/// Each of them runs code that is not ours, which may use the tunnel: a waker that is called or
/// dropped, a `Bytes` whose owner is dropped. So none of it happens under the lock.
#[derive(Debug, Default)]
pub(crate) struct After {
    wake: Vec<Waker>,
    wakers: Vec<Waker>,
    bytes: Vec<Bytes>,
    streams: Vec<Stream>,
}

impl After {
    /// Calls the waker.
    pub(crate) fn wake(&mut self, waker: &mut Option<Waker>) {
        self.wake.extend(waker.take());
    }

    pub(crate) fn wake_all(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        self.wake.extend(wakers);
    }

    /// Puts the waker of `new` in place of what is there, unless it wakes the same task.
    pub(crate) fn register(&mut self, place: &mut Option<Waker>, new: &Waker) {
        match place {
            Some(old) if old.will_wake(new) => {}
            _ => self.wakers.extend(place.replace(new.clone())),
        }
    }

    pub(crate) fn drop_waker(&mut self, waker: Option<Waker>) {
        self.wakers.extend(waker);
    }

    pub(crate) fn drop_bytes(&mut self, bytes: impl IntoIterator<Item = Bytes>) {
        self.bytes.extend(bytes);
    }

    pub(crate) fn drop_stream(&mut self, stream: Option<Stream>) {
        self.streams.extend(stream);
    }

    /// Does all of it.
    pub(crate) fn run(&mut self) {
        for waker in self.wake.drain(..) {
            waker.wake();
        }
        self.wakers.clear();
        self.bytes.clear();
        self.streams.clear();
    }
}
