//! TLS on every side: certificates, keys and authorities from files, and the handshakes.
//!
//! All of it is rustls, with its defaults: TLS 1.2 and 1.3, and the names and dates of a peer's
//! certificate are always checked.

mod client;
mod error;
mod observed;
mod pem;
mod plaintext;
mod remembering;
mod server;

pub use self::{
    client::ClientFiles,
    error::{FileError, Problem},
    server::ServerFiles,
};
pub(crate) use self::{
    client::{ClientTls, HandshakeError},
    error::{explain, is_refusal_of_ours},
    observed::Presented,
    pem::read_text,
    remembering::{Failure, Remembering},
    server::{PeerCertificate, ServerTls, accept},
};

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

/// What ALPN calls HTTP/2.
const H2: &[u8] = b"h2";
/// What ALPN calls HTTP/1.1.
const HTTP1: &[u8] = b"http/1.1";
/// What each record of a TLS handshake begins with, RFC 8446, section 5.1.
const HANDSHAKE: u8 = 22;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
