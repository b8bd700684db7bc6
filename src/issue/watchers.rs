//! Who watches the key set: requests that are held until it changes, and how many of those that were given a change have come
//! back holding it. A watcher has no name; what is counted is kept apart by the entity tag that each brings.
//!
//! A watcher is at one of three places: held here, between an answer and its next request, or gone. It says itself which set it
//! holds. So for each published set there are three counts, and each of them only ever moves by what one request shows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::Histogram;
use tokio::sync::watch;

use crate::clock::Clock;

/// Sets remembered, the one in force included. A watcher with an older one counts as one that was never here.
const HISTORY: usize = 16;
/// Requests held at once, where connections allow it; beyond, an answer comes at once. Each costs some kilobytes and a file descriptor.
const MAX_HELD: i64 = 50_000;
/// Places for counting fetches without push.
const PLACES: usize = 64;
/// Spans that the max-age is counted in: with the one under way and the one it began in, not more than there are places.
const SPANS: u32 = 62;

/// Holds requests, and counts. Cheap to clone; clones share the counts.
#[derive(Clone)]
pub struct Watchers {
    history: watch::Sender<VecDeque<Arc<Generation>>>,
    closed: watch::Sender<bool>,
    polls: Arc<Polls>,
    max_held: Arc<AtomicI64>,
    clock: Arc<dyn Clock>,
    revocations: Histogram,
}

/// One published set and what is known of who holds it. Times are the clock's monotonic ones.
#[derive(Debug)]
struct Generation {
    etag: String,
    published: Duration,
    is_revocation: bool,
    /// Requests held now by watchers that hold this set.
    held: AtomicI64,
    /// Watchers of an older set that were given this one.
    given: AtomicU64,
    /// Of those, how many have come back with it.
    back: AtomicU64,
    /// Watchers that were told "unchanged", or fetched this set for the first time, and have not come back yet.
    returning: AtomicI64,
    /// How long after its publication the last one came back, in microseconds.
    last_back: AtomicU64,
    /// Until when somebody who does not watch may hold this set, in microseconds.
    fresh_until: AtomicU64,
}

/// What is known of the watchers at one moment.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct WatcherStatus {
    /// The entity tag of the set in force.
    pub etag: String,
    /// Milliseconds since it was published.
    pub published_ms_ago: u64,
    /// Watchers that hold it.
    pub current: u64,
    /// Watchers that were given a change and have not come back with it.
    pub behind: u64,
    /// Watchers of an older set, as far as they are known: those that this change concerned.
    pub told: u64,
    /// Of those, how many have come back with the set in force.
    pub back: u64,
    /// Milliseconds from the publication to the last of them; none if none has come back.
    pub last_back_ms: Option<u64>,
    /// Fetches without push within the last max-age: at most so many verifiers that poll.
    pub polls: u64,
    /// Milliseconds until none of them can hold an older set.
    pub polls_current_in_ms: u64,
}

// === impl Watchers ===

impl Watchers {
    /// Nobody watches yet. `max_age` is the longest that a set may be held without push; `revocations` is told how many seconds
    /// after a revocation each watcher came back with it.
    pub(crate) fn new(clock: Arc<dyn Clock>, max_age: Duration, revocations: Histogram) -> Self {
        Watchers {
            history: watch::Sender::default(),
            closed: watch::Sender::new(false),
            polls: Arc::new(Polls::new(max_age)),
            max_held: Arc::new(AtomicI64::new(MAX_HELD)),
            clock,
            revocations,
        }
    }

    /// Holds no more requests than this, so that others find a connection.
    pub fn hold_at_most(&self, requests: usize) {
        let requests = i64::try_from(requests).unwrap_or(MAX_HELD).min(MAX_HELD);
        self.max_held.store(requests, Ordering::Relaxed);
    }

    /// From now on the set with this entity tag is in force; whoever waits for a change is answered.
    pub fn publish(&self, etag: &str, is_revocation: bool) {
        let published = self.clock.monotonic();
        self.history.send_if_modified(|history| {
            if history.back().is_some_and(|last| last.etag == etag) {
                return false;
            }
            // A set that comes back, as after a restored backup, is a change like any other.
            history.retain(|generation| generation.etag != etag);
            while history.len() >= HISTORY {
                history.pop_front();
            }
            history.push_back(Arc::new(Generation::new(etag, published, is_revocation)));
            true
        });
    }

