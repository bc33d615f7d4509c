//! The memory of a receive buffer: a ring of cells, in place or growing.

use core::fmt;

/// The ring has no room for what was to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room in the ring")
    }
}

impl core::error::Error for Full {}

/// What a ring is made of: bytes of payload, or of message boundaries.
pub trait Cell: Copy + fmt::Debug {
    /// What a cell is before it was used. All bits are zero, so that a fixed ring in a `static`
    /// costs no space in the program's image.
    const EMPTY: Self;
    /// As many cells a growing ring keeps when it is empty. More are given back.
    const KEEP: usize;

    /// How many cells a growing ring gets when it must hold `needed`. At least that many.
    fn room_for(needed: usize) -> usize;
}

impl Cell for u8 {
    const EMPTY: Self = 0;
    const KEEP: usize = 1024;

    /// The next power of two: windows are powers of two, so a ring is never larger than the
    /// window that fills it.
    fn room_for(needed: usize) -> usize {
        needed.checked_next_power_of_two().unwrap_or(needed).max(64)
    }
}

/// A queue of cells that is read and written in bulk.
///
/// An implementation need not check more than is said here: the receive buffer never panics
/// because of what a ring answers, but what it delivers is what the ring kept.
pub trait Ring<C: Cell>: Sized {
    /// A ring with nothing in it, which has allocated nothing.
    const EMPTY: Self;

    /// Cells in the ring.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cells that memory is held for now.
    fn capacity(&self) -> usize;

    /// Adds cells behind those that are there.
    ///
    /// # Errors
    /// [`Full`] if there is no room for all of them. Then nothing has changed.
    fn append(&mut self, cells: &[C]) -> Result<(), Full>;

    /// All cells, oldest first. The second slice is empty unless the content wraps around.
    fn as_slices(&self) -> (&[C], &[C]);

    /// Drops the `count` oldest cells, or all if there are fewer.
    fn drop_front(&mut self, count: usize);

    /// Drops the newest cells, down to `len`.
    fn truncate(&mut self, len: usize);

    /// Gives back memory that is not needed for what is in the ring. Nothing is appended after
    /// it. A ring that cannot does nothing.
    fn shrink(&mut self) {}
}

/// A ring over an array: no allocator, room for `N` cells.
pub struct FixedRing<C, const N: usize> {
    cells: [C; N],
    /// Index of the oldest cell; below `N`, or 0.
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
        // `start < N` and `len <= N`: the sum is no nearer to overflow than twice an array.
        let behind = self.start + self.len;
        let at = if behind < N { behind } else { behind - N };
        // Where the content has wrapped, everything fits before `start`.
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

/// A ring that grows with what is in it, on `alloc`. When it is emptied it gives its memory back,
/// all but [`Cell::KEEP`] cells at most. Where the allocator refuses, the ring is full.
#[cfg(feature = "alloc")]
pub struct GrowingRing<C>(alloc::collections::VecDeque<C>);

#[cfg(feature = "alloc")]
impl<C: Cell> GrowingRing<C> {
    /// Frees the memory of an emptied ring. Only then: giving back parts of it while it is read
    /// would move what is left, again and again.
    fn give_back(&mut self) {
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
        self.give_back();
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
        self.give_back();
    }

    fn shrink(&mut self) {
        let room = C::room_for(self.0.len()).max(C::KEEP);
        if self.0.capacity() > room {
            self.0.shrink_to(room);
        }
    }
}
