//! Every bound of a tunnel, with its default.

use core::time::Duration;

use crate::wire::DecodeLimits;

/// A token bucket: never a lifetime count, so a tunnel that lives for months with an honest peer
/// does not trip it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Tokens when full, and at the start.
    pub capacity: u32,
    /// Tokens that come back a second.
    pub per_second: u32,
    /// Tokens that come back with each thing that earns some; see where the bucket is named.
    pub per_earned: u32,
}

/// What is left of a tunnel's budgets; see [`Tunnel::budgets`](crate::Tunnel::budgets).
///
/// At the start each bucket is full. A tunnel ends when one would fall below zero, so a level that keeps
/// falling is a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budgets {
    /// Tokens of [`Limits::useless_frames`].
    pub useless_frames: u32,
    /// Tokens of [`Limits::window_updates`].
    pub window_updates: u32,
    /// Tokens of [`Limits::protocol_errors`].
    pub protocol_errors: u32,
    /// Refusals that may be added to those that wait to be sent:
    /// [`Limits::pending_rejections`] less those.
    pub pending_rejections: u32,
    /// Frames without data that are free because they may have been in flight when this end ended
    /// their streams early. None at the start; see [`Limits::late_streams`].
    pub late_frames: u32,
    /// Bytes of data that are free in the same way.
    pub late_bytes: u64,
    /// Data frames sent that no `window_update` has answered yet; see
    /// [`Limits::unanswered_frames`].
    pub unanswered_frames: u32,
}

/// The size of the receive windows that this end announces and grants; revision one only.
///
/// A window grows while the link could carry more: the peer used all of it within about one round
/// trip, and the reader kept up. Then it doubles. Known peers add up whatever is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveWindowPolicy {
    /// Bytes of a new stream's window: `settings.initial_window_size` from a tunnel server,
    /// `new_stream.initial_window_size` from a tunnel client. Default 65,536; a peer of the
    /// PyPI package `grpctunnel-py` takes no other value. At most [`MAX`](Self::MAX) is used.
    pub initial: u32,
    /// Bytes that a window may grow to; no more than `initial` leaves windows as they begin.
    /// Default 16 MiB. At most [`MAX`](Self::MAX) is used.
    ///
    /// So many bytes may be unread on one stream. **Where they wait in a receive buffer of fixed
    /// size, this must not exceed its capacity**, such as `BYTES` of
    /// [`FixedStore`](crate::receive_buffer::FixedStore): what does not fit ends its stream.
    pub max: u32,
    /// Bytes by which all windows of a tunnel may have grown at once, over their `initial`; zero
    /// leaves windows as they begin. Default 64 MiB. A stream gives its share back when it ends,
    /// but for what is left unread, which it gives back when it is released. Without budget
    /// windows stop growing, and nothing else happens.
    pub growth_budget: u64,
}

impl ReceiveWindowPolicy {
    /// The largest window, 2^31 - 1 bytes: known peers add up credit without a check.
    pub const MAX: u32 = i32::MAX.unsigned_abs();

    /// This, with nothing above [`MAX`](Self::MAX).
    pub(crate) fn bounded(self) -> Self {
        Self {
            initial: self.initial.min(Self::MAX),
            max: self.max.min(Self::MAX),
            growth_budget: self.growth_budget,
        }
    }
}

impl Default for ReceiveWindowPolicy {
    fn default() -> Self {
        Self {
            initial: 65_536,
            max: 16 << 20,
            growth_budget: 64 << 20,
        }
    }
}

/// Bounds on what a reader without flow control (revision zero) may leave unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevisionZeroLimits {
    /// Unread bytes of one stream. Default 4 MiB + 64 KiB: one largest message and a window.
    pub stream: u32,
    /// Unread bytes of all such streams of a tunnel. Default 16 MiB.
    pub tunnel: u64,
    /// How long the tunnel may wait for a reader before its stream is closed. Default 10 s.
    pub stall: Duration,
}

