//! What is done to one stream shows on no other.
#![no_main]

use grpctunnel_tests::harness::targets;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    match targets::isolation(bytes) {
        Some(_) => Corpus::Keep,
        None => Corpus::Reject,
    }
});
