//! Flow-control windows with checked arithmetic, generic over the width of their counters.
//!
//! The protocol uses `u32` (`window_update` and `initial_window_size` are `uint32`). With `u8` a test
//! can visit every state with every amount.

/// An unsigned integer that a window counts in.
pub trait Width: Copy + Ord + Default + core::fmt::Debug {
    /// Zero.
    const ZERO: Self;
    /// One byte.
    const ONE: Self;
    /// The smallest amount of credit that is worth a `window_update`, unless it is more than half
    /// the window. For `u32` it is 32,768: half of the usual initial window, or two chunks of the
    /// Go module.
    const BATCH: Self;
    /// `self + other`, or `None` on overflow.
    fn checked_add(self, other: Self) -> Option<Self>;
    /// `self - other`, or `None` on underflow.
    fn checked_sub(self, other: Self) -> Option<Self>;
    /// Half of `self`, rounded down.
    fn half(self) -> Self;
    /// One 32nd of `self`, rounded down.
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

/// An amount that a window cannot hold, or does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowError;

impl core::fmt::Display for WindowError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the amount does not fit the flow-control window")
    }
}

impl core::error::Error for WindowError {}

/// The flow-control window for what this end sends on one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SendWindow<U> {
    available: U,
}

impl<U: Width> SendWindow<U> {
    /// A window with the initial size that the peer announced.
    pub const fn new(initial: U) -> Self {
        Self { available: initial }
    }

    /// Bytes that may be sent now.
    pub const fn available(&self) -> U {
        self.available
    }

    /// Uses up `bytes` of the window.
    ///
    /// # Errors
    /// More than is available. The window does not change.
    pub fn take(&mut self, bytes: U) -> Result<(), WindowError> {
        self.available = self.available.checked_sub(bytes).ok_or(WindowError)?;
        Ok(())
    }

    /// Adds the credit of a `window_update`.
    ///
    /// # Errors
    /// The sum overflows. The window does not change. As in RFC 9113, section 6.9.1, this is an
    /// error of the peer.
    pub fn grant(&mut self, bytes: U) -> Result<(), WindowError> {
        self.available = self.available.checked_add(bytes).ok_or(WindowError)?;
        Ok(())
    }
}

/// The flow-control window for what the peer sends on one stream.
///
/// `size = available + unread + pending` always holds: what the peer may still send, what was
/// received but not consumed, and the credit that has yet to be granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReceiveWindow<U> {
    size: U,
    available: U,
    pending: U,
}

impl<U: Width> ReceiveWindow<U> {
    /// A window of `size` bytes, all of which the peer may send.
    pub const fn new(size: U) -> Self {
        Self {
            size,
            available: size,
            pending: U::ZERO,
        }
    }

    /// Bytes that the peer may send before any of them is consumed.
    pub const fn size(&self) -> U {
        self.size
    }

    /// Bytes that the peer may still send before the next grant.
    pub const fn available(&self) -> U {
        self.available
    }

    /// Bytes that were received but not consumed.
    #[inline]
    pub fn unread(&self) -> U {
        self.size
            .checked_sub(self.available)
            .and_then(|rest| rest.checked_sub(self.pending))
            .unwrap_or(U::ZERO)
    }

    /// Credit that has yet to be granted: for bytes that were consumed, or because the window grew.
    #[cfg(feature = "internals")]
    pub const fn pending(&self) -> U {
        self.pending
    }

    /// Accounts for `bytes` received.
    ///
    /// # Errors
    /// The peer exceeded its window. The window does not change.
    #[inline]
    pub fn receive(&mut self, bytes: U) -> Result<(), WindowError> {
        self.available = self.available.checked_sub(bytes).ok_or(WindowError)?;
        Ok(())
    }

    /// Accounts for `bytes` that the reader consumed. Returns whether a grant is due; see
    /// [`threshold`](Self::threshold).
    ///
    /// # Errors
    /// More than is unread. The window does not change.
    #[inline]
    pub fn consume(&mut self, bytes: U) -> Result<bool, WindowError> {
        if bytes > self.unread() {
            return Err(WindowError);
        }
        self.pending = self.pending.checked_add(bytes).ok_or(WindowError)?;
        Ok(self.is_due())
    }

    /// Grows the window by `bytes`. The peer gets them with the next grant.
    ///
    /// # Errors
    /// The size overflows. The window does not change.
    pub fn grow(&mut self, bytes: U) -> Result<(), WindowError> {
        self.size = self.size.checked_add(bytes).ok_or(WindowError)?;
        // `pending` never exceeds `size`, so this cannot overflow.
        self.pending = self.pending.checked_add(bytes).ok_or(WindowError)?;
        Ok(())
    }

    /// Closes the window of a stream that has ended. `kept` bytes of it remain unread.
    pub const fn settle(&mut self, kept: U) {
        *self = Self {
            size: kept,
            available: U::ZERO,
            pending: U::ZERO,
        };
    }

    /// The pending credit at which a grant is due.
    ///
    /// It is [`Width::BATCH`], so that updates are few, or one 32nd of a window for which that is
    /// more. It is at most half the window, so that the peer does not run out of credit while some
    /// is held back.
    #[inline]
    pub fn threshold(&self) -> U {
        let batch = U::BATCH.max(self.size.part());
        self.size.half().min(batch).max(U::ONE)
    }

    /// Whether a grant is due.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.pending >= self.threshold()
    }

    /// Grants all pending credit and returns its amount, which may be zero.
    #[inline]
    pub fn take_grant(&mut self) -> U {
        let grant = self.pending;
        // By the invariant the sum is at most `size`.
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
