//! Peers that block, on threads of their own.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::sync::oneshot;

use super::{LIMIT, Outcome};

/// Runs what blocks.
pub(super) async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Outcome<T> {
    let (sender, done) = oneshot::channel();
    thread::spawn(move || {
        let _ = sender.send(work());
    });
    Ok(done.await?)
}

/// Forwards connections until it freezes them: then it forwards nothing, and closes nothing.
pub(super) struct Proxy {
    address: SocketAddr,
    frozen: Arc<AtomicBool>,
}

impl Proxy {
    pub(super) fn start(to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let frozen = Arc::new(AtomicBool::new(false));
        let freezing = Arc::clone(&frozen);
        // It ends with the process, and its connections with their sockets' time limit.
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                if connect(near, to, &freezing).is_err() {
                    return;
                }
            }
        });
        Ok(Self { address, frozen })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn freeze(&self) {
        self.frozen.store(true, Ordering::Release);
    }
}

fn connect(near: TcpStream, to: SocketAddr, frozen: &Arc<AtomicBool>) -> io::Result<()> {
    let far = TcpStream::connect(to)?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
    }
    let pairs = [(near.try_clone()?, far.try_clone()?), (far, near)];
    for (from, to) in pairs {
        let frozen = Arc::clone(frozen);
        thread::spawn(move || forward(from, &to, &frozen));
    }
    Ok(())
}

/// What arrives on a frozen connection is read, and goes nowhere.
fn forward(mut from: TcpStream, mut to: &TcpStream, frozen: &AtomicBool) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        let Some(bytes) = bytes.get(..len) else {
            return;
        };
        if !frozen.load(Ordering::Acquire) && to.write_all(bytes).is_err() {
            return;
        }
    }
    if !frozen.load(Ordering::Acquire) {
        // The other end may have closed it already.
        let _ = to.shutdown(Shutdown::Write);
    }
}
