//! Ring buffers for bulk access, in place or on the heap.

use core::fmt;

/// The ring has no room for what should be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ring has no room")
    }
}

impl core::error::Error for Full {}

/// An element of a ring: a byte of payload, or of message boundaries.
pub trait Cell: Copy + fmt::Debug {
    /// The initial value of a cell. All its bits are zero, so that a fixed ring in a `static` takes
    /// no space in the program's image.
    const EMPTY: Self;
    /// The most cells that a growing ring keeps when it is empty. It frees any more.
    const KEEP: usize;

    /// The capacity to which a ring grows that must hold `needed` cells. At least `needed`.
    fn room_for(needed: usize) -> usize;
}

impl Cell for u8 {
    const EMPTY: Self = 0;
    const KEEP: usize = 1024;

    /// The next power of two. Windows are powers of two, so a ring does not outgrow its window.
    fn room_for(needed: usize) -> usize {
        needed.checked_next_power_of_two().unwrap_or(needed).max(64)
    }
}

/// A queue of cells that is read and written in bulk.
pub trait Ring<C: Cell>: Sized {
    /// An empty ring. It has not allocated.
    const EMPTY: Self;

    /// Number of cells in the ring.
    fn len(&self) -> usize;

    /// Whether the ring is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of cells that the ring can hold without growing.
    fn capacity(&self) -> usize;

    /// Appends cells.
    ///
    /// # Errors
    /// [`Full`] if there is no room for all of them. The ring does not change.
    fn append(&mut self, cells: &[C]) -> Result<(), Full>;

    /// All cells, oldest first. The second slice is empty unless the content wraps around.
    fn as_slices(&self) -> (&[C], &[C]);

    /// Removes the `count` oldest cells, or all if there are fewer.
    fn drop_front(&mut self, count: usize);

    /// Removes the newest cells, down to `len`.
    fn truncate(&mut self, len: usize);

    /// Frees memory that its content does not need. Nothing is appended afterwards. Does nothing
    /// for a fixed ring.
    fn shrink(&mut self) {}
}

/// A ring over an array of `N` cells.
pub struct FixedRing<C, const N: usize> {
    cells: [C; N],
    /// Index of the oldest cell: less than `N`, or 0.
    start: usize,
    len: usize,
}

impl<C, const N: usize> fmt::Debug for FixedRing<C, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FixedRing({} of {N})", self.len)
    }
}

impl<C: Cell, const N: usize> Ring<C> for FixedRing<C, N> {
    const EMPTY: Self = Self {
        cells: [C::EMPTY; N],
        start: 0,
        len: 0,
    };

    fn len(&self) -> usize {
        self.len
    }

    fn capacity(&self) -> usize {
        N
    }

    fn append(&mut self, cells: &[C]) -> Result<(), Full> {
        if cells.len() > N - self.len {
            return Err(Full);
        }
        // No overflow: both are at most `N`, and an array has at most `isize::MAX` bytes.
        let behind = self.start + self.len;
        let at = if behind < N { behind } else { behind - N };
        // If the content already wraps, everything fits before `start`.
        let here = cells.len().min(N - at);
        let (first, second) = cells.split_at_checked(here).ok_or(Full)?;
        if let Some(free) = self.cells.get_mut(at..at + first.len()) {
            free.copy_from_slice(first);
        }
        if let Some(free) = self.cells.get_mut(..second.len()) {
            free.copy_from_slice(second);
        }
        self.len += cells.len();
        Ok(())
    }

    fn as_slices(&self) -> (&[C], &[C]) {
        let (behind, from_start) = self.cells.split_at_checked(self.start).unwrap_or_default();
        match from_start.get(..self.len) {
            Some(all) => (all, &[]),
            None => {
                let wrapped = self.len - from_start.len();
                (from_start, behind.get(..wrapped).unwrap_or_default())
            }
        }
    }

    fn drop_front(&mut self, count: usize) {
        if count >= self.len {
            self.truncate(0);
            return;
        }
        self.len -= count;
        let start = self.start + count;
        self.start = if start < N { start } else { start - N };
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        if self.len == 0 {
            self.start = 0;
        }
    }
}

/// A ring on the heap that grows with its content. When it becomes empty it frees its memory, unless
/// that is at most [`Cell::KEEP`] cells. If the allocator fails, the ring is full.
#[cfg(feature = "alloc")]
pub struct GrowingRing<C>(alloc::collections::VecDeque<C>);

#[cfg(feature = "alloc")]
impl<C: Cell> GrowingRing<C> {
    /// Frees the memory of an empty ring. To shrink it any earlier would move its content, again
    /// and again while it is read.
    fn free_if_empty(&mut self) {
        if self.0.is_empty() && self.0.capacity() > C::KEEP {
            self.0 = alloc::collections::VecDeque::new();
        }
    }
}

#[cfg(feature = "alloc")]
impl<C> fmt::Debug for GrowingRing<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrowingRing({} of {})", self.0.len(), self.0.capacity())
    }
}

#[cfg(feature = "alloc")]
impl<C: Cell> Ring<C> for GrowingRing<C> {
    const EMPTY: Self = Self(alloc::collections::VecDeque::new());

    fn len(&self) -> usize {
        self.0.len()
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn append(&mut self, cells: &[C]) -> Result<(), Full> {
        let len = self.0.len();
        let needed = len.checked_add(cells.len()).ok_or(Full)?;
        if needed > self.0.capacity() {
            let room = C::room_for(needed).max(needed);
            self.0.try_reserve_exact(room - len).map_err(|_| Full)?;
        }
        self.0.extend(cells);
        Ok(())
    }

    fn as_slices(&self) -> (&[C], &[C]) {
        self.0.as_slices()
    }

    fn drop_front(&mut self, count: usize) {
        self.0.drain(..count.min(self.0.len()));
        self.free_if_empty();
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
        self.free_if_empty();
    }

    fn shrink(&mut self) {
        let room = C::room_for(self.0.len()).max(C::KEEP);
        if self.0.capacity() > room {
            self.0.shrink_to(room);
        }
    }
}
