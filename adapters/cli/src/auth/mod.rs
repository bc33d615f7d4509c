//! Who is at the other end, and what they may do.

mod allow;
mod credentials;
mod guard;
mod identity;
mod token;
mod trust;

pub use self::{
    allow::{Allow, BadAllow},
    credentials::{CredentialSettings, Credentials},
    token::{TokenSource, TokensFrom},
    trust::{LoadError, TrustSettings},
};
pub(crate) use self::{
    guard::{Authenticated, Caller, Guard, GuardedBody},
    identity::Identity,
    token::Secret,
    trust::{Trust, Trusted},
};

/// The metadata by which an agent or a caller authenticates: `Bearer TOKEN`. A gateway takes it
/// out; `authorization` belongs to the local server and is never read.
pub const AUTHORIZATION: &str = "x-tunnel-authorization";
