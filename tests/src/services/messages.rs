//! gRPC's length-prefixed messages in an HTTP body, with the flag that says that one is compressed.

use std::io::{self, Read as _, Write as _};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// The flag and the length in front of a message.
const PREFIX: usize = 5;

/// A message as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whether its flag says that it is compressed.
    pub compressed: bool,
    /// Its bytes, as they travel.
    pub bytes: Bytes,
}

impl Message {
    /// A message that is not compressed.
    #[must_use]
    pub const fn plain(bytes: Bytes) -> Self {
        Self {
            compressed: false,
            bytes,
        }
    }

    /// A message compressed with gzip.
    ///
    /// # Errors
    ///
    /// Never, since it is written to memory; the library's type says otherwise.
    pub fn gzip(plain: &[u8]) -> io::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain)?;
        Ok(Self {
            compressed: true,
            bytes: encoder.finish()?.into(),
        })
    }

    /// The bytes that it stands for, if it is not compressed or compressed with gzip.
    ///
    /// # Errors
    ///
    /// When its flag is set and its bytes are not gzip's.
    pub fn decompressed(&self) -> io::Result<Bytes> {
        if !self.compressed {
            return Ok(self.bytes.clone());
        }
        let mut plain = Vec::new();
        GzDecoder::new(&*self.bytes).read_to_end(&mut plain)?;
        Ok(plain.into())
    }

    /// Prefix and bytes, as one piece.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut encoded = BytesMut::with_capacity(PREFIX + self.bytes.len());
        encoded.put_u8(self.compressed.into());
        encoded.put_u32(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        encoded.put_slice(&self.bytes);
        encoded.freeze()
    }
}

/// Finds the messages in the data of a body.
#[derive(Debug, Default)]
pub struct Messages(BytesMut);

impl Messages {
    /// Adds the next piece of the body.
    pub fn add(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    /// Whether nothing is left of what was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Iterator for Messages {
    type Item = Message;

    /// The next message that is there as a whole.
    fn next(&mut self) -> Option<Message> {
        let length = self.0.get(1..PREFIX)?.try_into().ok()?;
        let end = PREFIX.checked_add(usize::try_from(u32::from_be_bytes(length)).ok()?)?;
        if self.0.len() < end {
            return None;
        }
        let mut message = self.0.split_to(end);
        let compressed = message.get_u8() != 0;
        message.advance(PREFIX - 1);
        Some(Message {
            compressed,
            bytes: message.freeze(),
        })
    }
}
