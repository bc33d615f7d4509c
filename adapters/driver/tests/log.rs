//! What is written to a log, with the feature `tracing`. One test: it counts for its process.

#[cfg(test)]
mod common;

use std::fmt::{Debug, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use common::frames::{FromClient, Sent, client, message, new_stream};
use common::play::by_hand;
use common::tasks::Tasks;
use futures_util::FutureExt;
use grpctunnel_driver::Options;
use http_body_util::BodyExt;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The lines that were written.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("grpctunnel")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        kept().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{value:?} ");
    }
}

fn kept() -> MutexGuard<'static, Vec<String>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Frames of a tunnel client that do all kinds of wrong.
fn wrong(id: i64) -> [Sent; 5] {
    [
        // More than there is room for, and calls that are handled at once.
        client(id, new_stream("t.S/None", &[])),
        // Data that is no message, for a stream that ends by it or has ended.
        client(id, FromClient::MoreRequestData(Bytes::from_static(b"x"))),
        client(id, FromClient::RequestMessage(message(9, b"x"))),
        client(id, FromClient::Cancel(())),
        client(-5, FromClient::HalfClose(())),
    ]
}

#[test]
fn attack_a32_a_flood_of_errors_is_two_lines_a_tunnel() {
    tracing::subscriber::set_global_default(Lines).unwrap();

    let tasks = Tasks::default();
    let mut options = Options::default();
    options.limits.max_streams = 4;
    let (service, frames, mut carrier) = by_hand(&tasks.runtime(), options, &Default::default());
    let mut sent = 0;
    while service.tunnels() == 1 && sent < 10_000 {
        sent += 1;
        for frame in wrong(sent) {
            let _ = frames.try_send(frame);
        }
        if sent % 100 == 0 {
            while !frames.is_empty() && service.tunnels() == 1 {
                tasks.poll_all();
            }
            while carrier
                .frame()
                .now_or_never()
                .is_some_and(|frame| frame.is_some())
            {}
        }
    }
    assert!(sent >= 1_000, "the flood had {sent} calls");
    drop(frames);
    for _ in 0..100 {
        tasks.poll_all();
    }
    assert_eq!(service.tunnels(), 0);
    let lines = kept().len();
    assert_eq!(lines, 2);
}
