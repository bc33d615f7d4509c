//! The generated code, in the module tree that it expects around itself: one module for each part
//! of a protobuf package name.

/// Protobuf packages below `grpctunnel`.
pub(crate) mod grpctunnel {
    /// The tunnel protocol: service `TunnelService`, its frames and what is in them.
    #[allow(
        unused_qualifications,
        clippy::too_many_lines,
        reason = "tonic writes its stubs so"
    )]
    pub mod v1 {
        include!("gen/grpctunnel.v1.rs");
    }
}

/// Protobuf packages below `google`.
pub mod google {
    /// The types that gRPC shares between services.
    pub mod rpc {
        include!("gen/google.rpc.rs");
    }
}
