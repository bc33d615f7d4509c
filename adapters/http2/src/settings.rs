//! What a connection is made with.

use std::time::Duration;

use crate::budget::WindowBudget;

const KIB: u32 = 1 << 10;
const MIB: u32 = 1 << 20;

/// The largest window that HTTP/2 has.
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// What HTTP/2 allows for `SETTINGS_MAX_FRAME_SIZE`.
const MIN_FRAME: u32 = 16 * KIB;
const MAX_FRAME: u32 = 16 * MIB - 1;
/// How much larger than the window of a stream that of the connection is, at least.
const MIN_RATIO: u32 = 2;
/// Time between keepalive pings of a client. Stock grpc-go servers count one in less than 5
/// minutes as abuse.
const CLIENT_KEEPALIVE: Duration = Duration::from_secs(360);
/// Time between keepalive pings of a server, which no known peer minds.
const SERVER_KEEPALIVE: Duration = Duration::from_secs(60);

/// The settings of a connection, of a client's and of a server's.
///
/// There are two sets of defaults: [`tunnels`](Self::tunnels) for connections that carry tunnels,
/// between ends that know each other, and [`calls`](Self::calls) for connections of ordinary gRPC
/// clients and servers. Each field says what the defaults are, as "tunnels / calls" where they
/// differ. Values that HTTP/2 does not allow are moved to the nearest that it does.
///
/// ```
/// use grpctunnel_http2::{Keepalive, Settings};
/// use std::time::Duration;
///
/// let settings = Settings::tunnels()
///     .with_max_streams(64)
///     .with_keepalive(Keepalive::After(Duration::from_secs(30)));
/// assert_eq!(settings.max_streams, 64);
/// ```
///
/// # Memory
///
/// What a peer can make a connection hold, beyond what streams' readers have taken:
///
/// - payload that was not read: [`max_connection_window`](Self::max_connection_window);
/// - small frames that were not read: about [`small_frame_budget`](Self::small_frame_budget);
/// - heads and trailers: [`max_header_list`](Self::max_header_list) for each of
///   [`max_streams`](Self::max_streams) streams, and one list of three times
///   [`tolerated_header_list`](Self::tolerated_header_list);
/// - one incoming frame of [`max_frame_size`](Self::max_frame_size);
/// - what waits to be sent: [`send_buffer`](Self::send_buffer) and one chunk of its body for each
///   stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Bytes that a peer may send on a stream before they are read. 16 MiB / 256 KiB.
    ///
    /// It bounds what a stream carries in a round trip. It grows in proportion with the
    /// connection's window, where that grows.
    pub stream_window: u32,
    /// Bytes that a peer may send on all streams together before they are read, at first.
    /// 64 MiB / 1 MiB.
    ///
    /// A stream that nobody reads keeps its window out of the connection's, so the connection's is
    /// at least twice a stream's: with the defaults three calls that nobody reads do not delay a
    /// fourth.
    pub connection_window: u32,
    /// What the connection's window grows to, at most. 64 MiB / 16 MiB.
    ///
    /// It doubles when readers take a stream's window in less than 250 ms; what is not read makes
    /// nothing grow.
    pub max_connection_window: u32,
    /// What the windows of several connections may grow by together. No bound but each
    /// connection's own by default.
    pub window_budget: Option<WindowBudget>,
    /// Bytes of the largest frame that is taken, 16 KiB to 16 MiB. 256 KiB / 16 KiB.
    ///
    /// Large frames take fewer system calls. But h2 counts how many frames a header list takes
    /// against this size, and many peers split lists in 16 KiB whatever it is: with frames of
    /// 256 KiB a list above about 960 KiB ends the connection, with those of 48 KiB and less one
    /// above [`tolerated_header_list`](Self::tolerated_header_list).
    pub max_frame_size: u32,
    /// Bytes that small frames may cost beyond their payload before they are read. 64 MiB /
    /// 16 MiB.
    ///
    /// A DATA frame of less than 256 bytes costs what it lacks of them until it is read: about
    /// what it takes in memory beside its payload, so this is the bound on that memory.
    ///
    /// Above three quarters of it no more is received until readers have caught up, for 1 s at
    /// most. So a reader may be slower than its peer, as long as it reads. A connection that
    /// exceeds it nevertheless ends with `ENHANCE_YOUR_CALM`, all its calls with it, and an honest
    /// peer that streams one-byte messages to a reader that stops cannot know: for one such stream
    /// allow 42 times its window.
    pub small_frame_budget: usize,
    /// Bytes of a body that may wait below it to be written. 128 KiB.
    ///
    /// A body is asked for more when less than this waits, and one chunk more than this may. Small
    /// values leave the choice of what is sent next to the body, as a tunnel wants it.
    pub send_buffer: usize,
    /// Streams that a peer may have open at once, for servers. 1,024.
    ///
    /// Those above it are refused, and were never processed.
    pub max_streams: u32,
    /// Streams that a peer may have opened and reset before this end saw them, for servers. 1,024.
    ///
    /// An honest client that cancels many calls while this process is paused must stay below it;
    /// the connection ends above it. h2's own default is 20.
    pub max_reset_streams: usize,
    /// Bytes of a head or of trailers that a call may have, by HTTP/2's count (32 bytes a field
    /// beside its name and value). 1 MiB.
    ///
    /// Above it that call alone fails: a server answers RESOURCE_EXHAUSTED, a client gets
    /// [`ErrorKind::HeadersTooLarge`](crate::ErrorKind::HeadersTooLarge).
    pub max_header_list: usize,
    /// Bytes of a head or of trailers that end the connection, at least as many as
    /// [`max_header_list`](Self::max_header_list). 4 MiB.
    ///
    /// It is told to peers as three times this, since what is longer than what they are told
    /// cannot be answered well.
    pub tolerated_header_list: u32,
    /// How long the peer may take to show that it speaks HTTP/2. 10 s.
    pub handshake_timeout: Duration,
    /// How long nothing may be received before a keepalive ping is sent.
    pub keepalive: Keepalive,
    /// How long nothing may be received after a keepalive ping before the connection is given up.
    /// 20 s.
    pub keepalive_timeout: Duration,
    /// Whether keepalive pings are sent while no stream is open. They are.
    pub keepalive_while_idle: bool,
    /// Whether to ask for a sign of life when calls are open and nothing is received. Not by
    /// default.
    pub silence_ping: Option<SilencePing>,
    /// How long a connection may have no stream before it is ended with GOAWAY, for servers. No
    /// limit by default.
    pub idle_timeout: Option<Duration>,
}

