//! When may the keys of one issuer be fetched, and who waits for it.
//!
//! One task per issuer owns every fetch, so there is never more than one under way and an older answer cannot overwrite a
//! newer one. A verification that misses a key may ask for a fetch; a cool-down that counts attempts, not successes, bounds
//! how often that is granted, and within it the answer is immediate.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::Url;
use tokio::sync::{Notify, watch};

use super::fetch::{FetchError, Fetched, Fetcher};
use super::keyset::{KeySet, Publisher};
use crate::clock::Clock;
use crate::metrics::SourceMetrics;

/// Timing of the remote key set; every duration has a default that suits a set published for ten minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefreshPolicy {
    /// At most one fetch on behalf of unknown kids per this long, counted from its start, whatever came of it. 5 s.
    pub cool_down: Duration,
    /// A set is never taken to be fresh for less: a hostile `max-age=0` must not become a flood. 10 s.
    pub min_interval: Duration,
    /// A set is never taken to be fresh for more, whatever the issuer says. 1 h.
    pub max_interval: Duration,
    /// For answers that do not say how long they are fresh. 10 min.
    pub default_interval: Duration,
    /// How long the last good set may serve while no new one can be had; then there are no keys. 1 h.
    pub max_stale: Duration,
    /// For one whole exchange, from the connection to the last byte. 5 s.
    pub deadline: Duration,
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        RefreshPolicy {
            cool_down: Duration::from_secs(5),
            min_interval: Duration::from_secs(10),
            max_interval: Duration::from_secs(3600),
            default_interval: Duration::from_secs(600),
            max_stale: Duration::from_secs(3600),
            deadline: Duration::from_secs(5),
        }
    }
}

/// First pause after a failure; doubles up to [`MAX_BACK_OFF`].
const MIN_BACK_OFF: Duration = Duration::from_secs(1);
/// With a set in hand nobody is waiting for the next try.
const MAX_BACK_OFF: Duration = Duration::from_secs(60);
/// Without one every request is being refused: an issuer that comes back is found within two seconds.
const MAX_BACK_OFF_WITHOUT_KEYS: Duration = Duration::from_millis(1500);
/// Verifications that may wait for one fetch; those beyond are answered at once, so that a flood cannot fill the memory.
const MAX_WAITING: usize = 16_384;
/// Unknown kids remembered; 40 bytes each.
const UNKNOWN_KIDS: u64 = 10_000;
/// A kid that stays unknown may ask again after 1, 2, 4, … up to this many cool-downs.
const MAX_UNKNOWN_STEP: u32 = 6;

/// Where the keys of an issuer are.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    /// At the `jwks_uri` of the issuer's metadata.
    Discover { issuer: String },
    /// Here.
    Url(Url),
}

/// What is known of one remote source, for people and probes.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceState {
    pub(crate) last_success: Option<Duration>,
    pub(crate) last_error: Option<Arc<FetchError>>,
    pub(crate) etag: Option<String>,
    pub(crate) next_attempt: Option<Duration>,
}

/// How far the fetching has come.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    started: u64,
    finished: u64,
    last_started: Option<Duration>,
}

/// The handle by which verifications ask for a fetch. The task ends with it.
pub(crate) struct RemoteKeys {
    clock: Arc<dyn Clock>,
    policy: RefreshPolicy,
    wanted: Arc<Notify>,
    progress: watch::Receiver<Progress>,
    state: Arc<ArcSwap<SourceState>>,
    metrics: SourceMetrics,
    waiting: AtomicUsize,
    unknown: UnknownKids,
    task: tokio::task::AbortHandle,
}

// === impl RemoteKeys ===

impl RemoteKeys {
    /// Starts fetching, on `runtime`; the first fetch is under way when this returns.
    pub(crate) fn start(
        runtime: &tokio::runtime::Handle,
        location: Location,
        fetcher: Fetcher,
        publisher: Publisher,
        clock: Arc<dyn Clock>,
        policy: RefreshPolicy,
        metrics: SourceMetrics,
    ) -> Self {
        let wanted = Arc::new(Notify::new());
        let state = Arc::new(ArcSwap::from_pointee(SourceState::default()));
        metrics.watch(state.clone(), clock.clone());
        // The first attempt counts as started from the outset, so that the first tokens join it.
        let (progress_in, progress) = watch::channel(Progress {
            started: 1,
            finished: 0,
            last_started: Some(clock.monotonic()),
        });
        let task = Task {
            jwks_url: match &location {
                Location::Url(url) => Some(url.clone()),
                Location::Discover { .. } => None,
            },
            location,
            fetcher,
            publisher,
            clock: clock.clone(),
            policy: policy.clone(),
            wanted: wanted.clone(),
            progress: progress_in,
            state: state.clone(),
            metrics: metrics.clone(),
            failures: 0,
            jitter: RandomState::new(),
        };
        let task = runtime.spawn(task.run()).abort_handle();
        RemoteKeys {
            clock,
            policy,
            wanted,
            progress,
            state,
            metrics,
            waiting: AtomicUsize::new(0),
            unknown: UnknownKids::new(),
            task,
        }
    }

