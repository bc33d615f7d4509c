//! Whether a client speaks HTTP/2 at all.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use grpctunnel_driver::Runtime;
use hyper::rt::{Read, ReadBufCursor, Write};

use crate::error::Error;
use crate::io::{forward_write, poll_read_some};
use crate::settings::Settings;
use crate::shared::within;

/// What each HTTP/2 client sends first, RFC 9113, section 3.4.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks, by its first bytes.
#[derive(Debug)]
pub enum Detected<T> {
    /// HTTP/2: give it to [`serve`](crate::serve).
    Http2(Rewound<T>),
    /// Anything else: HTTP/1, TLS, or nothing known. [`Rewound::first_bytes`] tells more.
    NotHttp2(Rewound<T>),
}

/// Looks at the first bytes of a client, at most 24 of them, and puts them back.
///
/// # Errors
/// If the client did not send enough of them within
/// [`handshake_timeout`](Settings::handshake_timeout), or left.
pub async fn detect<T: Read + Unpin>(
    mut io: T,
    settings: &Settings,
    runtime: &Runtime,
) -> Result<Detected<T>, Error> {
    let mut first = [0; PREFACE.len()];
    let mut have = 0;
    let is_http2 = {
        let look = pin!(async {
            loop {
                let space = first.get_mut(have..).unwrap_or_default();
                let read = poll_fn(|cx| poll_read_some(&mut io, cx, space)).await?;
                if read == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
                have += read;
                if first.get(..have) != PREFACE.get(..have) {
                    return Ok(false);
                }
                if have == PREFACE.len() {
                    return Ok(true);
                }
            }
        });
        let look = within(runtime, settings.handshake_timeout, look).await?;
        look.map_err(Error::lost)?
    };
    let io = Rewound {
        inner: io,
        first,
        given: 0,
        have,
    };
    Ok(if is_http2 {
        Detected::Http2(io)
    } else {
        Detected::NotHttp2(io)
    })
}

/// A transport whose first bytes were read and put back.
pub struct Rewound<T> {
    inner: T,
    first: [u8; PREFACE.len()],
    given: usize,
    have: usize,
}

impl<T> Rewound<T> {
    /// The bytes that were put back and not read again.
    #[must_use]
    pub fn first_bytes(&self) -> &[u8] {
        self.first.get(self.given..self.have).unwrap_or_default()
    }

    /// The transport, without the bytes that were put back.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T> fmt::Debug for Rewound<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewound")
            .field("first_bytes", &self.first_bytes().escape_ascii())
            .finish_non_exhaustive()
    }
}

impl<T: Read + Unpin> Read for Rewound<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given == self.have {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let first = self.first_bytes();
        let taken = first.len().min(buf.remaining());
        buf.put_slice(first.get(..taken).unwrap_or_default());
        self.given += taken;
        Poll::Ready(Ok(()))
    }
}

forward_write!(Write for Rewound);