/// When keepalive pings are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keepalive {
    /// After 6 minutes for clients, since stock grpc-go servers end a connection that pings more
    /// than once in five; after 1 minute for servers, which no known peer minds.
    #[default]
    ByRole,
    /// After this long.
    After(Duration),
    /// Never: a peer that vanishes is noticed by nobody.
    Never,
}

impl Keepalive {
    /// How long nothing may be received by this end before it pings.
    #[must_use]
    pub const fn after(self, role: Role) -> Option<Duration> {
        match (self, role) {
            (Self::After(silence), _) => Some(silence),
            (Self::Never, _) => None,
            (Self::ByRole, Role::Client) => Some(CLIENT_KEEPALIVE),
            (Self::ByRole, Role::Server) => Some(SERVER_KEEPALIVE),
        }
    }
}

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that makes calls.
    Client,
    /// The end that handles them.
    Server,
}

/// When a connection on which calls wait asks its peer for a sign of life.
///
/// Unlike keepalive it never ends the connection: it only tells, by
/// [`Connection::is_responsive`](crate::Connection::is_responsive), that new calls are better made
/// elsewhere. It pings only beside calls, and seldom, so that strict servers take no offence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SilencePing {
    /// How long nothing must have been received while a call is open.
    pub after: Duration,
    /// The time between two such pings, at least. Stock grpc-go servers end a connection that
    /// pings more than once in 5 minutes.
    pub at_most_every: Duration,
    /// How long the answer may take before the connection counts as not responsive.
    pub timeout: Duration,
}