    /// Fetches on behalf of a token that no key was found for, if that is granted, and ends when an attempt is over.
    /// `true`: look again. `false`: it would be no use.
    pub(crate) async fn refresh_for(&self, kid: Option<&str>) -> bool {
        let Some(attempt) = self.ask(kid) else {
            return false;
        };
        let _place = match Waiting::enter(&self.waiting) {
            Some(place) => place,
            None => return false,
        };
        let mut progress = self.progress.clone();
        let over = progress.wait_for(|progress| progress.finished >= attempt);
        tokio::select! {
            over = over => over.is_ok(),
            // Discovery and the set, one after the other, and some time to be scheduled.
            () = self.clock.sleep(self.policy.deadline * 3) => false,
        }
    }

    /// As [`refresh_for`](Self::refresh_for), without waiting for it.
    pub(crate) fn nudge(&self, kid: Option<&str>) {
        self.ask(kid);
    }

    /// Notes that a kid is unknown even after a fetch: it must wait longer each time before it may cause another.
    pub(crate) fn note_unknown(&self, kid: &str) {
        self.unknown
            .note(kid, self.clock.monotonic(), self.policy.cool_down);
    }

    /// How long until a further attempt might be granted, rounded up to seconds.
    pub(crate) fn retry_after(&self) -> Duration {
        let next = self.state.load().next_attempt.unwrap_or_default();
        let left = next.saturating_sub(self.clock.monotonic());
        Duration::from_secs(left.as_secs() + 1)
    }

    pub(crate) fn state(&self) -> Arc<SourceState> {
        self.state.load_full()
    }

    /// The number of the attempt that will answer, or `None` if none is granted.
    fn ask(&self, kid: Option<&str>) -> Option<u64> {
        let now = self.clock.monotonic();
        let progress = *self.progress.borrow();
        if progress.started > progress.finished {
            return Some(progress.started);
        }
        let cooling = progress
            .last_started
            .is_some_and(|started| now < started + self.policy.cool_down);
        let known_unknown = kid.is_some_and(|kid| !self.unknown.may_ask(kid, now));
        if cooling || known_unknown {
            self.metrics.suppressed();
            return None;
        }
        self.wanted.notify_one();
        Some(progress.started + 1)
    }
}

