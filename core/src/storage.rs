//! The choice of memory for a tunnel: in place, or on the heap.

use core::fmt;
use core::marker::PhantomData;

/// A vector, fixed or growing.
///
/// Sealed: the core relies on what its own implementations guarantee.
pub trait List<T>: Clone + Default + fmt::Debug + sealed::Sealed {
    /// Adds an item at the end.
    ///
    /// # Errors
    /// Gives the item back if there is no room.
    fn push(&mut self, item: T) -> Result<(), T>;
    /// Removes the last item.
    fn pop(&mut self) -> Option<T>;
    /// All items.
    fn as_slice(&self) -> &[T];
    /// All items, mutable.
    fn as_mut_slice(&mut self) -> &mut [T];
    /// Bytes held on the heap, spare capacity included. Zero for an array.
    fn heap(&self) -> usize {
        0
    }
}

/// A first-in first-out queue, fixed or growing.
///
/// Sealed, as [`List`] is.
pub trait Queue<T>: Clone + Default + fmt::Debug + sealed::Sealed {
    /// Adds an item at the back.
    ///
    /// # Errors
    /// Gives the item back if there is no room.
    fn push_back(&mut self, item: T) -> Result<(), T>;
    /// Removes the item at the front.
    fn pop_front(&mut self) -> Option<T>;
    /// Number of items.
    fn len(&self) -> usize;
    /// Whether there is no item.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// All items, front to back.
    fn iter<'q>(&'q self) -> impl Iterator<Item = &'q T>
    where
        T: 'q;
    /// Bytes held on the heap, spare capacity included. Zero for an array.
    fn heap(&self) -> usize {
        0
    }
}

/// Which collections a tunnel uses: [`Fixed`] or, with the feature `alloc`, `Growing`.
///
/// Sealed, as [`List`] is.
pub trait Storage: sealed::Sealed {
    /// A list with an item for each stream.
    type Streams<T: Clone + fmt::Debug>: List<T>;
    /// The queue of refusals that wait to be sent.
    type Queue<T: Clone + fmt::Debug>: Queue<T>;
}

mod sealed {
    pub trait Sealed {}

    impl<const STREAMS: usize, const QUEUE: usize> Sealed for super::Fixed<STREAMS, QUEUE> {}
    impl<T, const N: usize> Sealed for heapless::Vec<T, N> {}
    impl<T, const N: usize> Sealed for heapless::Deque<T, N> {}

    #[cfg(feature = "alloc")]
    impl Sealed for super::Growing {}
    #[cfg(feature = "alloc")]
    impl<T> Sealed for alloc::vec::Vec<T> {}
    #[cfg(feature = "alloc")]
    impl<T> Sealed for alloc::collections::VecDeque<T> {}
}

/// Storage in place, without an allocator: room for `STREAMS` streams that are not retired and
/// `QUEUE` refusals that wait to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Fixed<const STREAMS: usize, const QUEUE: usize>(PhantomData<()>);

impl<const STREAMS: usize, const QUEUE: usize> Storage for Fixed<STREAMS, QUEUE> {
    type Streams<T: Clone + fmt::Debug> = heapless::Vec<T, STREAMS>;
    type Queue<T: Clone + fmt::Debug> = heapless::Deque<T, QUEUE>;
}

impl<T: Clone + fmt::Debug, const N: usize> List<T> for heapless::Vec<T, N> {
    fn push(&mut self, item: T) -> Result<(), T> {
        heapless::Vec::push(self, item)
    }
    fn pop(&mut self) -> Option<T> {
        heapless::Vec::pop(self)
    }
    fn as_slice(&self) -> &[T] {
        self
    }
    fn as_mut_slice(&mut self) -> &mut [T] {
        self
    }
}

impl<T: Clone + fmt::Debug, const N: usize> Queue<T> for heapless::Deque<T, N> {
    fn push_back(&mut self, item: T) -> Result<(), T> {
        heapless::Deque::push_back(self, item)
    }
    fn pop_front(&mut self) -> Option<T> {
        heapless::Deque::pop_front(self)
    }
    fn len(&self) -> usize {
        heapless::Deque::len(self)
    }
    fn iter<'q>(&'q self) -> impl Iterator<Item = &'q T>
    where
        T: 'q,
    {
        heapless::Deque::iter(self)
    }
}

/// Storage on the heap that grows with use, up to
/// [`Limits::max_streams`](crate::Limits::max_streams).
#[cfg(feature = "alloc")]
#[derive(Clone, Copy, Debug)]
pub struct Growing;

#[cfg(feature = "alloc")]
impl Storage for Growing {
    type Streams<T: Clone + fmt::Debug> = alloc::vec::Vec<T>;
    type Queue<T: Clone + fmt::Debug> = alloc::collections::VecDeque<T>;
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
    fn as_slice(&self) -> &[T] {
        self
    }
    fn as_mut_slice(&mut self) -> &mut [T] {
        self
    }
    fn heap(&self) -> usize {
        self.capacity().saturating_mul(size_of::<T>())
    }
}

#[cfg(feature = "alloc")]
impl<T: Clone + fmt::Debug> Queue<T> for alloc::collections::VecDeque<T> {
    fn push_back(&mut self, item: T) -> Result<(), T> {
        if self.len() == self.capacity() && self.try_reserve(1).is_err() {
            return Err(item);
        }
        alloc::collections::VecDeque::push_back(self, item);
        Ok(())
    }
    fn pop_front(&mut self) -> Option<T> {
        alloc::collections::VecDeque::pop_front(self)
    }
    fn len(&self) -> usize {
        alloc::collections::VecDeque::len(self)
    }
    fn iter<'q>(&'q self) -> impl Iterator<Item = &'q T>
    where
        T: 'q,
    {
        alloc::collections::VecDeque::iter(self)
    }
    fn heap(&self) -> usize {
        self.capacity().saturating_mul(size_of::<T>())
    }
}
