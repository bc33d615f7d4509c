//! The settings of a tunnel.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use grpctunnel_core::wire::BinDialect;
use grpctunnel_core::{Config, Limits, MethodKind, ReceiveWindowPolicy};
use http::Uri;
use http::uri::Authority;

use crate::status::Status;

/// The settings of one end of a tunnel. Every field has a default that suits known peers.
///
/// ```
/// use grpctunnel_driver::Options;
///
/// let mut options = Options::default();
/// options.flow_control = false;
/// assert_eq!(options.limits.max_streams, 1_024);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The bounds of the tunnel. Messages pass through in pieces, so `limits.max_message` is
    /// without limit here.
    pub limits: Limits,
    /// Whether this end speaks revision one, which has flow control. Default: true.
    pub flow_control: bool,
    /// Whether the network server is known to speak revision zero only and to send its response
    /// headers late: then nothing is negotiated and nothing is waited for. It is the only way to
    /// such a server, and never guessed. Default: false.
    pub old_peer: bool,
    /// What is put before the path of the request that opens a tunnel: scheme and authority.
    /// Needed where the carrier does not add its own, as hyper's connections do not. Default: none.
    pub origin: Option<Uri>,
    /// The authority that handlers see in the URI of a call; that of the caller does not travel.
    /// Default: `localhost`.
    pub authority: Authority,
    /// Which methods exchange messages how, where that is known.
    pub method_kinds: MethodKinds,
    /// How the values of `-bin` metadata are written in the protocol's strings. Default: as the
    /// Go implementation does.
    pub bin_dialect: BinDialect,
    /// Keys of `-bin` metadata that are dropped, and counted, if their value cannot be carried.
    /// Any other such value fails its call. Default: `grpc-trace-bin`, `grpc-tags-bin`.
    pub drop_bin: Vec<String>,
    /// Bytes of frames that are gathered into one HTTP/2 DATA frame, roughly. Default: 64 KiB.
    pub batch: usize,
    /// Bytes of messages that wait to be sent on one stream before its sender is held back; a
    /// message costs 16 bytes more than it has. Default: 64 KiB.
    pub send_queue: usize,
    /// The same for all streams of a tunnel together: from there on each sender is held back until
    /// nothing waits on its own stream. So a peer that does not read makes other calls take smaller
    /// steps, and stops none. Default: 4 MiB, the queues of 64 streams.
    pub tunnel_send_queue: usize,
    /// Tunnels that a [`TunnelService`](crate::TunnelService) has accepted and that are not settled
    /// yet, at once. One more is refused RESOURCE_EXHAUSTED. Default: 1,024.
    pub max_unsettled: usize,
    /// How long streams that are open may go on when a tunnel is drained because its last handle
    /// is gone. Default: 30 s.
    pub drain_limit: Duration,
    /// How long a tunnel server holds back the OK of a method whose kind is known, not bidi, until
    /// its client has half-closed. Default: 10 s.
    pub hold_known: Duration,
    /// The same for a method of unknown kind. Default: 1 s.
    pub hold_unknown: Duration,
    /// How long the peer may accept no byte while there is something to send before the tunnel is
    /// given up. It is seen when the carrier asks for the next `batch`, so a link that needs longer
    /// than this for one needs smaller ones: below some 1.1 KB/s with the defaults. Default: 60 s.
    pub stall: Duration,
    /// The same for a tunnel that is settled on revision zero, where a slow reader holds back
    /// everything; at a tunnel server one whose client does not negotiate, or without
    /// `flow_control`. Default: 10 min.
    pub stall_revision_zero: Duration,
    /// The id of the first call of a tunnel client; the next ones count up from it. Known clients
    /// begin with 1. When `i64::MAX` is used up, further calls are refused UNAVAILABLE. Default: 1.
    pub first_stream_id: i64,
    /// Finds the status in an error of a handler, or of the body of its response, where it has
    /// one. What has none is UNAVAILABLE. Default: none has.
    pub status_of_error: Option<fn(&(dyn Error + 'static)) -> Option<Status>>,
}

impl Default for Options {
    fn default() -> Self {
        let mut limits = Limits::default();
        limits.max_message = u32::MAX;
        limits.receive_window = ReceiveWindowPolicy::GROWING;
        Self {
            limits,
            flow_control: true,
            old_peer: false,
            origin: None,
            authority: Authority::from_static("localhost"),
            method_kinds: MethodKinds::default(),
            bin_dialect: BinDialect::Utf8Bytes,
            drop_bin: vec!["grpc-trace-bin".to_owned(), "grpc-tags-bin".to_owned()],
            batch: 64 << 10,
            send_queue: 64 << 10,
            tunnel_send_queue: 4 << 20,
            max_unsettled: 1_024,
            drain_limit: Duration::from_secs(30),
            hold_known: Duration::from_secs(10),
            hold_unknown: Duration::from_secs(1),
            stall: Duration::from_secs(60),
            stall_revision_zero: Duration::from_secs(600),
            first_stream_id: 1,
            status_of_error: None,
        }
    }
}

impl Options {
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        config.limits = self.limits.clone();
        config.flow_control = self.flow_control;
        config.first_stream_id = self.first_stream_id;
        config
    }
}

/// How methods exchange messages, by name. The wire does not say, and a call's
/// `http::Extensions` may: a [`MethodKind`] there goes before what is registered here.
///
/// Where the kind is known, the tunnel enforces the number of messages, and knows whether to hold
/// back an early OK. Where it is not, everything works, with nothing enforced.
#[derive(Clone, Debug, Default)]
pub struct MethodKinds {
    kinds: Arc<HashMap<String, MethodKind>>,
}

impl MethodKinds {
    /// The kind of a method; `Unknown` if it is not registered. `method` is `service/method`,
    /// with or without a slash in front.
    #[must_use]
    pub fn get(&self, method: &str) -> MethodKind {
        if self.kinds.is_empty() {
            return MethodKind::Unknown;
        }
        let method = method.strip_prefix('/').unwrap_or(method);
        self.kinds.get(method).copied().unwrap_or_default()
    }

    /// Whether none is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }
}

impl<M: Into<String>> FromIterator<(M, MethodKind)> for MethodKinds {
    /// Registers methods by name: `service/method`, with or without a slash in front.
    fn from_iter<I: IntoIterator<Item = (M, MethodKind)>>(methods: I) -> Self {
        let kinds = methods
            .into_iter()
            .map(|(method, kind)| {
                let method = method.into();
                let name = method.strip_prefix('/').unwrap_or(&method);
                (name.to_owned(), kind)
            })
            .collect();
        Self {
            kinds: Arc::new(kinds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_found_with_and_without_a_slash() {
        let kinds: MethodKinds = [("/a.B/C", MethodKind::Bidi), ("a.B/D", MethodKind::Unary)]
            .into_iter()
            .collect();
        assert_eq!(kinds.get("a.B/C"), MethodKind::Bidi);
        assert_eq!(kinds.get("/a.B/C"), MethodKind::Bidi);
        assert_eq!(kinds.get("/a.B/D"), MethodKind::Unary);
        assert_eq!(kinds.get("a.B/E"), MethodKind::Unknown);
    }
}