impl Drop for RemoteKeys {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One of the places for waiting, given back when dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let place = Waiting(count);
        // Relaxed: only the number matters, it orders nothing.
        (count.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Kids that a fetch did not find, and when each may cause another; bounded, so that inventing kids fills nothing.
struct UnknownKids {
    /// By a keyed hash: nobody outside can make two kids collide, and a kid of any length costs the same.
    not_before: moka::sync::Cache<u64, (Duration, u32)>,
    hasher: RandomState,
}

// === impl UnknownKids ===

impl UnknownKids {
    fn new() -> Self {
        UnknownKids {
            not_before: moka::sync::Cache::new(UNKNOWN_KIDS),
            hasher: RandomState::new(),
        }
    }

    fn may_ask(&self, kid: &str, now: Duration) -> bool {
        self.not_before
            .get(&self.hasher.hash_one(kid))
            .is_none_or(|(not_before, _)| now >= not_before)
    }

    fn note(&self, kid: &str, now: Duration, cool_down: Duration) {
        let hash = self.hasher.hash_one(kid);
        let step = self
            .not_before
            .get(&hash)
            .map_or(0, |(_, step)| (step + 1).min(MAX_UNKNOWN_STEP));
        self.not_before
            .insert(hash, (now + cool_down * (1 << step), step));
    }
}

/// The task that fetches.
struct Task {
    location: Location,
    /// Where discovery led to.
    jwks_url: Option<Url>,
    fetcher: Fetcher,
    publisher: Publisher,
    clock: Arc<dyn Clock>,
    policy: RefreshPolicy,
    wanted: Arc<Notify>,
    progress: watch::Sender<Progress>,
    state: Arc<ArcSwap<SourceState>>,
    metrics: SourceMetrics,
    failures: u32,
    jitter: RandomState,
}

// === impl Task ===

impl Task {
    async fn run(mut self) {
        self.attempt().await;
        loop {
            let state = self.state.load_full();
            let now = self.clock.monotonic();
            let until_next = state.next_attempt.unwrap_or_default().saturating_sub(now);
            let asked = tokio::select! {
                () = self.clock.sleep(until_next.min(self.until_stale())) => false,
                () = self.wanted.notified() => true,
            };
            self.withdraw_if_stale();
            let now = self.clock.monotonic();
            let due = state.next_attempt.is_none_or(|next| now >= next);
            if due || (asked && !self.is_cooling(now)) {
                self.begin(now);
                self.attempt().await;
            }
        }
    }

    fn is_cooling(&self, now: Duration) -> bool {
        let last_started = self.progress.borrow().last_started;
        last_started.is_some_and(|started| now < started + self.policy.cool_down)
    }

    fn begin(&self, now: Duration) {
        self.progress.send_modify(|progress| {
            progress.started += 1;
            progress.last_started = Some(now);
        });
    }

    /// One attempt that [`begin`](Self::begin) has announced, from the first connection to the published snapshot.
    async fn attempt(&mut self) {
        let started = self.clock.monotonic();
        let fetched = {
            let stale = self.clock.sleep(self.until_stale());
            let mut fetch = std::pin::pin!(self.fetch());
            tokio::select! {
                fetched = &mut fetch => fetched,
                () = stale => {
                    // The bound on staleness holds even while an issuer lets us wait.
                    self.withdraw_if_stale();
                    fetch.await
                }
            }
        };
        let now = self.clock.monotonic();
        self.metrics.fetched(
            match &fetched {
                Ok((Fetched::Modified { .. }, _)) => "modified",
                Ok((Fetched::NotModified { .. }, _)) => "not_modified",
                Err(error) => error.label(),
            },
            now.saturating_sub(started),
        );
        match fetched {
            Ok(fetched) => self.succeeded(fetched, now),
            Err(error) => self.failed(error, now),
        }
        self.progress
            .send_modify(|progress| progress.finished = progress.started);
    }

    async fn fetch(&self) -> Result<(Fetched, Url), FetchError> {
        let url = match (&self.jwks_url, &self.location) {
            (Some(url), _) => url.clone(),
            (None, Location::Discover { issuer }) => self.fetcher.discover(issuer).await?,
            (None, Location::Url(url)) => url.clone(),
        };
        let state = self.state.load_full();
        let fetched = self.fetcher.key_set(&url, state.etag.as_deref()).await?;
        Ok((fetched, url))
    }

    fn succeeded(&mut self, (fetched, url): (Fetched, Url), now: Duration) {
        self.failures = 0;
        self.jwks_url = Some(url);
        let previous = self.state.load_full();
        let (max_age, etag) = match fetched {
            Fetched::NotModified { max_age } => (max_age, previous.etag.clone()),
            Fetched::Modified { set, etag, max_age } => {
                let current = self.publisher.current();
                let set = KeySet::new(set, current.as_deref());
                for skipped in set.skipped() {
                    tracing::warn!(
                        index = skipped.index,
                        kid = skipped.kid.as_deref().unwrap_or("(none)"),
                        error = %skipped.error,
                        "a published key cannot be used"
                    );
                }
                self.metrics.keys(set.keys().len());
                self.publisher.publish(Arc::new(set));
                (max_age, etag)
            }
        };
        let fresh_for = max_age
            .unwrap_or(self.policy.default_interval)
            .clamp(self.policy.min_interval, self.policy.max_interval);
        self.state.store(Arc::new(SourceState {
            last_success: Some(now),
            last_error: None,
            etag,
            next_attempt: Some(now + self.jittered(fresh_for.mul_f64(0.9))),
        }));
    }

    fn failed(&mut self, error: FetchError, now: Duration) {
        tracing::warn!(%error, failures = self.failures + 1, "the issuer's keys could not be fetched");
        self.failures = self.failures.saturating_add(1);
        if let Location::Discover { .. } = self.location {
            // The metadata may name another place by now.
            self.jwks_url = None;
        }
        let cap = match self.publisher.current() {
            Some(_) => MAX_BACK_OFF,
            None => MAX_BACK_OFF_WITHOUT_KEYS,
        };
        let back_off = MIN_BACK_OFF
            .saturating_mul(1 << (self.failures - 1).min(10))
            .min(cap);
        let previous = self.state.load_full();
        self.state.store(Arc::new(SourceState {
            last_error: Some(Arc::new(error)),
            next_attempt: Some(now + self.jittered(back_off)),
            ..(*previous).clone()
        }));
    }

    /// Time left until the last good set is too old; for ever when there is none.
    fn until_stale(&self) -> Duration {
        match (self.publisher.current(), self.state.load().last_success) {
            (Some(_), Some(last_success)) => {
                (last_success + self.policy.max_stale).saturating_sub(self.clock.monotonic())
            }
            _ => Duration::MAX,
        }
    }

    fn withdraw_if_stale(&self) {
        if self.until_stale().is_zero() {
            tracing::warn!("the last good key set is too old: it no longer counts");
            self.metrics.keys(0);
            self.publisher.withdraw();
            let previous = self.state.load_full();
            // Without its ETag: a 304 would leave us without keys.
            self.state.store(Arc::new(SourceState {
                etag: None,
                ..(*previous).clone()
            }));
        }
    }

    /// `duration` ± 10 %, so that a thousand verifiers do not ask in the same second.
    fn jittered(&self, duration: Duration) -> Duration {
        let random = self.jitter.hash_one(self.progress.borrow().started) as f64 / u64::MAX as f64;
        duration.mul_f64(0.9 + 0.2 * random)
    }
}
