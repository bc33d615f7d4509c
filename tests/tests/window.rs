//! The windows' arithmetic in eight bits, against a model in numbers that cannot wrap.
//!
//! Optimised (`cargo test --release -p grpctunnel-tests --no-default-features --test window`), every
//! state meets every amount in every operation. Without, that would take minutes: each state of the
//! receive window then meets the amounts around what fits, and the output says that the complete
//! test was ignored.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

use grpctunnel_core::window::{ReceiveWindow, SendWindow, Width, WindowError};

/// What an amount of the window's width can be at most.
const MOST: i32 = u8::MAX as i32;
/// States of the receive window: as many as there are ways to part at most 255 bytes in three.
const STATES: u64 = 258 * 257 * 256 / 6;

/// A receive window whose numbers have room for every sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Model {
    size: i32,
    available: i32,
    pending: i32,
}

impl Model {
    const fn unread(self) -> i32 {
        self.size - self.available - self.pending
    }

    fn receive(self, bytes: i32) -> Option<Self> {
        let available = self.available - bytes;
        (available >= 0).then_some(Self { available, ..self })
    }

    fn consume(self, bytes: i32) -> Option<Self> {
        let pending = self.pending + bytes;
        (bytes <= self.unread()).then_some(Self { pending, ..self })
    }

    fn grow(self, bytes: i32) -> Option<Self> {
        let grown = Self {
            size: self.size + bytes,
            pending: self.pending + bytes,
            ..self
        };
        (grown.size <= MOST).then_some(grown)
    }

    const fn settle(kept: i32) -> Self {
        Self {
            size: kept,
            available: 0,
            pending: 0,
        }
    }

    const fn take_grant(self) -> Self {
        Self {
            available: self.available + self.pending,
            pending: 0,
            ..self
        }
    }

    fn threshold(self) -> i32 {
        let batch = i32::from(u8::BATCH).max(self.size / 32);
        batch.min(self.size / 2).max(1)
    }

    fn is_due(self) -> bool {
        self.pending >= self.threshold()
    }
}

fn model(window: &ReceiveWindow<u8>) -> Model {
    Model {
        size: window.size().into(),
        available: window.available().into(),
        pending: window.pending().into(),
    }
}

/// The window in a state, once what it says of itself is as the model has it.
fn enter(state: Model) -> ReceiveWindow<u8> {
    let narrow = |number: i32| u8::try_from(number).unwrap_or_default();
    let mut window = ReceiveWindow::new(narrow(state.size));
    let received = window.receive(narrow(state.size - state.available));
    assert_eq!(received, Ok(()), "{state:?}");
    let consumed = window.consume(narrow(state.pending));
    assert_eq!(consumed, Ok(state.is_due()), "{state:?}");
    assert_eq!(model(&window), state);
    assert_eq!(i32::from(window.unread()), state.unread(), "{state:?}");
    assert_eq!(i32::from(window.threshold()), state.threshold());
    assert_eq!(window.is_due(), state.is_due(), "{state:?}");
    // A stream cannot stand still: no credit, nothing unread, and no grant due.
    let stuck = state.available == 0 && state.unread() == 0 && !window.is_due();
    assert!(!stuck || state.size == 0, "{state:?}");
    window
}

/// Whether an operation did what the model expects, or refused and changed nothing.
#[inline]
fn agrees<T: PartialEq>(
    [before, after]: [&ReceiveWindow<u8>; 2],
    result: Result<T, WindowError>,
    expected: Option<(Model, T)>,
) -> bool {
    match (result, expected) {
        (Ok(result), Some((state, answer))) => {
            let unread = i32::from(after.unread());
            result == answer && model(after) == state && unread == state.unread()
        }
        (Err(_), None) => before == after,
        _ => false,
    }
}

