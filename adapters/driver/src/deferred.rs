//! Work that is put off until a lock has been released.

use std::task::Waker;

use bytes::Bytes;

/// Wakers to call and values to drop once the lock has been released.
///
/// Calling or dropping a waker, and dropping a `Bytes` with an owner or a user's error, runs code
/// outside this crate, which may use the tunnel again. Under the lock that would be a deadlock.
#[derive(Default)]
pub(crate) struct Deferred {
    wake: Few<Waker>,
    wakers: Few<Waker>,
    bytes: Few<Bytes>,
    values: Few<Box<dyn Send + Sync>>,
}

/// Values in order: no memory is allocated for two.
struct Few<T> {
    first: Option<T>,
    second: Option<T>,
    more: Vec<T>,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self {
            first: None,
            second: None,
            more: Vec::new(),
        }
    }
}

impl<T> Few<T> {
    fn push(&mut self, value: T) {
        if self.first.is_none() {
            self.first = Some(value);
        } else if self.second.is_none() {
            self.second = Some(value);
        } else {
            self.more.push(value);
        }
    }

    fn extend(&mut self, values: impl IntoIterator<Item = T>) {
        for value in values {
            self.push(value);
        }
    }

    fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        let two = self.first.take().into_iter().chain(self.second.take());
        two.chain(self.more.drain(..))
    }

    fn clear(&mut self) {
        self.drain().for_each(drop);
    }
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
        for waker in self.wake.drain() {
            #[cfg(test)]
            crate::costs::count_wake();
            waker.wake();
        }
        self.wakers.clear();
        self.bytes.clear();
        self.values.clear();
    }
}
