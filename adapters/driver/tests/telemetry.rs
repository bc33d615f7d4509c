//! Spans and counts, with the features `tracing` and `metrics`. One test: they are their process's.

#[cfg(test)]
mod common;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use common::service::{Seen, sample};
use common::{body_of, call_of, forward, make, smol_runtime, until};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

type Fields = BTreeMap<&'static str, String>;

/// Keeps the fields of spans, in the order of their making.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(Id, Fields)>>>);

impl Spans {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<(Id, Fields)>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the calls of a method ended with, as their spans at one end say.
    fn statuses(&self, method: &str, kind: &str) -> Vec<Option<String>> {
        let is_field = |fields: &Fields, name: &str, value: &str| {
            fields.get(name).is_some_and(|field| field == value)
        };
        self.with(|spans| {
            let of = spans.iter().map(|(_, fields)| fields).filter(|fields| {
                is_field(fields, "rpc.method", method) && is_field(fields, "otel.kind", kind)
            });
            of.map(|fields| fields.get("rpc.grpc.status_code").cloned())
                .collect()
        })
    }
}

/// Writes fields down.
struct Writer<'f>(&'f mut Fields);

impl Visit for Writer<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl<S: Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let mut fields = Fields::new();
        span.record(&mut Writer(&mut fields));
        self.with(|spans| spans.push((id.clone(), fields)));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.with(|spans| {
            // Ids are used again once a span is closed.
            let mut latest = spans.iter_mut().rev();
            if let Some((_, fields)) = latest.find(|(span, _)| span == id) {
                values.record(&mut Writer(fields));
            }
        });
    }
}

/// Counts so far, by name and side. A snapshot takes histograms and counters out.
#[derive(Default)]
struct Counts(BTreeMap<String, f64>);

impl Counts {
    fn add(&mut self, snapshotter: &Snapshotter) {
        for (key, _, _, value) in snapshotter.snapshot().into_vec() {
            let (_, key) = key.into_parts();
            let labels = key.labels().map(|label| format!(" {}", label.value()));
            let name = format!("{}{}", key.name(), labels.collect::<String>());
            match value {
                DebugValue::Counter(more) => *self.0.entry(name).or_default() += more as f64,
                DebugValue::Gauge(now) => drop(self.0.insert(name, now.into_inner())),
                DebugValue::Histogram(samples) => {
                    *self.0.entry(name).or_default() += samples.len() as f64;
                }
            }
        }
    }

    fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }
}

#[test]
fn calls_have_spans_and_tunnels_are_counted() {
    let spans = Spans::default();
    let registry = tracing_subscriber::registry().with(spans.clone());
    tracing::subscriber::set_global_default(registry).unwrap();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    let mut counts = Counts::default();

    smol::block_on(async {
        let seen = Arc::new(Seen::default());
        let channel = forward(&smol_runtime(), sample(seen.clone())).await;
        make(&channel, call_of("t.S/Unary", body_of(&[b"hello"]))).await;
        make(&channel, call_of("t.S/Fail", body_of(&[]))).await;
        make(&channel, call_of("t.S/FailLate", body_of(&[]))).await;
        let mut hanging = Box::pin(make(&channel, call_of("t.S/Hang", body_of(&[]))));
        futures_util::select_biased! {
            _ = futures_util::FutureExt::fuse(&mut hanging) => panic!("it does not hang"),
            () = futures_util::FutureExt::fuse(until(|| seen.started() == 4)) => {}
        }
        counts.add(&snapshotter);
        assert_eq!(counts.get("grpctunnel_tunnels_open client"), 1.0);
        assert_eq!(counts.get("grpctunnel_tunnels_open server"), 1.0);
        assert_eq!(counts.get("grpctunnel_calls_open server"), 1.0);

        // A caller that goes away has no status.
        drop(hanging);
        until(|| seen.dropped() == 1).await;
        channel.close();
        assert!(channel.closed().await.is_clean());
        drop(channel);
        let counts = Mutex::new(&mut counts);
        until(|| {
            let mut counts = counts.lock().unwrap();
            counts.add(&snapshotter);
            counts.get("grpctunnel_tunnels_open server") == 0.0
                && counts.get("grpctunnel_tunnels_open client") == 0.0
        })
        .await;
    });

    let ended = |code: &str| vec![Some(code.to_owned())];
    for kind in ["client", "server"] {
        assert_eq!(spans.statuses("Unary", kind), ended("0"), "{kind}");
        assert_eq!(spans.statuses("Fail", kind), ended("5"), "{kind}");
        assert_eq!(spans.statuses("FailLate", kind), ended("5"), "{kind}");
        assert_eq!(spans.statuses("Hang", kind), [None], "{kind}");
    }
    spans.with(|spans| {
        let (_, fields) = spans.first().unwrap();
        assert_eq!(fields["rpc.system"], "grpc");
        assert_eq!(fields["rpc.service"], "t.S");
        assert_eq!(fields["otel.name"], "t.S/Unary");
    });
    for side in ["client", "server"] {
        for (name, count) in [
            ("tunnels_total", 1.0),
            ("calls_total", 4.0),
            ("calls_open", 0.0),
            ("calls_broken_total", 0.0),
        ] {
            let name = format!("grpctunnel_{name} {side}");
            assert_eq!(counts.get(&name), count, "{name}");
        }
        assert!(counts.get(&format!("grpctunnel_sent_bytes_total {side}")) > 0.0);
    }
    let (sent, received) = (
        counts.get("grpctunnel_sent_bytes_total client"),
        counts.get("grpctunnel_received_bytes_total server"),
    );
    assert_eq!(sent, received);
    assert_eq!(
        counts.get("grpctunnel_tunnels_ended_total client Finished"),
        1.0
    );
    assert_eq!(
        counts.get("grpctunnel_tunnels_ended_total server CarrierFinished"),
        1.0
    );
}
