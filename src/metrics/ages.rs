//! How old fetched documents are, computed when it is asked for: an age that had to be set would stand still when fetching does.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::GaugeVec;
use prometheus::core::Collector;

use crate::clock::Clock;
use crate::verify::source::SourceState;

/// One gauge of ages, by issuer; of several documents of one issuer, the oldest counts.
#[derive(Debug, Clone)]
pub(super) struct Ages {
    gauges: GaugeVec,
    sources: Arc<ArcSwap<Vec<WatchedSource>>>,
}

#[derive(Clone)]
struct WatchedSource {
    issuer: String,
    /// Weak: a metric must not keep the source of a verifier that is gone.
    state: Weak<ArcSwap<SourceState>>,
    clock: Arc<dyn Clock>,
}

// === impl Ages ===

impl Ages {
    pub(super) fn new(gauges: GaugeVec) -> Self {
        Ages {
            gauges,
            sources: Arc::default(),
        }
    }

    /// From now on the age of this source is shown.
    pub(super) fn watch(
        &self,
        issuer: &str,
        state: &Arc<ArcSwap<SourceState>>,
        clock: &Arc<dyn Clock>,
    ) {
        self.sources.rcu(|sources| {
            let living = sources
                .iter()
                .filter(|source| source.state.strong_count() > 0);
            let mut sources: Vec<WatchedSource> = living.cloned().collect();
            sources.push(WatchedSource {
                issuer: issuer.into(),
                state: Arc::downgrade(state),
                clock: clock.clone(),
            });
            sources
        });
    }
}

impl Collector for Ages {
    fn desc(&self) -> Vec<&prometheus::core::Desc> {
        self.gauges.desc()
    }

    fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
        let mut oldest: Vec<(&str, Duration)> = Vec::new();
        let sources = self.sources.load();
        for source in sources.iter() {
            let Some(age) = source.age() else {
                continue;
            };
            match oldest
                .iter_mut()
                .find(|(issuer, _)| *issuer == source.issuer)
            {
                Some((_, known)) => *known = age.max(*known),
                None => oldest.push((&source.issuer, age)),
            }
        }
        for (issuer, age) in oldest {
            let gauge = self.gauges.with_label_values(&[issuer]);
            gauge.set(age.as_secs_f64());
        }
        self.gauges.collect()
    }
}

// === impl WatchedSource ===

impl WatchedSource {
    /// `None` before the first success, and when the source is gone.
    fn age(&self) -> Option<Duration> {
        let last_success = self.state.upgrade()?.load().last_success?;
        Some(self.clock.monotonic().saturating_sub(last_success))
    }
}

impl std::fmt::Debug for WatchedSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.issuer)
    }
}
