//! Both ends of a tunnel over byte pipes in memory, in a program with neither std nor an
//! allocator: that it links is the proof that the core needs none, that it exits with 0 is a test.
//!
//! Linux on x86-64 only. Any other exit code says what went wrong: a [`Fault`](fault::Fault), or
//! 101 for a panic.

#![no_std]
#![no_main]

mod bare;
mod call;
mod end;
mod fault;
mod pipe;
mod scenario;

/// The exit code.
fn run() -> i32 {
    match scenario::run() {
        Ok(()) => 0,
        Err(fault) => fault as i32,
    }
}