/// When a tunnel that carries nothing is tested, and when it is given up. A duration of
/// [`Duration::MAX`] turns a timer off.
///
/// None of these timers runs while [`wants_read`](crate::Tunnel::wants_read) is false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// Time in which a tunnel client sent nothing, after which it sends a heartbeat
    /// (`window_update` of 0 on stream -1), which every tunnel server ignores: it keeps idle
    /// timers between the ends quiet. Default 20 s.
    pub heartbeat: Duration,
    /// Time in which a tunnel client received nothing, after which it opens a stream to a method
    /// that nobody has (`grpctunnel.v1.Liveness/Probe`): every tunnel server answers it by
    /// itself. Default 30 s.
    pub probe: Duration,
    /// Time between two pings, at either end, where the extension `PING` is in effect. They take
    /// the place of heartbeat and probe. Default 20 s.
    pub ping: Duration,
    /// Time in which something must be received after a probe or a ping has left. The first time
    /// that nothing is, the tunnel counts as unresponsive, and is asked again at once; the second
    /// time in a row it ends. Default 10 s.
    pub answer: Duration,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(20),
            probe: Duration::from_secs(30),
            ping: Duration::from_secs(20),
            answer: Duration::from_secs(10),
        }
    }
}

/// Every bound of a tunnel. All are on by default; all can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Streams that are not fully retired, at once. Default 1,024. A tunnel server refuses the
    /// excess with RESOURCE_EXHAUSTED; a tunnel client's `open` answers `Full`.
    pub max_streams: u32,
    /// Bytes of one incoming frame, without its length prefix. Default 4 MiB, as in gRPC.
    pub max_frame: u32,
    /// Bytes of one incoming message. Default 4 MiB, for a caller that gathers messages; set it
    /// to `u32::MAX` where messages are handed on in pieces.
    pub max_message: u32,
    /// Limits of what is decoded: metadata, method name, status.
    pub decode: DecodeLimits,
    /// Receive windows.
    pub receive_window: ReceiveWindowPolicy,
    /// Readers without flow control.
    pub revision_zero: RevisionZeroLimits,
    /// Time from the opening to the response headers. Default 10 s.
    pub open_timeout: Duration,
    /// Time from there to the settings. Default 10 s.
    pub settings_timeout: Duration,
    /// Time from our end of the carrier to the peer's. Default 5 s; then it is aborted.
    pub finish_grace: Duration,
    /// Heartbeats, probes and pings.
    pub liveness: Liveness,
    /// Refusals that wait to be read by the peer. Default 1,024; one more ends the tunnel.
    pub pending_rejections: u32,
    /// Empty `more_*_data` in a row without progress. Default 100; one more ends the stream.
    pub empty_chunks: u8,
    /// Frames that mean nothing (for finished streams, repeats). Capacity 10,000, 100 a second,
    /// 8 for each useful frame.
    pub useless_frames: Bucket,
    /// Streams refused, or ended early by this end, whose frames in flight are free: for each the
    /// credit that it had, and four frames without data. What is not used is kept for so many
    /// streams. Default 16,384; late frames beyond that are useless ones.
    pub late_streams: u32,
    /// `window_update` frames. Capacity 1,000, 10 a second, 10 for each data frame sent; a
    /// stream opened earns 2.
    pub window_updates: Bucket,
    /// Data frames sent of which each may be answered by one `window_update` more, however late.
    /// Default 1,048,576: as many as may be in flight.
    pub unanswered_frames: u32,
    /// Streams that this end closed because the peer itself broke the protocol, as opposed to
    /// what an application behind it did (an oversized message, a missing request...). Capacity
    /// 1,024, one a second.
    pub protocol_errors: Bucket,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_streams: 1_024,
            max_frame: 4 << 20,
            max_message: 4 << 20,
            decode: DecodeLimits::default(),
            receive_window: ReceiveWindowPolicy::default(),
            revision_zero: RevisionZeroLimits {
                stream: (4 << 20) + (64 << 10),
                tunnel: 16 << 20,
                stall: Duration::from_secs(10),
            },
            open_timeout: Duration::from_secs(10),
            settings_timeout: Duration::from_secs(10),
            finish_grace: Duration::from_secs(5),
            liveness: Liveness::default(),
            pending_rejections: 1_024,
            empty_chunks: 100,
            useless_frames: Bucket {
                capacity: 10_000,
                per_second: 100,
                per_earned: 8,
            },
            late_streams: 16_384,
            window_updates: Bucket {
                capacity: 1_000,
                per_second: 10,
                per_earned: 10,
            },
            unanswered_frames: 1 << 20,
            protocol_errors: Bucket {
                capacity: 1_024,
                per_second: 1,
                per_earned: 0,
            },
        }
    }
}
