//! x
pub mod args;
pub mod demo;
pub mod name;
pub mod origin;
mod local;
mod registry;
mod serve;
pub mod stop;
/// t
pub const TARGET: &str = "x-tunnel-target";
