//! The form of lines, whatever is in them.

use std::{
    io,
    sync::{Arc, Mutex},
};

use super::*;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is written of something that happens.
fn written(format: Format, happens: impl FnOnce()) -> String {
    let written = Written::default();
    let to = written.clone();
    let settings = LogSettings {
        format,
        level: Level::INFO,
    };
    let subscriber = Registry::default().with(lines(settings, move || to.clone()));
    tracing::subscriber::with_default(subscriber, happens);
    let bytes = written.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// An escape sequence, a line end, a tab, its 8-bit introducer, and a change of direction.
const HOSTILE: &str = "a\x1b[2J\r\nERROR b\t\u{9b}2J\u{202e}c\"";

#[test]
fn what_a_peer_chose_stays_in_its_line_and_is_shown_as_it_is() {
    for format in [Format::Human, Format::Json] {
        let line = written(format, || {
            tracing::warn!(why = HOSTILE, peer = HOSTILE.to_owned(), "call failed");
        });
        let line = line.strip_suffix('\n').unwrap();
        let is_shown = |letter: char| letter == ' ' || letter.is_ascii_graphic();
        assert!(line.chars().all(is_shown), "{format:?}: {line:?}");
        assert!(line.contains("call failed"), "{line}");
    }
    let line = written(Format::Json, || {
        tracing::warn!(why = HOSTILE, "call failed")
    });
    let fields: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(fields["why"], HOSTILE);
}

#[test]
fn a_text_of_the_program_is_one_line() {
    let line = written(Format::Human, || info(HOSTILE));
    assert_eq!(line.trim_end().lines().count(), 1, "{line:?}");
    assert!(line.contains(" INFO a\\u{1b}[2J\\r\\nERROR b"), "{line:?}");
}

#[test]
fn what_libraries_say_is_left_out() {
    let line = written(Format::Human, || tracing::error!(target: "h2", "noise"));
    assert_eq!(line, "");
}

#[test]
fn lines_beyond_the_rate_are_counted_and_told_once() {
    let limit = limit::Limit::new();
    let admitted = (0..1_000).filter_map(|_| limit.admit());
    let (mut lines, mut told) = (0, 0);
    for left_out in admitted {
        lines += 1;
        told += left_out;
    }
    // There would be a line for each in 50 seconds.
    assert!((1..1_000).contains(&lines), "{lines}");
    assert_eq!(lines + told + limit.left_out(), 1_000);
}
