//! Rotation as a pure state machine: what should happen to a ring at a moment, by a policy.
//!
//! The two rules that protect verifiers are here and nowhere else: a key signs only after it has been published for as long as
//! a verifier may hold an older set, and stays published until its last token has expired.

use std::time::Duration;

use super::key_record::{KeyRecord, Stage};
use super::ring::KeyRing;
use super::transition::{Cause, Transition};
use crate::jose::{Algorithm, NumericDate};

/// Longest time between two writes of how long a key's tokens live.
const LONGEST_LEASE: Duration = Duration::from_secs(3600);

/// When keys change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationPolicy {
    /// The algorithms the issuer signs by; one ring of stages for each.
    pub algorithms: Vec<Algorithm>,
    /// How long a key signs. 30 days.
    pub rotate_every: Duration,
    /// The most that `Cache-Control` of the JWKS promises. 10 minutes.
    pub jwks_max_age: Duration,
    /// How far clocks may be apart. 1 minute.
    pub clock_skew: Duration,
    /// The longest life a token may be given. 24 hours.
    pub max_token_ttl: Duration,
}

impl Default for RotationPolicy {
    fn default() -> Self {
        RotationPolicy {
            algorithms: vec![Algorithm::EdDSA, Algorithm::RS256],
            rotate_every: Duration::from_secs(30 * 24 * 3600),
            jwks_max_age: Duration::from_secs(600),
            clock_skew: Duration::from_secs(60),
            max_token_ttl: Duration::from_secs(24 * 3600),
        }
    }
}

// === impl RotationPolicy ===

impl RotationPolicy {
    /// From when on a key may sign: no verifier that honours `Cache-Control` then holds a set without it, whatever `max-age`
    /// was promised when it was fetched. `None` until a server has published it. In time that has really passed, see
    /// [`KeyRing::settled`].
    pub fn may_sign_at(&self, key: &KeyRecord) -> Option<NumericDate> {
        let known = key.first_published?.plus(self.jwks_max_age);
        let known = key.unknown_until.map_or(known, |until| until.max(known));
        Some(known.plus(self.clock_skew))
    }

    /// From when on a retired key may leave the set: the last token that it really signed has then expired. In time that has
    /// really passed, see [`KeyRing::settled`].
    pub fn may_go_at(&self, key: &KeyRecord) -> Option<NumericDate> {
        let retired = key.retired_at?;
        let last = key.tokens_until.map_or(retired, |until| until.max(retired));
        Some(last.plus(self.clock_skew))
    }

    /// How far ahead of its tokens a key's [`tokens_until`](KeyRecord::tokens_until) is written, so that not every token costs a
    /// write; a key that has retired stays published for as much longer. Also how long a server that cannot reach its store
    /// goes on signing.
    pub fn token_lease(&self) -> Duration {
        self.max_token_ttl.min(LONGEST_LEASE)
    }

    /// When the next planned transition of this key is due; `None` if none is planned, or it waits for a publication.
    pub fn next_step_at(
        &self,
        ring: &KeyRing,
        key: &KeyRecord,
        now: NumericDate,
    ) -> Option<NumericDate> {
        let settled = |at: Option<NumericDate>| Some(ring.settled_at(at?, now));
        match key.stage {
            Stage::Announced => {
                let may_sign = settled(self.may_sign_at(key))?;
                if !self.algorithms.contains(&key.alg) {
                    return Some(may_sign);
                }
                let due = ring
                    .signing(key.alg)
                    .and_then(|signing| self.rotation_due_at(signing));
                Some(due.map_or(may_sign, |due| due.max(may_sign)))
            }
            Stage::Signing => {
                if !self.algorithms.contains(&key.alg) {
                    return settled(self.may_sign_at(key));
                }
                let due = self.rotation_due_at(key)?;
                let successor = ring.announced(key.alg)?;
                Some(due.max(settled(self.may_sign_at(successor))?))
            }
            Stage::Retired => settled(self.may_go_at(key)),
            Stage::Gone | Stage::Revoked => None,
        }
    }

