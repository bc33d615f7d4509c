//! Any bytes as a frame from either end: the core's codec and prost must agree.
#![no_main]

use grpctunnel_tests::harness::wire::{check_client, check_server};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    for outcome in [check_client(frame), check_server(frame)] {
        if let Err(difference) = outcome {
            panic!("{difference}");
        }
    }
});
