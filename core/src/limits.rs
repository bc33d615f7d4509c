//! Every bound of a tunnel, with its default.

use core::time::Duration;

use crate::error::ConfigError;
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
/// By default windows stay as they begin, so that a receive buffer of fixed size is enough.
/// [`GROWING`](Self::GROWING) lets them grow while the link could carry more: the peer used all of
/// one within about one round trip, and the reader kept up. Then it doubles, or grows to four times
/// what came, until it is two to four times what the link carries in a round trip. Other streams of
/// the tunnel get as much, within their share of the budget: with their next grant, and a client's
/// new stream behind the first frame of its message. Known peers add up whatever is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveWindowPolicy {
    /// Bytes of a new stream's window: `settings.initial_window_size` from a tunnel server,
    /// `new_stream.initial_window_size` from a tunnel client. Default 65,536; a peer of the
    /// PyPI package `grpctunnel-py` takes no other value. From 1 to [`MAX`](Self::MAX).
    pub initial: u32,
    /// Bytes that a window may grow to; no more than `initial` leaves windows as they begin, as
    /// the default does. At most [`MAX`](Self::MAX).
    ///
    /// So many bytes may be unread on one stream. **Where they wait in a receive buffer of fixed
    /// size, this must not exceed its capacity**, such as `BYTES` of
    /// [`FixedStore`](crate::receive_buffer::FixedStore): what does not fit ends its stream.
    pub max: u32,
    /// Bytes by which all windows of a tunnel may have grown at once, over their `initial`; zero
    /// leaves windows as they begin, as the default does. A stream gives its share back when it ends,
    /// but for what is left unread, which it gives back when it is released. Without budget
    /// windows stop growing, and nothing else happens.
    pub growth_budget: u64,
}

impl ReceiveWindowPolicy {
    /// The largest window, 2^31 - 1 bytes: known peers add up credit without a check.
    pub const MAX: u32 = i32::MAX.unsigned_abs();

    /// Windows of 65,536 bytes that grow up to 16 MiB each, by 64 MiB in all. For receive buffers
    /// that grow.
    pub const GROWING: Self = Self {
        initial: 65_536,
        max: 16 << 20,
        growth_budget: 64 << 20,
    };

    /// Windows that stay as they begin.
    #[must_use]
    pub const fn fixed(initial: u32) -> Self {
        Self {
            initial,
            max: initial,
            growth_budget: 0,
        }
    }

    /// Whether windows may grow.
    #[must_use]
    pub const fn grows(&self) -> bool {
        self.max > self.initial && self.growth_budget > 0
    }
}

impl Default for ReceiveWindowPolicy {
    fn default() -> Self {
        Self::fixed(65_536)
    }
}

