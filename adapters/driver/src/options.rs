//! The settings of a tunnel.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use grpctunnel_core::wire::{BinDialect, ExtensionSet};
use grpctunnel_core::{Config, Limits, MethodKind, ReceiveWindowPolicy};
use http::Uri;
use http::uri::Authority;

use crate::budget::MemoryBudget;
use crate::grpc::status::Status;

/// The settings of one end of a tunnel. Every field has a default that suits known peers, and a
/// method `with_...` that sets it.
///
/// ```
/// use grpctunnel_driver::{Extension, ExtensionSet, Options};
/// use std::time::Duration;
///
/// let options = Options::default()
///     .with_limits(|limits| limits.max_streams = 100)
///     .with_extensions(ExtensionSet::ALL.without(Extension::Ping))
///     .with_max_wait(Duration::from_secs(1));
/// assert_eq!(options.limits.max_streams, 100);
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
    /// headers late. Then nothing is negotiated, and the tunnel may carry calls at once. Such a
    /// server cannot be detected. Default: false.
    pub old_peer: bool,
    /// The extensions that this end offers; one is in effect where the peer offers it as well, see
    /// [`Channel::extensions`](crate::Channel::extensions). Other implementations offer none.
    /// Default: all.
    pub extensions: ExtensionSet,
    /// Scheme and authority of the request that opens a tunnel. Needed if the carrier adds none of
    /// its own, as hyper's connections do not. Default: none.
    pub origin: Option<Uri>,
    /// The authority in the URI that handlers see of a call whose own did not come: the caller set
    /// none, or the extension `TRANSPARENT`, which carries it, is not in effect. With none the URI
    /// is a path alone. Default: `localhost`.
    pub authority: Option<Authority>,
    /// The kinds of methods, as far as they are known.
    pub method_kinds: MethodKinds,
    /// How the values of `-bin` metadata are written in the protocol's strings, where the extension
    /// `RAW_METADATA` is not in effect. Default: as the Go implementation does.
    pub bin_dialect: BinDialect,
    /// Keys of `-bin` metadata that are dropped, and counted, if their value cannot be carried: it is
    /// not UTF-8, and `RAW_METADATA` is not in effect. Any other such value fails its call: with
    /// INVALID_ARGUMENT in a request, with INTERNAL in a response. Default: `grpc-trace-bin`, `grpc-tags-bin`.
    pub drop_bin: Vec<String>,
    /// Bytes of frames that are gathered into one HTTP/2 DATA frame, roughly. Default: 64 KiB.
    pub batch: usize,
    /// Bytes of messages that may wait to be sent on one stream before its sender is held back;
    /// each message counts 16 bytes more than its size. Default: 64 KiB.
    pub send_queue: usize,
    /// The same for all streams of a tunnel together. Beyond it each sender is held back until
    /// nothing waits on its own stream, so calls that are not read slow others down but stop none.
    /// Default: 4 MiB, the queues of 64 streams.
    pub tunnel_send_queue: usize,
    /// A bound on the bytes that wait in this tunnel and in all others with the same budget.
    /// Default: none.
    pub budget: Option<MemoryBudget>,
    /// Calls of one tunnel that may wait until there is room for them: `limits.max_streams` are
    /// open. One more fails with RESOURCE_EXHAUSTED. Default: 1,024.
    pub max_waiting: usize,
    /// How long such a call may wait, if its deadline does not come first. Then it fails with
    /// RESOURCE_EXHAUSTED. Default: 5 s.
    pub max_wait: Duration,
    /// Tunnels of a [`TunnelService`](crate::TunnelService) that are not over, of both directions. One
    /// more is refused with RESOURCE_EXHAUSTED. Default: 65,536.
    pub max_tunnels: usize,
    /// Tunnels of a [`TunnelService`](crate::TunnelService) that may be accepted and not settled
    /// yet. One more is refused with RESOURCE_EXHAUSTED. Default: 1,024.
    pub max_unsettled: usize,
    /// How long nothing may come after a call has left before the peer is asked for a sign of life,
    /// once. Default: 1 s.
    pub ask_after: Duration,
    /// How long nothing may come after that before the tunnel counts as not responsive; see
    /// [`TunnelState::responsive`](crate::TunnelState::responsive). The tunnel ends by
    /// `limits.liveness` only. Default: 2 s.
    pub doubt_after: Duration,
    /// How long a tunnel server waits for the half-close before it sends the OK of a method that is
    /// known not to be bidi. Default: 10 s.
    pub hold_known: Duration,
    /// The same for a method of unknown kind. Default: 1 s.
    pub hold_unknown: Duration,
    /// How long the peer may accept no bytes while there are some to send before the tunnel is
    /// aborted. It is noticed when the carrier asks for the next `batch`, so a link slower than one
    /// `batch` in this time (1.1 KB/s with the defaults) needs a smaller one. Default: 60 s.
    pub stall: Duration,
    /// The same for a tunnel on revision zero, where one slow reader stops all calls. At a tunnel
    /// server: one whose client does not negotiate, or without `flow_control`. Default: 10 min.
    pub stall_revision_zero: Duration,
    /// The id of the first call of a tunnel client; later ones count up from it. After `i64::MAX`
    /// calls fail with UNAVAILABLE. Default: 1, as other implementations.
    pub first_stream_id: i64,
    /// Finds the gRPC status in an error of a handler or of its response body. Where it finds none,
    /// a [`Status`] among the error's sources counts; an error without one becomes UNAVAILABLE, and
    /// the caller is told the error without its sources, in one line of at most 256 bytes.
    /// Default: finds none.
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
            extensions: ExtensionSet::ALL,
            origin: None,
            authority: Some(Authority::from_static("localhost")),
            method_kinds: MethodKinds::default(),
            bin_dialect: BinDialect::Utf8Bytes,
            drop_bin: vec!["grpc-trace-bin".to_owned(), "grpc-tags-bin".to_owned()],
            batch: 64 << 10,
            send_queue: 64 << 10,
            tunnel_send_queue: 4 << 20,
            budget: None,
            max_waiting: 1_024,
            max_wait: Duration::from_secs(5),
            max_tunnels: 65_536,
            max_unsettled: 1_024,
            ask_after: Duration::from_secs(1),
            doubt_after: Duration::from_secs(2),
            hold_known: Duration::from_secs(10),
            hold_unknown: Duration::from_secs(1),
            stall: Duration::from_secs(60),
            stall_revision_zero: Duration::from_secs(600),
            first_stream_id: 1,
            status_of_error: None,
        }
    }
}

