//! The task behind a [`Source`](super::source::Source): polls and held requests, one exchange at a time, and what comes of them.
//! What is particular to held requests is in `held.rs`.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::Url;
use tokio::sync::watch;

use super::discovery;
use super::fetch::{Answer, Exchange, FetchError, Fetcher};
use super::held::Held;
use super::refresh::RefreshPolicy;
use super::source::{Document, Location, Progress, SourceState, Wanted};
use crate::clock::Clock;

/// First pause after a failure; doubles up to [`MAX_BACK_OFF`].
pub(super) const MIN_BACK_OFF: Duration = Duration::from_secs(1);
/// With a document in hand nobody is waiting for the next try.
const MAX_BACK_OFF: Duration = Duration::from_secs(60);
/// Without one every request is being refused: a server that comes back is found within two seconds.
const MAX_BACK_OFF_WITHOUT_DOCUMENT: Duration = Duration::from_millis(1500);
/// One of the places where the document is.
struct Place {
    location: Location,
    /// Where discovery led to.
    url: Option<Url>,
}

// === impl Place ===

impl Place {
    fn new(location: Location) -> Self {
        let url = match &location {
            Location::Url(url) => Some(url.clone()),
            Location::Discover { .. } => None,
        };
        Place { location, url }
    }

    async fn url(&self, fetcher: &Fetcher) -> Result<Url, FetchError> {
        match (&self.url, &self.location) {
            (Some(url), _) | (None, Location::Url(url)) => Ok(url.clone()),
            (None, Location::Discover { issuer }) => discovery::discover(fetcher, issuer).await,
        }
    }
}

/// What an attempt is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// It is time. The first place comes first, even if another one answered last.
    Due,
    /// Somebody waits for it. The place that answered last comes first.
    Asked,
}

enum Wake {
    Time,
    Asked,
    Pushed(Result<Answer, FetchError>, Url, Duration),
}

/// What the task shares with the source's handle.
pub(super) struct Shared {
    pub(super) wanted: Arc<Wanted>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) state: Arc<ArcSwap<SourceState>>,
}

/// The task that fetches.
pub(super) struct SourceTask<D> {
    places: Vec<Place>,
    /// The place that answered last.
    pub(super) current: usize,
    pub(super) fetcher: Fetcher,
    pub(super) document: D,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) policy: RefreshPolicy,
    wanted: Arc<Wanted>,
    progress: watch::Sender<Progress>,
    pub(super) state: Arc<ArcSwap<SourceState>>,
    failures: u32,
    /// Pushed changes that came right after one another.
    pub(super) quick: u32,
    pub(super) held: Option<Held>,
    jitter: RandomState,
}

// === impl SourceTask ===

impl<D: Document> SourceTask<D> {
    pub(super) fn new(
        locations: Vec<Location>,
        fetcher: Fetcher,
        document: D,
        clock: Arc<dyn Clock>,
        policy: RefreshPolicy,
        shared: Shared,
    ) -> Self {
        SourceTask {
            places: locations.into_iter().map(Place::new).collect(),
            current: 0,
            fetcher,
            document,
            clock,
            policy,
            wanted: shared.wanted,
            progress: shared.progress,
            state: shared.state,
            failures: 0,
            quick: 0,
            held: None,
            jitter: RandomState::new(),
        }
    }

    /// Never ends by itself.
    pub(super) async fn run(mut self) {
        // Announced by whoever started us.
        let begun = self.clock.monotonic();
        self.attempt(begun, Occasion::Due).await;
        loop {
            let wake = self.wake().await;
            self.withdraw_if_stale();
            let now = self.clock.monotonic();
            let due = self
                .state
                .load()
                .next_attempt
                .is_none_or(|next| now >= next);
            match wake {
                Wake::Pushed(answer, url, opened) => self.pushed(answer, &url, opened, now),
                Wake::Time if due => self.begin_attempt(now, Occasion::Due).await,
                Wake::Asked if self.is_wanted() => {
                    self.begin_attempt(now, Occasion::Asked).await;
                }
                Wake::Time | Wake::Asked => {}
            }
        }
    }

