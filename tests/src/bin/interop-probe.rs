//! Makes one call beside another through one tunnel to a server that may do anything, and says what
//! came of it.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::exit;
use std::time::Duration;
use std::{env, fs, iter, thread};

use clap::Parser;
use grpctunnel_tests::interop::probe::{Args, Outcome, Report, run};
use grpctunnel_tokio::{Channel, TunnelEnd};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// How much later than its guard the probe ends at the latest, even if it is stuck.
const STUCK: Duration = Duration::from_millis(800);
/// How long the tunnel may take to end in order.
const CLOSING: Duration = Duration::from_millis(200);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    if let (Some(first), None) = (arguments.next(), arguments.next())
        && let Some(file) = first.strip_prefix('@')
    {
        return play_all(&fs::read_to_string(file)?);
    }
    let args = Args::parse();
    let end = args.guard_ms + STUCK;
    thread::spawn(move || {
        thread::sleep(end);
        say(&Report::late(Outcome::Fail));
        exit(0);
    });
    runtime()?.block_on(async {
        let (report, channel) = run(&args).await;
        if let Some(channel) = channel {
            // A server that does not end its side is no concern of the probe.
            let _ = timeout(CLOSING, close(channel)).await;
        }
        say(&report);
    });
    exit(0)
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Plays one case after another, one for each line.
fn play_all(lines: &str) -> Result<(), Box<dyn Error>> {
    let runtime = runtime()?;
    for line in lines.lines() {
        let arguments = iter::once("interop-probe").chain(line.split_whitespace());
        let args = Args::try_parse_from(arguments)?;
        runtime.block_on(async {
            let (report, channel) = run(&args).await;
            if let Some(channel) = channel {
                let _ = timeout(CLOSING, close(channel)).await;
            }
            println!("{report}");
        });
    }
    Ok(())
}

fn close(channel: Channel) -> impl Future<Output = TunnelEnd> {
    channel.close();
    channel.closed()
}

/// Prints the last line. It is printed once: whoever comes second is kept waiting for the end of the
/// process.
fn say(report: &Report) {
    let mut output = io::stdout().lock();
    // Nobody is there to be told that nobody reads.
    let _ = writeln!(output, "{report}").and_then(|()| output.flush());
    std::mem::forget(output);
}
