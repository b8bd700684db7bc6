//! Histograms that several cores add to without passing anything between them, as the counters of `sharded` do; and whose
//! observations have a weight, so that a sample counts for all that it stands for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::sharded::{shard_count, thread_number};

/// Most upper bounds; with the sum and what is beyond all bounds a shard has 18 numbers.
const MAX_BOUNDS: usize = 16;

/// How many took how long.
#[derive(Debug)]
pub(crate) struct ShardedHistogram {
    /// Upper bounds in nanoseconds, rising.
    bounds: &'static [u64],
    shards: Box<[Shard]>,
}

/// A thread's own; in lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    /// One for each bound, and one for what is beyond the last.
    counts: [AtomicU64; MAX_BOUNDS + 1],
    nanoseconds: AtomicU64,
}

// === impl ShardedHistogram ===

impl ShardedHistogram {
    fn new(bounds: &'static [u64]) -> Self {
        assert!(
            bounds.len() <= MAX_BOUNDS,
            "the bounds are constants of this program"
        );
        ShardedHistogram {
            bounds,
            shards: (0..shard_count()).map(|_| Shard::default()).collect(),
        }
    }

    /// One that took `took` and stands for `weight`.
    pub(crate) fn observe(&self, took: Duration, weight: u64) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let place = self.bounds.iter().take_while(|&&bound| nanoseconds > bound);
        let shard = &self.shards[thread_number() & (self.shards.len() - 1)];
        // Relaxed: only the numbers matter, they order nothing.
        shard.counts[place.count()].fetch_add(weight, Ordering::Relaxed);
        let sum = nanoseconds.saturating_mul(weight);
        shard.nanoseconds.fetch_add(sum, Ordering::Relaxed);
    }

    fn collect(&self) -> Histogram {
        let over_shards = |count: &dyn Fn(&Shard) -> u64| self.shards.iter().map(count).sum();
        let mut so_far = 0;
        let buckets = self.bounds.iter().enumerate().map(|(place, &bound)| {
            let count: u64 = over_shards(&|shard| shard.counts[place].load(Ordering::Relaxed));
            so_far += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(seconds(bound));
            bucket.set_cumulative_count(so_far);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        let beyond = self.bounds.len();
        so_far += over_shards(&|shard| shard.counts[beyond].load(Ordering::Relaxed));
        histogram.set_sample_count(so_far);
        let sum = over_shards(&|shard| shard.nanoseconds.load(Ordering::Relaxed));
        histogram.set_sample_sum(seconds(sum));
        histogram
    }
}

/// Rounded where a float has no room for all digits: at 104 days of nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "a metric is a float in the end")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// A metric of such histograms by one label.
#[derive(Debug, Clone)]
pub(crate) struct ShardedHistogramVec {
    desc: Desc,
    bounds: &'static [u64],
    series: Arc<ArcSwap<Vec<Series>>>,
}

#[derive(Debug, Clone)]
struct Series {
    value: Box<str>,
    histogram: Arc<ShardedHistogram>,
}

// === impl ShardedHistogramVec ===

impl ShardedHistogramVec {
    pub(super) fn new(desc: Desc, bounds: &'static [u64]) -> Self {
        ShardedHistogramVec {
            desc,
            bounds,
            series: Arc::default(),
        }
    }

    /// The one histogram with this value of the label. To be found once and kept.
    pub(crate) fn histogram(&self, value: &str) -> Arc<ShardedHistogram> {
        let find = |series: &[Series]| {
            let found = series.iter().find(|series| &*series.value == value);
            found.map(|series| series.histogram.clone())
        };
        let new = Series {
            value: value.into(),
            histogram: Arc::new(ShardedHistogram::new(self.bounds)),
        };
        let before = self.series.rcu(|series| {
            let mut series = Vec::clone(series);
            if find(&series).is_none() {
                series.push(new.clone());
            }
            series
        });
        find(&before).unwrap_or(new.histogram)
    }
}

impl Collector for ShardedHistogramVec {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let series = self.series.load();
        let metrics = series.iter().map(|series| {
            let mut label = LabelPair::default();
            let name = self.desc.variable_labels.first();
            label.set_name(name.cloned().unwrap_or_default());
            label.set_value(series.value.to_string());
            let mut metric = Metric::from_label(vec![label]);
            metric.set_histogram(series.histogram.collect());
            metric
        });
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(metrics.collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_observe_is_counted_once_under_its_bounds_with_its_weight() {
        let desc = Desc::new("t".into(), "Times.".into(), vec!["l".into()], [].into()).unwrap();
        let times = ShardedHistogramVec::new(desc, &[1_000, 2_000]);
        let histogram = times.histogram("x");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for nanoseconds in [1_000, 1_001, 5_000] {
                        histogram.observe(Duration::from_nanos(nanoseconds), 64);
                    }
                });
            }
        });
        assert!(Arc::ptr_eq(&histogram, &times.histogram("x")));
        assert!(!Arc::ptr_eq(&histogram, &times.histogram("y")));
        let collected = histogram.collect();
        let buckets = collected.get_bucket().iter();
        let counts: Vec<u64> = buckets.map(|bucket| bucket.cumulative_count()).collect();
        assert_eq!(counts, [256, 512]);
        assert_eq!(collected.get_sample_count(), 768);
        let sum = 256.0 * (1_000.0 + 1_001.0 + 5_000.0) / 1e9;
        assert!((collected.get_sample_sum() - sum).abs() < 1e-12);
        assert_eq!(times.collect()[0].get_metric().len(), 2);
    }
}
