//! Makes one call beside another through one tunnel to a server that may do anything, and says what
//! came of it.

use std::io::{self, Write as _};
use std::process::exit;
use std::thread;
use std::time::Duration;

use clap::Parser;
use grpctunnel_tests::interop::probe::{Args, Outcome, Report, run};
use grpctunnel_tokio::{Channel, TunnelEnd};
use tokio::time::timeout;

/// How much later than its guard the probe ends at the latest, even if it is stuck.
const STUCK: Duration = Duration::from_millis(800);
/// How long the tunnel may take to end in order.
const CLOSING: Duration = Duration::from_millis(200);

fn main() -> io::Result<()> {
    let args = Args::parse();
    let end = args.guard_ms + STUCK;
    thread::spawn(move || {
        thread::sleep(end);
        say(&Report::late(Outcome::Fail));
        exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (report, channel) = run(&args).await;
        if let Some(channel) = channel {
            // A server that does not end its side is no concern of the probe.
            let _ = timeout(CLOSING, close(channel)).await;
        }
        say(&report);
    });
    exit(0)
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
