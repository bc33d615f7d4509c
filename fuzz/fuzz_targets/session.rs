//! Any steps of two sessions, of the carrier and of time, and any bytes in between.
#![no_main]

use grpctunnel_tests::harness::targets;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    match targets::session(bytes) {
        Some(_) => Corpus::Keep,
        None => Corpus::Reject,
    }
});
