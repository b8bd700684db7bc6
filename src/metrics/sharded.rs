//! Counters that several cores add to without passing anything between them: each thread has a shard, and a scrape sums them up.
//!
//! One atomic integer that two cores add to takes a verified token from the cache some 100 ns more, the line going back and forth;
//! counting would be the lock that the hot path does not have.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec};

/// Beyond so many cores, two threads may share a shard: then it is right as ever, and not as fast.
const MAX_SHARDS: usize = 64;

/// A count that is spread over several cache lines.
#[derive(Debug)]
pub(crate) struct ShardedCounter {
    shards: Box<[Shard]>,
    /// How much of the sum the exposed counter has had.
    shown: AtomicU64,
    exposed: IntCounter,
}

/// Two lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(AtomicU64);

// === impl ShardedCounter ===

impl ShardedCounter {
    fn new(exposed: IntCounter) -> Self {
        ShardedCounter {
            shards: (0..shard_count()).map(|_| Shard::default()).collect(),
            shown: AtomicU64::new(0),
            exposed,
        }
    }

    #[inline]
    pub(crate) fn inc(&self) {
        let shard = &self.shards[thread_number() & (self.shards.len() - 1)];
        // Relaxed: only the number matters, it orders nothing.
        shard.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Hands what has been added since the last time on to the exposed counter.
    fn show(&self) {
        let shards = self.shards.iter();
        let sum = shards.map(|shard| shard.0.load(Ordering::Relaxed)).sum();
        // The greater of two sums that are taken at once wins, and each adds only what the other has not.
        let shown = self.shown.fetch_max(sum, Ordering::Relaxed);
        self.exposed.inc_by(sum.saturating_sub(shown));
    }
}

/// How many shards there are: twice as many as cores, for threads that are not at work; a power of two, for `thread_number`'s use.
pub(super) fn shard_count() -> usize {
    // Asked once: the system reads files to answer, and a verifier has some fifty counters.
    static COUNT: LazyLock<usize> = LazyLock::new(|| {
        let cores = std::thread::available_parallelism().map_or(MAX_SHARDS, usize::from);
        (2 * cores).next_power_of_two().min(MAX_SHARDS)
    });
    *COUNT
}

/// A number of this thread's own, from 0 on.
#[inline]
pub(super) fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    // A thread that is ending counts with the first.
    NUMBER.try_with(|number| *number).unwrap_or(0)
}

/// Of so many calls on one thread, [`is_sampled`] picks one. Two readings of the clock take about half as long as looking up a
/// token that was seen before: timing each would cost more than it tells.
pub(crate) const SAMPLED: u64 = 64;

/// Whether this call is the one in [`SAMPLED`].
#[inline]
pub(crate) fn is_sampled() -> bool {
    thread_local!(static CALLS: Cell<u64> = const { Cell::new(0) });
    // A thread that is ending samples nothing.
    CALLS
        .try_with(|calls| {
            let count = calls.get().wrapping_add(1);
            calls.set(count);
            count.is_multiple_of(SAMPLED)
        })
        .unwrap_or(false)
}

/// A metric whose series are sharded.
#[derive(Debug, Clone)]
pub(crate) struct ShardedCounterVec {
    exposed: IntCounterVec,
    series: Arc<ArcSwap<Vec<Series>>>,
}

#[derive(Debug, Clone)]
struct Series {
    labels: Box<[Box<str>]>,
    counter: Arc<ShardedCounter>,
}

// === impl ShardedCounterVec ===

impl ShardedCounterVec {
    pub(crate) fn new(exposed: IntCounterVec) -> Self {
        ShardedCounterVec {
            exposed,
            series: Arc::default(),
        }
    }

    /// The one counter with these values of the labels, in their order. To be found once and kept.
    pub(crate) fn counter(&self, labels: &[&str]) -> Arc<ShardedCounter> {
        let find = |series: &[Series]| {
            let labels = |series: &&Series| {
                let known = series.labels.iter().map(|label| &**label);
                known.eq(labels.iter().copied())
            };
            series
                .iter()
                .find(labels)
                .map(|series| series.counter.clone())
        };
        let new = Series {
            labels: labels.iter().map(|&label| label.into()).collect(),
            counter: Arc::new(ShardedCounter::new(self.exposed.with_label_values(labels))),
        };
        let before = self.series.rcu(|series| {
            let mut series = Vec::clone(series);
            if find(&series).is_none() {
                series.push(new.clone());
            }
            series
        });
        find(&before).unwrap_or(new.counter)
    }
}

impl Collector for ShardedCounterVec {
    fn desc(&self) -> Vec<&Desc> {
        self.exposed.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for series in self.series.load().iter() {
            series.counter.show();
        }
        self.exposed.collect()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    fn counters() -> ShardedCounterVec {
        let exposed = IntCounterVec::new(Opts::new("n", "Numbers."), &["a", "b"]);
        ShardedCounterVec::new(exposed.unwrap())
    }

    #[test]
    fn what_threads_add_is_summed_once_however_often_it_is_scraped() {
        let counters = counters();
        let counter = counters.counter(&["x", "y"]);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1_000).for_each(|_| counter.inc()));
                scope.spawn(|| drop(counters.collect()));
            }
        });
        for _ in 0..2 {
            counters.collect();
            assert_eq!(counters.exposed.with_label_values(&["x", "y"]).get(), 8_000);
        }
    }

    #[test]
    fn the_same_labels_are_the_same_counter() {
        let counters = counters();
        let first = counters.counter(&["x", "y"]);
        assert!(Arc::ptr_eq(&first, &counters.counter(&["x", "y"])));
        assert!(!Arc::ptr_eq(&first, &counters.counter(&["xy", ""])));
        assert!(!Arc::ptr_eq(&first, &counters.counter(&["y", "x"])));
    }
}
