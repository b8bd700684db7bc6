//! `Verifier`: the steps of one verification, in order, readable top to bottom.
//!
//! ```text
//! bytes → (token cache hit?) → Compact → issuer by iss → VerifyingKey by kid → signature → claims → status bit → Verified<C>
//! ```
//!
//! The hot path takes no lock: it loads a snapshot, reads, and adds to counters. Nothing here knows that an issuer exists.

mod builder;
pub(crate) mod dial;
mod discovery;
mod explain;
mod fetch;
mod freshness;
#[cfg(feature = "axum")]
mod health;
mod keyset;
#[cfg(feature = "axum")]
mod layer;
mod refresh;
mod reject;
pub(crate) mod source;
mod status;
mod status_list;
mod tables;
mod token_cache;
mod unknown_kids;
mod verified;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use builder::{BuildError, TrustedIssuer, VerifierBuilder};
pub use dial::ClientError;
pub use explain::{Check, CheckName, Explanation, Outcome};
pub use fetch::FetchError;
#[cfg(feature = "axum")]
pub use health::health_routes;
pub use keyset::{KeySet, Publisher, Reader, channel};
#[cfg(feature = "axum")]
pub use layer::{Denied, VerifierFuture, VerifierLayer, VerifierService};
#[cfg(feature = "server")]
pub(crate) use layer::{REQUEST_ID, bearer, request_id};
pub use refresh::RefreshPolicy;
pub use reject::{Malformation, Reason, Reject};
pub use status::StatusCheck;
pub use verified::{ClaimSet, Claims, Token, Verified};

use crate::audit::{AuditLog, Event, Fields};
use crate::clock::{Clock, RECENT};
use crate::jose::claim_places::Placing;
use crate::jose::{Algorithm, Compact, CompactError, NumericDate, Policy, RegisteredClaims};
use crate::metrics::{CacheResults, Look, Metrics, Outcomes, SAMPLED, is_sampled};
use refresh::RemoteKeys;
use status::{RemoteList, StatusEntry, StatusLists, Unknown};
use tables::Tables;
use token_cache::TokenCache;
use verified::Entry;

/// Retry-After while there are no keys and nothing says when there will be.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Verifies tokens of the configured issuers, sharing no secret with any. Cheap to clone.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

struct Inner {
    trusted: Box<[Trusted]>,
    max_token_bytes: usize,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    no_issuer: Outcomes,
    cache: TokenCache,
    cache_results: CacheResults,
    tables: Tables,
    audit: AuditLog,
}

/// One configured issuer.
struct Trusted {
    name: Arc<str>,
    algorithms: Box<[Algorithm]>,
    policy: Policy,
    keys: Reader,
    /// `None` for static keys.
    remote: Option<RemoteKeys>,
    /// `None` if they are not to be looked at.
    status: Option<StatusLists>,
    outcomes: Outcomes,
}

/// A token that passed every check, its issuer, and where it was found.
struct Accepted<'v> {
    token: Token,
    trusted: &'v Trusted,
    look: Look,
}

/// A refusal, with what a second look would need.
struct Refusal<'v> {
    reject: Reject,
    trusted: Option<&'v Trusted>,
    missed: Option<Missed>,
}

/// What was looked for and not found.
enum Missed {
    Key(MissedKey),
    StatusList(Arc<RemoteList>),
}

/// Which key, and where it was looked for.
struct MissedKey {
    kid: Option<Box<str>>,
    /// The snapshot that lacked it; `None` if there was none.
    seen: Option<Arc<KeySet>>,
}

