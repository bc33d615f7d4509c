//! Making calls again that were never processed.

mod body;

pub use body::{Attempt, RetryBody};
