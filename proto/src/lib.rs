//! The `grpctunnel.v1` protocol as Rust types: gRPC calls carried inside one gRPC stream.
//!
//! Its place among the crates of grpctunnel: it stands on none, and none stands on it. It is for
//! programs that read or write frames themselves.
//!
//! [`v1`] holds the two frame types, [`ClientToServer`](v1::ClientToServer) and
//! [`ServerToClient`](v1::ServerToClient), with everything in them, and, with the feature `tonic`
//! (on by default), the client and server stubs of the tunnel service. Payloads are
//! [`Bytes`](prost::bytes::Bytes), so decoding from `Bytes` copies none, and maps are ordered, so
//! equal messages have equal encodings.
//!
//! ```
//! use grpctunnel_proto::v1::{ClientToServer, MessageData, client_to_server::Frame};
//! use prost::{Message, bytes::Bytes};
//!
//! // The first five bytes of an eleven-byte message on stream 1.
//! let frame = ClientToServer {
//!     stream_id: 1,
//!     frame: Some(Frame::RequestMessage(MessageData {
//!         size: 11,
//!         data: Bytes::from_static(b"hello"),
//!         compressed: false,
//!     })),
//! };
//! let bytes = Bytes::from(frame.encode_to_vec());
//! assert_eq!(&bytes[..], b"\x08\x01\x1a\x09\x08\x0b\x12\x05hello");
//!
//! assert_eq!(ClientToServer::decode(bytes)?, frame);
//! # Ok::<(), prost::DecodeError>(())
//! ```
//!
//! These types decode a frame wholly or not at all: one string that is not UTF-8 makes the frame
//! undecodable, and with it the tunnel. An end of a tunnel that must survive such a peer decodes
//! with `grpctunnel-core`, to which this crate is the reference.

mod generated;

#[doc(inline)]
pub use generated::google;
#[doc(inline)]
pub use generated::grpctunnel::v1;

/// The descriptors of the protocol and of every file that it imports, as a serialized
/// `google.protobuf.FileDescriptorSet`: what a gRPC reflection service is registered with.
///
/// ```
/// use prost::Message;
///
/// let set = prost_types::FileDescriptorSet::decode(grpctunnel_proto::FILE_DESCRIPTOR_SET)?;
/// assert!(set.file.iter().any(|file| file.name() == "grpctunnel/v1/tunnel.proto"));
/// # Ok::<(), prost::DecodeError>(())
/// ```
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptor.bin");
