//! A span for each call, with the names of OpenTelemetry's conventions for RPC.
//!
//! At the end that makes the call the span lasts from the call to the end of its response, and is a
//! child of the caller's; at the end that handles it, it is what the handler runs in.

use std::future::Future;

use grpctunnel_core::Code;
#[cfg(feature = "tracing")]
use grpctunnel_core::Side;

use crate::tunnel::id::TunnelId;

#[cfg(feature = "tracing")]
fn span(side: Side, path: &str, tunnel: TunnelId) -> tracing::Span {
    let name = path.strip_prefix('/').unwrap_or(path);
    let (service, method) = name.rsplit_once('/').unwrap_or(("", name));
    let kind = match side {
        Side::Client => "client",
        Side::Server => "server",
    };
    tracing::info_span!(
        "call",
        otel.name = name,
        otel.kind = kind,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = tracing::field::Empty,
        grpctunnel.tunnel.id = %tunnel,
    )
}

/// The span of a call that this end makes.
#[derive(Debug, Default)]
pub(crate) struct CallSpan {
    #[cfg(feature = "tracing")]
    span: Option<tracing::Span>,
}

#[cfg_attr(
    not(feature = "tracing"),
    expect(
        unused_variables,
        clippy::unused_self,
        clippy::missing_const_for_fn,
        reason = "without tracing"
    )
)]
impl CallSpan {
    pub(crate) fn new(path: &str, tunnel: TunnelId) -> Self {
        Self {
            #[cfg(feature = "tracing")]
            span: Some(span(Side::Client, path, tunnel)),
        }
    }

    /// The call has ended.
    pub(crate) fn end(&mut self, code: Code) {
        #[cfg(feature = "tracing")]
        if let Some(span) = self.span.take() {
            span.record("rpc.grpc.status_code", code.as_i32());
        }
    }
}

/// The span of a call that this end handles.
#[derive(Debug)]
pub(crate) struct HandlerSpan {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl HandlerSpan {
    #[cfg_attr(
        not(feature = "tracing"),
        expect(
            unused_variables,
            clippy::missing_const_for_fn,
            reason = "without tracing"
        )
    )]
    pub(crate) fn new(path: &str, tunnel: TunnelId) -> Self {
        Self {
            #[cfg(feature = "tracing")]
            span: span(Side::Server, path, tunnel),
        }
    }

    /// The task of the call, in this span.
    pub(crate) fn around(
        self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        #[cfg(feature = "tracing")]
        let task = tracing::Instrument::instrument(task, self.span);
        task
    }
}

/// The call whose task runs was answered with this status.
#[cfg_attr(
    not(feature = "tracing"),
    expect(unused_variables, reason = "without tracing")
)]
pub(crate) fn answered(code: Code) {
    #[cfg(feature = "tracing")]
    tracing::Span::current().record("rpc.grpc.status_code", code.as_i32());
}