/// Where a token came from, for the audit trail.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestContext<'a> {
    /// Address of the client.
    pub ip: Option<IpAddr>,
    /// The route's pattern.
    pub route: Option<&'a str>,
    /// The request's identifier: its header `x-request-id`, if that is one.
    pub request_id: Option<&'a str>,
}

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
    /// How many tokens it has room for; `None` when there is no list in force.
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
    fn of(list: &RemoteList, now: Duration) -> Self {
        let state = list.state();
        StatusListStatus {
            uri: list.uri().into(),
            capacity: list.len(),
            age: state.last_success.map(|at| now.saturating_sub(at)),
            updates: Updates::of(&state),
            last_error: state.last_error.as_ref().map(ToString::to_string),
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
    fn of(state: &source::SourceState) -> Self {
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

// === impl Verifier ===

impl Verifier {
    /// Says what to trust.
    pub fn builder() -> VerifierBuilder {
        VerifierBuilder::default()
    }

    /// Verifies a token: the compact serialization alone, without `Bearer`.
    ///
    /// May wait for one fetch when no key fits or none are there yet, and the cool-down allows one; else it never waits.
    ///
    /// # Errors
    /// [`Reject`], for the first check that failed.
    pub async fn verify<C: ClaimSet>(&self, token: &str) -> Result<Verified<C>, Reject> {
        self.verify_request(token, RequestContext::default()).await
    }

    /// As [`verify`](Self::verify); a refusal's audit line also says where the token came from.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn verify_request<C: ClaimSet>(
        &self,
        token: &str,
        context: RequestContext<'_>,
    ) -> Result<Verified<C>, Reject> {
        let outcome = self.look(token).await;
        // Whoever awaits this may await more with the token in hand, many at a time on one thread.
        self.conclude(token, outcome, context)
            .map(Verified::detached)
    }

    /// As [`verify_request`](Self::verify_request); `allow` has the last word on an authentic token, and its refusal is the
    /// one outcome that is counted and written.
    #[cfg(feature = "axum")]
    pub(crate) async fn verify_and_allow(
        &self,
        token: &str,
        context: RequestContext<'_>,
        allow: impl FnOnce(&Token) -> Result<(), Reject>,
    ) -> Result<Token, Reject> {
        let outcome = self.look(token).await;
        self.conclude_allowed(token, outcome, || context, allow)
    }

    /// As [`verify_and_allow`](Self::verify_and_allow), at once; `None`, with nothing counted or written, if a fetch might change
    /// the verdict. `context` is asked for only if a refusal may be written.
    #[cfg(feature = "axum")]
    pub(crate) fn verify_and_allow_at_once<'r>(
        &self,
        token: &str,
        context: impl FnOnce() -> RequestContext<'r>,
        allow: impl FnOnce(&Token) -> Result<(), Reject>,
    ) -> Option<Result<Token, Reject>> {
        let outcome = self.attempt(token);
        if let Err(refusal) = &outcome
            && refusal.curable().is_some()
        {
            return None;
        }
        Some(self.conclude_allowed(token, outcome, context, allow))
    }

    #[cfg(feature = "axum")]
    fn conclude_allowed<'r>(
        &self,
        token: &str,
        outcome: Result<Accepted<'_>, Refusal<'_>>,
        context: impl FnOnce() -> RequestContext<'r>,
        allow: impl FnOnce(&Token) -> Result<(), Reject>,
    ) -> Result<Token, Reject> {
        let outcome = outcome.and_then(|accepted| match allow(&accepted.token) {
            Ok(()) => Ok(accepted),
            Err(reject) => {
                self.inner.cache_results.refused(accepted.look);
                Err(Refusal::of(accepted.trusted, reject))
            }
        });
        let context = match &outcome {
            Ok(_) => RequestContext::default(),
            Err(_) => context(),
        };
        let verified: Verified<Claims> = self.conclude(token, outcome, context)?;
        Ok(verified.into_token().detached())
    }

    /// Counts and writes a request that came without usable credentials.
    #[cfg(feature = "axum")]
    pub(crate) fn no_credentials(&self, reject: &Reject, context: RequestContext<'_>) {
        self.inner.no_issuer.rejected(reject.reason());
        if self.inner.audit.admits(reject.reason()) {
            self.write_refusal(reject, None, None, None, context);
        }
    }

    /// An attempt, and another one if a fetch between them may find what was missed: a key, and then a status list.
    async fn look(&self, token: &str) -> Result<Accepted<'_>, Refusal<'_>> {
        let mut outcome = self.attempt(token);
        if let Err(refusal) = &outcome
            && let Some((trusted, Missed::Key(missed))) = refusal.curable()
            && let Some(remote) = &trusted.remote
        {
            let fetched = remote.refresh_for(missed.kid.as_deref()).await;
            // A fetch that ended between the first look and the question is no longer under way, and the cool-down forbids
            // another; what it brought counts all the same.
            if !fetched && !trusted.has_changed_since(missed) {
                return outcome;
            }
            outcome = self.attempt(token);
            if fetched
                && let Err(refusal) = &outcome
                && let Some((_, Missed::Key(missed))) = refusal.curable()
                && let Some(kid) = &missed.kid
            {
                remote.note_unknown(kid);
            }
        }
        if let Err(refusal) = &outcome
            && let Some((_, Missed::StatusList(list))) = refusal.curable()
            // Although it is in vain, it may have come meanwhile.
            && (list.refresh().await || list.len().is_some())
        {
            outcome = self.attempt(token);
        }
        outcome
    }

    /// As [`verify`](Self::verify), at once: a missing key is asked for in the background, and this token is refused.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn try_verify<C: ClaimSet>(&self, token: &str) -> Result<Verified<C>, Reject> {
        let outcome = self.attempt(token);
        if let Err(refusal) = &outcome {
            match refusal.curable() {
                Some((trusted, Missed::Key(missed))) => {
                    if let Some(remote) = &trusted.remote {
                        remote.nudge(missed.kid.as_deref());
                    }
                }
                Some((_, Missed::StatusList(list))) => list.nudge(),
                None => {}
            }
        }
        self.conclude(token, outcome, RequestContext::default())
    }

    /// The metrics this verifier counts into.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The state of each issuer's keys.
    pub fn status(&self) -> Vec<IssuerStatus> {
        let now = self.inner.clock.monotonic();
        let statuses = self.inner.trusted.iter().map(|trusted| {
            let keys = trusted.keys.load();
            let state = trusted.remote.as_ref().map(RemoteKeys::state);
            let kid = |key: &Arc<crate::jose::VerifyingKey>| key.kid().map(String::from);
            IssuerStatus {
                issuer: trusted.name.to_string(),
                kids: keys
                    .iter()
                    .flat_map(|set| set.keys())
                    .filter_map(kid)
                    .collect(),
                skipped: keys.as_ref().map_or(0, |set| set.skipped().len()),
                ready: keys.is_some(),
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
                    let shown = lists.iter().map(|list| StatusListStatus::of(list, now));
                    shown.collect()
                }),
            }
        });
        statuses.collect()
    }

    /// Whether every issuer's keys are in force.
    pub fn is_ready(&self) -> bool {
        let mut trusted = self.inner.trusted.iter();
        trusted.all(|trusted| trusted.keys.load().is_some())
    }

    /// Ends when every issuer's keys are in force: for a service that would rather start late than answer 503. Put a bound on
    /// it: an issuer may stay away.
    pub async fn ready(&self) {
        for trusted in &self.inner.trusted {
            if let Some(remote) = &trusted.remote {
                remote.until(|| trusted.keys.load().is_some()).await;
            }
        }
    }

    /// One look at the token, with the snapshot of the moment. Waits for nothing, records nothing but how long it took: always
    /// where a signature may have been checked, once in [`SAMPLED`] where the token was seen before.
    #[inline]
    fn attempt(&self, token: &str) -> Result<Accepted<'_>, Refusal<'_>> {
        if is_sampled() {
            return self.attempt_timed(token);
        }
        match self.recall(token) {
            Some(verdict) => verdict,
            None => self.check_timed(token, self.inner.clock.monotonic()),
        }
    }

    #[cold]
    fn attempt_timed(&self, token: &str) -> Result<Accepted<'_>, Refusal<'_>> {
        let started = self.inner.clock.monotonic();
        let Some(verdict) = self.recall(token) else {
            return self.check_timed(token, started);
        };
        self.took(&verdict, started, SAMPLED);
        verdict
    }

    /// Not in line: a look at a token that was seen before needs none of its stack.
    #[inline(never)]
    fn check_timed(&self, token: &str, started: Duration) -> Result<Accepted<'_>, Refusal<'_>> {
        let verdict = self.check(token);
        self.took(&verdict, started, 1);
        verdict
    }

    fn took(&self, verdict: &Result<Accepted<'_>, Refusal<'_>>, started: Duration, weight: u64) {
        let trusted = match verdict {
            Ok(accepted) => Some(accepted.trusted),
            Err(refusal) => refusal.trusted,
        };
        let outcomes = trusted.map_or(&self.inner.no_issuer, |trusted| &trusted.outcomes);
        let took = self.inner.clock.monotonic().saturating_sub(started);
        outcomes.took(took, weight);
    }

    /// Every check, in their order.
    fn check(&self, token: &str) -> Result<Accepted<'_>, Refusal<'_>> {
        let inner = &*self.inner;
        let kept = match inner.cache.takes(token.len()) {
            true => token,
            false => "",
        };
        // Only this, the entry that it is copied into, and the claims of one's own are ever allocated.
        let mut text = Vec::new();
        let limit = inner.max_token_bytes;
        let jws = Compact::parse_behind(kept.as_bytes(), token, limit, &mut text)?;
        let algorithm =
            Algorithm::from_name(&jws.header.alg).ok_or(Refusal::early(Reject::AlgNotAllowed))?;
        // `typ` and the required claims are the same for every issuer: any policy will do.
        let policy = &inner.trusted[0].policy;
        if !policy.typ.accepts(jws.header.typ.as_deref()) {
            return Err(Refusal::early(Reject::TypeNotAllowed));
        }
        // Not believed yet: `iss` only chooses which configured issuer's keys decide.
        let claims = RegisteredClaims::parse(jws.payload, policy).map_err(Reject::from)?;
        let index = claims
            .iss
            .as_deref()
            .and_then(|iss| {
                inner
                    .trusted
                    .iter()
                    .position(|trusted| *trusted.name == *iss)
            })
            .ok_or(Refusal::early(Reject::UnknownIssuer))?;
        let trusted = &inner.trusted[index];
        let refuse = |reject| Refusal::of(trusted, reject);
        if !trusted.algorithms.contains(&algorithm) {
            return Err(refuse(Reject::AlgNotAllowed));
        }
        let snapshot = trusted.keys.load();
        let kid = jws.header.kid.as_deref();
        let missed = || {
            Missed::Key(MissedKey {
                kid: kid.map(Into::into),
                seen: Option::clone(&snapshot),
            })
        };
        let Some(keys) = snapshot.as_deref() else {
            return Err(refuse(trusted.no_keys()).with(missed()));
        };
        let key = keys.select(kid, algorithm).map_err(|reject| match reject {
            Reject::UnknownKey => refuse(reject).with(missed()),
            reject => refuse(reject),
        })?;
        if !key.verify(algorithm, jws.signing_input, jws.signature) {
            return Err(refuse(Reject::BadSignature));
        }
        let now = inner.clock.now();
        trusted
            .policy
            .check(&claims, now)
            .map_err(|error| refuse(error.into()))?;
        let status = trusted.status(&claims, now)?;

        inner.tables.accepted(key);
        let (key, own_kid) = (key.id(), key.kid());
        let unquestioned = trusted.policy.unquestioned(claims.exp, claims.nbf, RECENT);
        let claims = Placing::new(&jws, &claims, own_kid).settle(&mut text);
        let entry = Entry::new(claims, key, index, unquestioned, status);
        let token = Token::from(entry.share(&text, kept.len()));
        let look = if inner.cache.is_on() {
            inner.cache.insert(&token);
            Look::Miss
        } else {
            Look::Off
        };
        Ok(Accepted {
            token,
            trusted,
            look,
        })
    }

    /// The verdict on a token that was accepted before, if what could have changed since has been looked at again: the very
    /// key is still published, the session has not ended, and the time is right. `None` sends it through every check.
    ///
    /// In line, for its result is larger than what it does.
    #[inline(always)]
    fn recall(&self, token: &str) -> Option<Result<Accepted<'_>, Refusal<'_>>> {
        let inner = &*self.inner;
        let token = inner.cache.get(token)?;
        let entry = token.entry();
        let trusted = &inner.trusted[entry.trusted()];
        // Before the set: one that is published meanwhile is looked at next time.
        let version = trusted.keys.version();
        if !entry.was_seen_in(version) {
            if !trusted.keys.load().as_deref()?.contains_id(entry.key()) {
                return None;
            }
            entry.seen_in(version);
        }
        let recent = inner.clock.recent();
        let refused = |reject| {
            inner.cache_results.refused(Look::Hit);
            Some(Err(Refusal::of(trusted, reject)))
        };
        if !entry.is_unquestioned(recent) {
            let (exp, nbf) = entry.validity();
            if let Err(error) = trusted.policy.check_time(exp, nbf, inner.clock.now()) {
                return refused(error.into());
            }
        }
        if let Some(status) = entry.status()
            && let Err(reject) = status.verdict(|moment| self.has_come(moment, recent))?
        {
            return refused(reject);
        }
        Some(Ok(Accepted {
            token,
            trusted,
            look: Look::Hit,
        }))
    }

    /// Whether `moment` has come, by the exact time if the recent one cannot tell.
    fn has_come(&self, moment: NumericDate, recent: NumericDate) -> bool {
        recent.plus(RECENT) >= moment && self.inner.clock.now() >= moment
    }

    /// Counts the outcome, writes a refusal to the audit trail, and decodes what the caller asked for.
    fn conclude<C: ClaimSet>(
        &self,
        token: &str,
        outcome: Result<Accepted<'_>, Refusal<'_>>,
        context: RequestContext<'_>,
    ) -> Result<Verified<C>, Reject> {
        let (reject, trusted) = match outcome {
            Ok(Accepted {
                token,
                trusted,
                look,
            }) => match token.decode() {
                Ok(verified) => {
                    trusted.outcomes.accepted(look);
                    return Ok(verified);
                }
                Err(reject) => {
                    self.inner.cache_results.refused(look);
                    (reject, Some(trusted))
                }
            },
            Err(refusal) => (refusal.reject, refusal.trusted),
        };
        let outcomes = trusted.map_or(&self.inner.no_issuer, |trusted| &trusted.outcomes);
        outcomes.rejected(reject.reason());
        self.audit(token, &reject, trusted, context);
        Err(reject)
    }

    /// Reads the token once more, which costs only those refusals that are written.
    fn audit(
        &self,
        token: &str,
        reject: &Reject,
        trusted: Option<&Trusted>,
        context: RequestContext<'_>,
    ) {
        if !self.inner.audit.admits(reject.reason()) {
            return;
        }
        let mut decoded = Vec::new();
        let jws = Compact::parse(token, self.inner.max_token_bytes, &mut decoded).ok();
        let kid = jws.as_ref().and_then(|jws| jws.header.kid.as_deref());
        let policy = &self.inner.trusted[0].policy;
        // What a token says of itself is worth writing down only if its signature was good.
        let claims = jws
            .as_ref()
            .filter(|_| reject.reason().is_authentic())
            .and_then(|jws| RegisteredClaims::parse(jws.payload, policy).ok());
        self.write_refusal(reject, trusted, kid, claims.as_ref(), context);
    }

    fn write_refusal(
        &self,
        reject: &Reject,
        trusted: Option<&Trusted>,
        kid: Option<&str>,
        claims: Option<&RegisteredClaims<'_>>,
        context: RequestContext<'_>,
    ) {
        let detail = reject.to_string();
        self.inner.audit.write(
            Event::VerificationFailed,
            &Fields {
                reason: Some(reject.code()),
                detail: Some(&detail),
                issuer: trusted.map(|trusted| &*trusted.name),
                kid,
                sub: claims.and_then(|claims| claims.sub.as_deref()),
                jti: claims.and_then(|claims| claims.jti.as_deref()),
                sid: claims.and_then(|claims| claims.sid.as_deref()),
                ip: context.ip,
                route: context.route,
                request_id: context.request_id,
            },
        );
    }
}

