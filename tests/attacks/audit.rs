//! What is written down while something happens: the audit lines of this thread.

use std::io;
use std::sync::mpsc::{Sender, channel};

/// What `action` gave, and the lines that it caused.
pub(crate) fn lines_of<T>(action: impl FnOnce() -> T) -> (T, Vec<String>) {
    let (sender, lines) = channel();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || Line(sender.clone()))
        .finish();
    let outcome = tracing::subscriber::with_default(subscriber, action);
    let lines: Vec<String> = lines.into_iter().collect();
    let audited = |line: &String| line.contains(keywheel::audit::TARGET);
    (outcome, lines.into_iter().filter(audited).collect())
}

/// One event; tracing's formatter writes it at once.
struct Line(Sender<String>);

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes).into_owned();
        self.0.send(line).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
