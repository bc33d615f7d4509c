//! TCP connections that suit tunnels.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use async_io::Async;
use socket2::{SockRef, TcpKeepalive};

/// Idle time before TCP's own keepalive probes, which no HTTP/2 peer sees.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Time between those probes, and how many may stay unanswered before the connection is closed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long bytes may go without TCP's acknowledgement before the connection is closed.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Sets what suits tunnels: no Nagle's algorithm, with which window updates would wait 40 ms for a
/// delayed acknowledgement, and an end of connections whose peer has vanished.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    // Without these a dead connection is closed later.
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let _ = socket.set_tcp_user_timeout(Some(USER_TIMEOUT));
    Ok(())
}

/// Connects to the first address of a host that takes the connection.
pub(crate) async fn connect(host: &str, port: u16) -> io::Result<Async<TcpStream>> {
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let addresses: Vec<SocketAddr> =
        blocking::unblock(move || Ok::<_, io::Error>((host, port).to_socket_addrs()?.collect()))
            .await?;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        match Async::<TcpStream>::connect(address).await {
            Ok(stream) => {
                tune(stream.get_ref())?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_system_watches_connections() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = async_io::block_on(connect("127.0.0.1", port)).unwrap();
        let socket = SockRef::from(stream.get_ref());
        let half_a_minute = Duration::from_secs(30);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), half_a_minute);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(half_a_minute));
    }
}