    /// Whether every verifier that honours `Cache-Control` has this key at `now`.
    pub fn is_known(&self, ring: &KeyRing, key: &KeyRecord, now: NumericDate) -> bool {
        let settled = ring.settled(now);
        self.may_sign_at(key).is_some_and(|at| settled >= at)
    }

    fn rotation_due_at(&self, signing: &KeyRecord) -> Option<NumericDate> {
        Some(signing.signing_since?.plus(self.rotate_every))
    }
}

/// What the ring needs at this moment, in order. Empty when it needs nothing, or when the clock cannot be right.
pub fn step(ring: &KeyRing, policy: &RotationPolicy, now: NumericDate) -> Vec<Transition> {
    if ring.check_clock(policy, now).is_err() {
        return Vec::new();
    }
    let mut transitions = Vec::new();
    if ring.keys.is_empty() {
        for &alg in &policy.algorithms {
            first_start(alg, &mut transitions);
        }
        return transitions;
    }
    for &alg in &policy.algorithms {
        step_algorithm(ring, policy, alg, now, &mut transitions);
    }
    let settled = ring.settled(now);
    for key in &ring.keys {
        let kid = key.kid.clone();
        let is_configured = policy.algorithms.contains(&key.alg);
        let cause = Cause::AlgorithmDropped;
        match key.stage {
            Stage::Retired if policy.may_go_at(key).is_some_and(|at| settled >= at) => {
                let cause = Cause::Drained;
                transitions.push(Transition::Remove { kid, cause });
            }
            // Not at once: while configurations differ, another server would make a new one each time.
            Stage::Announced if !is_configured && policy.is_known(ring, key, now) => {
                transitions.push(Transition::Remove { kid, cause });
            }
            Stage::Signing if !is_configured && policy.is_known(ring, key, now) => {
                transitions.push(Transition::Retire { kid, cause });
            }
            _ => {}
        }
    }
    transitions
}

/// No verifier can hold an older set: the first key signs at once.
fn first_start(alg: Algorithm, transitions: &mut Vec<Transition>) {
    let cause = Cause::FirstStart;
    transitions.push(Transition::Announce { alg, cause });
    transitions.push(Transition::Activate { alg, cause });
    transitions.push(keep_one_announced(alg));
}

pub(super) fn keep_one_announced(alg: Algorithm) -> Transition {
    Transition::Announce {
        alg,
        cause: Cause::KeepOneAnnounced,
    }
}

fn step_algorithm(
    ring: &KeyRing,
    policy: &RotationPolicy,
    alg: Algorithm,
    now: NumericDate,
    transitions: &mut Vec<Transition>,
) {
    match ring.announced(alg) {
        None => transitions.push(keep_one_announced(alg)),
        Some(next) if !next.usable => {
            // It never signed: nobody needs it.
            transitions.push(Transition::Remove {
                kid: next.kid.clone(),
                cause: Cause::Unusable,
            });
            transitions.push(keep_one_announced(alg));
        }
        Some(next) => {
            if let Some(cause) = due(ring, policy, alg, now)
                && policy.is_known(ring, next, now)
            {
                transitions.push(Transition::Activate { alg, cause });
                transitions.push(keep_one_announced(alg));
            }
        }
    }
}

/// Why the announced key should take over now, if it should.
fn due(ring: &KeyRing, policy: &RotationPolicy, alg: Algorithm, now: NumericDate) -> Option<Cause> {
    match ring.signing(alg) {
        None => Some(Cause::Schedule),
        Some(signing) if !signing.usable => Some(Cause::Unusable),
        Some(signing) => policy
            .rotation_due_at(signing)
            .is_some_and(|at| now >= at)
            .then_some(Cause::Schedule),
    }
}
