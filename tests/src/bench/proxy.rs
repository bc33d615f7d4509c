//! A link that delays what it carries.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How long each direction takes: half a round trip.
pub(super) const DELAY: Duration = Duration::from_millis(25);
/// Bytes that are read at once, and pieces of that size that may be on their way in a direction:
/// together more than any window.
const PIECE: usize = 64 << 10;
const PIECES: usize = 2_048;

/// A link. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Link {
    /// Where it listens.
    pub(super) address: SocketAddr,
    thread: Option<std::thread::JoinHandle<()>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends whatever became of it.
            let _ = thread.join();
        }
    }
}

/// A link to `to`, on a thread of its own.
pub(super) async fn delay(to: SocketAddr, delay: Duration) -> io::Result<Link> {
    let (said, listening) = tokio::sync::oneshot::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let Ok(listener) = TcpListener::bind("127.0.0.1:0").await else {
                return;
            };
            // Who asked may be gone.
            let _ = said.send(listener.local_addr());
            tokio::select! {
                _ = stopped => {}
                () = accept(&listener, to, delay) => {}
            }
        });
    });
    let address = listening.await.map_err(io::Error::other)??;
    Ok(Link {
        address,
        thread: Some(thread),
        stop: Some(stop),
    })
}

async fn accept(listener: &TcpListener, to: SocketAddr, delay: Duration) {
    while let Ok((near, _)) = listener.accept().await {
        let Ok(far) = tokio::net::TcpStream::connect(to).await else {
            return;
        };
        for socket in [&near, &far] {
            // Without it the link is slower than it says.
            let _ = socket.set_nodelay(true);
        }
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        carry(near_read, far_write, delay);
        carry(far_read, near_write, delay);
    }
}

/// Carries one direction: what was read waits until its time has come, in order.
fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Bytes)>(PIECES);
    tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE);
            match from.read_buf(&mut buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
            let due = Instant::now() + delay;
            if sender.send((due, buffer.split().freeze())).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        // The other end may be gone.
        let _ = to.shutdown().await;
    });
}
