//! One look at a token: every check in its order, or, where it was seen before, those whose outcome could have changed since.

use std::sync::Arc;
use std::time::Duration;

use super::keyset::KeySet;
use super::refresh::RemoteKeys;
use super::reject::Reject;
use super::source::Waited;
use super::status::{RemoteList, StatusEntry, Unknown};
use super::verified::{Entry, Token};
use super::verifier::{Trusted, Verifier};
use crate::clock::RECENT;
use crate::jose::claim_places::Placing;
use crate::jose::{Algorithm, Compact, CompactError, NumericDate, RegisteredClaims};
use crate::metrics::{Look, SAMPLED, is_sampled};

/// Retry-After while there are no keys and nothing says when there will be.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A token that passed every check, its issuer, and where it was found.
pub(super) struct Accepted<'v> {
    pub(super) token: Token,
    pub(super) trusted: &'v Trusted,
    pub(super) look: Look,
    pub(super) timing: Option<Timing>,
}

/// A refusal, with what a second look would need.
pub(super) struct Refusal<'v> {
    pub(super) reject: Reject,
    pub(super) trusted: Option<&'v Trusted>,
    pub(super) missed: Option<Missed>,
    pub(super) timing: Option<Timing>,
}

/// How long a look took, where that was noted, and how many it stands for.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    pub(super) took: Duration,
    pub(super) weight: u64,
}

/// What was looked for and not found.
pub(super) enum Missed {
    Key(MissedKey),
    StatusList(Arc<RemoteList>),
}

/// Which key, and where it was looked for.
pub(super) struct MissedKey {
    pub(super) kid: Option<Box<str>>,
    /// The snapshot that lacked it; `None` if there was none.
    pub(super) seen: Option<Arc<KeySet>>,
}

// === impl Verifier ===

impl Verifier {
    /// A look, and another one if a fetch between them may find what was missed: a key, and then a status list.
    pub(super) async fn look(&self, token: &[u8]) -> Result<Accepted<'_>, Refusal<'_>> {
        let mut outcome = self.attempt(token);
        // Twice: what was under way may have been answered before the key was there, and a fetch of one's own was not.
        for _ in 0..2 {
            let Err(refusal) = &outcome else { break };
            let Some((trusted, Missed::Key(missed))) = refusal.curable() else {
                break;
            };
            let Some(remote) = &trusted.remote else { break };
            let waited = remote.refresh_for(missed.kid.as_deref()).await;
            // A fetch that ended between the look and the question is no longer under way, and the cool-down may forbid
            // another; what it brought counts all the same.
            if waited == Waited::InVain && !trusted.has_changed_since(missed) {
                return outcome;
            }
            outcome = self.attempt(token);
            if waited == Waited::Granted
                && let Err(refusal) = &outcome
                && let Some((_, Missed::Key(missed))) = refusal.curable()
                && let Some(kid) = &missed.kid
            {
                remote.note_unknown(kid);
            }
            if waited != Waited::Joined {
                break;
            }
        }
        if let Err(refusal) = &outcome
            && let Some((_, Missed::StatusList(list))) = refusal.curable()
            // Although it is in vain, it may have come meanwhile.
            && (list.refresh().await != Waited::InVain || list.is_there())
        {
            outcome = self.attempt(token);
        }
        outcome
    }

    /// One look at the token, with the snapshot of the moment. Waits for nothing and counts nothing; notes how long it took, always
    /// where a signature may have been checked, once in [`SAMPLED`] where the token was seen before.
    #[inline]
    pub(super) fn attempt(&self, token: &[u8]) -> Result<Accepted<'_>, Refusal<'_>> {
        if is_sampled() {
            return self.attempt_timed(token);
        }
        match self.recall(token) {
            Some(verdict) => verdict,
            None => self.check_timed(token, self.inner.clock.monotonic()),
        }
    }

    #[cold]
    fn attempt_timed(&self, token: &[u8]) -> Result<Accepted<'_>, Refusal<'_>> {
        let started = self.inner.clock.monotonic();
        let Some(mut verdict) = self.recall(token) else {
            return self.check_timed(token, started);
        };
        self.note(&mut verdict, started, SAMPLED);
        verdict
    }

    /// Not in line: a look at a token that was seen before needs none of its stack.
    #[inline(never)]
    fn check_timed(&self, token: &[u8], started: Duration) -> Result<Accepted<'_>, Refusal<'_>> {
        let mut verdict = self.check(token);
        self.note(&mut verdict, started, 1);
        verdict
    }

    fn note(
        &self,
        verdict: &mut Result<Accepted<'_>, Refusal<'_>>,
        started: Duration,
        weight: u64,
    ) {
        let took = self.inner.clock.monotonic().saturating_sub(started);
        let timing = match verdict {
            Ok(accepted) => &mut accepted.timing,
            Err(refusal) => &mut refusal.timing,
        };
        *timing = Some(Timing { took, weight });
    }

    /// Every check, in their order.
    fn check(&self, token: &[u8]) -> Result<Accepted<'_>, Refusal<'_>> {
        let inner = &*self.inner;
        let kept = match inner.cache.takes(token.len()) {
            true => token,
            false => &[],
        };
        // Only this, the entry that it is copied into, and the claims of one's own are ever allocated.
        let mut text = Vec::new();
        let limit = inner.max_token_bytes;
        let jws = Compact::parse_behind(kept, token, limit, &mut text)?;
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
            timing: None,
        })
    }

    /// The verdict on a token that was accepted before, if what could have changed since has been looked at again: the very
    /// key is still published, the session has not ended, and the time is right. `None` sends it through every check.
    ///
    /// In line, for its result is larger than what it does.
    #[inline(always)]
    fn recall(&self, token: &[u8]) -> Option<Result<Accepted<'_>, Refusal<'_>>> {
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
            timing: None,
        }))
    }

    /// Whether `moment` has come, by the exact time if the recent one cannot tell.
    fn has_come(&self, moment: NumericDate, recent: NumericDate) -> bool {
        recent.plus(RECENT) >= moment && self.inner.clock.now() >= moment
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
    pub(super) fn has_changed_since(&self, missed: &MissedKey) -> bool {
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
            timing: None,
        }
    }

    pub(super) fn of(trusted: &'v Trusted, reject: Reject) -> Self {
        Refusal {
            reject,
            trusted: Some(trusted),
            missed: None,
            timing: None,
        }
    }

    fn with(self, missed: Missed) -> Self {
        Refusal {
            missed: Some(missed),
            ..self
        }
    }

    /// The issuer, and what a fetch might add to what is known of it.
    pub(super) fn curable(&self) -> Option<(&'v Trusted, &Missed)> {
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