/// One state with the amounts for each operation; returns how many transitions that were.
fn transitions<A: Iterator<Item = u8>>(state: Model, amounts: impl Fn(i32) -> A) -> u64 {
    let window = enter(state);
    let mut count = 0;
    let mut each = |operation: &str, fits: i32, agree: &dyn Fn(u8) -> bool| {
        for bytes in amounts(fits) {
            assert!(agree(bytes), "{operation}({bytes}) in {state:?}");
            count += 1;
        }
    };
    each("receive", state.available, &|bytes| {
        let mut after = window;
        let result = after.receive(bytes);
        let expected = state.receive(bytes.into()).map(|state| (state, ()));
        agrees([&window, &after], result, expected)
    });
    each("consume", state.unread(), &|bytes| {
        let mut after = window;
        let result = after.consume(bytes);
        let expected = state.consume(bytes.into());
        let expected = expected.map(|state| (state, state.is_due()));
        agrees([&window, &after], result, expected)
    });
    each("grow", MOST - state.size, &|bytes| {
        let mut after = window;
        let result = after.grow(bytes);
        let expected = state.grow(bytes.into()).map(|state| (state, ()));
        agrees([&window, &after], result, expected)
    });
    each("settle", state.unread(), &|bytes| {
        let mut after = window;
        after.settle(bytes);
        let expected = (Model::settle(bytes.into()), ());
        agrees([&window, &after], Ok(()), Some(expected))
    });
    let mut after = window;
    let grant = i32::from(after.take_grant());
    let expected = (state.take_grant(), state.pending);
    let agree = agrees([&window, &after], Ok(grant), Some(expected));
    assert!(agree, "take_grant() in {state:?}");
    count + 1
}

/// The states of the windows of one size, by what is available and what is pending.
fn states(size: i32) -> impl Iterator<Item = Model> {
    (0..=size).flat_map(move |available| {
        (0..=size - available).map(move |pending| Model {
            size,
            available,
            pending,
        })
    })
}

/// Every state, on all processors; prints and returns how many states and transitions there were.
fn enumerate<A: Iterator<Item = u8>>(amounts: impl Fn(i32) -> A + Sync) -> (u64, u64) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let (states, transitions) = thread::scope(|scope| {
        let sizes = |first| (first..=MOST).step_by(threads);
        let part = |first| {
            let amounts = &amounts;
            scope.spawn(move || {
                let of_part = sizes(first).flat_map(states);
                of_part.fold((0, 0), |(states, count), state| {
                    (states + 1, count + transitions(state, amounts))
                })
            })
        };
        let parts: Vec<_> = (0..=MOST).take(threads).map(part).collect();
        let joined = parts.into_iter().map(|part| part.join());
        let joined = joined.map(|part| part.unwrap_or_else(|failure| resume_unwind(failure)));
        joined.fold((0, 0), |sum, part: (u64, u64)| {
            (sum.0 + part.0, sum.1 + part.1)
        })
    });
    println!("receive window in 8 bits: {states} states, {transitions} transitions");
    (states, transitions)
}

#[test]
fn receive_window_at_its_edges_in_eight_bits() {
    let around = |fits: i32| {
        let [fits, most] = [fits, MOST].map(|number| u8::try_from(number).unwrap());
        [0, fits, fits.saturating_add(1), most].into_iter()
    };
    assert_eq!(enumerate(around), (STATES, STATES * (4 * 4 + 1)));
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "every amount takes minutes where it is not optimised: run it with --release"
)]
fn receive_window_conserves_credit_in_eight_bits() {
    let every = |_| 0..=u8::MAX;
    assert_eq!(enumerate(every), (STATES, STATES * (4 * 256 + 1)));
}

#[test]
fn send_window_refuses_to_wrap_in_eight_bits() {
    let mut transitions = 0;
    for state in 0..=u8::MAX {
        for bytes in 0..=u8::MAX {
            let (available, amount) = (i32::from(state), i32::from(bytes));
            let mut window = SendWindow::new(state);
            let left = available - amount;
            assert_eq!(window.take(bytes).is_ok(), left >= 0);
            let expected = if left >= 0 { left } else { available };
            assert_eq!(i32::from(window.available()), expected);
            let mut window = SendWindow::new(state);
            let sum = available + amount;
            assert_eq!(window.grant(bytes).is_ok(), sum <= MOST);
            let expected = if sum <= MOST { sum } else { available };
            assert_eq!(i32::from(window.available()), expected);
            transitions += 2;
        }
    }
    println!("send window in 8 bits: 256 states, {transitions} transitions");
    assert_eq!(transitions, 256 * 256 * 2);
}
