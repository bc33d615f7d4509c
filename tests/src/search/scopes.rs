//! The scopes that are searched as a whole.

use super::scope::Scope;

/// Those of every change.
#[must_use]
pub fn ci() -> Vec<Scope> {
    vec![Scope::LEAST]
}

/// Those of a long run.
#[must_use]
pub fn large() -> Vec<Scope> {
    vec![Scope::LEAST]
}
