//! Calls that name an encoding, on tunnels that cannot carry compressed messages.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::body::reader::compression_refused;
use crate::grpc::headers::{GRPC_ACCEPT_ENCODING, IDENTITY};
use crate::runtime::{Runtime, Sleep};
use crate::tunnel::call_end::CallEnd;

/// How long a call waits for the flag of its first message, so that a compressed one is refused
/// before the call is opened.
const LIMIT: Duration = Duration::from_secs(1);

/// The wait for the flag of a call's first message.
#[derive(Default)]
pub(crate) struct FlagWait {
    sleep: Option<Sleep>,
}

impl FlagWait {
    /// Ready when the call has waited long enough since this was called first.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, runtime: &Runtime) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| runtime.sleep_until(runtime.now() + LIMIT));
        Pin::new(sleep).poll(cx)
    }
}

/// The end of a call with a compressed message. It says which messages pass, so that the caller may
/// do without compression.
pub(crate) fn refused() -> CallEnd {
    let mut end = CallEnd::status(compression_refused());
    if let CallEnd::Status { trailers, .. } = &mut end {
        trailers.insert(GRPC_ACCEPT_ENCODING, IDENTITY);
    }
    end
}
