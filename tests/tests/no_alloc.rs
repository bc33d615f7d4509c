//! P10: the same scenario gives the same frames, bit for bit, in place and on the heap, here and in
//! the program that has neither std nor an allocator.

#[path = "../no-alloc/src/scenario/mod.rs"]
mod scenario;

use grpctunnel_core::Growing;
use grpctunnel_core::receive_buffer::GrowingStore;
use scenario::{InPlace, Memory};

enum OnHeap {}

impl Memory for OnHeap {
    type Streams = Growing;
    type Buffer = GrowingStore;
}

#[test]
fn the_trace_is_the_same_in_both_kinds_of_memory() {
    let in_place = scenario::run::<InPlace>();
    assert!(in_place.is_ok(), "fault {in_place:?}");
    assert_eq!(scenario::run::<OnHeap>(), in_place);
    assert_eq!(scenario::run::<OnHeap>(), in_place);
}

/// The program is for Linux on x86-64 only.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn the_trace_is_the_same_without_an_allocator() {
    use std::path::Path;
    use std::process::Command;

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("no-alloc");
    // Flags for this build, of coverage for example, may need std.
    let ran = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--release", "--locked"])
        .args(["--target-dir", "target"])
        .current_dir(folder)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("LLVM_PROFILE_FILE")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&ran.stdout);
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{}: {printed}\n{errors}", ran.status);
    let trace = scenario::run::<OnHeap>().unwrap();
    let line = format!("trace {trace:016x}");
    assert!(
        printed.lines().any(|other| other == line),
        "not {line}: {printed}"
    );
}
