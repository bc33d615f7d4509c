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
    /// `self + other`, or `None` where that does not fit.
    fn checked_add(self, other: Self) -> Option<Self>;
    /// `self - other`, or `None` where that is below zero.
    fn checked_sub(self, other: Self) -> Option<Self>;
    /// Half of it, rounded down.
    fn half(self) -> Self;
}

macro_rules! width {
    ($($int:ty),*) => {$(
        impl Width for $int {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            fn checked_add(self, other: Self) -> Option<Self> {
                <$int>::checked_add(self, other)
            }
            fn checked_sub(self, other: Self) -> Option<Self> {
                <$int>::checked_sub(self, other)
            }
            fn half(self) -> Self {
                self / 2
            }
        }
    )*};
}
width!(u8, u16, u32);

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
/// and was not consumed, and what was consumed and not yet granted again.
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

    /// Bytes that were consumed and not yet granted again.
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

    /// Notes that the reader took `bytes`. True when a grant is due: at half a window, so that
    /// a peer never waits for credit that its reader has already earned.
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

    /// Whether a grant is due.
    pub fn is_due(&self) -> bool {
        self.pending > U::ZERO && self.pending >= self.size.half().max(U::ONE)
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

    /// Every state and amount of the 8-bit receive window: what is conserved and what is refused.
    #[test]
    fn receive_window_conserves_credit_in_eight_bits() {
        for size in 0..=u8::MAX {
            let mut window = ReceiveWindow::<u8>::new(size);
            for received in 0..=u8::MAX {
                let mut after = window;
                assert_eq!(after.receive(received).is_ok(), received <= size);
                if received > size {
                    assert_eq!(after, window);
                    continue;
                }
                assert_eq!(after.unread(), received);
                for consumed in [0, 1, received / 2, received] {
                    let mut reader = after;
                    let fits = consumed <= received;
                    let due = reader.consume(consumed);
                    assert_eq!(due.is_ok(), fits);
                    if let Ok(due) = due {
                        assert_eq!(due, consumed > 0 && consumed >= (size / 2).max(1));
                        assert_eq!(reader.take_grant(), consumed);
                        assert_eq!(reader.available(), size - received + consumed);
                        assert_eq!(reader.unread(), received - consumed);
                    }
                }
            }
            window.receive(size).unwrap();
            assert_eq!(window.available(), 0);
        }
    }

    #[test]
    fn send_window_refuses_to_wrap_in_eight_bits() {
        for start in 0..=u8::MAX {
            for amount in 0..=u8::MAX {
                let mut window = SendWindow::new(start);
                assert_eq!(window.take(amount).is_ok(), amount <= start);
                assert_eq!(
                    window.available(),
                    start - if amount <= start { amount } else { 0 }
                );
                let mut window = SendWindow::new(start);
                let fits = start.checked_add(amount);
                assert_eq!(window.grant(amount).is_ok(), fits.is_some());
                assert_eq!(window.available(), fits.unwrap_or(start));
            }
        }
    }
}
