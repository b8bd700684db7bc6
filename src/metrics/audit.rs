//! What becomes of audit events: counted by event, and by what happened to their line.

use super::catalogue::Registrar;
use super::sharded::{ShardedCounter, ShardedCounterVec};
use crate::audit::Event;

/// The metrics of the audit trail.
#[derive(Debug, Clone)]
pub(super) struct AuditMetrics {
    events: ShardedCounterVec,
    lines: ShardedCounterVec,
}

// === impl AuditMetrics ===

impl AuditMetrics {
    pub(super) fn register(to: &mut Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(AuditMetrics {
            events: to.sharded_counters(
                "audit_events_total",
                &["event"],
                "Audit events, by event, whether or not their line was written.",
            )?,
            lines: to.sharded_counters(
                "audit_lines_total",
                &["result"],
                "Audit lines: `written` to the log, `suppressed` in a flood and summed up, or, of those written, `lost` because the log could not take them: a full disk.",
            )?,
        })
    }

    pub(super) fn counts(&self) -> AuditCounts {
        AuditCounts {
            events: Event::ALL.map(|event| self.events.counter(&[event.name()])),
            written: self.lines.counter(&["written"]),
            suppressed: self.lines.counter(&["suppressed"]),
            lost: self.lines.counter(&["lost"]),
        }
    }
}

/// The counters of one audit log.
#[derive(Debug)]
pub(crate) struct AuditCounts {
    events: [ShardedCounter; Event::ALL.len()],
    written: ShardedCounter,
    suppressed: ShardedCounter,
    #[cfg_attr(
        not(feature = "server"),
        expect(
            dead_code,
            reason = "a backend's own subscriber knows what becomes of its lines"
        )
    )]
    lost: ShardedCounter,
}

// === impl AuditCounts ===

impl AuditCounts {
    pub(crate) fn written(&self, event: Event) {
        self.events[event as usize].inc();
        self.written.inc();
    }

    pub(crate) fn suppressed(&self, event: Event) {
        self.events[event as usize].inc();
        self.suppressed.inc();
    }

    /// A line that was counted as written could not be.
    #[cfg(feature = "server")]
    pub(crate) fn lost(&self) {
        self.lost.inc();
    }
}
