//! The codec of the protocol.
//!
//! It decodes and encodes frames, and splits a stream of bytes into length-prefixed messages. Nothing
//! is copied or allocated: a decoded frame borrows from its bytes, and metadata is iterated in place.
//!
//! ```
//! use grpctunnel_core::wire::{ClientKind, DecodeLimits, decode_client};
//!
//! // stream_id = 1, new_stream { method_name: "s/M", request_headers { md { "k": ["v"] } } }
//! let frame = b"\x08\x01\x12\x11\x0a\x03s/M\x12\x0a\x0a\x08\x0a\x01k\x12\x03\x0a\x01v";
//! let frame = decode_client(frame, &DecodeLimits::default())?;
//! let ClientKind::NewStream(new) = frame.kind else {
//!     panic!("another frame");
//! };
//! assert_eq!((frame.stream_id, new.method), (1, "s/M"));
//! let entry = new.metadata.iter().next().unwrap();
//! assert_eq!(entry.key(), b"k");
//! assert!(entry.values().eq([b"v"]));
//! # Ok::<(), grpctunnel_core::wire::DecodeError>(())
//! ```

mod assembler;
mod bin;
mod builder;
mod content;
mod data;
mod decode;
mod deframer;
mod extension;
mod field;
mod frame;
mod head;
mod head_options;
mod metadata;
mod pairs;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod prefix;
#[cfg(not(feature = "internals"))]
#[expect(unreachable_pub, reason = "public where tests name it")]
pub(crate) mod prefix;
mod put;
mod settings;
mod sink;
mod status;
mod status_head;
mod timeout;
mod transparent;

#[cfg(feature = "alloc")]
pub use assembler::GrowingAssembler;
pub use assembler::{Assembler, FixedAssembler, Frame};
pub use bin::BinDialect;
pub use content::{ContentFault, DecodeLimits};
pub(crate) use data::{Data, read as read_data};
pub use decode::{decode_client, decode_server};
pub use deframer::{Deframer, FrameTooLarge, PREFIX_LEN, Piece, length_prefix};
pub use extension::{Extension, ExtensionSet};
pub use field::DecodeError;
pub(crate) use field::Fields;
pub use frame::{
    ClientFrame, ClientKind, CloseStream, Headers, MessageData, NewStream, ServerFrame, ServerKind,
};
pub use head::{encode_close, encode_headers, encode_open, encode_unprocessed};
pub use head_options::{EncodeError, Encoded, HeadOptions};
pub use metadata::{AllEntries, Entries, Entry, EntryValues, Metadata};
pub use prefix::Prefix;
pub(crate) use put::put_varint;
pub use settings::{Revision, Settings};
pub use sink::{Buffer, Sink, SinkFull, SliceSink};
pub use status::{Status, StatusParts};
pub use status_head::StatusHead;
pub use timeout::{Timeout, format_timeout};
pub use transparent::{Transparent, TransparentFault};
