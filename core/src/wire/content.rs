//! The checks of the content of a frame.

/// The limits that a frame is checked against while it is decoded. Content that exceeds one is
/// reported as a [`ContentFault`] of the frame, and the rest of the frame is still decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of one frame's metadata, counted as HTTP/2 counts a header list: name, value and 32
    /// for each value, and for a key without one. Entries that a later one replaces count too.
    /// Default 65,536.
    pub metadata_bytes: u32,
    /// Values in one frame's metadata; a key without one counts as one. Default 256.
    pub metadata_entries: u32,
    /// Bytes of `method_name`. Default 1,024.
    pub method_name: u32,
    /// Bytes of `close_stream.status`, serialized: code, message, details and whatever else is in
    /// it, because an application may keep them all. Default 65,536.
    pub status: u32,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            metadata_bytes: 65_536,
            metadata_entries: 256,
            method_name: 1_024,
            status: 65_536,
        }
    }
}

/// A fault in the content of a well-formed frame. It ends the stream, but not the tunnel. If a frame has
/// several faults, one of them is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentFault {
    /// A string of the metadata, the method name or the status is not UTF-8.
    NotUtf8,
    /// Above [`DecodeLimits::metadata_bytes`].
    MetadataTooLarge,
    /// Above [`DecodeLimits::metadata_entries`].
    TooManyMetadataEntries,
    /// Above [`DecodeLimits::method_name`].
    MethodNameTooLong,
    /// Above [`DecodeLimits::status`].
    StatusTooLarge,
}
