//! Log lines: two per tunnel, whatever its peer does.

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
