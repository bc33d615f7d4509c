//! gRPC statuses as tonic's, and back.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use grpctunnel_driver::{
    Code, ConnectError, NeverProcessed, Options, RequestError, Status, TunnelEnd, error_sources,
};

/// The options, with tonic's statuses found in the errors of handlers, unless
/// [`status_of_error`](Options::status_of_error) is set. The functions of this crate do this by
/// themselves.
#[must_use]
pub fn with_tonic_statuses(mut options: Options) -> Options {
    options.status_of_error.get_or_insert(tonic_status_in);
    options
}

/// The first of tonic's statuses in an error and its sources.
fn tonic_status_in(error: &(dyn Error + 'static)) -> Option<Status> {
    error_sources(error)
        .find_map(|error| error.downcast_ref::<tonic::Status>())
        .map(from_tonic)
}

/// A code as tonic's.
#[must_use]
pub fn to_tonic_code(code: Code) -> tonic::Code {
    tonic::Code::from_i32(code.as_i32())
}

/// A code of tonic's.
#[must_use]
pub fn from_tonic_code(code: tonic::Code) -> Code {
    Code::from_i32(code.into()).unwrap_or(Code::Unknown)
}

/// A status of tonic's: its code, text and details.
#[must_use]
pub fn from_tonic(status: &tonic::Status) -> Status {
    let details = Bytes::copy_from_slice(status.details());
    Status::new(from_tonic_code(status.code()), status.message().to_owned()).with_details(details)
}

/// A status as tonic's, with its code, text and details.
pub(crate) fn to_tonic(status: &Status) -> tonic::Status {
    let code = to_tonic_code(status.code());
    tonic::Status::with_details(code, status.message(), status.details().clone())
}

/// What has a gRPC status, as a status of tonic's.
///
/// For a handler that opens or uses tunnels: its caller is told the status, in one line. What it was
/// made from is its [`source`](Error::source), for logs.
///
/// ```
/// use grpctunnel_driver::{Channel, ConnectError};
/// use grpctunnel_tonic::IntoTonicStatus;
///
/// async fn handler(opened: Result<Channel, ConnectError>) -> Result<Channel, tonic::Status> {
///     opened.map_err(IntoTonicStatus::into_tonic_status)
/// }
/// ```
pub trait IntoTonicStatus {
    /// The status. OK where nothing failed, as of a tunnel that ended in good order.
    fn into_tonic_status(self) -> tonic::Status;
}

impl IntoTonicStatus for Status {
    fn into_tonic_status(self) -> tonic::Status {
        to_tonic(&self)
    }
}

impl IntoTonicStatus for ConnectError {
    fn into_tonic_status(self) -> tonic::Status {
        with_source(self.status(), self.clone())
    }
}

impl IntoTonicStatus for TunnelEnd {
    fn into_tonic_status(self) -> tonic::Status {
        with_source(&self.status(), self)
    }
}

impl IntoTonicStatus for RequestError {
    fn into_tonic_status(self) -> tonic::Status {
        with_source(self.status(), self.clone())
    }
}

fn with_source(status: &Status, source: impl Error + Send + Sync + 'static) -> tonic::Status {
    let mut status = to_tonic(status);
    status.set_source(Arc::new(source));
    status
}

/// Whether a call ended with this status and no handler saw it.
pub(crate) fn is_never_processed(status: &tonic::Status) -> bool {
    NeverProcessed::find_in(status).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Around(tonic::Status);

    impl std::fmt::Display for Around {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("around a status")
        }
    }

    impl Error for Around {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_status_is_found_behind_other_errors() {
        let found = tonic_status_in(&Around(tonic::Status::resource_exhausted("full"))).unwrap();
        assert_eq!(found.code(), Code::ResourceExhausted);
        assert_eq!(found.message(), "full");
        assert_eq!(tonic_status_in(&std::io::Error::other("else")), None);
    }

    #[test]
    fn a_status_is_the_same_there_and_back() {
        for number in 0..=16 {
            let code = Code::from_i32(number).unwrap();
            assert_eq!(from_tonic_code(to_tonic_code(code)), code);
            let status = Status::new(code, "text").with_details(Bytes::from_static(&[8, 5]));
            assert_eq!(from_tonic(&status.clone().into_tonic_status()), status);
        }
    }

    #[test]
    fn a_mark_is_found_among_the_sources_of_a_status() {
        let mut status = tonic::Status::unavailable("gone");
        assert!(!is_never_processed(&status));
        status.set_source(Arc::new(NeverProcessed::new()));
        assert!(is_never_processed(&status));
    }
}
