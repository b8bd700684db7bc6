//! Whether a session has ended: the token's bit in the Token Status List of its issuer (draft-ietf-oauth-status-list).
//!
//! A list is fetched only from the issuer's own origin, once a token that passed every other check refers to it, and is then kept
//! current as the keys are. A look at it is one load and one bit, also for a token from the cache.

use std::sync::Arc;

use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use reqwest::Url;

use super::fetch::{FetchError, Fetcher};
use super::keyset::Reader;
use super::refresh::RefreshPolicy;
use super::reject::Reject;
use super::source::{Document, Location, Source, SourceState, Waited};
use super::status_list::{Expected, MAX_LIST_TOKEN_BYTES, StatusBits};
use crate::clock::Clock;
use crate::jose::{Algorithm, NumericDate, StatusReference};
use crate::metrics::StatusListMetrics;

/// Lists of one issuer that are kept, each with a request that is held: an issuer with more has too many.
const MAX_LISTS: usize = 64;
/// Retry-After where nothing says when there will be a list.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What becomes of a token that refers to a status list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StatusCheck {
    /// Its bit decides. The last list holds until its `exp`, and no longer than keys would without their issuer; after that the
    /// token is refused with `status_unavailable`.
    #[default]
    FailClosed,
    /// Its bit decides, where the list can be had; else the token passes. For those who would rather let an ended session in
    /// than keep everybody out.
    FailOpen,
    /// Nothing is fetched, and a session that has ended passes until its token expires.
    Ignore,
}

/// The status lists of one issuer.
pub(crate) struct StatusLists {
    check: StatusCheck,
    lists: ArcSwap<Vec<Arc<RemoteList>>>,
    made: ListMaker,
}

/// What it takes to follow one more list.
pub(crate) struct ListMaker {
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) issuer: Arc<str>,
    /// `None` for an issuer whose name is no URL: it has no origin that a list could be at.
    pub(crate) origin: Option<Url>,
    pub(crate) algorithms: Box<[Algorithm]>,
    pub(crate) keys: Reader,
    pub(crate) fetcher: Fetcher,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policy: RefreshPolicy,
    pub(crate) metrics: StatusListMetrics,
}

/// One list and the task that keeps it current.
pub(crate) struct RemoteList {
    uri: Box<str>,
    slot: StatusSlot,
    source: Source,
}

/// The reading end of a list; keeps no task alive.
#[derive(Debug, Clone)]
struct StatusSlot(Arc<ArcSwapOption<StatusBits>>);

/// The place of one token in a list.
#[derive(Debug)]
pub(crate) struct StatusEntry {
    slot: StatusSlot,
    idx: u64,
}

/// Why a token's status could not be told.
pub(crate) enum Unknown {
    /// The list is to be had first; the verdict if it cannot be.
    Wanted(Arc<RemoteList>, Reject),
    /// However often one looks.
    Refused(Reject),
}

// === impl StatusLists ===

impl StatusLists {
    pub(crate) fn new(check: StatusCheck, made: ListMaker) -> Self {
        StatusLists {
            check,
            lists: ArcSwap::default(),
            made,
        }
    }

    /// The place of a token that holds, or that passes although nobody can say whether it does.
    pub(crate) fn look_up(
        &self,
        reference: &StatusReference<'_>,
        now: NumericDate,
    ) -> Result<StatusEntry, Unknown> {
        let list = self.list(&reference.uri)?;
        let entry = StatusEntry {
            slot: list.slot.clone(),
            idx: reference.idx,
        };
        match entry.verdict(|moment| now >= moment) {
            Some(Ok(())) => Ok(entry),
            Some(Err(reject)) => Err(Unknown::Refused(reject)),
            None if self.check == StatusCheck::FailOpen => {
                // Its place is kept all the same: once the list is there, it decides.
                list.nudge();
                Ok(entry)
            }
            None => {
                let retry_after = list.source.retry_after();
                Err(Unknown::Wanted(
                    list,
                    Reject::StatusUnavailable { retry_after },
                ))
            }
        }
    }

    /// What becomes of a token whose list cannot be had.
    pub(crate) fn check(&self) -> StatusCheck {
        self.check
    }

    /// Every list that is followed.
    pub(crate) fn all(&self) -> Arc<Vec<Arc<RemoteList>>> {
        self.lists.load_full()
    }

    /// The list at `uri`, followed from now on if it was not yet. Only for tokens whose signature was good.
    fn list(&self, uri: &str) -> Result<Arc<RemoteList>, Unknown> {
        let known =
            |lists: &Vec<Arc<RemoteList>>| lists.iter().find(|list| *list.uri == *uri).cloned();
        if let Some(list) = known(&self.lists.load()) {
            return Ok(list);
        }
        let url = self.made.own_url(uri).map_err(Unknown::Refused)?;
        if self.lists.load().len() >= MAX_LISTS {
            return Err(Unknown::Refused(Reject::StatusUnavailable {
                retry_after: RETRY_AFTER,
            }));
        }
        // Two at once may each make one; the second to be entered is dropped, and its task with it.
        let made = self.made.follow(uri, url);
        self.lists.rcu(|lists| match known(lists) {
            Some(_) => Vec::clone(lists),
            None => {
                let mut lists = Vec::clone(lists);
                lists.push(Arc::clone(&made));
                lists
            }
        });
        Ok(known(&self.lists.load()).unwrap_or(made))
    }
}

