//! How fast calls get what the link carries, from the moment that the tunnel opens.

use core::time::Duration;
use std::fmt;

use grpctunnel_core::{Client, Server, Side};

use super::end::Opens;
use super::{Link, LinkSetup};

/// What is counted as all that is possible, while windows still grow.
const NEARLY_ALL: f64 = 0.9;
/// Round trips that are measured: a second.
const ROUND_TRIPS: usize = 20;
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// The first second of a tunnel whose calls all start at once.
#[derive(Clone, Debug)]
pub struct Start {
    /// Which end of ours received.
    pub receiver: Side,
    /// Bytes a second that the link carries.
    pub rate: u64,
    /// Calls.
    pub calls: usize,
    /// Bytes a second that are possible: the link's, or all windows at their largest a round trip.
    pub possible: f64,
    /// What was carried in each round trip, of what is possible.
    pub shares: Vec<f64>,
}

impl Start {
    /// Measures calls over 50 ms.
    #[must_use]
    pub fn measure(receiver: Side, rate: u64, calls: usize) -> Self {
        let mut setup = LinkSetup::new(ROUND_TRIP, rate);
        setup.calls = calls;
        let (possible, shares) = match receiver {
            Side::Client => shares::<Client>(setup, Link::to_client(setup)),
            Side::Server => shares::<Server>(setup, Link::to_server(setup)),
        };
        Self {
            receiver,
            rate,
            calls,
            possible,
            shares,
        }
    }

    /// The first round trip, counted from one, that carried nearly all that is possible.
    #[must_use]
    pub fn reached_in(&self) -> Option<usize> {
        let first = self.shares.iter().position(|share| *share >= NEARLY_ALL)?;
        Some(first + 1)
    }

    /// What the last round trips carried, of what is possible.
    #[must_use]
    pub fn share(&self) -> f64 {
        let last = self.shares.iter().rev().take(ROUND_TRIPS / 4);
        last.clone().sum::<f64>() / f64::from(u32::try_from(last.len()).unwrap_or(u32::MAX))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of a measurement are far below 2^52"
)]
fn shares<R: Opens>(setup: LinkSetup, mut link: Link<R>) -> (f64, Vec<f64>) {
    let windows = setup.windows;
    let calls = setup.calls as u64;
    let largest = (u64::from(windows.max) * calls)
        .min(u64::from(windows.initial) * calls + windows.growth_budget);
    let by_window = largest as f64 / setup.round_trip.as_secs_f64();
    let possible = by_window.min(setup.rate as f64);
    let carried = core::iter::repeat_with(|| {
        let before = link.read();
        link.run_for(setup.round_trip);
        (link.read() - before) as f64 / setup.round_trip.as_secs_f64() / possible
    });
    (possible, carried.take(ROUND_TRIPS).collect())
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reached = match self.reached_in() {
            Some(round_trip) => format!("in round trip {round_trip}"),
            None => "never".to_owned(),
        };
        let all: f64 = self.shares.iter().sum();
        write!(
            f,
            "the tunnel {:?} receives on {:>2} calls from cold, 50 ms at {:>4} MB/s: {:>4.1} of {:.1} MB in the first \
             second, {NEARLY_ALL} of {:.1} MB/s {reached}, {:.3} in the end",
            self.receiver,
            self.calls,
            self.rate / 1_000_000,
            all * self.possible / 1e6 / 20.0,
            self.possible / 1e6,
            self.possible / 1e6,
            self.share(),
        )
    }
}
