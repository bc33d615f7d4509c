//! The decoder for metadata.

use super::content::{ContentFault, DecodeLimits};
use super::extension::{Extension, ExtensionSet};
use super::field::{DecodeError, Fields, Value};
use super::timeout::Timeout;
use super::transparent::Transparent;

/// The key of a status with its details, where gRPC keeps them in trailers.
pub(super) const STATUS_DETAILS: &str = "grpc-status-details-bin";

/// Where in a frame the `Metadata` message is: the field numbers of the messages around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `new_stream.request_headers`
    Request,
    /// `response_headers`
    Headers,
    /// `close_stream.response_trailers`
    Trailers,
}

/// The metadata of one frame, borrowed from it. Nothing is collected: iterating walks the frame.
///
/// Protobuf lets a message be split over several places of a frame; they are all walked. The
/// type of the field is a map: where a key comes twice, the later entry **replaces** the earlier.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'f> {
    /// The frame from the first place on.
    frame: &'f [u8],
    place: Place,
    /// Whether `Values.raw` is a field that we know.
    raw: bool,
    /// Whether a key may come twice. False is certain.
    repeats: bool,
}

impl<'f> Metadata<'f> {
    pub(super) const fn new(frame: &'f [u8], place: Place, scan: &Scan) -> Self {
        Self {
            frame,
            place,
            raw: true,
            repeats: scan.keys.repeat,
        }
    }

    /// As it is where these extensions are in effect: without `RAW_METADATA` its field is one
    /// that nobody knows.
    pub(crate) const fn agreed(mut self, extensions: ExtensionSet) -> Self {
        self.raw = extensions.contains(Extension::RawMetadata);
        self
    }

    /// The entries, in wire order, without those that a later one replaces.
    ///
    /// Where a key may come twice it looks ahead for each entry, so that its time grows with the
    /// square of their number, which [`DecodeLimits::metadata_entries`] bounds.
    #[must_use]
    pub const fn iter(&self) -> Entries<'f> {
        Entries {
            all: self.all_entries(),
            repeats: self.repeats,
        }
    }

    /// The entry of a key; the last one where it comes more than once.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Entry<'f>> {
        self.all_entries()
            .filter(|entry| entry.key() == key.as_bytes())
            .last()
    }

    /// `grpc-status-details-bin` of the extension `RAW_METADATA`, in trailers: a serialized
    /// `google.rpc.Status`, byte for byte as the handler wrote it. Where there is one it goes
    /// before [`Status::raw_parts`](super::Status::raw_parts), which would have changed a byte.
    #[must_use]
    pub fn status_details(&self) -> Option<&'f [u8]> {
        self.get(STATUS_DETAILS)?.raw_values().last()
    }

    /// All entries in wire order, also those that a later one of the same key replaces. For a
    /// caller that collects them by key; every other one wants [`iter`](Self::iter).
    #[must_use]
    pub const fn all_entries(&self) -> AllEntries<'f> {
        let (outer, frame, inner) = match self.place {
            Place::Request => (Some(2), Fields::new(self.frame), 2),
            Place::Headers => (None, Fields::new(self.frame), 2),
            Place::Trailers => (Some(5), Fields::new(self.frame), 1),
        };
        AllEntries {
            frame,
            outer,
            inner,
            message: Fields::new(&[]),
            metadata: Fields::new(&[]),
            raw: self.raw,
        }
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all_entries().next().is_none()
    }
}

impl<'f> IntoIterator for Metadata<'f> {
    type Item = Entry<'f>;
    type IntoIter = Entries<'f>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'f> IntoIterator for &Metadata<'f> {
    type Item = Entry<'f>;
    type IntoIter = Entries<'f>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Iterates the entries of [`Metadata`] that count.
#[derive(Clone, Debug)]
pub struct Entries<'f> {
    all: AllEntries<'f>,
    repeats: bool,
}

impl<'f> Iterator for Entries<'f> {
    type Item = Entry<'f>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = self.all.next()?;
            if !self.repeats {
                return Some(entry);
            }
            let mut later = self.all.clone();
            if !later.any(|later| later.key() == entry.key()) {
                return Some(entry);
            }
        }
    }
}

/// Iterates all entries of [`Metadata`].
#[derive(Clone, Debug)]
pub struct AllEntries<'f> {
    frame: Fields<'f>,
    /// The number of the message around the metadata, where there is one.
    outer: Option<u32>,
    /// The number of the metadata.
    inner: u32,
    message: Fields<'f>,
    metadata: Fields<'f>,
    raw: bool,
}

impl<'f> AllEntries<'f> {
    fn next_metadata(&mut self) -> Option<&'f [u8]> {
        let Some(outer) = self.outer else {
            return next_bytes(&mut self.frame, self.inner);
        };
        loop {
            if let Some(metadata) = next_bytes(&mut self.message, self.inner) {
                return Some(metadata);
            }
            self.message = Fields::new(next_bytes(&mut self.frame, outer)?);
        }
    }
}

impl<'f> Iterator for AllEntries<'f> {
    type Item = Entry<'f>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = next_bytes(&mut self.metadata, 1) {
                return Some(Entry::new(entry, self.raw));
            }
            self.metadata = Fields::new(self.next_metadata()?);
        }
    }
}

/// The next field of this number that holds bytes.
pub(super) fn next_bytes<'f>(fields: &mut Fields<'f>, wanted: u32) -> Option<&'f [u8]> {
    loop {
        match fields.next_checked()? {
            (number, Value::Bytes(bytes)) if number == wanted => return Some(bytes),
            _ => {}
        }
    }
}

/// One key with its values.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'f> {
    entry: &'f [u8],
    key: &'f [u8],
    raw: bool,
}

