//! Launches every column of every row, as often as asked.

use std::io;
use std::time::{Duration, Instant};

use grpctunnel_tokio::Options;
use grpctunnel_tokio::http2::Settings;

use super::args::Args;
use super::column::Column;
use super::launch::launch;
use super::load::UPLOADS;
use super::row::Load;
use super::table::Table;

/// Payload that a stream may send before it is another one's turn: a chunk of the protocol.
const QUANTUM: usize = 16 << 10;
/// After this time no launch is repeated, so that a machine that is never quiet is no reason to go
/// on for ever.
const REPEAT_UNTIL: Duration = Duration::from_secs(40 * 60);

/// Launches every column of every row, interleaved; prints each row on standard output when it is
/// complete, and progress on standard error.
///
/// # Errors
///
/// When a launch fails.
pub async fn compare(args: &Args) -> io::Result<Table> {
    let started = Instant::now();
    let mut table = Table::default();
    let launches = args.launches();
    for row in args.rows() {
        let columns = args.columns(&row);
        for round in 0..launches {
            for column in in_turn(&columns, round) {
                eprintln!(
                    "{}: launch {} of {launches}: {}",
                    row.name,
                    round + 1,
                    column.name
                );
                let mut measured = launch(args, &row, &column).await?;
                for _ in 0..args.repeats() {
                    if !measured.disturbed() || started.elapsed() > REPEAT_UNTIL {
                        break;
                    }
                    eprintln!(
                        "again: others took {:.0} % of a CPU",
                        measured.others * 100.0
                    );
                    measured = launch(args, &row, &column).await?;
                }
                table.add(&row, &column, &measured);
            }
        }
        println!("{}", table.row(&row));
        if row.load == Load::Beside {
            println!("  {}", bound());
        }
    }
    Ok(table)
}

/// What may lie in front of a small call on a tunnel, in buffers that are ours or that we set.
fn bound() -> String {
    let (settings, options) = (Settings::tunnels(), Options::default());
    let uploads = UPLOADS * QUANTUM;
    let chunk = options.batch + QUANTUM;
    let all = settings.send_buffer + chunk + uploads;
    format!(
        "in front of a small call on a tunnel: at most {all} bytes: {} in HTTP/2's send buffer, \
         {chunk} in the chunk behind it, and a turn of {QUANTUM} of each upload; the kernel's \
         buffers are not counted",
        settings.send_buffer
    )
}

/// All columns, beginning with another one each round, so that none is always first.
fn in_turn(columns: &[Column], round: usize) -> impl Iterator<Item = Column> {
    let skipped = round % columns.len().max(1);
    let all = columns.iter().copied().cycle();
    all.skip(skipped).take(columns.len())
}
