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

    /// Every state of the 8-bit receive window, by its size, what is available, and what is
    /// pending.
    fn states() -> impl Iterator<Item = ReceiveWindow<u8>> {
        (0..=u8::MAX).flat_map(|size| {
            (0..=size).flat_map(move |available| {
                (0..=size - available).map(move |pending| ReceiveWindow {
                    size,
                    available,
                    pending,
                })
            })
        })
    }

    /// `size = available + unread + pending`, counted where nothing wraps.
    fn is_conserved(window: &ReceiveWindow<u8>) -> bool {
        u32::from(window.available) + u32::from(window.unread()) + u32::from(window.pending)
            == u32::from(window.size)
    }

    /// The amounts around what fits, and the smallest and the largest.
    fn amounts(fits: u8) -> [u8; 6] {
        let (below, above) = (fits.saturating_sub(1), fits.saturating_add(1));
        [0, 1, below, fits, above, u8::MAX]
    }

    #[test]
    fn receive_window_conserves_credit_in_eight_bits() {
        for window in states() {
            assert!(is_conserved(&window), "{window:?}");
            for bytes in amounts(window.available) {
                let mut after = window;
                let fits = bytes <= window.available;
                assert!(after.receive(bytes).is_ok() == fits, "{window:?}");
                assert!(fits || after == window, "{window:?}");
                assert!(is_conserved(&after), "{window:?}");
                let taken = window.available - after.available;
                assert!(taken == if fits { bytes } else { 0 }, "{window:?}");
            }
            for bytes in amounts(window.unread()) {
                let mut after = window;
                let fits = bytes <= window.unread();
                let due = after.consume(bytes);
                assert!(due.is_ok() == fits, "{window:?}");
                assert!(fits || after == window, "{window:?}");
                assert!(is_conserved(&after), "{window:?}");
                assert!(due.is_err() || due == Ok(after.is_due()), "{window:?}");
            }
            let mut after = window;
            assert!(after.take_grant() == window.pending, "{window:?}");
            assert!(is_conserved(&after), "{window:?}");
            assert!(after.pending == 0 && after.unread() == window.unread());
        }
    }

    #[test]
    fn receive_window_grows_within_its_width_in_eight_bits() {
        for window in states() {
            for bytes in amounts(u8::MAX - window.size) {
                let mut after = window;
                let size = window.size.checked_add(bytes);
                assert!(after.grow(bytes).is_ok() == size.is_some(), "{window:?}");
                assert!(is_conserved(&after), "{window:?}");
                assert!(after.size == size.unwrap_or(window.size), "{window:?}");
                // What was promised stays, and the growth is what the next grant brings.
                assert!(after.available == window.available, "{window:?}");
                assert!(after.unread() == window.unread(), "{window:?}");
                let more = after.take_grant() - window.pending;
                assert!(more == if size.is_some() { bytes } else { 0 });
            }
        }
    }

    #[test]
    fn a_grant_is_due_at_half_a_window_at_most() {
        for window in states() {
            let (threshold, size) = (window.threshold(), window.size());
            assert!(threshold >= 1, "an empty grant is never due");
            assert!(threshold <= (size / 2).max(1), "{window:?}");
            // A stream cannot stand still: no credit, nothing unread, and no grant due.
            let stuck = window.available() == 0 && window.unread() == 0 && !window.is_due();
            assert!(!stuck || size == 0, "{window:?}");
            assert!(window.is_due() == (window.pending >= threshold));
        }
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
