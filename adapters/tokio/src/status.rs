//! tonic's statuses in the errors of handlers.

use std::error::Error;

use bytes::Bytes;
use grpctunnel_driver::{Code, Options, Status};

/// The same options, with tonic's statuses found in errors, unless something else finds them.
pub(crate) fn with_statuses(mut options: Options) -> Options {
    options.status_of_error.get_or_insert(find);
    options
}

/// The first status in the chain of an error's sources.
fn find(error: &(dyn Error + 'static)) -> Option<Status> {
    let mut error = Some(error);
    while let Some(current) = error {
        if let Some(status) = current.downcast_ref::<tonic::Status>() {
            let code = Code::from_i32(status.code().into()).unwrap_or(Code::Unknown);
            let details = Bytes::copy_from_slice(status.details());
            return Some(Status::new(code, status.message().to_owned()).with_details(details));
        }
        error = current.source();
    }
    None
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
        let found = find(&Around(tonic::Status::resource_exhausted("full"))).unwrap();
        assert_eq!(found.code(), Code::ResourceExhausted);
        assert_eq!(found.message(), "full");
        assert_eq!(find(&std::io::Error::other("else")), None);
    }
}
