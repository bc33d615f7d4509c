//! What systemd is told of a command, where it has started it with `Type=notify`.

use std::{io, time::Duration};

use sd_notify::NotifyState;

use crate::{ready::Ready, stop::Stop};

/// Tells systemd that the command has started, then whether it takes calls (as its status text),
/// that it lives as often as the watchdog asks for it, and that it is about to end.
///
/// Does nothing where systemd does not listen: without `NOTIFY_SOCKET`.
///
/// # Errors
///
/// When systemd cannot be told.
///
/// # Panics
///
/// Outside of a tokio runtime with time.
pub fn notify(stop: &Stop) -> io::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(());
    }
    let now = stop.readiness().now();
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&now.to_string())])?;
    tokio::spawn(follow(stop.clone(), now));
    // What watches is the runtime that it watches: a task that nothing runs is not heard.
    if let Some(limit) = sd_notify::watchdog_enabled() {
        tokio::spawn(live(limit / 2));
    }
    Ok(())
}

async fn follow(stop: Stop, mut last: Ready) {
    while last != Ready::Leaving {
        last = stop.readiness().other(&last).await;
        let text = last.to_string();
        let status = NotifyState::Status(&text);
        // Nothing depends on it but what an administrator sees.
        let _ = match last {
            Ready::Leaving => sd_notify::notify(&[NotifyState::Stopping, status]),
            _ => sd_notify::notify(&[status]),
        };
    }
}

async fn live(pause: Duration) {
    let mut ticks = tokio::time::interval(pause.max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        // If it does not arrive, systemd does what it does where nothing arrives.
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    }
}
