//! Gauges that are read when they are asked for: what somebody else counts anyway need not be counted again.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use prometheus::IntGaugeVec;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

type Read = Box<dyn Fn(&IntGaugeVec) + Send + Sync>;

/// A metric whose gauges are set at each scrape.
#[derive(Clone)]
pub(crate) struct PulledGauges {
    gauges: IntGaugeVec,
    read: Arc<ArcSwapOption<Read>>,
}

// === impl PulledGauges ===

impl PulledGauges {
    pub(super) fn new(gauges: IntGaugeVec) -> Self {
        PulledGauges {
            gauges,
            read: Arc::default(),
        }
    }

    /// From now on `read` sets the gauges, in place of who did before.
    pub(super) fn read_by(&self, read: impl Fn(&IntGaugeVec) + Send + Sync + 'static) {
        self.read.store(Some(Arc::new(Box::new(read))));
    }
}

impl Collector for PulledGauges {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some(read) = &*self.read.load() {
            read(&self.gauges);
        }
        self.gauges.collect()
    }
}

impl fmt::Debug for PulledGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PulledGauges")
    }
}
