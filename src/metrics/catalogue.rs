//! Makes, registers and lists every metric in one step, so that none is made and not served, and none served and not listed.

use prometheus::core::{Collector, Desc};
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
};
#[cfg(feature = "server")]
use prometheus::{Histogram, IntGauge};

use super::ages::Ages;
use super::histogram::ShardedHistogramVec;
#[cfg(feature = "server")]
use super::pulled::PulledGauges;
use super::sharded::ShardedCounterVec;

/// Before every name.
const PREFIX: &str = "keywheel_";

/// One metric, whether or not it has a series yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// With its prefix.
    pub name: String,
    /// What its values are.
    pub kind: Kind,
    /// The names of its labels, in alphabetical order.
    pub labels: Vec<String>,
    /// What it counts, in which unit, and what a rise means.
    pub help: String,
}

/// The types of Prometheus' text format that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever rises, but for a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper bounds.
    Histogram,
}

// === impl Kind ===

impl Kind {
    /// As in a `# TYPE` line.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Registers metrics and keeps the list of them.
pub(super) struct Registrar<'r> {
    registry: &'r Registry,
    listed: Vec<Described>,
}

type Made<T> = Result<T, prometheus::Error>;

// === impl Registrar ===

impl<'r> Registrar<'r> {
    pub(super) fn new(registry: &'r Registry) -> Self {
        Registrar {
            registry,
            listed: Vec::new(),
        }
    }

    pub(super) fn into_list(self) -> Vec<Described> {
        self.listed
    }

    fn add<C: Collector + Clone + 'static>(&mut self, kind: Kind, collector: C) -> Made<C> {
        self.registry.register(Box::new(collector.clone()))?;
        let described = collector
            .desc()
            .into_iter()
            .map(|desc| describe(desc, kind));
        self.listed.extend(described);
        Ok(collector)
    }

    pub(super) fn counters(
        &mut self,
        name: &str,
        labels: &[&str],
        help: &str,
    ) -> Made<IntCounterVec> {
        self.add(Kind::Counter, IntCounterVec::new(opts(name, help), labels)?)
    }

    pub(super) fn sharded_counters(
        &mut self,
        name: &str,
        labels: &[&str],
        help: &str,
    ) -> Made<ShardedCounterVec> {
        let exposed = IntCounterVec::new(opts(name, help), labels)?;
        self.add(Kind::Counter, ShardedCounterVec::new(exposed))
    }

    pub(super) fn gauges(&mut self, name: &str, labels: &[&str], help: &str) -> Made<IntGaugeVec> {
        self.add(Kind::Gauge, IntGaugeVec::new(opts(name, help), labels)?)
    }

    pub(super) fn float_gauges(
        &mut self,
        name: &str,
        labels: &[&str],
        help: &str,
    ) -> Made<GaugeVec> {
        self.add(Kind::Gauge, GaugeVec::new(opts(name, help), labels)?)
    }

    pub(super) fn ages(&mut self, name: &str, help: &str) -> Made<Ages> {
        let gauges = GaugeVec::new(opts(name, help), &["issuer"])?;
        self.add(Kind::Gauge, Ages::new(gauges))
    }

    pub(super) fn histograms(
        &mut self,
        name: &str,
        labels: &[&str],
        bounds: &[f64],
        help: &str,
    ) -> Made<HistogramVec> {
        let opts = HistogramOpts::new(full(name), help).buckets(bounds.to_vec());
        self.add(Kind::Histogram, HistogramVec::new(opts, labels)?)
    }

    pub(super) fn sharded_histograms(
        &mut self,
        name: &str,
        label: &str,
        bounds: &'static [u64],
        help: &str,
    ) -> Made<ShardedHistogramVec> {
        let desc = Desc::new(full(name), help.into(), vec![label.into()], [].into())?;
        self.add(Kind::Histogram, ShardedHistogramVec::new(desc, bounds))
    }
}

/// What only an issuer has.
#[cfg(feature = "server")]
impl Registrar<'_> {
    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Made<IntGauge> {
        self.add(Kind::Gauge, IntGauge::with_opts(opts(name, help))?)
    }

    pub(super) fn pulled_gauges(
        &mut self,
        name: &str,
        labels: &[&str],
        help: &str,
    ) -> Made<PulledGauges> {
        let gauges = IntGaugeVec::new(opts(name, help), labels)?;
        self.add(Kind::Gauge, PulledGauges::new(gauges))
    }

    pub(super) fn histogram(&mut self, name: &str, bounds: &[f64], help: &str) -> Made<Histogram> {
        let opts = HistogramOpts::new(full(name), help).buckets(bounds.to_vec());
        self.add(Kind::Histogram, Histogram::with_opts(opts)?)
    }
}

fn full(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(full(name), help)
}

fn describe(desc: &Desc, kind: Kind) -> Described {
    let mut labels = desc.variable_labels.clone();
    labels.sort_unstable();
    Described {
        name: desc.fq_name.clone(),
        kind,
        labels,
        help: desc.help.clone(),
    }
}
