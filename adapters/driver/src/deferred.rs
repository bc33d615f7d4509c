//! Work that is put off until a lock has been released.

use std::task::Waker;

use bytes::Bytes;

/// Wakers to call and values to drop once the lock has been released.
///
/// Calling or dropping a waker, and dropping a `Bytes` with an owner or a user's error, runs code
/// outside this crate, which may use the tunnel again. Under the lock that would be a deadlock.
#[derive(Default)]
pub(crate) struct Deferred {
    wake: Vec<Waker>,
    wakers: Vec<Waker>,
    bytes: Vec<Bytes>,
    values: Vec<Box<dyn Send + Sync>>,
}

impl Deferred {
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

    pub(crate) fn drop_value(&mut self, value: Box<dyn Send + Sync>) {
        self.values.push(value);
    }

    /// Calls and drops everything. Must be called without the lock.
    pub(crate) fn run(&mut self) {
        for waker in self.wake.drain(..) {
            waker.wake();
        }
        self.wakers.clear();
        self.bytes.clear();
        self.values.clear();
    }
}
