//! The kinds of methods, from their descriptors.

use grpctunnel_driver::{MethodKind, MethodKinds};
use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

/// The kinds of the methods that a serialized `google.protobuf.FileDescriptorSet` describes: what
/// `protoc --descriptor_set_out` writes, and what generated code offers for reflection.
///
/// # Errors
/// If the bytes are not such a message.
pub fn method_kinds(descriptors: &[u8]) -> Result<MethodKinds, prost::DecodeError> {
    let set = FileDescriptorSet::decode(descriptors)?;
    let mut kinds = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let name = match file.package() {
                "" => service.name().to_owned(),
                package => format!("{package}.{}", service.name()),
            };
            for method in &service.method {
                kinds.push((format!("{name}/{}", method.name()), kind(method)));
            }
        }
    }
    Ok(kinds.into_iter().collect())
}

fn kind(method: &MethodDescriptorProto) -> MethodKind {
    match (method.client_streaming(), method.server_streaming()) {
        (false, false) => MethodKind::Unary,
        (true, false) => MethodKind::ClientStreaming,
        (false, true) => MethodKind::ServerStreaming,
        (true, true) => MethodKind::Bidi,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_a_described_service() {
        let kinds = method_kinds(tonic_health::pb::FILE_DESCRIPTOR_SET).unwrap();
        assert_eq!(kinds.get("grpc.health.v1.Health/Check"), MethodKind::Unary);
        assert_eq!(
            kinds.get("/grpc.health.v1.Health/Watch"),
            MethodKind::ServerStreaming
        );
        assert!(method_kinds(b"\xff").is_err());
    }
}
