//! Where log lines go: stderr, where a full disk or a reader that has gone away is no reason to stop serving. What could not be
//! written is counted, and told as soon as something can be written again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use crate::audit;
use crate::clock::{Clock as _, SystemClock};
use crate::metrics::{AuditCounts, Metrics};
use crate::printable;

/// What became of the lines of this process' log. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct LogLosses {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Lines that were lost and not told of yet.
    untold: AtomicU64,
    /// Whether the last line broke off.
    torn: AtomicBool,
    /// Audit lines lost before there was anything to count them.
    uncounted: AtomicU64,
    counts: ArcSwapOption<AuditCounts>,
}

// === impl LogLosses ===

impl LogLosses {
    /// From now on, losses of audit lines are counted there; and those so far.
    pub(crate) fn counted(&self, metrics: &Metrics) {
        let counts = metrics.audit_counts();
        (0..self.inner.uncounted.swap(0, Ordering::Relaxed)).for_each(|_| counts.lost());
        self.inner.counts.store(Some(Arc::new(counts)));
    }

    /// Writes one line to `out`, after what is to be told of those before it.
    fn put(&self, out: &mut impl Write, line: &[u8], is_audit: bool) {
        let written = self.tell(out).and_then(|()| self.write(out, line));
        if written.is_err() {
            self.inner.untold.fetch_add(1, Ordering::Relaxed);
            if is_audit {
                self.lost();
            }
        }
    }

    fn tell(&self, out: &mut impl Write) -> io::Result<()> {
        let untold = self.inner.untold.swap(0, Ordering::Relaxed);
        if untold == 0 {
            return Ok(());
        }
        let mut told = audit::lines_lost(SystemClock.now(), untold);
        told.push('\n');
        self.write(out, told.as_bytes()).inspect_err(|_| {
            self.inner.untold.fetch_add(untold, Ordering::Relaxed);
        })?;
        if let Some(counts) = &*self.inner.counts.load() {
            counts.written(audit::Event::LinesLost);
        }
        Ok(())
    }

    /// The whole line, on a line of its own even after one that broke off.
    fn write(&self, out: &mut impl Write, line: &[u8]) -> io::Result<()> {
        if self.inner.torn.load(Ordering::Relaxed) {
            out.write_all(b"\n")?;
            self.inner.torn.store(false, Ordering::Relaxed);
        }
        let mut rest = line;
        while !rest.is_empty() {
            let written = match out.write(rest) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                written => written,
            };
            let is_torn = rest.len() < line.len();
            let written = written.inspect_err(|_| {
                self.inner.torn.fetch_or(is_torn, Ordering::Relaxed);
            })?;
            rest = &rest[written..];
        }
        Ok(())
    }

    fn lost(&self) {
        match &*self.inner.counts.load() {
            Some(counts) => counts.lost(),
            None => {
                self.inner.uncounted.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl<'a> MakeWriter<'a> for LogLosses {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter {
            losses: self,
            is_audit: false,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> LineWriter<'a> {
        LineWriter {
            losses: self,
            is_audit: metadata.target() == audit::TARGET,
        }
    }
}

/// Takes one line, and never fails: `tracing_subscriber` would tell of a failure on stderr, and panic where that fails too.
pub(crate) struct LineWriter<'a> {
    losses: &'a LogLosses,
    is_audit: bool,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The formats escape what is ASCII; the rest of what a terminal would act on is spelt out here.
        let shown = match std::str::from_utf8(line) {
            Ok(text) if !text.is_ascii() => printable::beyond_ascii(text),
            _ => String::from_utf8_lossy(line),
        };
        self.losses
            .put(&mut io::stderr().lock(), shown.as_bytes(), self.is_audit);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many bytes.
    struct Disk {
        written: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= fits;
            self.written.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_took_is_counted_and_told_when_it_has_room_again() {
        let losses = LogLosses::default();
        let metrics = Metrics::new().unwrap();
        let mut disk = Disk {
            written: Vec::new(),
            room: 9,
        };
        losses.put(&mut disk, b"first\n", true);
        // Breaks off after three bytes, and counts although nothing counts yet.
        losses.put(&mut disk, b"second\n", true);
        losses.counted(&metrics);
        losses.put(&mut disk, b"third\n", true);
        losses.put(&mut disk, b"fourth, not for the audit trail\n", false);
        disk.room = 1000;
        losses.put(&mut disk, b"fifth\n", true);
        losses.put(&mut disk, b"sixth\n", true);

        let text = String::from_utf8(disk.written).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["first", "sec"]);
        let told: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
        assert_eq!(told["event"], "lines_lost");
        assert_eq!(told["detail"], "3 lines of the log could not be written");
        assert_eq!(lines[3..], ["fifth", "sixth"]);
        let rendered = metrics.render();
        for line in [
            r#"keywheel_audit_lines_total{result="lost"} 2"#,
            r#"keywheel_audit_events_total{event="lines_lost"} 1"#,
        ] {
            assert!(rendered.contains(line), "{line}: {rendered}");
        }
    }
}
