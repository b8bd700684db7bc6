//! What a verifier tells people and probes of each issuer.

use std::sync::Arc;
use std::time::Duration;

use super::refresh::RemoteKeys;
use super::source::SourceState;
use super::status::{RemoteList, StatusCheck, StatusLists};
use super::verifier::Verifier;
use crate::clock::Clock;

/// The state of one issuer's keys, for people and probes. As JSON, durations are in seconds.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct IssuerStatus {
    /// The configured issuer.
    pub issuer: String,
    /// The kids of the usable keys in force.
    pub kids: Vec<String>,
    /// Published keys that cannot be used.
    pub skipped: usize,
    /// Whether keys are in force at all.
    pub ready: bool,
    /// What is wrong with the keys and the status lists, and what it does to tokens; also what only threatens to.
    pub problems: Vec<String>,
    /// Time since the set was last had or confirmed; `None` for static keys, or if it never was.
    #[serde(serialize_with = "seconds")]
    pub age: Option<Duration>,
    /// Entity tag of the set in force.
    pub etag: Option<String>,
    /// Where the set in force came from; `None` for static keys, or if there is none.
    pub source: Option<String>,
    /// How changes are heard of.
    pub updates: Updates,
    /// Why the last fetch failed, if it did; also when another place of the same set could help out.
    pub last_error: Option<String>,
    /// Time until the next fetch.
    #[serde(serialize_with = "seconds")]
    pub next_refresh: Option<Duration>,
    /// The status lists that tokens have referred to.
    pub status_lists: Vec<StatusListStatus>,
}

/// The state of one status list, for people and probes. As JSON, durations are in seconds.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct StatusListStatus {
    /// Where it is.
    pub uri: String,
    /// How many tokens it has room for; `None` when there is no list in force, for it never was had or has expired.
    pub capacity: Option<usize>,
    /// Time since it was last had or confirmed.
    #[serde(serialize_with = "seconds")]
    pub age: Option<Duration>,
    /// How changes are heard of.
    pub updates: Updates,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<String>,
}

// === impl StatusListStatus ===

impl StatusListStatus {
    fn of(list: &RemoteList, clock: &dyn Clock) -> Self {
        let (state, now) = (list.state(), clock.monotonic());
        StatusListStatus {
            uri: list.uri().into(),
            capacity: list.capacity(clock.now()),
            age: state.last_success.map(|at| now.saturating_sub(at)),
            updates: Updates::of(&state),
            last_error: state.last_error.as_ref().map(ToString::to_string),
        }
    }

    /// What is wrong with it, and what becomes of the tokens that refer to it.
    fn problem(&self, check: StatusCheck) -> Option<String> {
        let uri = &self.uri;
        match (&self.last_error, self.capacity, check) {
            (None, _, _) => None,
            (Some(error), Some(_), _) => Some(format!(
                "the status list {uri} could not be fetched; the one in hand stays in force until it expires: {error}"
            )),
            (Some(error), None, StatusCheck::FailClosed) => Some(format!(
                "no status list {uri} is in force, so tokens that refer to it are refused with status_unavailable: {error}"
            )),
            (Some(error), None, _) => Some(format!(
                "no status list {uri} is in force, so tokens of ended sessions are accepted: {error}"
            )),
        }
    }
}

/// How a verifier hears that an issuer's keys have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Updates {
    /// Never: the keys were given for good.
    Static,
    /// It asks again, in time.
    Poll,
    /// The issuer holds a request and answers it when the set changes.
    Push,
}

// === impl Updates ===

impl Updates {
    fn of(state: &SourceState) -> Self {
        match state.pushed {
            true => Updates::Push,
            false => Updates::Poll,
        }
    }
}

fn seconds<S: serde::Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&duration.map(|duration| duration.as_secs_f64()), serializer)
}

// === impl IssuerStatus ===

impl IssuerStatus {
    fn problems(&self, check: StatusCheck) -> Vec<String> {
        let name = &self.issuer;
        let of_keys = match (&self.last_error, self.ready) {
            (Some(error), true) => Some(format!(
                "the keys of {name} could not be fetched; those in hand stay in force: {error}"
            )),
            (Some(error), false) => Some(format!("no keys of {name} are in force: {error}")),
            (None, false) => Some(format!("no keys of {name} are in force yet")),
            (None, true) => None,
        };
        let lists = self.status_lists.iter();
        let of_lists = lists.filter_map(|list| list.problem(check));
        of_keys.into_iter().chain(of_lists).collect()
    }
}

// === impl Verifier ===

impl Verifier {
    /// The state of each issuer's keys.
    pub fn status(&self) -> Vec<IssuerStatus> {
        let clock = self.inner.clock.as_ref();
        let now = clock.monotonic();
        let statuses = self.inner.trusted.iter().map(|trusted| {
            let keys = trusted.keys.load();
            let state = trusted.remote.as_ref().map(RemoteKeys::state);
            let kid = |key: &Arc<crate::jose::VerifyingKey>| key.kid().map(String::from);
            let mut status = IssuerStatus {
                issuer: trusted.name.to_string(),
                kids: keys
                    .iter()
                    .flat_map(|set| set.keys())
                    .filter_map(kid)
                    .collect(),
                skipped: keys.as_ref().map_or(0, |set| set.skipped().len()),
                ready: keys.is_some(),
                problems: Vec::new(),
                age: state
                    .as_ref()
                    .and_then(|state| Some(now.saturating_sub(state.last_success?))),
                etag: state.as_ref().and_then(|state| state.etag.clone()),
                source: state
                    .as_ref()
                    .and_then(|state| state.url.as_ref().map(ToString::to_string)),
                updates: state
                    .as_ref()
                    .map_or(Updates::Static, |state| Updates::of(state)),
                last_error: state
                    .as_ref()
                    .and_then(|state| Some(state.last_error.as_ref()?.to_string())),
                next_refresh: state
                    .as_ref()
                    .and_then(|state| Some(state.next_attempt?.saturating_sub(now))),
                status_lists: trusted.status.as_ref().map_or_else(Vec::new, |lists| {
                    let lists = lists.all();
                    let shown = lists.iter().map(|list| StatusListStatus::of(list, clock));
                    shown.collect()
                }),
            };
            let check = trusted.status.as_ref().map(StatusLists::check);
            status.problems = status.problems(check.unwrap_or_default());
            status
        });
        statuses.collect()
    }
}