// === impl ListMaker ===

impl ListMaker {
    /// Where the list is, if it is the issuer's own: same scheme, host and port.
    fn own_url(&self, uri: &str) -> Result<Url, Reject> {
        let url = self.fetcher.rule().parse(uri).ok();
        let origin = self.origin.as_ref().map(Url::origin);
        url.filter(|url| Some(url.origin()) == origin)
            .ok_or(Reject::BadClaim("status"))
    }

    fn follow(&self, uri: &str, url: Url) -> Arc<RemoteList> {
        let slot = StatusSlot(Arc::default());
        let document = ListDocument {
            uri: uri.into(),
            issuer: self.issuer.clone(),
            algorithms: self.algorithms.clone(),
            keys: self.keys.clone(),
            clock: self.clock.clone(),
            slot: slot.clone(),
            metrics: self.metrics.clone(),
        };
        let source = Source::start(
            &self.runtime,
            vec![Location::Url(url)],
            self.fetcher.clone(),
            document,
            self.clock.clone(),
            self.policy.clone(),
        );
        self.metrics.watch(source.state(), &self.clock);
        Arc::new(RemoteList {
            uri: uri.into(),
            slot,
            source,
        })
    }
}

// === impl RemoteList ===

impl RemoteList {
    /// Fetches the list, if that is granted, and ends when the attempt is over.
    pub(crate) async fn refresh(&self) -> Waited {
        match self.source.ask(|_| true) {
            Some(attempt) => self.source.wait_for(attempt).await,
            None => Waited::InVain,
        }
    }

    /// As [`refresh`](Self::refresh), without waiting for it.
    pub(crate) fn nudge(&self) {
        self.source.ask(|_| true);
    }

    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// Whether there is a list, in force or expired.
    pub(crate) fn is_there(&self) -> bool {
        self.slot.0.load().is_some()
    }

    /// How many tokens it has room for; `None` without a list that is in force at this moment.
    pub(crate) fn capacity(&self, now: NumericDate) -> Option<usize> {
        let bits = self.slot.0.load();
        let is_current =
            |bits: &&Arc<StatusBits>| bits.expires_at.is_none_or(|expiry| now < expiry);
        bits.as_ref().filter(is_current).map(|bits| bits.len())
    }

    pub(crate) fn state(&self) -> Arc<SourceState> {
        self.source.state().load_full()
    }
}

// === impl StatusEntry ===

impl StatusEntry {
    /// `None` when there is no list in force to tell; `has_come` says of a moment whether it is past.
    #[inline]
    pub(crate) fn verdict(
        &self,
        has_come: impl FnOnce(NumericDate) -> bool,
    ) -> Option<Result<(), Reject>> {
        let bits = self.slot.0.load();
        let bits = bits.as_deref()?;
        if bits.expires_at.is_some_and(has_come) {
            return None;
        }
        Some(match bits.is_valid(self.idx) {
            Some(true) => Ok(()),
            Some(false) => Err(Reject::Revoked),
            // §8.3: a position beyond the list is no position.
            None => Err(Reject::BadClaim("status")),
        })
    }
}

/// A list, as a [`Document`].
struct ListDocument {
    uri: Box<str>,
    issuer: Arc<str>,
    algorithms: Box<[Algorithm]>,
    keys: Reader,
    clock: Arc<dyn Clock>,
    slot: StatusSlot,
    metrics: StatusListMetrics,
}

impl Document for ListDocument {
    const ACCEPT: &'static str = "application/statuslist+jwt";
    const MAX_BYTES: usize = MAX_LIST_TOKEN_BYTES;

    fn apply(&mut self, url: &Url, body: &[u8]) -> Result<Option<Duration>, FetchError> {
        let bad = |why: String| FetchError::StatusList {
            url: url.to_string(),
            why,
        };
        let now = self.clock.now();
        let keys = self.keys.load();
        let expected = Expected {
            uri: &self.uri,
            issuer: &self.issuer,
            algorithms: &self.algorithms,
            keys: keys.as_deref(),
            now,
        };
        let bits = StatusBits::parse(body, expected).map_err(bad)?;
        // A cache that repeats an old answer must not give an ended session its life back.
        if let Some(current) = self.slot.0.load().as_deref()
            && bits.issued_at < current.issued_at
            && current.expires_at.is_none_or(|exp| now < exp)
        {
            return Err(bad(format!(
                "it is of {}, older than the one in force",
                bits.issued_at
            )));
        }
        let until_expiry = bits.expires_at.map(|exp| exp.since(now));
        let fresh_for = match (bits.ttl, until_expiry) {
            (Some(ttl), Some(left)) => Some(ttl.min(left)),
            (ttl, left) => ttl.or(left),
        };
        self.slot.0.store(Some(Arc::new(bits)));
        Ok(fresh_for)
    }

    fn is_in_force(&self) -> bool {
        self.slot.0.load().is_some()
    }

    fn withdraw(&mut self) {
        self.slot.0.store(None);
    }

    fn fetched(&self, result: &'static str, _took: Option<Duration>) {
        self.metrics.fetched(result);
    }
}
