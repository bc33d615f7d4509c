//! A tunnel client against any server: frames, raw bytes, its application, time and the carrier.
#![no_main]

use grpctunnel_tests::harness::targets;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    match targets::client_input(bytes) {
        Some(_) => Corpus::Keep,
        None => Corpus::Reject,
    }
});
