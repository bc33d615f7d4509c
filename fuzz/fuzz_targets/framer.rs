//! Any bytes, in any split, through the framer.
#![no_main]

use grpctunnel_tests::harness::targets;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    match targets::framer(bytes) {
        Some(_) => Corpus::Keep,
        None => Corpus::Reject,
    }
});
