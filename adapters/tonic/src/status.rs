//! gRPC statuses as tonic's, and back.

use std::error::Error;

use bytes::Bytes;
use grpctunnel_driver::{Code, Options, Status, error_sources};

/// The options, with tonic's statuses found in errors unless `status_of_error` is set.
pub(crate) fn with_tonic_statuses(mut options: Options) -> Options {
    options.status_of_error.get_or_insert(tonic_status_in);
    options
}

/// The first of tonic's statuses in an error and its sources.
fn tonic_status_in(error: &(dyn Error + 'static)) -> Option<Status> {
    error_sources(error)
        .find_map(|error| error.downcast_ref::<tonic::Status>())
        .map(from_tonic)
}

fn from_tonic(status: &tonic::Status) -> Status {
    let code = Code::from_i32(status.code().into()).unwrap_or(Code::Unknown);
    let details = Bytes::copy_from_slice(status.details());
    Status::new(code, status.message().to_owned()).with_details(details)
}

pub(crate) fn to_tonic(status: &Status) -> tonic::Status {
    let code = tonic::Code::from_i32(status.code().as_i32());
    tonic::Status::with_details(code, status.message(), status.details().clone())
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
}
