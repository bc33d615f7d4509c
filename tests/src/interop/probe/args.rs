//! The command line of the probe. Other programs call it: names and defaults stay.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use tonic::metadata::{Ascii, MetadataValue};

/// Opens one forward tunnel, makes one call beside a bystander call, and says what the application
/// saw.
///
/// The last line of standard output is `code=N msg=JSON bystander=ok|fail|none
/// stage=open|call|guard msgs=N bytes=N`; the exit code is 0 whatever the server does.
///
/// With `@FILE` as its only argument it does so once for each line of the file, which holds the
/// arguments, in one process, and says one line for each.
#[derive(Clone, Debug, Parser)]
#[command(name = "interop-probe")]
pub struct Args {
    /// Where the server listens, as `HOST:PORT`; plaintext HTTP/2.
    #[arg(long, value_name = "ADDR")]
    pub connect: String,
    /// The metadata `x-case` of the tunnel's opening and of the call.
    #[arg(long, value_name = "ID")]
    pub case: MetadataValue<Ascii>,
    /// The call to make.
    #[arg(long, value_enum, default_value_t)]
    pub call: CallKind,
    /// Bytes of each request's payload.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub payload: usize,
    /// Bytes of payload that each request asks for.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 314,
        allow_negative_numbers = true
    )]
    pub resp: i32,
    /// Requests of a duplex or upload call.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub count: u64,
    /// The call's deadline, in milliseconds; none if absent.
    #[arg(long, value_name = "N", value_parser = millis)]
    pub deadline_ms: Option<Duration>,
    /// How long to wait before the first response of the call is read, in milliseconds.
    #[arg(long, value_name = "N", default_value = "0", value_parser = millis)]
    pub read_delay_ms: Duration,
    /// How long to wait before the call, once the bystander has its first response, in milliseconds.
    #[arg(long, value_name = "N", default_value = "0", value_parser = millis)]
    pub start_delay_ms: Duration,
    /// How long to wait after the call before the bystander goes on, in milliseconds.
    #[arg(long, value_name = "N", default_value = "0", value_parser = millis)]
    pub linger_ms: Duration,
    /// Bytes that the bystander sends and gets back, a half before the call and a half after it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub bystander_bytes: usize,
    /// When to give up, in milliseconds from the start.
    #[arg(long, value_name = "N", default_value = "14000", value_parser = millis)]
    pub guard_ms: Duration,
}

/// The calls of `grpc.testing.TestService` that the probe can make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CallKind {
    /// `UnaryCall`.
    #[default]
    Unary,
    /// `EmptyCall`.
    Empty,
    /// `FullDuplexCall`: all requests are sent, then half-close; responses are read to the end.
    Duplex,
    /// `StreamingInputCall`.
    Upload,
}

fn millis(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}
