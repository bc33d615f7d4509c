//! Where the core keeps its streams: the same logic over an array and over a growing vector.

use core::fmt;
use core::marker::PhantomData;

/// A vector, fixed or growing.
pub trait List<T>: Clone + Default + fmt::Debug {
    /// Adds at the end.
    ///
    /// # Errors
    /// Gives the item back where there is no room.
    fn push(&mut self, item: T) -> Result<(), T>;
    /// Takes the last one off.
    fn pop(&mut self) -> Option<T>;
    /// Keeps the first `len`.
    fn truncate(&mut self, len: usize);
    /// All of them.
    fn as_slice(&self) -> &[T];
    /// All of them, to be changed.
    fn as_mut_slice(&mut self) -> &mut [T];
    /// How many there is room for without more memory.
    fn capacity(&self) -> usize;
    /// Bytes held on the heap, unused room included. None in place.
    fn heap(&self) -> usize {
        0
    }
}

/// Which lists a tunnel uses.
pub trait Storage {
    /// The list for what there is once a stream.
    type Streams<T: Clone + fmt::Debug>: List<T>;
    /// The list for refusals that wait to be sent.
    type Queue<T: Clone + fmt::Debug>: List<T>;
}

/// Storage in place, with no allocator: room for `STREAMS` streams that are not retired and
/// `QUEUE` refusals that wait to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Fixed<const STREAMS: usize, const QUEUE: usize>(PhantomData<()>);

impl<const STREAMS: usize, const QUEUE: usize> Storage for Fixed<STREAMS, QUEUE> {
    type Streams<T: Clone + fmt::Debug> = heapless::Vec<T, STREAMS>;
    type Queue<T: Clone + fmt::Debug> = heapless::Vec<T, QUEUE>;
}

impl<T: Clone + fmt::Debug, const N: usize> List<T> for heapless::Vec<T, N> {
    fn push(&mut self, item: T) -> Result<(), T> {
        heapless::Vec::push(self, item)
    }
    fn pop(&mut self) -> Option<T> {
        heapless::Vec::pop(self)
    }
    fn truncate(&mut self, len: usize) {
        heapless::Vec::truncate(self, len);
    }
    fn as_slice(&self) -> &[T] {
        self
    }
    fn as_mut_slice(&mut self) -> &mut [T] {
        self
    }
    fn capacity(&self) -> usize {
        N
    }
}

/// Storage that grows with use, up to [`Limits::max_streams`](crate::Limits::max_streams).
#[cfg(feature = "alloc")]
#[derive(Clone, Copy, Debug)]
pub struct Growing;

#[cfg(feature = "alloc")]
impl Storage for Growing {
    type Streams<T: Clone + fmt::Debug> = alloc::vec::Vec<T>;
    type Queue<T: Clone + fmt::Debug> = alloc::vec::Vec<T>;
}

#[cfg(feature = "alloc")]
impl<T: Clone + fmt::Debug> List<T> for alloc::vec::Vec<T> {
    fn push(&mut self, item: T) -> Result<(), T> {
        if self.len() == self.capacity() && self.try_reserve(1).is_err() {
            return Err(item);
        }
        alloc::vec::Vec::push(self, item);
        Ok(())
    }
    fn pop(&mut self) -> Option<T> {
        alloc::vec::Vec::pop(self)
    }
    fn truncate(&mut self, len: usize) {
        alloc::vec::Vec::truncate(self, len);
    }
    fn as_slice(&self) -> &[T] {
        self
    }
    fn as_mut_slice(&mut self) -> &mut [T] {
        self
    }
    fn capacity(&self) -> usize {
        alloc::vec::Vec::capacity(self)
    }
    fn heap(&self) -> usize {
        self.capacity().saturating_mul(size_of::<T>())
    }
}

/// A queue over a list: what was taken from the front is compacted away when it is half of it.
#[derive(Clone, Debug)]
pub(crate) struct Fifo<T, L> {
    pub(crate) list: L,
    pub(crate) head: usize,
    pub(crate) items: PhantomData<T>,
}

impl<T: Copy, L: List<T>> Fifo<T, L> {
    pub(crate) fn new() -> Self {
        Self {
            list: L::default(),
            head: 0,
            items: PhantomData,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.as_slice().len().saturating_sub(self.head)
    }

    pub(crate) fn heap(&self) -> usize {
        self.list.heap()
    }

    pub(crate) fn push_back(&mut self, item: T) -> Result<(), T> {
        match self.list.push(item) {
            Ok(()) => Ok(()),
            Err(item) if self.head > 0 => {
                self.compact();
                self.list.push(item)
            }
            Err(item) => Err(item),
        }
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let item = *self.list.as_slice().get(self.head)?;
        self.head = self.head.saturating_add(1);
        if self.head.saturating_mul(2) > self.list.as_slice().len() {
            self.compact();
        }
        Some(item)
    }

    fn compact(&mut self) {
        let len = self.len();
        let from = self.head.min(self.list.as_slice().len());
        self.list.as_mut_slice().copy_within(from.., 0);
        self.list.truncate(len);
        self.head = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_queue_takes_its_capacity_again_and_again() {
        let mut fifo = Fifo::<u32, heapless::Vec<u32, 4>>::new();
        let mut next_out = 0;
        let mut next_in = 0;
        for round in 0..100_u32 {
            while fifo.push_back(next_in).is_ok() {
                next_in += 1;
            }
            assert_eq!(fifo.len(), 4);
            for _ in 0..=round % 4 {
                assert_eq!(fifo.pop_front(), Some(next_out));
                next_out += 1;
            }
        }
    }
}
