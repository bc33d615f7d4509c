//! What somebody is told who speaks plaintext to a port that speaks TLS.

use std::io;

#[cfg(unix)]
use rustix::net::RecvFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::HANDSHAKE;
use crate::listener::Stream;

/// An empty SETTINGS frame and a GOAWAY with INADEQUATE_SECURITY (12) and a text of 40 bytes; RFC
/// 9113, sections 6.5, 6.8 and 7.
const FOR_HTTP2: &[u8] = b"\0\0\0\x04\0\0\0\0\0\
    \0\0\x30\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0cthis port speaks TLS; use https:// there";

const FOR_HTTP1: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    content-length: 35\r\nconnection: close\r\n\r\nthis port speaks TLS; use https://\n";

/// The first bytes of HTTP/2 that no request of HTTP/1 has.
const HTTP2: &[u8] = b"PRI";

/// Says that this port speaks TLS, if the client speaks anything else, and whether it did. Not a
/// byte of what the client sends is taken out of the stream before that is known.
pub(crate) async fn answer_plaintext(stream: &mut Stream) -> io::Result<bool> {
    let mut first = [0; 3];
    let have = peek(stream, &mut first).await?;
    let seen = first.get(..have).unwrap_or_default();
    if seen.first() == Some(&HANDSHAKE) {
        return Ok(false);
    }
    if seen.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let is_http2 = HTTP2.starts_with(seen);
    let text = if is_http2 { FOR_HTTP2 } else { FOR_HTTP1 };
    stream.write_all(text).await?;
    linger(stream).await?;
    Ok(true)
}

/// Ends a connection so that its peer gets what was sent to it: what is unread when a socket is
/// closed makes the peer lose that.
pub(super) async fn linger(stream: &mut Stream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 1_024];
    let mut left: usize = 64 << 10;
    while left > 0 {
        match stream.read(&mut rest).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

async fn peek(stream: &mut Stream, first: &mut [u8]) -> io::Result<usize> {
    #[cfg(unix)]
    match stream {
        tokio_util::either::Either::Left(stream) => stream.peek(first).await,
        // tokio offers this for TCP only.
        tokio_util::either::Either::Right(stream) => loop {
            stream.readable().await?;
            let peeked = stream.try_io(tokio::io::Interest::READABLE, || {
                let read = rustix::net::recv(&*stream, &mut *first, RecvFlags::PEEK);
                Ok(read.map(|(read, _)| read)?)
            });
            match peeked {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                peeked => return peeked,
            }
        },
    }
    #[cfg(not(unix))]
    stream.peek(first).await
}