impl<'f> Entry<'f> {
    fn new(entry: &'f [u8], raw: bool) -> Self {
        let mut key: &[u8] = &[];
        let mut fields = Fields::new(entry);
        while let Some(bytes) = next_bytes(&mut fields, 1) {
            key = bytes;
        }
        Self { entry, key, raw }
    }

    /// The key; UTF-8, unless the frame's `fault` says otherwise.
    #[must_use]
    pub const fn key(&self) -> &'f [u8] {
        self.key
    }

    /// `Values.val`, in order; UTF-8, unless the frame's `fault` says otherwise.
    #[must_use]
    pub const fn values(&self) -> EntryValues<'f> {
        EntryValues::new(self.entry, 1)
    }

    /// `Values.raw`, of the extension `RAW_METADATA`: any bytes. From a tunnel on which it is not
    /// in effect there are none, whatever the frame holds.
    #[must_use]
    pub const fn raw_values(&self) -> EntryValues<'f> {
        let entry: &[u8] = if self.raw { self.entry } else { &[] };
        EntryValues::new(entry, 100)
    }
}

/// Iterates the values of an [`Entry`].
#[derive(Clone, Debug)]
pub struct EntryValues<'f> {
    entry: Fields<'f>,
    values: Fields<'f>,
    wanted: u32,
}

impl<'f> EntryValues<'f> {
    const fn new(entry: &'f [u8], wanted: u32) -> Self {
        Self {
            entry: Fields::new(entry),
            values: Fields::new(&[]),
            wanted,
        }
    }
}

impl<'f> Iterator for EntryValues<'f> {
    type Item = &'f [u8];

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(value) = next_bytes(&mut self.values, self.wanted) {
                return Some(value);
            }
            self.values = Fields::new(next_bytes(&mut self.entry, 2)?);
        }
    }
}

/// The keys that were read, as a Bloom filter: whether any of them may have come before.
#[derive(Clone, Copy, Debug, Default)]
struct Keys {
    seen: [u64; 4],
    repeat: bool,
}

impl Keys {
    #[inline]
    fn add(&mut self, key: &[u8]) {
        let hash = hash(key);
        // Two bits of one word.
        let bits = (1 << (hash >> 58)) | (1 << ((hash >> 52) & 63));
        let [a, b, c, d] = &mut self.seen;
        let word = match (hash >> 50) & 3 {
            0 => a,
            1 => b,
            2 => c,
            _ => d,
        };
        self.repeat |= *word & bits == bits;
        *word |= bits;
    }
}

/// A number whose upper bits tell most keys apart, by their lengths and both their ends. Keys that it
/// does not tell apart cost what equal ones do.
#[inline]
fn hash(key: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let ends = match (key.first_chunk(), key.last_chunk()) {
        (Some(first), Some(last)) => {
            u64::from_le_bytes(*first).rotate_left(23) ^ u64::from_le_bytes(*last)
        }
        _ => key
            .iter()
            .fold(0, |bytes, byte| (bytes << 8) | u64::from(*byte)),
    };
    (ends ^ key.len() as u64).wrapping_mul(FACTOR)
}

/// What is learned while metadata is decoded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    bytes: u64,
    entries: u64,
    keys: Keys,
    pub(super) fault: Option<ContentFault>,
    pub(super) timeout: Option<Timeout>,
    pub(super) transparent: Transparent,
}

impl Scan {
    /// Reads one `Metadata` message to its end, whatever its faults.
    pub(super) fn read(
        &mut self,
        metadata: &[u8],
        limits: &DecodeLimits,
    ) -> Result<(), DecodeError> {
        let mut fields = Fields::new(metadata);
        while let Some((number, value)) = fields.next()? {
            if let (1, Value::Bytes(entry)) = (number, value) {
                self.read_entry(entry)?;
            }
        }
        if self.bytes > u64::from(limits.metadata_bytes) {
            self.fault.get_or_insert(ContentFault::MetadataTooLarge);
        }
        if self.entries > u64::from(limits.metadata_entries) {
            self.fault
                .get_or_insert(ContentFault::TooManyMetadataEntries);
        }
        Ok(())
    }

    fn read_entry(&mut self, entry: &[u8]) -> Result<(), DecodeError> {
        let mut key: &[u8] = &[];
        let mut values = 0_u64;
        let mut strings = 0_u64;
        let mut bytes = 0_u64;
        let mut last: Option<&[u8]> = None;
        let mut fields = Fields::new(entry);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(bytes)) => {
                    self.check_text(bytes);
                    key = bytes;
                }
                (2, Value::Bytes(message)) => {
                    let mut fields = Fields::new(message);
                    while let Some((number, value)) = fields.next()? {
                        let (1 | 100, Value::Bytes(value)) = (number, value) else {
                            continue;
                        };
                        if number == 1 {
                            self.check_text(value);
                            last = Some(value);
                            strings = strings.saturating_add(1);
                        }
                        values = values.saturating_add(1);
                        bytes = bytes.saturating_add(value.len() as u64);
                    }
                }
                _ => {}
            }
        }
        if key == b"grpc-timeout" {
            self.timeout = last.and_then(Timeout::parse);
        }
        self.transparent.note(key, strings, last);
        self.keys.add(key);
        // As HTTP/2 counts a header list: every value is a line with its name and 32 bytes.
        let lines = values.max(1);
        let names = lines.saturating_mul((key.len() as u64).saturating_add(32));
        self.bytes = self.bytes.saturating_add(bytes).saturating_add(names);
        self.entries = self.entries.saturating_add(lines);
        Ok(())
    }

    fn check_text(&mut self, bytes: &[u8]) {
        if core::str::from_utf8(bytes).is_err() {
            self.fault.get_or_insert(ContentFault::NotUtf8);
        }
    }
}
