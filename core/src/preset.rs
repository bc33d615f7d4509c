//! Sizes that follow from two numbers: streams at once, bytes of a receive window.

use crate::limits::ReceiveWindowPolicy;
use crate::streams::MAX_CHUNK;
use crate::types::Config;

/// Bytes that heads, statuses and method names of a small tunnel take in one frame at most.
const HEADS: u32 = 1_024;
/// Ids, sizes, tags and lengths around them.
const AROUND: u32 = 64;

impl Config {
    /// Settings for storage in place, out of two numbers: streams at once, and bytes of the receive
    /// window of each. Windows do not grow.
    ///
    /// What goes with them:
    ///
    /// | storage | size |
    /// | --- | --- |
    /// | [`Fixed`](crate::Fixed) | `Fixed<STREAMS, STREAMS>` |
    /// | [`FixedStore`](crate::receive_buffer::FixedStore) of each stream | `FixedStore<WINDOW, { boundary_bytes(WINDOW) }>` |
    /// | [`FixedAssembler`](crate::wire::FixedAssembler) | `FixedAssembler<{ frame_bytes(WINDOW) }>` |
    ///
    /// Metadata and statuses are limited to 512 bytes, method names to 128, so that they fit the frame
    /// too; a frame that does not ends the tunnel. Where the peer sends more, raise the limits and the
    /// size of a frame together. Known peers expect a window of 65,536 bytes from a tunnel server;
    /// the Go module takes any other, too. A peer without flow control is not bounded by a window:
    /// it may leave as much unread, and is then not read from.
    #[must_use]
    pub fn small(streams: u32, window: u32) -> Self {
        let mut config = Self::default();
        let limits = &mut config.limits;
        limits.max_streams = streams;
        limits.pending_rejections = streams;
        limits.max_frame = frame_len(window);
        limits.receive_window = ReceiveWindowPolicy {
            initial: window,
            max: window,
            growth_budget: 0,
        };
        limits.revision_zero.stream = window;
        limits.revision_zero.tunnel = u64::from(window).saturating_mul(u64::from(streams));
        limits.decode.metadata_bytes = HEADS / 2;
        limits.decode.metadata_entries = HEADS / 64;
        limits.decode.method_name = HEADS / 8;
        limits.decode.status = HEADS / 2;
        config
    }
}

/// Bytes of the largest frame that [`Config::small`] lets a peer send: a chunk, which is no larger
/// than the window and than 16,384 bytes, or a head.
#[must_use]
pub const fn frame_bytes(window: usize) -> usize {
    let window = if window > MAX_CHUNK as usize {
        MAX_CHUNK
    } else {
        window as u32
    };
    frame_len(window) as usize
}

/// Bytes for the boundaries of the messages in a window: enough where messages have 8 bytes and more.
#[must_use]
pub const fn boundary_bytes(window: usize) -> usize {
    (window / 8).saturating_add(AROUND as usize)
}

const fn frame_len(window: u32) -> u32 {
    let chunk = if window > MAX_CHUNK {
        MAX_CHUNK
    } else {
        window
    };
    let body = if chunk > HEADS { chunk } else { HEADS };
    body.saturating_add(AROUND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{self, HeadOptions, PREFIX_LEN, Prefix, Revision, StatusHead, prefix};
    use std::string::String;
    use std::vec::Vec;

    /// Bytes of a frame without its length prefix.
    fn len(prefix: &[u8], body: u32) -> usize {
        prefix.len() - PREFIX_LEN + body as usize
    }

    #[test]
    fn the_largest_frames_that_the_limits_allow_fit() {
        for window in [1, 100, 1_024, 4_096, 16_384, 65_536] {
            let config = Config::small(4, window);
            let decode = config.limits.decode;
            let most = frame_bytes(window as usize);
            assert_eq!(config.limits.max_frame as usize, most);
            let id = i64::MAX;
            let chunk = window.min(MAX_CHUNK);
            let mut first = Prefix::EMPTY;
            prefix::put_message(&mut first, id, u32::MAX, chunk, true);
            assert!(len(&first, chunk) <= most, "{window}");
            let mut more = Prefix::EMPTY;
            prefix::put_more(&mut more, id, chunk);
            assert!(len(&more, chunk) <= most, "{window}");
            // One key, and a value that fills what is left by it.
            let value = Vec::from_iter((0..decode.metadata_bytes - 33).map(|_| b'v'));
            let metadata = [("k", &value[..])];
            let method = String::from_iter((0..decode.method_name - 2).map(|_| 'm'));
            let method = std::format!("s/{method}");
            let options = HeadOptions::default();
            // A head longer than this would not fit.
            let mut head = heapless::Vec::<u8, 2_048>::new();
            let open = wire::encode_open(&mut head, &method, metadata.into_iter(), &options);
            let timeout = Some(core::time::Duration::MAX);
            let open = open.unwrap().len();
            let prefix = prefix::new_stream(id, open, u32::MAX, Revision::One, timeout);
            assert!(len(&prefix, open) <= most);
            let message = String::from_iter((0..decode.status - 8).map(|_| 'm'));
            let status = StatusHead {
                code: -1,
                message: &message,
                details: &[],
            };
            let close = wire::encode_close(&mut head, status, metadata.into_iter(), &options);
            let close = close.unwrap().len();
            assert!(len(&prefix::close(id, close), close) <= most);
        }
    }
}
