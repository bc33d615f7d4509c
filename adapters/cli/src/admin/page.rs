//! The page. All of it is in one text; it asks for `/tunnels` and `/metrics`, and shows what comes.

use crate::name::random;

const TEXT: &str = include_str!("page.html");
/// Where the nonce of an answer goes: only what has it runs.
const NONCE: &str = "NONCE";

/// The page, and what a browser may do on it.
pub(super) struct Page {
    pub(super) text: String,
    pub(super) policy: String,
}

pub(super) fn page() -> Page {
    let nonce = format!("{:016x}{:016x}", random(), random());
    Page {
        text: TEXT.replace(NONCE, &nonce),
        policy: format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    }
}
