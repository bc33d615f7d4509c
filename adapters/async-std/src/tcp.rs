//! TCP connections of async-io that suit tunnels, for a [`Network`](grpctunnel_tonic::Network).

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};

use async_io::Async;
use grpctunnel_driver::ConnectInfo;
use grpctunnel_tonic::tcp::tune;
use socket2::SockRef;

use crate::io::FuturesIo;

/// A TCP connection, as hyper's IO.
pub type TcpIo = FuturesIo<Async<TcpStream>>;

/// Connects to the first address of a host that takes the connection.
///
/// # Errors
/// If the host has no address, or none that takes a connection.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpIo> {
    let host = host.to_owned();
    let addresses: Vec<SocketAddr> =
        blocking::unblock(move || Ok::<_, io::Error>((host, port).to_socket_addrs()?.collect()))
            .await?;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        match Async::<TcpStream>::connect(address).await {
            Ok(stream) => {
                tune(&SockRef::from(stream.get_ref()))?;
                return Ok(FuturesIo::new(stream));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The next connection.
///
/// # Errors
/// What the system says; the next try may succeed.
pub async fn accept(listener: &Async<TcpListener>) -> io::Result<TcpIo> {
    let (stream, _) = listener.accept().await?;
    // What cannot be set makes a connection slower, or noticed later when it is dead.
    let _ = tune(&SockRef::from(stream.get_ref()));
    Ok(FuturesIo::new(stream))
}

/// The addresses of a connection.
#[must_use]
pub fn connect_info(stream: &TcpIo) -> ConnectInfo {
    let stream = stream.get_ref().get_ref();
    let mut info = ConnectInfo::default();
    info.local_addr = stream.local_addr().ok();
    info.remote_addr = stream.peer_addr().ok();
    info
}

/// Makes a runtime a [`Network`](crate::Network), and with the feature `tls` a `TlsNetwork`, on
/// async-io: for an executor of your own.
///
/// ```
/// use std::sync::LazyLock;
/// use std::time::Instant;
///
/// use grpctunnel_async_std::{Endpoint, Executor, Sleep, Task, Timer, sleep_until};
///
/// static TASKS: LazyLock<smol::Executor<'_>> = LazyLock::new(smol::Executor::new);
///
/// #[derive(Clone, Copy, Default)]
/// struct Mine;
///
/// impl Executor for Mine {
///     fn execute(&self, task: Task) {
///         TASKS.spawn(task).detach();
///     }
/// }
///
/// impl Timer for Mine {
///     fn sleep_until(&self, deadline: Instant) -> Sleep {
///         sleep_until(deadline)
///     }
/// }
///
/// grpctunnel_async_std::network!(Mine);
///
/// let connecting = async {
///     // Nobody listens there.
///     Endpoint::<Mine>::new("http://127.0.0.1:1")?.connect().await
/// };
/// assert!(smol::block_on(TASKS.run(connecting)).is_err());
/// ```
#[macro_export]
macro_rules! network {
    ($runtime:ty) => {
        impl $crate::Network for $runtime {
            type Listener = ::std::net::TcpListener;
            type Acceptor = $crate::tcp::Acceptor;
            type Stream = $crate::tcp::TcpIo;

            async fn connect(host: &str, port: u16) -> ::std::io::Result<Self::Stream> {
                $crate::tcp::connect(host, port).await
            }

            fn listen(listener: Self::Listener) -> ::std::io::Result<Self::Acceptor> {
                $crate::tcp::Acceptor::new(listener)
            }

            async fn accept(acceptor: &Self::Acceptor) -> ::std::io::Result<Self::Stream> {
                $crate::tcp::accept(acceptor).await
            }

            fn connect_info(stream: &Self::Stream) -> $crate::ConnectInfo {
                $crate::tcp::connect_info(stream)
            }
        }

        $crate::tls_network!($runtime);
    };
}

/// The part of [`network!`](crate::network) that is TLS.
#[cfg(feature = "tls")]
#[doc(hidden)]
#[macro_export]
macro_rules! tls_network {
    ($runtime:ty) => {
        impl $crate::TlsNetwork for $runtime {
            type ClientStream = $crate::tls::ClientIo;
            type ServerStream = $crate::tls::ServerIo;

            async fn tls_connect(
                config: ::std::sync::Arc<$crate::rustls::ClientConfig>,
                name: $crate::rustls::pki_types::ServerName<'static>,
                stream: Self::Stream,
            ) -> ::std::io::Result<$crate::Handshake<Self::ClientStream>> {
                $crate::tls::connect(config, name, stream).await
            }

            async fn tls_accept(
                config: ::std::sync::Arc<$crate::rustls::ServerConfig>,
                stream: Self::Stream,
            ) -> ::std::io::Result<$crate::Handshake<Self::ServerStream>> {
                $crate::tls::accept(config, stream).await
            }
        }
    };
}

/// The part of [`network!`](crate::network) that is TLS: none.
#[cfg(not(feature = "tls"))]
#[doc(hidden)]
#[macro_export]
macro_rules! tls_network {
    ($runtime:ty) => {};
}

/// A listener of async-io.
pub type Acceptor = Async<TcpListener>;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_system_watches_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = async_io::block_on(connect("127.0.0.1", port)).unwrap();
        let socket = SockRef::from(stream.get_ref().get_ref());
        let half_a_minute = Duration::from_secs(30);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), half_a_minute);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(half_a_minute));
    }
}
