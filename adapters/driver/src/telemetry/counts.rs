//! Counts of tunnels, calls and bytes, by the facade `metrics`. Names and meanings are listed at the
//! crate's front page.

#![cfg_attr(
    not(feature = "metrics"),
    expect(
        unused_variables,
        clippy::missing_const_for_fn,
        clippy::unused_self,
        reason = "without metrics"
    )
)]

use std::time::Duration;

use grpctunnel_core::Side;
#[cfg(feature = "metrics")]
use metrics::{counter, gauge, histogram};

use crate::error::TunnelEnd;
use crate::tunnel::state::{State, TunnelRole};

#[cfg(feature = "metrics")]
const fn label(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

/// Bytes of frames were handed to the carrier.
pub(crate) fn sent(side: Side, bytes: usize) {
    #[cfg(feature = "metrics")]
    counter!("grpctunnel_sent_bytes_total", "side" => label(side)).increment(bytes as u64);
}

/// The sender of a call has to wait: for its peer's reader, or for the carrier.
pub(crate) fn held_back(side: Side) {
    #[cfg(feature = "metrics")]
    counter!("grpctunnel_held_back_total", "side" => label(side)).increment(1);
}

/// A ping was answered.
pub(crate) fn round_trip(side: Side, time: Duration) {
    #[cfg(feature = "metrics")]
    histogram!("grpctunnel_round_trip_seconds", "side" => label(side)).record(time.as_secs_f64());
}

/// A group picked a tunnel for a call, for the first time or again.
pub(crate) fn picked(again: bool) {
    #[cfg(feature = "metrics")]
    {
        counter!("grpctunnel_picks_total").increment(1);
        if again {
            counter!("grpctunnel_retries_total").increment(1);
        }
    }
}

/// Counts of one tunnel, told whenever its task runs.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    #[cfg(feature = "metrics")]
    told: Option<Told>,
}

/// What was told of a tunnel that has started.
#[cfg(feature = "metrics")]
#[derive(Debug)]
struct Told {
    side: Side,
    counters: grpctunnel_core::Counters,
    calls: u32,
}

impl Meter {
    /// The tunnel may carry calls.
    pub(crate) fn started(&mut self, side: Side) {
        #[cfg(feature = "metrics")]
        {
            counter!("grpctunnel_tunnels_total", "side" => label(side)).increment(1);
            gauge!("grpctunnel_tunnels_open", "side" => label(side)).increment(1);
            self.told = Some(Told {
                side,
                counters: grpctunnel_core::Counters::default(),
                calls: 0,
            });
        }
    }

    /// Bytes of frames came from the carrier.
    pub(crate) fn received(&self, side: Side, bytes: usize) {
        #[cfg(feature = "metrics")]
        counter!("grpctunnel_received_bytes_total", "side" => label(side)).increment(bytes as u64);
    }

    /// Tells what has changed.
    pub(crate) fn observe<R: TunnelRole>(&mut self, state: &State<R>) {
        #[cfg(feature = "metrics")]
        if let Some(told) = &mut self.told {
            let calls = u32::try_from(state.tunnel.active_streams()).unwrap_or(u32::MAX);
            told.tell(state.tunnel.counters(), calls);
        }
    }

    /// The tunnel is over.
    pub(crate) fn ended(&mut self, side: Side, end: &TunnelEnd) {
        #[cfg(feature = "metrics")]
        {
            let reason = end
                .error()
                .map_or("Finished".into(), |error| format!("{:?}", error.reason()));
            counter!("grpctunnel_tunnels_ended_total", "side" => label(side), "reason" => reason)
                .increment(1);
        }
    }
}

#[cfg(feature = "metrics")]
impl Told {
    fn tell(&mut self, counters: grpctunnel_core::Counters, calls: u32) {
        let side = label(self.side);
        let before = std::mem::replace(&mut self.counters, counters);
        let more = |name: &'static str, now: u64, before: u64| {
            if now > before {
                counter!(name, "side" => side).increment(now.saturating_sub(before));
            }
        };
        let now = &self.counters;
        more("grpctunnel_calls_total", now.opened, before.opened);
        more(
            "grpctunnel_calls_refused_total",
            now.refused,
            before.refused,
        );
        more(
            "grpctunnel_calls_broken_total",
            now.violations,
            before.violations,
        );
        more(
            "grpctunnel_deadlines_total",
            now.deadlines,
            before.deadlines,
        );
        more(
            "grpctunnel_frames_ignored_total",
            now.ignored,
            before.ignored,
        );
        let open = gauge!("grpctunnel_calls_open", "side" => side);
        open.increment(f64::from(calls) - f64::from(self.calls));
        self.calls = calls;
    }
}

#[cfg(feature = "metrics")]
impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(told) = self.told.take() {
            let side = label(told.side);
            gauge!("grpctunnel_tunnels_open", "side" => side).decrement(1);
            gauge!("grpctunnel_calls_open", "side" => side).decrement(f64::from(told.calls));
        }
    }
}