impl Default for SilencePing {
    /// After 10 s, at most one in 5 minutes, 10 s for the answer.
    fn default() -> Self {
        Self {
            after: Duration::from_secs(10),
            at_most_every: Duration::from_secs(300),
            timeout: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// For connections that carry tunnels: large windows and frames, since all calls of a tunnel
    /// share one stream, and flow control inside the tunnel bounds the memory of each.
    #[must_use]
    pub const fn tunnels() -> Self {
        Self {
            stream_window: 16 * MIB,
            connection_window: 64 * MIB,
            max_connection_window: 64 * MIB,
            window_budget: None,
            max_frame_size: 256 * KIB,
            small_frame_budget: 64 << 20,
            send_buffer: 128 << 10,
            max_streams: 1_024,
            max_reset_streams: 1_024,
            max_header_list: 1 << 20,
            tolerated_header_list: 4 * MIB,
            handshake_timeout: Duration::from_secs(10),
            keepalive: Keepalive::ByRole,
            keepalive_timeout: Duration::from_secs(20),
            keepalive_while_idle: true,
            silence_ping: None,
            idle_timeout: None,
        }
    }

    /// For connections of ordinary gRPC clients and servers: windows that start small and grow
    /// while readers keep up, and frames of the size that every HTTP/2 peer uses.
    #[must_use]
    pub fn calls() -> Self {
        Self {
            stream_window: 256 * KIB,
            connection_window: MIB,
            max_connection_window: 16 * MIB,
            max_frame_size: MIN_FRAME,
            small_frame_budget: 16 << 20,
            ..Self::tunnels()
        }
    }

    pub(crate) fn frame_size(&self) -> u32 {
        self.max_frame_size.clamp(MIN_FRAME, MAX_FRAME)
    }

    /// The windows of a stream and of the connection, and what the latter grows to.
    pub(crate) fn windows(&self) -> (u32, u32, u32) {
        let stream = self.stream_window.min(MAX_WINDOW / MIN_RATIO);
        let connection = self.connection_window.clamp(stream * MIN_RATIO, MAX_WINDOW);
        let max = self.max_connection_window.clamp(connection, MAX_WINDOW);
        (stream, connection, max)
    }

    /// The bytes of a header block on the wire above which the connection is given up.
    pub(crate) fn max_header_block(&self) -> usize {
        (self.tolerated_header_list as usize).max(self.max_header_list)
    }

    /// What h2 is told to decode. A list that h2 cut short without saying so must still be seen to
    /// be too long. It stores fields until the first that exceeds this size; no field is longer
    /// than 8/5 of the block (Huffman's shortest code has 5 bits), so at least 7/5 of
    /// `max_header_block` was stored, more than `max_header_list`.
    pub(crate) fn decoded_header_list(&self) -> u32 {
        u32::try_from(self.max_header_block().saturating_mul(3)).unwrap_or(u32::MAX)
    }
}

/// A method for each field that takes its value.
macro_rules! setters {
    ($($method:ident: $field:ident: $type:ty),* $(,)?) => {
        impl Settings {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $method(self, $field: $type) -> Self {
                    Self { $field, ..self }
                }
            )*
        }
    };
}

setters! {
    with_stream_window: stream_window: u32,
    with_connection_window: connection_window: u32,
    with_max_connection_window: max_connection_window: u32,
    with_window_budget: window_budget: Option<WindowBudget>,
    with_max_frame_size: max_frame_size: u32,
    with_small_frame_budget: small_frame_budget: usize,
    with_send_buffer: send_buffer: usize,
    with_max_streams: max_streams: u32,
    with_max_reset_streams: max_reset_streams: usize,
    with_max_header_list: max_header_list: usize,
    with_tolerated_header_list: tolerated_header_list: u32,
    with_handshake_timeout: handshake_timeout: Duration,
    with_keepalive: keepalive: Keepalive,
    with_keepalive_timeout: keepalive_timeout: Duration,
    with_keepalive_while_idle: keepalive_while_idle: bool,
    with_silence_ping: silence_ping: Option<SilencePing>,
    with_idle_timeout: idle_timeout: Option<Duration>,
}

/// One of h2's builders, which have no trait in common, with what both ends have.
macro_rules! with_settings {
    ($builder:expr, $settings:expr) => {{
        let (stream_window, connection_window, _) = $settings.windows();
        let mut builder = $builder;
        builder
            .initial_window_size(stream_window)
            .initial_connection_window_size(connection_window)
            .max_frame_size($settings.frame_size())
            .max_header_list_size($settings.decoded_header_list())
            .max_send_buffer_size($settings.send_buffer.max(1))
            .data_frame_budget($settings.small_frame_budget)
            .max_concurrent_reset_streams($settings.max_reset_streams);
        builder
    }};
}
pub(crate) use with_settings;