    /// Answers everyone who waits, now and from now on: the service stops.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Somebody fetched the set in force without watching, and may hold it for `max_age`.
    pub fn polled(&self, max_age: Duration) {
        let now = self.clock.monotonic();
        self.polls.count(now, 1);
        if let Some(current) = self.history.borrow().back() {
            current.fresh(now + max_age);
        }
    }

    /// A watcher was given the set in force and holds none yet: it will come back.
    pub fn began(&self) {
        if let Some(current) = self.history.borrow().back() {
            current.returning.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A watcher that holds one of the sets `etags` waits for another; ends at once if another is in force, at the latest after
    /// `limit`, when the service stops, or when too many wait.
    pub async fn wait(&self, etags: &[&str], limit: Duration) {
        let mut changes = self.history.subscribe();
        let arrived = {
            let history = changes.borrow_and_update();
            self.arrive(&history, etags)
        };
        let Some(held) = arrived else {
            return;
        };
        let mut closed = self.closed.subscribe();
        if limit.is_zero() || held.is_too_many || *closed.borrow_and_update() {
            return held.ends_unchanged();
        }
        let holds = &held.generation.etag;
        let is_other = |history: &VecDeque<Arc<Generation>>| {
            history.back().is_some_and(|last| last.etag != *holds)
        };
        tokio::select! {
            // Looked at first: who is told of a change although time is up is spared a round.
            biased;
            changed = changes.wait_for(is_other) => {
                // An error is a sender that is gone, and with it the service.
                if let Ok(history) = changed
                    && let Some(current) = history.back()
                {
                    // Before it leaves the older set's count: never fewer than there are.
                    current.given.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
            _ = closed.wait_for(|closed| *closed) => {}
            () = self.clock.sleep(limit) => {}
        }
        held.ends_unchanged();
    }

    /// Counts one that has come; gives its place if the set it holds is the one in force.
    fn arrive(&self, history: &VecDeque<Arc<Generation>>, etags: &[&str]) -> Option<Held> {
        let current = history.back()?;
        let known = |generation: &&Arc<Generation>| etags.contains(&&*generation.etag);
        let Some(holds) = history.iter().rev().find(known) else {
            // Never here, or long ago.
            current.given.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let since = self.clock.monotonic().saturating_sub(holds.published);
        match holds.came_back(since) {
            Came::Back if holds.is_revocation => self.revocations.observe(since.as_secs_f64()),
            Came::Back | Came::Returned => {}
            // It has fetched without saying that it would watch: that fetch was no poll.
            Came::New => self.polls.uncount(),
        }
        if !Arc::ptr_eq(holds, current) {
            current.given.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let max = self.max_held.load(Ordering::Relaxed);
        Some(Held::new(holds.clone(), history, max))
    }

    /// What is known at this moment.
    pub fn status(&self) -> WatcherStatus {
        let now = self.clock.monotonic();
        let history = self.history.borrow();
        let count = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let mut status = WatcherStatus {
            etag: String::new(),
            published_ms_ago: 0,
            current: 0,
            behind: 0,
            told: 0,
            back: 0,
            last_back_ms: None,
            polls: self.polls.sum(now),
            polls_current_in_ms: 0,
        };
        let Some(current) = history.back() else {
            return status;
        };
        for generation in history.iter().take(history.len() - 1) {
            // Whom the change has not reached yet.
            status.told += generation.held();
            status.behind += generation.held();
            if !generation.is_forgotten(now, self.polls.max_age) {
                status.told += generation.on_the_way();
                status.behind += generation.on_the_way();
            }
            let fresh_until = Duration::from_micros(count(&generation.fresh_until));
            let left = fresh_until.saturating_sub(now);
            status.polls_current_in_ms = status.polls_current_in_ms.max(millis(left));
        }
        if !current.is_forgotten(now, self.polls.max_age) {
            status.behind += current.on_the_way();
        }
        status.etag = current.etag.clone();
        status.published_ms_ago = millis(now.saturating_sub(current.published));
        status.current = current.held();
        status.back = count(&current.back);
        status.told += count(&current.given);
        let last_back = Duration::from_micros(count(&current.last_back));
        status.last_back_ms = (status.back > 0).then(|| millis(last_back));
        status
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What a watcher's coming tells.
enum Came {
    /// It was given this set in place of an older one.
    Back,
    /// It had this set before.
    Returned,
    /// Nothing is known of it.
    New,
}

// === impl Generation ===

impl Generation {
    fn new(etag: &str, published: Duration, is_revocation: bool) -> Self {
        Generation {
            etag: etag.to_owned(),
            published,
            is_revocation,
            held: AtomicI64::new(0),
            given: AtomicU64::new(0),
            back: AtomicU64::new(0),
            returning: AtomicI64::new(0),
            last_back: AtomicU64::new(0),
            fresh_until: AtomicU64::new(0),
        }
    }

    /// Those who had the set before come first: then one who left never makes up for one who has not come.
    fn came_back(&self, after: Duration) -> Came {
        let one_less = |left: i64| (left > 0).then_some(left - 1);
        let order = Ordering::Relaxed;
        if self.returning.fetch_update(order, order, one_less).is_ok() {
            return Came::Returned;
        }
        let given = self.given.load(order);
        let one_more = |back: u64| (back < given).then_some(back + 1);
        if self.back.fetch_update(order, order, one_more).is_err() {
            return Came::New;
        }
        self.last_back.fetch_max(micros(after), order);
        Came::Back
    }

    fn fresh(&self, until: Duration) {
        self.fresh_until.fetch_max(micros(until), Ordering::Relaxed);
    }

    fn held(&self) -> u64 {
        u64::try_from(self.held.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Given this set, and not back yet.
    fn on_the_way(&self) -> u64 {
        let given = self.given.load(Ordering::Relaxed);
        given.saturating_sub(self.back.load(Ordering::Relaxed))
    }

    /// Whoever has not come back for this long has to fetch anew in any case, or is gone.
    fn is_forgotten(&self, now: Duration, max_age: Duration) -> bool {
        now.saturating_sub(self.published) > max_age
    }
}

/// A place among those who wait.
struct Held {
    generation: Arc<Generation>,
    is_too_many: bool,
}

// === impl Held ===

impl Held {
    fn new(generation: Arc<Generation>, history: &VecDeque<Arc<Generation>>, max: i64) -> Self {
        generation.held.fetch_add(1, Ordering::Relaxed);
        let all: i64 = history
            .iter()
            .map(|generation| generation.held.load(Ordering::Relaxed))
            .sum();
        Held {
            generation,
            is_too_many: all > max,
        }
    }

    fn ends_unchanged(&self) {
        self.generation.returning.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Held {
    /// However it ends, also when the client goes away.
    fn drop(&mut self) {
        self.generation.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Fetches without push, over the last max-age.
#[derive(Debug)]
struct Polls {
    max_age: Duration,
    /// The number of its span in the upper half, the fetches in it in the lower.
    places: [AtomicU64; PLACES],
}

// === impl Polls ===

impl Polls {
    fn new(max_age: Duration) -> Self {
        Polls {
            max_age,
            places: [const { AtomicU64::new(0) }; PLACES],
        }
    }

    fn span(&self, now: Duration) -> u64 {
        let width = (self.max_age / SPANS).max(Duration::from_millis(1));
        // From 1: a place that was never used must not look like the first span's. Cut: it only has to differ from neighbours.
        1 + (millis(now) / millis(width)) % (u64::from(u32::MAX) - 1)
    }

    fn count(&self, now: Duration, by: u64) {
        let span = self.span(now);
        let place = &self.places[usize::try_from(span).unwrap_or(0) % PLACES];
        let order = Ordering::Relaxed;
        // Never fails: it always gives a value.
        let _ = place.fetch_update(order, order, |value| match value >> 32 {
            found if found == span => Some((value & 0xffff_ffff).saturating_add(by) | (span << 32)),
            _ => Some((span << 32) | by),
        });
    }

    /// One less, the newest.
    fn uncount(&self) {
        let order = Ordering::Relaxed;
        let newest = self
            .places
            .iter()
            .filter(|place| place.load(order) & 0xffff_ffff > 0)
            .max_by_key(|place| place.load(order) >> 32);
        if let Some(newest) = newest {
            let one_less = |value: u64| (value & 0xffff_ffff > 0).then(|| value - 1);
            // An error is another who was faster.
            let _ = newest.fetch_update(order, order, one_less);
        }
    }

    fn sum(&self, now: Duration) -> u64 {
        let span = self.span(now);
        let values = self
            .places
            .iter()
            .map(|place| place.load(Ordering::Relaxed));
        values
            .filter(|value| (value >> 32) <= span && span - (value >> 32) <= u64::from(SPANS))
            .map(|value| value & 0xffff_ffff)
            .sum()
    }
}
