//! What an end holds is within the published bound, after every step.
#![no_main]

use grpctunnel_tests::harness::targets;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    match targets::limits(bytes) {
        Some(_) => Corpus::Keep,
        None => Corpus::Reject,
    }
});
