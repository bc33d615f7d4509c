//! Any steps of two applications, of the carrier and of time: our own ends never accuse each other,
//! every call finishes, and the frames are the same over both kinds of memory.
#![no_main]

use grpctunnel_tests::harness::{InPlace, OnHeap, Op, Setup, run};
use libfuzzer_sys::fuzz_target;

/// Enough for any few things to meet.
const MOST_OPS: usize = 250;

fuzz_target!(|input: (Setup, Vec<Op>)| {
    let (setup, mut ops) = input;
    ops.truncate(MOST_OPS);
    let in_place = run::<InPlace>(setup, &ops);
    let on_heap = run::<OnHeap>(setup, &ops);
    assert_eq!(in_place, on_heap, "the memory shows on the wire");
});
