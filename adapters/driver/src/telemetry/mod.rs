//! What tunnels and calls tell of themselves: log lines and spans with the feature `tracing`, counts
//! with the feature `metrics`. Without these there is nothing of it.

mod calls;
mod counts;

pub(crate) use calls::{CallSpan, HandlerSpan, answered};
pub(crate) use counts::{Meter, held_back, picked, round_trip, sent};

use grpctunnel_core::Side;

use crate::error::TunnelEnd;

/// A tunnel may carry calls.
#[cfg_attr(
    not(feature = "tracing"),
    expect(unused_variables, reason = "without tracing")
)]
pub(crate) fn started(side: Side) {
    #[cfg(feature = "tracing")]
    tracing::info!(?side, "tunnel started");
}

/// A tunnel is over.
#[cfg_attr(
    not(feature = "tracing"),
    expect(unused_variables, reason = "without tracing")
)]
pub(crate) fn ended(side: Side, end: &TunnelEnd) {
    #[cfg(feature = "tracing")]
    tracing::info!(
        ?side,
        clean = end.is_clean(),
        "tunnel ended: {}",
        crate::grpc::status::OneLine(&crate::error::error_chain(end))
    );
}
