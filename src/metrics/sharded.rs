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

/// A count that is spread over several cache lines. Cheap to clone; clones are the same count.
#[derive(Debug, Clone)]
pub(crate) struct ShardedCounter {
    shards: Arc<[Shard]>,
}

/// Two lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(AtomicU64);

// === impl ShardedCounter ===

impl ShardedCounter {
    fn new() -> Self {
        ShardedCounter {
            shards: (0..shard_count()).map(|_| Shard::default()).collect(),
        }
    }

    #[inline]
    pub(crate) fn inc(&self) {
        let shard = &self.shards[thread_number() & (self.shards.len() - 1)];
        // Relaxed: only the number matters, it orders nothing.
        shard.0.fetch_add(1, Ordering::Relaxed);
    }

    fn sum(&self) -> u64 {
        let shards = self.shards.iter();
        shards.map(|shard| shard.0.load(Ordering::Relaxed)).sum()
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
    const NONE: usize = usize::MAX;
    // Neither made on first use nor dropped, so that reading it takes one instruction.
    thread_local!(static NUMBER: Cell<usize> = const { Cell::new(NONE) });

    #[cold]
    fn take() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        NUMBER.set(number);
        number
    }

    match NUMBER.get() {
        NONE => take(),
        number => number,
    }
}

/// Of so many calls on one thread, [`is_sampled`] picks one. Two readings of the clock take about half as long as looking up a
/// token that was seen before: timing each would cost more than it tells.
pub(crate) const SAMPLED: u64 = 64;

/// Whether this call is the one in [`SAMPLED`].
#[inline]
pub(crate) fn is_sampled() -> bool {
    thread_local!(static CALLS: Cell<u64> = const { Cell::new(0) });
    let count = CALLS.get().wrapping_add(1);
    CALLS.set(count);
    count.is_multiple_of(SAMPLED)
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
    /// What it is the sum of, each under a name of its own.
    parts: Vec<(Box<str>, ShardedCounter)>,
    exposed: IntCounter,
    /// How much of the sum the exposed counter has had.
    shown: Arc<AtomicU64>,
}

// === impl Series ===

impl Series {
    fn part(&self, name: &str) -> Option<&ShardedCounter> {
        let mut parts = self.parts.iter();
        parts.find_map(|(its, counter)| (**its == *name).then_some(counter))
    }

    /// Hands what has been added since the last time on to the exposed counter.
    fn show(&self) {
        let sum = self.parts.iter().map(|(_, counter)| counter.sum()).sum();
        // The greater of two sums that are taken at once wins, and each adds only what the other has not.
        let shown = self.shown.fetch_max(sum, Ordering::Relaxed);
        self.exposed.inc_by(sum.saturating_sub(shown));
    }
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
    pub(crate) fn counter(&self, labels: &[&str]) -> ShardedCounter {
        self.part(labels, "")
    }

    /// The one counter of this name among those whose sum the series with these values shows.
    pub(crate) fn part(&self, labels: &[&str], name: &str) -> ShardedCounter {
        self.enter(labels, name, &ShardedCounter::new())
    }

    /// Lets the series with these values show also what is counted for another metric; once for each name.
    pub(crate) fn show_also(&self, labels: &[&str], name: &str, counter: &ShardedCounter) {
        self.enter(labels, name, counter);
    }

    /// The part that is there already, or else this one.
    fn enter(&self, labels: &[&str], name: &str, counter: &ShardedCounter) -> ShardedCounter {
        let place = |series: &[Series]| {
            series.iter().position(|series| {
                let known = series.labels.iter().map(|label| &**label);
                known.eq(labels.iter().copied())
            })
        };
        let before = self.series.rcu(|series| {
            let mut series = Vec::clone(series);
            let at = place(&series).unwrap_or_else(|| {
                series.push(Series {
                    labels: labels.iter().map(|&label| label.into()).collect(),
                    parts: Vec::new(),
                    exposed: self.exposed.with_label_values(labels),
                    shown: Arc::default(),
                });
                series.len() - 1
            });
            if series[at].part(name).is_none() {
                series[at].parts.push((name.into(), counter.clone()));
            }
            series
        });
        let known = place(&before).and_then(|at| before[at].part(name).cloned());
        known.unwrap_or_else(|| counter.clone())
    }
}

impl Collector for ShardedCounterVec {
    fn desc(&self) -> Vec<&Desc> {
        self.exposed.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for series in self.series.load().iter() {
            series.show();
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
        first.inc();
        let others = [["xy", ""], ["y", "x"]].map(|labels| counters.counter(&labels));
        let again = counters.counter(&["x", "y"]);
        assert_eq!((again.sum(), others.map(|other| other.sum())), (1, [0, 0]));
    }

    #[test]
    fn a_series_shows_the_sum_of_its_parts_and_a_part_may_stand_in_two_metrics() {
        let (accepted, looks) = (counters(), counters());
        let [hit, miss] = ["hit", "miss"].map(|look| {
            let part = accepted.part(&["issuer", "accepted"], look);
            // Once more changes nothing.
            looks.show_also(&[look, ""], "issuer", &part);
            looks.show_also(&[look, ""], "issuer", &part);
            part
        });
        let refused = looks.counter(&["hit", ""]);
        (0..5).for_each(|_| hit.inc());
        (0..3).for_each(|_| miss.inc());
        (0..2).for_each(|_| refused.inc());
        accepted.part(&["issuer", "accepted"], "hit").inc();
        let value = |counters: &ShardedCounterVec, labels: &[&str]| {
            counters.collect();
            counters.exposed.with_label_values(labels).get()
        };
        for _ in 0..2 {
            assert_eq!(value(&accepted, &["issuer", "accepted"]), 9);
            assert_eq!(value(&looks, &["hit", ""]), 8);
            assert_eq!(value(&looks, &["miss", ""]), 3);
        }
    }
}
