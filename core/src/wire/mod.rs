//! The bytes: frames decoded in place, frames encoded, and the framer around them.
//!
//! Nothing is copied and nothing is allocated. A decoded frame borrows from the bytes that it
//! was decoded from; metadata is walked where it lies.
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
mod data;
mod decode;
mod deframer;
mod extension;
mod field;
mod frame;
mod head;
mod metadata;
mod pairs;
pub mod prefix;
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
pub(crate) use data::{Data, read as read_data};
pub use decode::{decode_client, decode_server};
pub use deframer::{Deframer, FrameTooLarge, PREFIX_LEN, Piece, length_prefix};
pub use extension::{Extension, ExtensionSet};
pub use field::DecodeError;
pub use frame::{
    ClientFrame, ClientKind, CloseStream, ContentFault, DecodeLimits, Headers, MessageData,
    NewStream, ServerFrame, ServerKind,
};
pub use head::{
    EncodeError, Encoded, HeadOptions, encode_close, encode_headers, encode_open,
    encode_unprocessed,
};
pub use metadata::{AllEntries, Entries, Entry, EntryValues, Metadata};
pub use prefix::Prefix;
pub use settings::{Revision, Settings};
pub use sink::{Buffer, Sink, SinkFull, SliceSink};
pub use status::{Status, StatusParts};
pub use status_head::StatusHead;
pub use timeout::{Timeout, format_timeout};
pub use transparent::{Transparent, TransparentFault};
