//! Sockets that systemd listens on for this process: socket activation.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use listenfd::ListenFd;

use crate::listener::Endpoint;

/// The sockets that nobody has taken yet.
static PASSED: Mutex<Vec<Passed>> = Mutex::new(Vec::new());

#[derive(Debug)]
enum Passed {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, std::path::PathBuf),
}

fn passed() -> MutexGuard<'static, Vec<Passed>> {
    PASSED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes over the sockets that the environment names (`LISTEN_FDS`). From then on, whoever listens
/// on the address of one of them gets that socket.
///
/// It changes the environment, so it must be called before the process has a second thread.
pub fn take_over() {
    let mut sockets = ListenFd::from_env();
    let mut all = passed();
    for place in 0..sockets.len() {
        let tcp = sockets.take_tcp_listener(place).ok().flatten();
        let tcp = tcp.and_then(|socket| Some((socket.local_addr().ok()?, socket)));
        if let Some((address, socket)) = tcp {
            all.push(Passed::Tcp(socket, address));
            continue;
        }
        let unix = sockets.take_unix_listener(place).ok().flatten();
        let path = |socket: &UnixListener| Some(socket.local_addr().ok()?.as_pathname()?.into());
        if let Some((path, socket)) = unix.and_then(|socket| Some((path(&socket)?, socket))) {
            all.push(Passed::Unix(socket, path));
        }
    }
}

/// What was passed and nobody listens on.
#[must_use]
pub fn unused() -> Vec<Endpoint> {
    let endpoint = |socket: &Passed| match socket {
        Passed::Tcp(_, address) => Endpoint::Tcp(*address),
        Passed::Unix(_, path) => Endpoint::Unix(path.clone()),
    };
    passed().iter().map(endpoint).collect()
}

/// The socket of an address that `is_wanted`.
pub(crate) fn tcp(is_wanted: impl Fn(&SocketAddr) -> bool) -> Option<TcpListener> {
    let mut all = passed();
    let wanted = |socket: &Passed| matches!(socket, Passed::Tcp(_, address) if is_wanted(address));
    let place = all.iter().position(wanted)?;
    match all.swap_remove(place) {
        Passed::Tcp(socket, _) => Some(socket),
        Passed::Unix(..) => None,
    }
}

/// The socket of a path.
pub(crate) fn unix(path: &Path) -> Option<UnixListener> {
    let mut all = passed();
    let wanted = |socket: &Passed| matches!(socket, Passed::Unix(_, of) if of == path);
    let place = all.iter().position(wanted)?;
    match all.swap_remove(place) {
        Passed::Unix(socket, _) => Some(socket),
        Passed::Tcp(..) => None,
    }
}