/// Bounds on what a reader without flow control (revision zero) may leave unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevisionZeroLimits {
    /// Unread bytes of one stream. Default 4 MiB + 64 KiB: one largest message and a window.
    pub stream: u32,
    /// Unread bytes of all such streams of a tunnel that have not ended. Default 16 MiB.
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
///
/// | limit | default | at the bound | why so much |
/// | --- | --- | --- | --- |
/// | [`max_streams`](Self::max_streams) | 1,024 streams | the call is refused, or waits | memory and tasks of a tunnel are this times those of a stream; HTTP/2 servers allow 100 to 250 a connection, and a tunnel stands for many |
/// | [`max_frame`](Self::max_frame) | 4 MiB | the tunnel ends | what gRPC takes by default; nothing behind a frame that was not read can be found |
/// | [`max_message`](Self::max_message) | 4 MiB | the stream ends | the same, where messages are gathered |
/// | [`decode.metadata_bytes`](DecodeLimits::metadata_bytes) | 64 KiB | the stream ends | eight times what gRPC suggests |
/// | [`decode.metadata_entries`](DecodeLimits::metadata_entries) | 256 values | the stream ends | an application pays for each |
/// | [`decode.method_name`](DecodeLimits::method_name) | 1 KiB | the stream ends | no name is near it |
/// | [`decode.status`](DecodeLimits::status) | 64 KiB | the call ends | four times what this crate sends |
/// | [`receive_window.initial`](ReceiveWindowPolicy::initial) | 64 KiB | the stream ends | what known peers use, and some take for granted |
/// | [`receive_window.max`](ReceiveWindowPolicy::max) | 64 KiB; 16 MiB in [`GROWING`](ReceiveWindowPolicy::GROWING) | the window stays | a round trip of 16 ms at 1 GB/s, of 160 ms at 100 MB/s |
/// | [`receive_window.growth_budget`](ReceiveWindowPolicy::growth_budget) | 0; 64 MiB in [`GROWING`](ReceiveWindowPolicy::GROWING) | windows stay | memory of a tunnel whose streams stop reading at their largest |
/// | [`revision_zero.stream`](RevisionZeroLimits::stream) | 4 MiB + 64 KiB | the tunnel waits, or the stream ends | one largest message and a window |
/// | [`revision_zero.tunnel`](RevisionZeroLimits::tunnel) | 16 MiB | the same | four such streams |
/// | [`revision_zero.stall`](RevisionZeroLimits::stall) | 10 s | the slowest stream ends | all others wait meanwhile |
/// | [`open_timeout`](Self::open_timeout) | 10 s | the opening fails | an answer needs no work: a round trip, and a slow handshake |
/// | [`settings_timeout`](Self::settings_timeout) | 10 s | the opening fails | the same |
/// | [`finish_grace`](Self::finish_grace) | 5 s | the carrier is aborted | the peer has nothing to do but to answer |
/// | [`liveness.heartbeat`](Liveness::heartbeat) | 20 s | a frame that means nothing is sent | idle timers in the middle begin at 30 s |
/// | [`liveness.probe`](Liveness::probe), [`ping`](Liveness::ping) | 30 s, 20 s | the peer is asked | a dead connection is found within a minute |
/// | [`liveness.answer`](Liveness::answer) | 10 s | the second time, the tunnel ends | no handler can delay the answer |
/// | [`pending_rejections`](Self::pending_rejections) | 1,024 refusals | the tunnel ends | as many as there may be streams; honest peers read |
/// | [`empty_chunks`](Self::empty_chunks) | 100 in a row | the stream ends | known peers send one at most |
/// | [`useless_frames`](Self::useless_frames) | 10,000, 100 a second, 8 for each useful frame | the tunnel ends | an old client's `cancel` after every call, data that races with a `cancel`: one to five for each call of three useful frames and more |
/// | [`late_streams`](Self::late_streams) | 16,384 streams | late frames count as useless | as many as end early within a round trip of 200 ms at 80,000 a second |
/// | [`window_updates`](Self::window_updates) | 1,000, 10 a second, 10 for each data frame, 2 for each stream | the tunnel ends | the Go module sends one for each data frame |
/// | [`unanswered_frames`](Self::unanswered_frames) | 1,048,576 frames | further ones earn a full bucket nothing | 16 GiB in flight, in chunks of 16 KiB |
/// | [`protocol_errors`](Self::protocol_errors) | 1,024, one a second | the tunnel ends | honest peers make none |
///
/// A tunnel that ends because of one says which, in the text of its [`Reason`](crate::Reason);
/// what is left of the budgets is always to be seen ([`Tunnel::budgets`](crate::Tunnel::budgets)).
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

impl Limits {
    /// Checks every bound; see [`Config::validate`](crate::Config::validate).
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        const WINDOW: &str = "1 to 2^31 - 1 bytes";
        const POSITIVE: &str = "1 or more";
        const SOME_TIME: &str = "a duration above zero";
        let windows = &self.receive_window;
        let liveness = &self.liveness;
        let zero = Duration::ZERO;
        let checks = [
            (
                windows.initial > 0 && windows.initial <= ReceiveWindowPolicy::MAX,
                "limits.receive_window.initial",
                WINDOW,
            ),
            (
                windows.max <= ReceiveWindowPolicy::MAX,
                "limits.receive_window.max",
                "at most 2^31 - 1 bytes",
            ),
            (self.max_streams > 0, "limits.max_streams", POSITIVE),
            (self.max_frame > 0, "limits.max_frame", POSITIVE),
            (
                self.pending_rejections > 0,
                "limits.pending_rejections",
                POSITIVE,
            ),
            (self.open_timeout > zero, "limits.open_timeout", SOME_TIME),
            (
                self.settings_timeout > zero,
                "limits.settings_timeout",
                SOME_TIME,
            ),
            (
                liveness.heartbeat > zero,
                "limits.liveness.heartbeat",
                SOME_TIME,
            ),
            (liveness.probe > zero, "limits.liveness.probe", SOME_TIME),
            (liveness.ping > zero, "limits.liveness.ping", SOME_TIME),
            (liveness.answer > zero, "limits.liveness.answer", SOME_TIME),
        ];
        for (valid, field, expected) in checks {
            if !valid {
                return Err(ConfigError::new(field, expected));
            }
        }
        Ok(())
    }
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
