//! Rotation as a pure state machine: what should happen to a ring at a moment, by a policy.
//!
//! The two rules that protect verifiers are here and nowhere else: a key signs only after it has been published for as long as
//! a verifier may hold an older set, and stays published until its last token has expired.

use std::fmt;
use std::time::Duration;

use super::ring::{KeyRecord, KeyRing, Stage};
use crate::jose::{Algorithm, NumericDate};

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
    /// From when on an announced key may sign: no verifier that honours `Cache-Control` then holds a set without it.
    /// `None` until a server has published it.
    pub fn may_sign_at(&self, key: &KeyRecord) -> Option<NumericDate> {
        let first_published = key.first_published?;
        Some(
            first_published
                .plus(self.jwks_max_age)
                .plus(self.clock_skew),
        )
    }

    /// From when on a retired key may leave the set: its last token has then expired, whatever life it was given.
    pub fn may_go_at(&self, key: &KeyRecord) -> Option<NumericDate> {
        Some(
            key.retired_at?
                .plus(self.max_token_ttl)
                .plus(self.clock_skew),
        )
    }

    /// When the next planned transition of this key is due; `None` if none is planned, or it waits for a publication.
    pub fn next_step_at(&self, ring: &KeyRing, key: &KeyRecord) -> Option<NumericDate> {
        match key.stage {
            Stage::Announced => {
                let may_sign = self.may_sign_at(key)?;
                let due = ring
                    .signing(key.alg)
                    .and_then(|signing| self.rotation_due_at(signing));
                Some(due.map_or(may_sign, |due| due.max(may_sign)))
            }
            Stage::Signing => {
                let due = self.rotation_due_at(key)?;
                let successor = ring.announced(key.alg)?;
                Some(due.max(self.may_sign_at(successor)?))
            }
            Stage::Retired => self.may_go_at(key),
        }
    }

    fn rotation_due_at(&self, signing: &KeyRecord) -> Option<NumericDate> {
        Some(signing.signing_since?.plus(self.rotate_every))
    }
}

/// Why a transition happens; a closed list, for the audit trail and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The ring was empty: no verifier can hold an older set.
    FirstStart,
    /// One key is always announced.
    KeepOneAnnounced,
    /// The signing key reached its age.
    Schedule,
    /// An operator asked.
    Operator,
    /// An operator asked with `--force`.
    Forced,
    /// The private half cannot be used.
    Unusable,
    /// The last token has expired.
    Drained,
}

// === impl Cause ===

impl Cause {
    /// As in the audit trail and the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::FirstStart => "first_start",
            Cause::KeepOneAnnounced => "keep_one_announced",
            Cause::Schedule => "schedule",
            Cause::Operator => "operator",
            Cause::Forced => "forced",
            Cause::Unusable => "unusable",
            Cause::Drained => "drained",
        }
    }
}

/// One change of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// Make a key and publish it.
    Announce {
        /// For this algorithm.
        alg: Algorithm,
        /// Why.
        cause: Cause,
    },
    /// The announced key of this algorithm signs from now on; the one that did is retired.
    Activate {
        /// For this algorithm.
        alg: Algorithm,
        /// Why.
        cause: Cause,
    },
    /// The key leaves the set.
    Remove {
        /// This key.
        kid: String,
        /// Why.
        cause: Cause,
    },
}

/// What the ring needs at this moment, in order. Empty when it needs nothing.
pub fn step(ring: &KeyRing, policy: &RotationPolicy, now: NumericDate) -> Vec<Transition> {
    let mut transitions = Vec::new();
    let first_start = ring.keys.is_empty();
    for &alg in &policy.algorithms {
        if first_start {
            let cause = Cause::FirstStart;
            transitions.push(Transition::Announce { alg, cause });
            transitions.push(Transition::Activate { alg, cause });
            transitions.push(Transition::Announce {
                alg,
                cause: Cause::KeepOneAnnounced,
            });
            continue;
        }
        let announce = Transition::Announce {
            alg,
            cause: Cause::KeepOneAnnounced,
        };
        match ring.announced(alg) {
            None => transitions.push(announce),
            Some(next) if !next.usable => {
                // It never signed: nobody needs it.
                transitions.push(Transition::Remove {
                    kid: next.kid.clone(),
                    cause: Cause::Unusable,
                });
                transitions.push(announce);
            }
            Some(next) => {
                let ready = policy.may_sign_at(next).is_some_and(|at| now >= at);
                if let Some(cause) = due(ring, policy, alg, now)
                    && ready
                {
                    transitions.push(Transition::Activate { alg, cause });
                    transitions.push(announce);
                }
            }
        }
    }
    for key in &ring.keys {
        if key.stage == Stage::Retired && policy.may_go_at(key).is_some_and(|at| now >= at) {
            transitions.push(Transition::Remove {
                kid: key.kid.clone(),
                cause: Cause::Drained,
            });
        }
    }
    transitions
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

/// Why an operator's rotation is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// No key of this algorithm is announced.
    NothingAnnounced {
        /// The algorithm.
        alg: Algorithm,
    },
    /// No server has published the announced key yet.
    NotPublished {
        /// The announced key.
        kid: String,
    },
    /// A verifier may still hold a set without it.
    TooEarly {
        /// The announced key.
        kid: String,
        /// When it was first published.
        first_published: NumericDate,
        /// From when on it may sign.
        allowed_at: NumericDate,
        /// How long that is from now.
        wait: Duration,
    },
    /// The private half of the announced key cannot be used.
    Unusable {
        /// The announced key.
        kid: String,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NothingAnnounced { alg } => write!(
                f,
                "no key is announced for {alg}; is it among the configured algorithms, and has `keywheel serve` run?"
            ),
            Refused::NotPublished { kid } => write!(
                f,
                "key {kid} has not been published yet: start `keywheel serve`, so that verifiers can fetch it before it signs"
            ),
            Refused::TooEarly { kid, wait, .. } => write!(
                f,
                "key {kid} was first published so recently that a verifier may still hold a set without it; allowed in {} (--force overrides, and such verifiers then refuse its tokens until they fetch again)",
                humantime::format_duration(Duration::from_secs(wait.as_secs() + 1))
            ),
            Refused::Unusable { kid } => write!(
                f,
                "the private half of key {kid} cannot be used; see `keywheel keys list`"
            ),
        }
    }
}

/// What an operator's "rotate now" comes to.
///
/// # Errors
/// [`Refused`], when a verifier that honours `Cache-Control` could meet a token whose key it lacks. `force` overrides that,
/// but neither a missing nor an unusable key.
pub fn rotate(
    ring: &KeyRing,
    policy: &RotationPolicy,
    alg: Algorithm,
    now: NumericDate,
    force: bool,
) -> Result<Vec<Transition>, Refused> {
    let next = ring
        .announced(alg)
        .ok_or(Refused::NothingAnnounced { alg })?;
    let kid = || next.kid.clone();
    if !next.usable {
        return Err(Refused::Unusable { kid: kid() });
    }
    let cause = match (next.first_published, policy.may_sign_at(next)) {
        (Some(_), Some(allowed_at)) if now >= allowed_at => Cause::Operator,
        _ if force => Cause::Forced,
        (Some(first_published), Some(allowed_at)) => {
            return Err(Refused::TooEarly {
                kid: kid(),
                first_published,
                allowed_at,
                wait: allowed_at.since(now),
            });
        }
        _ => return Err(Refused::NotPublished { kid: kid() }),
    };
    Ok(vec![
        Transition::Activate { alg, cause },
        Transition::Announce {
            alg,
            cause: Cause::KeepOneAnnounced,
        },
    ])
}
