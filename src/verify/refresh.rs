//! The keys of one issuer, from afar: when a verification that misses one may cause a fetch, and who waits for it.
//!
//! A verification that misses a key may ask for a fetch; a cool-down that counts attempts, not successes, bounds how often
//! that is granted, and within it the answer is immediate. A poll that was answered takes nobody's turn.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::fetch::{FetchError, Fetcher, MAX_DOCUMENT_BYTES};
use super::keyset::{KeySet, Publisher};
use super::source::{Attempt, Document, Location, Source, SourceState, Waited};
use super::unknown_kids::UnknownKids;
use crate::clock::Clock;
use crate::jose::JwkSet;
use crate::metrics::SourceMetrics;

/// Timing of the remote key set; every duration has a default that suits a set published for ten minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefreshPolicy {
    /// At most one fetch on behalf of unknown kids per this long, counted from its start, whatever came of it; and none for as
    /// long after a poll that failed. 5 s.
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
    /// How long a server that can hold requests (`Prefer: wait`, RFC 7240) is asked to hold one, so that it can answer as soon
    /// as the set changes; zero to poll only. 50 s: many a proxy cuts what is silent for a minute.
    pub push_wait: Duration,
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
            push_wait: Duration::from_secs(50),
        }
    }
}

// === impl RefreshPolicy ===

impl RefreshPolicy {
    /// What is wrong with it, if anything: the setting and why.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        // A server may be asked to hold a request for a day, a proxy may not; and nothing is gained beyond a few minutes.
        const MAX_PUSH_WAIT: Duration = Duration::from_secs(300);
        if self.deadline.is_zero() {
            return Err("a deadline of zero: no answer could ever come in time");
        }
        if self.min_interval < Duration::from_secs(1) {
            return Err("min_interval is below a second: that is a flood, not a refresh");
        }
        if self.min_interval > self.max_interval {
            return Err("min_interval is more than max_interval");
        }
        if self.max_stale < self.max_interval {
            return Err(
                "max_stale is less than max_interval: the set would be gone before its next refresh",
            );
        }
        if self.push_wait > MAX_PUSH_WAIT {
            return Err("push_wait is more than five minutes");
        }
        Ok(())
    }
}

/// The largest real set known has about 20.
const MAX_KEYS: usize = 100;

/// The handle by which verifications ask for a fetch. The fetching ends with it.
pub(crate) struct RemoteKeys {
    clock: Arc<dyn Clock>,
    cool_down: Duration,
    source: Source,
    metrics: SourceMetrics,
    unknown: Arc<UnknownKids>,
}

// === impl RemoteKeys ===

impl RemoteKeys {
    /// Starts fetching, on `runtime`; the first fetch is under way when this returns.
    pub(crate) fn start(
        runtime: &tokio::runtime::Handle,
        locations: Vec<Location>,
        fetcher: Fetcher,
        publisher: Publisher,
        clock: Arc<dyn Clock>,
        policy: RefreshPolicy,
        metrics: SourceMetrics,
    ) -> Self {
        let cool_down = policy.cool_down;
        let unknown = Arc::new(UnknownKids::new());
        let document = RemoteSet {
            publisher,
            clock: clock.clone(),
            cool_down,
            unknown: unknown.clone(),
            metrics: metrics.clone(),
        };
        let source = Source::start(runtime, locations, fetcher, document, clock.clone(), policy);
        metrics.watch(source.state(), &clock);
        RemoteKeys {
            clock,
            cool_down,
            source,
            metrics,
            unknown,
        }
    }

    /// Fetches on behalf of a token that no key was found for, if that is granted, and ends when an attempt is over.
    pub(crate) async fn refresh_for(&self, kid: Option<&str>) -> Waited {
        match self.ask(kid) {
            Some(attempt) => self.source.wait_for(attempt).await,
            None => Waited::InVain,
        }
    }

    /// As [`refresh_for`](Self::refresh_for), without waiting for it.
    pub(crate) fn nudge(&self, kid: Option<&str>) {
        self.ask(kid);
    }

    /// Notes that a kid is unknown even after a fetch: it must wait longer each time before it may cause another.
    pub(crate) fn note_unknown(&self, kid: &str) {
        self.unknown
            .note(kid, self.clock.monotonic(), self.cool_down);
    }

    /// As [`Source::until`].
    pub(crate) async fn until(&self, is_there: impl FnMut() -> bool) {
        self.source.until(is_there).await;
    }

    /// How long until a further attempt might be granted, rounded up to seconds.
    pub(crate) fn retry_after(&self) -> Duration {
        self.source.retry_after()
    }

    pub(crate) fn state(&self) -> Arc<SourceState> {
        self.source.state().load_full()
    }

    fn ask(&self, kid: Option<&str>) -> Option<Attempt> {
        let may_ask = |now| kid.is_none_or(|kid| self.unknown.may_ask(kid, now));
        let attempt = self.source.ask(may_ask);
        if attempt.is_none() {
            self.metrics.suppressed();
        }
        attempt
    }
}

/// The JWK Set, as a [`Document`].
struct RemoteSet {
    publisher: Publisher,
    clock: Arc<dyn Clock>,
    cool_down: Duration,
    unknown: Arc<UnknownKids>,
    metrics: SourceMetrics,
}

impl Document for RemoteSet {
    const ACCEPT: &'static str = "application/jwk-set+json, application/json";
    const MAX_BYTES: usize = MAX_DOCUMENT_BYTES;

    fn apply(&mut self, url: &Url, body: &[u8]) -> Result<Option<Duration>, FetchError> {
        let set = JwkSet::parse_bounded(body, MAX_KEYS).map_err(|error| FetchError::KeySet {
            url: url.to_string(),
            error,
        })?;
        if set.keys.is_empty() {
            return Err(FetchError::NoUsableKeys {
                url: url.to_string(),
                published: set.skipped.len(),
            });
        }
        let previous = self.publisher.current();
        let set = KeySet::new(set, previous.as_deref());
        for skipped in set.skipped() {
            tracing::warn!(
                index = skipped.index,
                kid = skipped.kid.as_deref().unwrap_or("(none)"),
                error = %skipped.error,
                "a published key cannot be used"
            );
        }
        self.metrics.keys(set.keys().len());
        // First: whoever then misses a key that is gone finds it written down.
        let now = self.clock.monotonic();
        self.unknown
            .note_set(previous.as_deref(), &set, now, self.cool_down);
        self.publisher.publish(Arc::new(set));
        Ok(None)
    }

    fn is_in_force(&self) -> bool {
        self.publisher.current().is_some()
    }

    fn withdraw(&mut self) {
        self.metrics.keys(0);
        self.publisher.withdraw();
    }

    fn fetched(&self, result: &'static str, took: Option<Duration>) {
        self.metrics.fetched(result, took);
    }
}
