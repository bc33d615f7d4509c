//! Listening on TCP and on Unix sockets.

use std::{fmt, io, net::SocketAddr, path::PathBuf};

use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio_rustls::TlsStream;
use tokio_util::either::Either;

use crate::{address::Address, auth::LoadError};

#[cfg(unix)]
pub(crate) type Stream = Either<TcpStream, tokio::net::UnixStream>;
#[cfg(not(unix))]
pub(crate) type Stream = TcpStream;

/// A connection, in plaintext or with TLS.
pub(crate) type Wire = Either<Stream, Box<TlsStream<Stream>>>;

/// The queue of connections that nobody has accepted yet.
const BACKLOG: i32 = 1_024;

/// An end of a connection, or what is listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// The Unix socket of this path, at either end.
    Unix(PathBuf),
}

impl Endpoint {
    /// The address, if this is TCP.
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why nobody listens.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The address can be reached from other machines, and nobody has to authenticate.
    Exposed(Address),
    /// The address can be reached from other machines, and tokens and calls would be readable on
    /// the way.
    Readable(Address),
    /// Whom it trusts cannot be read, or makes no sense.
    Trust(LoadError),
    /// The address could not be resolved or listened on.
    Io(io::Error),
}

impl From<LoadError> for BindError {
    fn from(error: LoadError) -> Self {
        Self::Trust(error)
    }
}

impl From<io::Error> for BindError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exposed(address) => write!(
                f,
                "{address} can be reached from other machines and nobody has to authenticate; \
                 add --tokens-file or --tls-client-ca, listen on 127.0.0.1:PORT, or say --insecure"
            ),
            Self::Readable(address) => write!(
                f,
                "{address} can be reached from other machines and what passes can be read on the \
                 way, tokens included; add --tls-cert and --tls-key, or say --insecure"
            ),
            Self::Trust(error) => error.fmt(f),
            Self::Io(error) => f.write_str(&crate::words::io(error)),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Exposed(_) | Self::Readable(_) => None,
            Self::Trust(error) => Some(error),
            Self::Io(error) => Some(error),
        }
    }
}

/// What keeps a listener safe that other machines reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Protection {
    /// It need not be safe.
    pub(crate) waived: bool,
    /// Whoever comes has to authenticate.
    pub(crate) authenticates: bool,
    /// What passes cannot be read on the way.
    pub(crate) encrypts: bool,
}

impl Protection {
    /// None, which has to be waived beyond loopback.
    pub(crate) const fn none(waived: bool) -> Self {
        Self {
            waived,
            authenticates: false,
            encrypts: false,
        }
    }

    fn check(self, address: &Address) -> Result<(), BindError> {
        if self.waived || (self.authenticates && self.encrypts) {
            return Ok(());
        }
        let address = address.clone();
        Err(match self.authenticates {
            true => BindError::Readable(address),
            false => BindError::Exposed(address),
        })
    }
}

/// What accepts connections.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(unix::Socket),
}

impl Listener {
    /// Listens on an address, beyond loopback only where that is safe. A socket of this address that
    /// systemd listens on is taken over.
    pub(crate) async fn bind(address: &Address, safe: Protection) -> Result<Self, BindError> {
        let (host, port) = match address {
            Address::Tcp { host, port } => (host.as_str(), *port),
            #[cfg(unix)]
            Address::Unix(path) => return Ok(Self::Unix(unix::Socket::bind(path.clone()).await?)),
            #[cfg(not(unix))]
            Address::Unix(_) => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
        };
        if host.is_empty() {
            safe.check(address)?;
            let is_it = |of: &SocketAddr| of.ip().is_unspecified() && of.port() == port;
            return Ok(Self::Tcp(match inherited(is_it)? {
                Some(listener) => listener,
                None => all_addresses(port)?,
            }));
        }
        let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
        let is_local = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
        if !addresses.iter().all(is_local) {
            safe.check(address)?;
        }
        Ok(Self::Tcp(
            match inherited(|address| addresses.contains(address))? {
                Some(listener) => listener,
                None => TcpListener::bind(&*addresses).await?,
            },
        ))
    }

    /// What it listens on.
    pub(crate) fn endpoint(&self) -> io::Result<Endpoint> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Endpoint::Tcp),
            #[cfg(unix)]
            Self::Unix(socket) => Ok(Endpoint::Unix(socket.path().to_owned())),
        }
    }

    /// The next connection, and who is at its other end.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Endpoint)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // A socket that refuses this still works, only slower.
                let _ = stream.set_nodelay(true);
                #[cfg(unix)]
                let stream = Stream::Left(stream);
                Ok((stream, Endpoint::Tcp(peer)))
            }
            #[cfg(unix)]
            Self::Unix(socket) => {
                let stream = socket.accept().await?;
                Ok((
                    Stream::Right(stream),
                    Endpoint::Unix(socket.path().to_owned()),
                ))
            }
        }
    }
}

/// The socket of one of these addresses, where systemd has passed it.
fn inherited(is_wanted: impl Fn(&SocketAddr) -> bool) -> io::Result<Option<TcpListener>> {
    #[cfg(unix)]
    if let Some(socket) = crate::inherited::tcp(is_wanted) {
        socket.set_nonblocking(true)?;
        return TcpListener::from_std(socket).map(Some);
    }
    #[cfg(not(unix))]
    let _ = is_wanted;
    Ok(None)
}

/// One socket for IPv4 and IPv6, or one for IPv4 where there is no IPv6.
fn all_addresses(port: u16) -> io::Result<TcpListener> {
    use socket2::{Domain, Socket, Type};
    use std::net::{Ipv4Addr, Ipv6Addr};

    let listen = |domain, address: SocketAddr| {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    match listen(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            listen(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into())
        }
        listened => listened,
    }
}

#[cfg(unix)]
mod unix {
    use std::{
        io,
        path::{Path, PathBuf},
    };

    use tokio::net::{UnixListener, UnixStream};

    /// A Unix socket that is listened on. Its file goes with it, unless it is systemd's.
    #[derive(Debug)]
    pub(crate) struct Socket {
        listener: UnixListener,
        path: PathBuf,
        is_ours: bool,
    }

    impl Socket {
        /// Listens at this path. A socket that a process left there when it died is replaced.
        pub(super) async fn bind(path: PathBuf) -> io::Result<Self> {
            if let Some(socket) = crate::inherited::unix(&path) {
                socket.set_nonblocking(true)?;
                return Ok(Self {
                    listener: UnixListener::from_std(socket)?,
                    path,
                    is_ours: false,
                });
            }
            let listener = match UnixListener::bind(&path) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left(&path).await => {
                    std::fs::remove_file(&path)?;
                    UnixListener::bind(&path)?
                }
                bound => bound?,
            };
            Ok(Self {
                listener,
                path,
                is_ours: true,
            })
        }

        pub(super) fn path(&self) -> &Path {
            &self.path
        }

        pub(super) async fn accept(&self) -> io::Result<UnixStream> {
            Ok(self.listener.accept().await?.0)
        }
    }

    impl Drop for Socket {
        fn drop(&mut self) {
            if self.is_ours {
                // Whoever removed it before us did the same.
                let _ = std::fs::remove_file(&self.path);
            }
        }
    }

    /// Whether nobody listens at a socket any more. A file of another kind is no socket.
    async fn is_left(path: &Path) -> bool {
        use std::os::unix::fs::FileTypeExt;
        let is_socket = std::fs::symlink_metadata(path).map(|file| file.file_type().is_socket());
        let refused = UnixStream::connect(path).await.err();
        let refused = refused.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        refused && is_socket.unwrap_or(false)
    }
}
