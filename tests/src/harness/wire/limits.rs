//! What the codec's size limits do: the frame still decodes, and the fault names a limit that is
//! exceeded.

use std::mem::discriminant;

use grpctunnel_core::wire::{ClientKind, ContentFault, DecodeLimits, Metadata, ServerKind};

use super::{Decoded, Difference, difference};

/// No limit at all.
pub(super) const UNLIMITED: DecodeLimits = DecodeLimits {
    metadata_bytes: u32::MAX,
    metadata_entries: u32::MAX,
    method_name: u32::MAX,
    status: u32::MAX,
};

/// So low that small frames exceed each of them.
const TIGHT: DecodeLimits = DecodeLimits {
    metadata_bytes: 80,
    metadata_entries: 2,
    method_name: 4,
    status: 8,
};

/// What the limits are compared with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    metadata_bytes: u64,
    metadata_entries: u64,
    method_name: u64,
    status: u64,
}

impl Sizes {
    pub(super) fn of_client(kind: &ClientKind<'_>) -> Self {
        match kind {
            ClientKind::NewStream(new) => Self {
                method_name: new.method.len() as u64,
                ..Self::of_metadata(&new.metadata)
            },
            _ => Self::default(),
        }
    }

    pub(super) fn of_server(kind: &ServerKind<'_>) -> Self {
        match kind {
            ServerKind::Headers(headers) => Self::of_metadata(&headers.metadata),
            ServerKind::Close(close) => {
                let status: usize = close.status.raw_parts().map(<[u8]>::len).sum();
                Self {
                    status: status as u64,
                    ..Self::of_metadata(&close.trailers)
                }
            }
            _ => Self::default(),
        }
    }

    /// Every value is counted with its name and 32 bytes, a key without a value once.
    fn of_metadata(metadata: &Metadata<'_>) -> Self {
        let mut sizes = Self::default();
        for entry in metadata.all_entries() {
            let values = || entry.values().chain(entry.raw_values());
            let lines = values().count().max(1);
            let bytes: usize = values().map(<[u8]>::len).sum();
            sizes.metadata_bytes += (lines * (entry.key().len() + 32) + bytes) as u64;
            sizes.metadata_entries += lines as u64;
        }
        sizes
    }

    /// The faults that a frame of these sizes may be reported with.
    fn faults(self, limits: &DecodeLimits) -> Vec<ContentFault> {
        [
            (
                self.metadata_bytes,
                limits.metadata_bytes,
                ContentFault::MetadataTooLarge,
            ),
            (
                self.metadata_entries,
                limits.metadata_entries,
                ContentFault::TooManyMetadataEntries,
            ),
            (
                self.method_name,
                limits.method_name,
                ContentFault::MethodNameTooLong,
            ),
            (self.status, limits.status, ContentFault::StatusTooLarge),
        ]
        .into_iter()
        .filter_map(|(size, limit, fault)| (size > u64::from(limit)).then_some(fault))
        .collect()
    }
}

/// Decodes again, with the default limits and with low ones.
///
/// # Errors
///
/// When a limit changes more than the fault, or the fault does not fit the sizes.
pub(super) fn check(
    unlimited: &Decoded,
    decode: impl Fn(&DecodeLimits) -> Option<Decoded>,
) -> Result<(), Difference> {
    for limits in [DecodeLimits::default(), TIGHT] {
        let Some(limited) = decode(&limits) else {
            return difference(format!("{limits:?} make a frame undecodable"));
        };
        if limited.stream_id != unlimited.stream_id
            || discriminant(&limited.meaning) != discriminant(&unlimited.meaning)
        {
            return difference(format!("{limits:?} make another frame: {limited:?}"));
        }
        let mut due = unlimited.sizes.faults(&limits);
        due.extend(unlimited.fault);
        let fits = match limited.fault {
            None => due.is_empty() && limited.meaning == unlimited.meaning,
            Some(fault) => due.contains(&fault),
        };
        if !fits {
            return difference(format!("{limits:?}, due {due:?}: {limited:?}"));
        }
    }
    Ok(())
}