    /// Ends at the next thing to do.
    async fn wake(&mut self) -> Wake {
        let next = self.state.load().next_attempt.unwrap_or_default();
        let until_next = next.saturating_sub(self.clock.monotonic());
        let time = self.clock.sleep(until_next.min(self.until_stale()));
        let held = async {
            match &mut self.held {
                Some(held) => (held.answer.as_mut().await, held.url.clone(), held.opened),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            (answer, url, opened) = held => Wake::Pushed(answer, url, opened),
            () = time => Wake::Time,
            () = self.wanted.asked.notified() => Wake::Asked,
        }
    }

    /// Whether the attempt that was granted last is still to begin. If so, nothing has begun since it was granted.
    fn is_wanted(&self) -> bool {
        self.wanted.attempt.load(Ordering::Acquire) > self.progress.borrow().started
    }

    async fn begin_attempt(&mut self, now: Duration, occasion: Occasion) {
        self.progress.send_modify(|progress| progress.started += 1);
        self.attempt(now, occasion).await;
    }

    /// One attempt that has been announced, from the first connection to the document in force.
    async fn attempt(&mut self, begun: Duration, occasion: Occasion) {
        // One exchange at a time: the held request goes first, and is opened again when the attempt has succeeded.
        self.hang_up();
        let first = match occasion {
            Occasion::Due => 0,
            Occasion::Asked => self.current,
        };
        let others = (0..self.places.len()).filter(|&index| index != first);
        let (mut answered, mut first_error) = (false, None);
        for index in std::iter::once(first).chain(others) {
            match self.try_place(index).await {
                Ok(()) => {
                    answered = true;
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, failures = self.failures + 1, "a fetch failed");
                    first_error.get_or_insert(error);
                }
            }
        }
        if let Some(error) = first_error {
            self.note_error(error, answered);
        }
        self.progress.send_modify(|progress| {
            progress.finished = progress.started;
            progress.answered = answered;
            // While it was under way it was joined, and nothing was granted.
            if occasion == Occasion::Asked || !answered {
                progress.cooling_since = Some(begun);
            }
        });
    }

    async fn try_place(&mut self, index: usize) -> Result<(), FetchError> {
        let started = self.clock.monotonic();
        let fetched = {
            let stale = self.clock.sleep(self.until_stale());
            let fetch = self.fetch(index);
            let mut fetch = std::pin::pin!(fetch);
            tokio::select! {
                fetched = &mut fetch => Some(fetched),
                () = stale => None,
            }
        };
        let fetched = match fetched {
            Some(fetched) => fetched,
            None => {
                // The bound on staleness holds even while a server lets us wait. Without a document, its entity tag is no
                // use either: ask again, for all of it.
                self.withdraw_if_stale();
                self.fetch(index).await
            }
        };
        let now = self.clock.monotonic();
        let took = Some(now.saturating_sub(started));
        let applied = fetched.and_then(|(answer, url)| {
            let waits = answer.waits;
            let result = self.apply(answer, index, &url, now)?;
            Ok((result, url, waits))
        });
        match applied {
            Ok((result, url, waits)) => {
                self.document.fetched(result, took);
                self.places[index].url = Some(url);
                if waits {
                    self.hold(now, Duration::ZERO);
                }
                Ok(())
            }
            Err(error) => {
                self.document.fetched(error.label(), took);
                let place = &mut self.places[index];
                if let Location::Discover { .. } = place.location {
                    // The metadata may name another place by now.
                    place.url = None;
                }
                Err(error)
            }
        }
    }

