//! What the core allocates: nothing, once its lists have grown to the streams that are open.
//!
//! With `--nocapture` the figures are printed, prost's beside them.

use allocation_counter::{AllocationInfo, measure};
use grpctunnel_tests::core_bench::{
    Codec, Copy, Kind, Order, Relayed, Rounds, cancelled_call, decode, encode, open_together,
    receive, relay, send, unary_call, window_update,
};

/// Enough to go round every list and queue several times.
const ROUNDS: u32 = 10_000;

fn allocated(what: &str, mut rounds: Rounds) -> AllocationInfo {
    rounds(ROUNDS);
    let info = measure(|| rounds(ROUNDS));
    let each = |count: u64| count as f64 / f64::from(ROUNDS);
    println!(
        "{what:<56}{:>8.2} allocations{:>10.1} bytes",
        each(info.count_total),
        each(info.bytes_total)
    );
    info
}

#[track_caller]
fn allocates_nothing(what: &str, rounds: Rounds) {
    let info = allocated(what, rounds);
    assert_eq!((info.count_total, info.bytes_total), (0, 0), "{what}");
}

#[test]
fn a_chunk_and_its_credit_allocate_nothing() {
    let bytes = 512 << 10;
    allocates_nothing(
        "a chunk of 16 KiB, in windows of 64 KiB",
        relay(Relayed::Windows, Copy::None, bytes),
    );
    allocates_nothing(
        "a chunk of 16 KiB, one at a time",
        relay(Relayed::Chunks, Copy::None, bytes),
    );
    allocates_nothing(
        "a message of 16 KiB and its window updates",
        relay(Relayed::Messages, Copy::None, bytes),
    );
    allocates_nothing("a window update", window_update());
    allocates_nothing(
        "a message received, 1,000 streams open",
        receive(1_000, Order::Random),
    );
    allocates_nothing(
        "a message sent, 1,000 streams open",
        send(1_000, Order::Random),
    );
}

#[test]
fn a_call_allocates_nothing_from_open_to_release() {
    allocates_nothing(
        "a unary call: heads, messages, half-close, status",
        unary_call(),
    );
    allocates_nothing("a call that is cancelled", cancelled_call());
}

#[test]
fn no_frame_kind_allocates() {
    for kind in Kind::ALL {
        allocates_nothing(
            &format!("decode {}", kind.name),
            decode(*kind, Codec::CoreRead),
        );
        allocates_nothing(&format!("encode {}", kind.name), encode(*kind, Codec::Core));
        allocated(
            &format!("decode {}, by prost", kind.name),
            decode(*kind, Codec::Prost),
        );
    }
}

/// Lists grow by doubling, so there are few allocations, and at most twice the bytes are held.
#[test]
fn open_streams_take_the_memory_that_is_told() {
    // At each end: the record and its places in the lists.
    const STREAM: i64 = 128 + 24;
    let streams = 1_024_u32;
    let mut kept = None;
    let info = measure(|| kept = Some(open_together(streams)));
    drop(kept);
    let each = info.bytes_current / i64::from(streams) / 2;
    println!("{streams} streams open at both ends: {each} bytes a stream at each end");
    assert!(each <= 2 * STREAM, "{each}");
}
