//! Any steps of two applications, of the carrier and of time.
#![no_main]

use grpctunnel_tests::harness::targets;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    match targets::pair(bytes) {
        Some(_) => Corpus::Keep,
        None => Corpus::Reject,
    }
});
