#!/usr/bin/env bash
# Builds the program, runs it, and says how large it is. Arguments go to cargo.
set -euo pipefail
cd "$(dirname "$0")"
cargo build --release "$@"
program=${CARGO_TARGET_DIR:-target}/release/grpctunnel-no-alloc
"$program"
# The whole program: both ends of a tunnel, the scenario, and its output.
size -A -d "$program" | awk '
    $1 == ".text" { text = $2 }
    $1 == ".rodata" { constants = $2 }
    $1 == ".data" || $1 == ".bss" { memory += $2 }
    END { printf "code %d bytes, constants %d bytes, statics %d bytes\n", text, constants, memory }'
