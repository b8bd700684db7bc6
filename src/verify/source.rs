//! One remote document kept current: fetched ahead of its expiry, pushed where the server holds requests, tried again when it
//! cannot be had, and given up when it is too old.
//!
//! One task owns every exchange, one at a time: there is never more than one under way, and an older answer cannot overwrite
//! a newer one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::Url;
use tokio::sync::{Notify, watch};

use super::fetch::{FetchError, Fetcher};
use super::refresh::RefreshPolicy;
use super::source_task::{Shared, SourceTask};
use crate::clock::Clock;

/// Verifications that may wait for one fetch; those beyond are answered at once, so that a flood cannot fill the memory.
const MAX_WAITING: usize = 16_384;

/// Where a document is.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    /// At the `jwks_uri` of the issuer's metadata.
    Discover { issuer: String },
    /// Here.
    Url(Url),
}

/// What is kept current, and what an answer does to it.
pub(crate) trait Document: Send + 'static {
    /// The media types to ask for.
    const ACCEPT: &'static str;

    /// The longest body, in bytes.
    const MAX_BYTES: usize;

    /// Puts `body` in force. Nothing has changed if it fails.
    ///
    /// Gives how long the document says that it is fresh, if it does.
    fn apply(&mut self, url: &Url, body: &[u8]) -> Result<Option<Duration>, FetchError>;

    /// Whether a document is in force.
    fn is_in_force(&self) -> bool;

    /// Takes it out of force: it is too old.
    fn withdraw(&mut self);

    /// Counts an exchange that has ended; `took` is `None` for one that was held.
    fn fetched(&self, result: &'static str, took: Option<Duration>);
}

/// What is known of one remote document, for people and probes.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceState {
    pub(crate) last_success: Option<Duration>,
    pub(crate) last_error: Option<Arc<FetchError>>,
    pub(crate) etag: Option<String>,
    pub(crate) next_attempt: Option<Duration>,
    /// Where the document in force came from.
    pub(crate) url: Option<Url>,
    /// A request is being held by the server.
    pub(crate) pushed: bool,
}

/// How far the fetching has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) started: u64,
    pub(super) finished: u64,
    /// Whether the last one that finished has brought an answer.
    pub(super) answered: bool,
    /// Since when no attempt is granted: the start of the last one that was asked for, or that failed. One that was due and
    /// brought an answer is nobody's turn: a document may change a moment after it was looked at.
    pub(super) cooling_since: Option<Duration>,
}

/// What the task is asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// The number of the last attempt that was granted; if it has begun already, nobody needs another.
    pub(super) attempt: AtomicU64,
    pub(super) asked: Notify,
}

/// A running source; the task ends with it.
pub(crate) struct Source {
    clock: Arc<dyn Clock>,
    cool_down: Duration,
    /// The longest that an attempt can take.
    patience: Duration,
    wanted: Arc<Wanted>,
    progress: watch::Receiver<Progress>,
    state: Arc<ArcSwap<SourceState>>,
    waiting: AtomicUsize,
    task: tokio::task::AbortHandle,
}

/// An attempt to fetch that somebody may wait for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    number: u64,
    /// It began before it was asked for, and may have been answered before what is missed was there.
    is_joined: bool,
}

/// What came of asking for an attempt and waiting for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// None was granted, or it has not ended in time.
    InVain,
    /// For one that failed.
    Failed,
    /// For an answer to a question that was asked before.
    Joined,
    /// For an answer to a question that was asked after.
    Granted,
}

// === impl Source ===

impl Source {
    /// Starts fetching, on `runtime`; the first fetch is under way when this returns. `locations` hold the same document and
    /// are tried in this order.
    pub(crate) fn start<D: Document>(
        runtime: &tokio::runtime::Handle,
        locations: Vec<Location>,
        fetcher: Fetcher,
        document: D,
        clock: Arc<dyn Clock>,
        policy: RefreshPolicy,
    ) -> Self {
        let wanted = Arc::<Wanted>::default();
        let state = Arc::new(ArcSwap::from_pointee(SourceState::default()));
        // The first attempt counts as started from the outset, so that the first tokens join it.
        let (progress_in, progress) = watch::channel(Progress {
            started: 1,
            finished: 0,
            answered: false,
            cooling_since: None,
        });
        // Discovery and the document, one after the other, from every place; and some time to be scheduled.
        let exchanges = u32::try_from(2 * locations.len() + 1).unwrap_or(u32::MAX);
        let patience = policy.deadline.saturating_mul(exchanges);
        let cool_down = policy.cool_down;
        let shared = Shared {
            wanted: wanted.clone(),
            progress: progress_in,
            state: state.clone(),
        };
        let task = SourceTask::new(locations, fetcher, document, clock.clone(), policy, shared);
        let task = runtime.spawn(task.run()).abort_handle();
        Source {
            clock,
            cool_down,
            patience,
            wanted,
            progress,
            state,
            waiting: AtomicUsize::new(0),
            task,
        }
    }

    pub(crate) fn state(&self) -> &Arc<ArcSwap<SourceState>> {
        &self.state
    }

    /// Joins the attempt under way, or asks for one unless another that was asked for, or failed, has begun within the
    /// cool-down. `may_ask` has a say in that.
    pub(crate) fn ask(&self, may_ask: impl FnOnce(Duration) -> bool) -> Option<Attempt> {
        let now = self.clock.monotonic();
        let progress = *self.progress.borrow();
        if progress.started > progress.finished {
            return Some(Attempt {
                number: progress.started,
                is_joined: true,
            });
        }
        let is_cooling = progress
            .cooling_since
            .is_some_and(|since| now < since + self.cool_down);
        if is_cooling || !may_ask(now) {
            return None;
        }
        let number = progress.started + 1;
        self.wanted.attempt.fetch_max(number, Ordering::Release);
        self.wanted.asked.notify_one();
        Some(Attempt {
            number,
            is_joined: false,
        })
    }

    /// Ends when the attempt is over.
    pub(crate) async fn wait_for(&self, attempt: Attempt) -> Waited {
        let _place = match Waiting::enter(&self.waiting) {
            Some(place) => place,
            None => return Waited::InVain,
        };
        let mut progress = self.progress.clone();
        let over = progress.wait_for(|progress| progress.finished >= attempt.number);
        let over = tokio::select! {
            over = over => over.ok(),
            () = self.clock.sleep(self.patience) => None,
        };
        match over.as_deref() {
            None => Waited::InVain,
            Some(over) if !over.answered => Waited::Failed,
            Some(_) if attempt.is_joined => Waited::Joined,
            Some(_) => Waited::Granted,
        }
    }

    /// Ends when `is_there` says so; asked now and after every attempt, whoever it was made for.
    pub(crate) async fn until(&self, mut is_there: impl FnMut() -> bool) {
        let mut progress = self.progress.clone();
        loop {
            // Noted first: an attempt that ends while we look is then not slept through.
            let seen = progress.borrow_and_update().finished;
            if is_there() {
                return;
            }
            // An error is a task that is gone, and with it the verifier that is waited for.
            if progress.wait_for(|now| now.finished > seen).await.is_err() {
                return;
            }
        }
    }

    /// How long until a further attempt might be granted, rounded up to seconds.
    pub(crate) fn retry_after(&self) -> Duration {
        let next = self.state.load().next_attempt.unwrap_or_default();
        let left = next.saturating_sub(self.clock.monotonic());
        Duration::from_secs(left.as_secs() + 1)
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

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}
