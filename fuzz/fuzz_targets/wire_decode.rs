//! Any bytes as a frame from either end: the core's codec and prost must agree.
#![no_main]

use grpctunnel_tests::harness::targets;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    match targets::wire_decode(bytes) {
        Some(_) => Corpus::Keep,
        None => Corpus::Reject,
    }
});