/// A method for each field that takes its value.
macro_rules! setters {
    ($($method:ident: $field:ident: $type:ty),* $(,)?) => {
        impl Options {
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
    with_flow_control: flow_control: bool,
    with_old_peer: old_peer: bool,
    with_extensions: extensions: ExtensionSet,
    with_origin: origin: Option<Uri>,
    with_authority: authority: Option<Authority>,
    with_method_kinds: method_kinds: MethodKinds,
    with_bin_dialect: bin_dialect: BinDialect,
    with_drop_bin: drop_bin: Vec<String>,
    with_batch: batch: usize,
    with_send_queue: send_queue: usize,
    with_tunnel_send_queue: tunnel_send_queue: usize,
    with_budget: budget: Option<MemoryBudget>,
    with_max_waiting: max_waiting: usize,
    with_max_wait: max_wait: Duration,
    with_max_tunnels: max_tunnels: usize,
    with_max_unsettled: max_unsettled: usize,
    with_ask_after: ask_after: Duration,
    with_doubt_after: doubt_after: Duration,
    with_hold_known: hold_known: Duration,
    with_hold_unknown: hold_unknown: Duration,
    with_stall: stall: Duration,
    with_stall_revision_zero: stall_revision_zero: Duration,
    with_first_stream_id: first_stream_id: i64,
    with_status_of_error: status_of_error: Option<fn(&(dyn Error + 'static)) -> Option<Status>>,
}

impl Options {
    /// Changes some of the [`limits`](Self::limits).
    #[must_use]
    pub fn with_limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::default();
        config.limits = self.limits.clone();
        config.flow_control = self.flow_control;
        config.extensions = self.extensions;
        config.first_stream_id = self.first_stream_id;
        config
    }
}

/// The kinds of methods by name. The protocol does not carry them. A [`MethodKind`] in the
/// `http::Extensions` of a request takes precedence.
///
/// For a method of known kind the tunnel enforces the number of messages, and knows whether to wait
/// for the half-close before an OK. Methods of unknown kind work, with nothing enforced.
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

    /// Without a method a field cannot be set in one expression, since the struct is
    /// `non_exhaustive`.
    #[test]
    fn each_field_has_a_method_that_sets_it() {
        let source = include_str!("options.rs");
        let (_, rest) = source.split_once("pub struct Options {").unwrap();
        let (fields, _) = rest.split_once("\n}").unwrap();
        let fields = fields.lines().filter_map(|line| {
            let field = line.strip_prefix("    pub ")?;
            field.split_once(':').map(|(name, _)| name)
        });
        let mut count = 0;
        for field in fields {
            let method = format!(" with_{field}");
            assert!(source.contains(&method), "no method {method}");
            count += 1;
        }
        assert!(count > 20, "{count}");
    }

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
