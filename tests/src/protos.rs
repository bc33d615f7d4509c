//! The services that the tests call: messages, and with feature `services` client and server stubs.

/// Protobuf packages below `grpc`.
pub mod grpc {
    /// gRPC's own interoperability tests.
    #[allow(
        unused_qualifications,
        clippy::too_many_lines,
        reason = "tonic writes its stubs so"
    )]
    pub mod testing {
        include!("gen/grpc.testing.rs");
    }
}

/// The service that the Go module's test programs call through a tunnel.
#[allow(
    unused_qualifications,
    clippy::too_many_lines,
    reason = "tonic writes its stubs so"
)]
pub mod grpchantesting {
    include!("gen/grpchantesting.rs");
}

/// What the Go module's test programs speak beside the tunnel. The service has no protobuf package.
#[allow(
    unused_qualifications,
    clippy::too_many_lines,
    reason = "tonic writes its stubs so"
)]
pub mod tunneltest {
    include!("gen/_.rs");
}
