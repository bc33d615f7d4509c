//! Every quick test of the core through the harness, in one program.
//!
//! Each program of tests is linked anew after a change of the core, and that takes longer than these
//! tests do. What takes seconds, counts what the whole process allocates or opens sockets is a
//! program of its own; see `Cargo.toml`.

mod bare;
mod catalogue;
mod conf_any_peer;
mod conf_back_pressure;
mod conf_cardinality;
mod conf_close;
mod conf_deadlines;
mod conf_flow_control;
mod conf_half_close_and_cancel;
mod conf_ids;
mod conf_life_cycle;
mod conf_messages;
mod conf_misuse;
mod conf_new_stream;
mod conf_opening;
mod config;
#[cfg(feature = "arbitrary")]
mod corpus;
mod extensions;
#[cfg(feature = "arbitrary")]
mod fuzz_targets;
mod liveness;
mod memory;
mod pair;
mod pair_calls;
mod properties;
mod session;
mod state_tables;
mod timers;
mod transparent;
mod tunnel_end;
mod turns;
mod unprocessed;
mod window_growth;
mod wire_differential;
mod wire_frames;

/// Cargo does not look for tests by itself here, so that one could be forgotten.
#[test]
fn every_file_of_tests_belongs_to_a_program() {
    use std::{fs, path::Path};

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let here = fs::read_to_string(root.join("tests/core.rs")).unwrap();
    for entry in fs::read_dir(root.join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy();
        let is_named = programs.contains(&format!("[[test]]\nname = \"{name}\"\n"))
            || here.contains(&format!("\nmod {name};\n"));
        assert!(is_named, "{name} is neither in Cargo.toml nor in core.rs");
    }
}
