//! What the core's encoders write, its decoder and prost read.
#![no_main]

use grpctunnel_tests::harness::targets;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    match targets::wire_roundtrip(bytes) {
        Some(_) => Corpus::Keep,
        None => Corpus::Reject,
    }
});
