//! Options of TCP connections that suit tunnels, for the crates of runtimes.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Idle time before TCP's own keepalive probes, which no HTTP/2 peer sees.
pub const KEEPALIVE: Duration = Duration::from_secs(30);
/// Time between those probes.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How many of them may stay unanswered before the connection is closed.
pub const KEEPALIVE_RETRIES: u32 = 3;
/// How long bytes may go without TCP's acknowledgement before the connection is closed, where the
/// system can do that.
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Sets what suits tunnels on a connection: no Nagle's algorithm, with which window updates would
/// wait 40 ms for a delayed acknowledgement, and an end of connections whose peer has vanished.
///
/// # Errors
/// If the algorithm cannot be turned off. Where the system has no such option as the others, a dead
/// connection is closed later.
pub fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL);
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(KEEPALIVE_RETRIES);
    let _ = socket.set_tcp_keepalive(&keepalive);
    watch(socket);
    Ok(())
}

/// Closes a connection, or those that a listener accepts, when bytes are not acknowledged.
pub fn watch(socket: &SockRef<'_>) {
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
    #[cfg(not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")))]
    let _ = socket;
}
