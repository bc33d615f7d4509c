//! What the tests of grpctunnel share: the harness, the test services and the code generator.
//!
//! Without default features only the harness is left, which needs neither an async runtime nor a
//! network; the fuzz targets use it so.

#[cfg(feature = "services")]
pub mod bench;
#[cfg(feature = "arbitrary")]
pub mod campaign;
pub mod catalogue;
#[cfg(feature = "codegen")]
pub mod codegen;
pub mod core_bench;
pub mod harness;
#[cfg(feature = "services")]
pub mod interop;
pub mod protos;
#[cfg(feature = "search")]
pub mod search;
#[cfg(feature = "services")]
pub mod services;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod soak;
#[cfg(feature = "services")]
pub mod suite;
