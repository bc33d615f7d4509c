//! Prints what one call carries over simulated links, against a peer that behaves as the Go module
//! does: every point of the grid, for both ends as the receiver, with payload one way and both
//! ways, and with messages that fill their chunks and such that do not; and the first second of one
//! call, and of 64 that start together. Takes no arguments.

use grpctunnel_core::Side;
use grpctunnel_tests::harness::link::{Grid, Start};

fn main() {
    for receiver in [Side::Server, Side::Client] {
        for both_ways in [false, true] {
            for message in [1 << 20, 10_007] {
                println!("{}", Grid::measure(receiver, both_ways, message));
            }
        }
    }
    for receiver in [Side::Server, Side::Client] {
        for calls in [1, 64] {
            for rate in [200_000_000, 1_000_000_000] {
                println!("{}", Start::measure(receiver, rate, calls));
            }
        }
    }
}