    // `&mut`: a shared borrow of the task would have to be `Sync`, and a held request is not.
    async fn fetch(&mut self, index: usize) -> Result<(Answer, Url), FetchError> {
        let url = self.places[index].url(&self.fetcher).await?;
        let state = self.state.load_full();
        // An entity tag means something only where it came from.
        let etag = state
            .etag
            .as_deref()
            .filter(|_| state.url.as_ref() == Some(&url));
        let push = !self.policy.push_wait.is_zero();
        let exchange = Exchange {
            url: &url,
            accept: D::ACCEPT,
            max_bytes: D::MAX_BYTES,
            etag,
            wait: push.then_some(Duration::ZERO),
        };
        let answer = self.fetcher.get(exchange).await?;
        Ok((answer, url))
    }

    /// Puts an answer in force; the result as metrics call it.
    pub(super) fn apply(
        &mut self,
        answer: Answer,
        index: usize,
        url: &Url,
        now: Duration,
    ) -> Result<&'static str, FetchError> {
        let previous = self.state.load_full();
        let (own, etag, result) = match &answer.body {
            None => (None, previous.etag.clone(), "not_modified"),
            Some(body) => (self.document.apply(url, body)?, answer.etag, "modified"),
        };
        let fresh_for = match (answer.fresh_for, own) {
            (Some(by_headers), Some(own)) => by_headers.min(own),
            (by_headers, own) => by_headers.or(own).unwrap_or(self.policy.default_interval),
        };
        let fresh_for = fresh_for.clamp(self.policy.min_interval, self.policy.max_interval);
        self.failures = 0;
        self.current = index;
        self.state.store(Arc::new(SourceState {
            last_success: Some(now),
            last_error: None,
            etag,
            next_attempt: Some(now + self.jittered(fresh_for.mul_f64(0.9))),
            url: Some(url.clone()),
            pushed: previous.pushed,
        }));
        Ok(result)
    }

    /// Writes down what went wrong in an attempt, also when another place has helped out; if none has, when to try again.
    fn note_error(&mut self, error: FetchError, helped_out: bool) {
        let back_off = (!helped_out).then(|| self.back_off());
        let previous = self.state.load_full();
        let next_attempt = match back_off {
            None => previous.next_attempt,
            Some(back_off) => Some(self.clock.monotonic() + back_off),
        };
        self.state.store(Arc::new(SourceState {
            last_error: Some(Arc::new(error)),
            next_attempt,
            ..(*previous).clone()
        }));
    }

    /// One more failure, and the pause that follows it.
    pub(super) fn back_off(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let cap = match self.document.is_in_force() {
            true => MAX_BACK_OFF,
            false => MAX_BACK_OFF_WITHOUT_DOCUMENT,
        };
        let back_off = MIN_BACK_OFF
            .saturating_mul(1 << (self.failures - 1).min(10))
            .min(cap);
        self.jittered(back_off)
    }

    /// Time left until the last good document is too old; for ever when there is none.
    fn until_stale(&self) -> Duration {
        match (self.document.is_in_force(), self.state.load().last_success) {
            (true, Some(last_success)) => {
                (last_success + self.policy.max_stale).saturating_sub(self.clock.monotonic())
            }
            _ => Duration::MAX,
        }
    }

    fn withdraw_if_stale(&mut self) {
        if self.until_stale().is_zero() {
            tracing::warn!("the last good document is too old: it no longer counts");
            self.document.withdraw();
            let previous = self.state.load_full();
            // Without its ETag: a 304 would leave us without a document.
            self.state.store(Arc::new(SourceState {
                etag: None,
                ..(*previous).clone()
            }));
        }
    }

    /// `duration` ± 10 %, so that a thousand verifiers do not ask in the same second.
    pub(super) fn jittered(&self, duration: Duration) -> Duration {
        let seed = (self.progress.borrow().started, self.failures, self.quick);
        let random = self.jitter.hash_one(seed) as f64 / u64::MAX as f64;
        duration.mul_f64(0.9 + 0.2 * random)
    }
}
