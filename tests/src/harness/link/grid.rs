//! What one call carries, over a grid of links.

use core::time::Duration;
use std::fmt;

use grpctunnel_core::{Client, Server, Side};

use super::end::Opens;
use super::{Link, LinkSetup};

/// Round trips of the grid, in milliseconds.
const ROUND_TRIPS: [u64; 4] = [1, 10, 50, 200];
/// Rates of the grid, in millions of bytes a second.
const RATES: [u64; 4] = [1, 10, 100, 1_000];
/// Round trips for windows to grow in.
const WARM_UP: u32 = 20;
/// What is measured is no shorter than this many round trips, nor than these bytes at the rate
/// that is possible, so that one chunk more or less does not matter.
const MEASURED: u32 = 10;
const MEASURED_BYTES: f64 = 4_194_304.0;

/// One link, and what a call carried on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The way there and back.
    pub round_trip: Duration,
    /// Bytes a second that the link carries.
    pub rate: u64,
    /// Bytes a second that are possible: the link's, or one largest window a round trip.
    pub possible: f64,
    /// Bytes a second that were read after 20 round trips.
    pub carried: f64,
    /// The window then.
    pub window: u32,
    /// The round trip that our end measured.
    pub measured: Duration,
}

impl Point {
    /// What was carried of what is possible.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.carried / self.possible
    }
}

/// The points of a grid, none left out.
#[derive(Clone, Debug)]
pub struct Grid {
    /// Which end of ours received.
    pub receiver: Side,
    /// Whether it sent as well.
    pub both_ways: bool,
    /// Bytes of each message that it received.
    pub message: u32,
    /// The points.
    pub points: Vec<Point>,
}

impl Grid {
    /// Measures all of it.
    #[must_use]
    pub fn measure(receiver: Side, both_ways: bool, message: u32) -> Self {
        let mut points = Vec::new();
        for millis in ROUND_TRIPS {
            for rate in RATES {
                let mut setup = LinkSetup::new(Duration::from_millis(millis), rate * 1_000_000);
                setup.both_ways = both_ways;
                setup.message = message;
                points.push(match receiver {
                    Side::Client => point::<Client>(setup, Link::to_client(setup)),
                    Side::Server => point::<Server>(setup, Link::to_server(setup)),
                });
            }
        }
        Self {
            receiver,
            both_ways,
            message,
            points,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of a measurement are far below 2^52"
)]
fn point<R: Opens>(setup: LinkSetup, mut link: Link<R>) -> Point {
    let round_trip = setup.round_trip;
    let by_window = f64::from(setup.windows.max) / round_trip.as_secs_f64();
    let possible = by_window.min(setup.rate as f64);
    link.run_for(round_trip * WARM_UP);
    let before = link.read();
    let enough = Duration::from_secs_f64(MEASURED_BYTES / possible);
    let time = enough.max(round_trip * MEASURED);
    link.run_for(time);
    Point {
        round_trip,
        rate: setup.rate,
        possible,
        carried: (link.read() - before) as f64 / time.as_secs_f64(),
        window: link.windows().0,
        measured: link.round_trip(),
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = if self.both_ways {
            "both ways"
        } else {
            "one way"
        };
        writeln!(
            f,
            "the tunnel {:?} receives messages of {} bytes, payload {ways}",
            self.receiver, self.message
        )?;
        writeln!(
            f,
            "{:>10} {:>10} {:>13} {:>12} {:>6} {:>11} {:>10}",
            "round trip",
            "link MB/s",
            "possible MB/s",
            "carried MB/s",
            "share",
            "window",
            "measured"
        )?;
        for point in &self.points {
            writeln!(
                f,
                "{:>7} ms {:>10} {:>13.3} {:>12.3} {:>6.3} {:>11} {:>7.3} ms",
                point.round_trip.as_millis(),
                point.rate / 1_000_000,
                point.possible / 1e6,
                point.carried / 1e6,
                point.share(),
                point.window,
                point.measured.as_secs_f64() * 1e3,
            )?;
        }
        Ok(())
    }
}