// === impl Trusted ===

impl Trusted {
    fn no_keys(&self) -> Reject {
        let retry_after = self
            .remote
            .as_ref()
            .map_or(DEFAULT_RETRY_AFTER, RemoteKeys::retry_after);
        Reject::KeysUnavailable { retry_after }
    }

    /// Whether the issuer says that the session has ended; where it says so, for the next look.
    fn status(
        &self,
        claims: &RegisteredClaims<'_>,
        now: NumericDate,
    ) -> Result<Option<StatusEntry>, Refusal<'_>> {
        let (Some(lists), Some(reference)) = (&self.status, &claims.status) else {
            return Ok(None);
        };
        match lists.look_up(reference, now) {
            Ok(entry) => Ok(Some(entry)),
            Err(Unknown::Refused(reject)) => Err(Refusal::of(self, reject)),
            Err(Unknown::Wanted(list, reject)) => {
                Err(Refusal::of(self, reject).with(Missed::StatusList(list)))
            }
        }
    }

    /// Whether another snapshot is in force than the one that lacked the key.
    fn has_changed_since(&self, missed: &MissedKey) -> bool {
        let current = self.keys.load();
        match (&*current, &missed.seen) {
            (Some(current), Some(seen)) => !Arc::ptr_eq(current, seen),
            (current, seen) => current.is_some() != seen.is_some(),
        }
    }
}

// === impl Refusal ===

impl<'v> Refusal<'v> {
    /// A refusal before an issuer was found.
    fn early(reject: Reject) -> Self {
        Refusal {
            reject,
            trusted: None,
            missed: None,
        }
    }

    fn of(trusted: &'v Trusted, reject: Reject) -> Self {
        Refusal {
            reject,
            trusted: Some(trusted),
            missed: None,
        }
    }

    fn with(self, missed: Missed) -> Self {
        Refusal {
            missed: Some(missed),
            ..self
        }
    }

    /// The issuer, and what a fetch might add to what is known of it.
    fn curable(&self) -> Option<(&'v Trusted, &Missed)> {
        Some((self.trusted?, self.missed.as_ref()?))
    }
}

impl From<CompactError> for Refusal<'_> {
    fn from(error: CompactError) -> Self {
        Refusal::early(error.into())
    }
}

impl From<Reject> for Refusal<'_> {
    fn from(reject: Reject) -> Self {
        Refusal::early(reject)
    }
}
