//! Tunnels beside a direct connection: the same calls, client and server as two pinned processes.

mod args;
mod launch;
mod load;
mod pin;
mod role;
mod table;

use std::io;

pub use args::{Args, Mode, Role};
pub use table::Table;

use launch::launch;

/// Launches every way to call, interleaved, as often as asked; prints progress on standard error.
///
/// # Errors
///
/// When a launch fails.
pub async fn compare(args: &Args) -> io::Result<Table> {
    let mut table = Table::default();
    let launches = args.launches();
    for round in 0..launches {
        for mode in in_turn(round) {
            eprintln!("launch {} of {launches}: {mode}", round + 1);
            for (workload, value) in launch(args, mode).await? {
                table.add(workload, mode, value);
            }
        }
    }
    Ok(table)
}

/// All ways, beginning with another one each round, so that none is always first.
fn in_turn(round: usize) -> impl Iterator<Item = Mode> {
    let skipped = round % Mode::ALL.len();
    let modes = Mode::ALL.into_iter().cycle();
    modes.skip(skipped).take(Mode::ALL.len())
}

/// Plays one role of a launch in this process.
///
/// # Errors
///
/// When a call or the connection fails.
pub fn play(args: &Args, role: &Role) -> Result<(), Box<dyn std::error::Error>> {
    pin::pin(role);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(role::play(args, role))
}
