//! Flow-control windows: checked amounts, generic over their width.
//!
//! Generic so that a search can enumerate the 8-bit instantiation completely; the protocol uses
//! `u32` (`window_update` and `initial_window_size` are `uint32`).

/// An unsigned integer that a window can count in.
pub trait Width: Copy + Ord + Default + core::fmt::Debug {
    /// Nothing.
    const ZERO: Self;
    /// One byte.
    const ONE: Self;
    /// Credit that is worth a frame of its own, where it is no more than half a window: with
    /// `u32` half of the common first window, 32,768, which is two chunks of known peers.
    const BATCH: Self;
    /// `self + other`, or `None` where that does not fit.
    fn checked_add(self, other: Self) -> Option<Self>;
    /// `self - other`, or `None` where that is below zero.
    fn checked_sub(self, other: Self) -> Option<Self>;
    /// Half of it, rounded down.
    fn half(self) -> Self;
    /// A part in 32 of it, rounded down.
    fn part(self) -> Self;
}

macro_rules! width {
    ($($int:ty: $batch:literal),*) => {$(
        impl Width for $int {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const BATCH: Self = $batch;
            fn checked_add(self, other: Self) -> Option<Self> {
                <$int>::checked_add(self, other)
            }
            fn checked_sub(self, other: Self) -> Option<Self> {
                <$int>::checked_sub(self, other)
            }
            fn half(self) -> Self {
                self / 2
            }
            fn part(self) -> Self {
                self / 32
            }
        }
    )*};
}
width!(u8: 4, u16: 1_024, u32: 32_768);

/// A window's arithmetic was asked for more than it can hold or give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowError;

impl core::fmt::Display for WindowError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the amount does not fit the flow-control window")
    }
}

impl core::error::Error for WindowError {}

/// What the peer lets us send on one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SendWindow<U> {
    available: U,
}

impl<U: Width> SendWindow<U> {
    /// A window that starts with what the peer announced.
    pub const fn new(initial: U) -> Self {
        Self { available: initial }
    }

    /// Bytes that may be sent now.
    pub const fn available(&self) -> U {
        self.available
    }

    /// Takes `bytes` for sending.
    ///
    /// # Errors
    /// More than is available; nothing is taken.
    pub fn take(&mut self, bytes: U) -> Result<(), WindowError> {
        self.available = self.available.checked_sub(bytes).ok_or(WindowError)?;
        Ok(())
    }

    /// Adds what a `window_update` granted.
    ///
    /// # Errors
    /// The sum does not fit; the window is left as it was (RFC 9113, section 6.9.1, makes this
    /// an error of the peer).
    pub fn grant(&mut self, bytes: U) -> Result<(), WindowError> {
        self.available = self.available.checked_add(bytes).ok_or(WindowError)?;
        Ok(())
    }
}

/// What we let the peer send on one stream.
///
/// `size = available + unread + pending` always holds: what the peer may still send, what came
/// and was not consumed, and what is to be granted: it was consumed, or the window has grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReceiveWindow<U> {
    size: U,
    available: U,
    pending: U,
}

impl<U: Width> ReceiveWindow<U> {
    /// A window of `size` bytes, all of them granted.
    pub const fn new(size: U) -> Self {
        Self {
            size,
            available: size,
            pending: U::ZERO,
        }
    }

    /// Bytes that the peer may have sent, or send, before any of them is consumed.
    pub const fn size(&self) -> U {
        self.size
    }

    /// Bytes that the peer may still send without a further grant.
    pub const fn available(&self) -> U {
        self.available
    }

    /// Bytes that came and were not consumed yet.
    pub fn unread(&self) -> U {
        self.size
            .checked_sub(self.available)
            .and_then(|rest| rest.checked_sub(self.pending))
            .unwrap_or(U::ZERO)
    }

    /// Bytes that are to be granted: they were consumed, or the window has grown by them.
    #[cfg(any(feature = "internals", feature = "search"))]
    pub const fn pending(&self) -> U {
        self.pending
    }

    /// Takes in `bytes` that the peer sent.
    ///
    /// # Errors
    /// The peer sent more than it was granted; nothing is taken.
    pub fn receive(&mut self, bytes: U) -> Result<(), WindowError> {
        self.available = self.available.checked_sub(bytes).ok_or(WindowError)?;
        Ok(())
    }

    /// Notes that the reader took `bytes`. True when a grant is due; see
    /// [`threshold`](Self::threshold).
    ///
    /// # Errors
    /// More than is unread; nothing changes.
    pub fn consume(&mut self, bytes: U) -> Result<bool, WindowError> {
        if bytes > self.unread() {
            return Err(WindowError);
        }
        self.pending = self.pending.checked_add(bytes).ok_or(WindowError)?;
        Ok(self.is_due())
    }

    /// Makes the window larger. The peer hears of it with the next grant.
    ///
    /// # Errors
    /// The size does not fit; nothing changes.
    pub fn grow(&mut self, bytes: U) -> Result<(), WindowError> {
        self.size = self.size.checked_add(bytes).ok_or(WindowError)?;
        // What is pending is a part of the size, so this fits as well.
        self.pending = self.pending.checked_add(bytes).ok_or(WindowError)?;
        Ok(())
    }

    /// Forgets the window of a stream that has ended, but for `kept` bytes that are still held.
    pub const fn settle(&mut self, kept: U) {
        *self = Self {
            size: kept,
            available: U::ZERO,
            pending: U::ZERO,
        };
    }

    /// Bytes pending at which a grant is due: [`Width::BATCH`], so that updates are few; in a
    /// large window a part in 32 of it, since a peer waits for what is held back here; and never
    /// more than half a window, so that a peer with nothing left to send is not waited for.
    pub fn threshold(&self) -> U {
        let batch = U::BATCH.max(self.size.part());
        self.size.half().min(batch).max(U::ONE)
    }

    /// Whether a grant is due.
    pub fn is_due(&self) -> bool {
        self.pending >= self.threshold()
    }

    /// Turns everything pending into a grant and returns its amount, zero if there is none.
    pub fn take_grant(&mut self) -> U {
        let grant = self.pending;
        // The invariant keeps the sum within `size`.
        self.available = self.available.checked_add(grant).unwrap_or(self.size);
        self.pending = U::ZERO;
        grant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_due_at_half_a_window_at_most() {
        let threshold = |size| ReceiveWindow::<u32>::new(size).threshold();
        let sizes = [
            0,
            1,
            2,
            10,
            65_535,
            65_536,
            1 << 20,
            2 << 20,
            16 << 20,
            u32::MAX,
        ];
        let expected = [
            1,
            1,
            1,
            5,
            32_767,
            32_768,
            32_768,
            65_536,
            524_288,
            134_217_727,
        ];
        assert_eq!(sizes.map(threshold), expected);
    }
}
