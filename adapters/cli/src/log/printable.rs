//! JSON whose texts a terminal can show: what is not printable, or changes the direction of text, is
//! escaped beyond what JSON demands.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use tracing_subscriber::fmt::MakeWriter;

/// A writer of whole lines of JSON.
pub(super) struct Printable<W>(pub(super) W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Printable<W> {
    type Writer = Printable<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Printable(self.0.make_writer())
    }
}

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let mut escaped = String::with_capacity(text.len());
        for letter in text.chars() {
            if matches!(letter, '\n' | ' '..='~') || !is_special(letter) {
                escaped.push(letter);
                continue;
            }
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
        self.0.write_all(escaped.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether it would be escaped for debugging.
fn is_special(letter: char) -> bool {
    letter.escape_debug().len() > 1
}
