//! `Transition`: one change of a ring, why it happens, and what it does to the keys.

use serde::{Deserialize, Serialize};

use super::key_record::{KeyRecord, Stage};
use super::migration::Migration;
use super::ring::KeyRing;
use super::rotation::RotationPolicy;
use crate::audit::{AuditLog, Event, Fields};
use crate::jose::{Algorithm, NumericDate};

/// Keys that are gone and stay in the ring for the record, at most. Revoked ones stay for ever.
const GONE_KEPT: usize = 50;

/// Why a transition happens; a closed list, for the ring, the audit trail and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// A key was revoked.
    Revocation,
    /// The configuration no longer has its algorithm.
    AlgorithmDropped,
    /// It was brought in from elsewhere.
    Import,
}

// === impl Cause ===

impl Cause {
    /// As in the ring, the audit trail and the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::FirstStart => "first_start",
            Cause::KeepOneAnnounced => "keep_one_announced",
            Cause::Schedule => "schedule",
            Cause::Operator => "operator",
            Cause::Forced => "forced",
            Cause::Unusable => "unusable",
            Cause::Drained => "drained",
            Cause::Revocation => "revocation",
            Cause::AlgorithmDropped => "algorithm_dropped",
            Cause::Import => "import",
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
    /// The key signs no more, and no other does in its place.
    Retire {
        /// This key.
        kid: String,
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
    /// The key leaves the set although tokens of it may live.
    Revoke {
        /// This key.
        kid: String,
    },
    /// Tokens of an audience are signed by another algorithm from now on.
    Migrate {
        /// The audience; all of them if none is named.
        audience: Option<String>,
        /// What signed until now.
        from: Algorithm,
        /// What signs from now on.
        to: Algorithm,
        /// Why.
        cause: Cause,
    },
}

/// One transition that has been carried out and saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What happened to the key.
    pub event: Event,
    /// Which key.
    pub kid: String,
    /// Its algorithm.
    pub alg: Algorithm,
    /// The stage it came to.
    pub stage: Stage,
    /// Why.
    pub cause: Cause,
}

// === impl Done ===

impl Done {
    pub(super) fn new(event: Event, key: &KeyRecord, cause: Cause) -> Self {
        Done {
            event,
            kid: key.kid.clone(),
            alg: key.alg,
            stage: key.stage,
            cause,
        }
    }

    /// Writes it to the audit trail: by which program or person, and why, in their words.
    pub fn audit(&self, audit: &AuditLog, by: &str, reason: Option<&str>) {
        let detail = match reason {
            Some(reason) => format!("{} by {by}: {reason}", self.alg),
            None => format!("{} by {by}", self.alg),
        };
        let fields = Fields {
            reason: Some(self.cause.name()),
            detail: Some(&detail),
            kid: Some(&self.kid),
            ..Fields::default()
        };
        audit.write(self.event, &fields);
        if self.cause == Cause::Forced {
            audit.write(Event::Forced, &fields);
        }
    }
}

impl KeyRing {
    /// Does what `transition` says; `make` makes and keeps a new key. Nothing is saved.
    ///
    /// # Errors
    /// What `make` gives; the ring is then half changed, and to be thrown away.
    pub fn apply<E>(
        &mut self,
        transition: &Transition,
        policy: &RotationPolicy,
        now: NumericDate,
        reason: Option<&str>,
        make: &mut dyn FnMut(Algorithm, Cause) -> Result<KeyRecord, E>,
    ) -> Result<Vec<Done>, E> {
        let mut done = Vec::new();
        let mut enter = |key: &mut KeyRecord, stage: Stage, event: Event, cause: Cause| {
            key.enter(stage, cause, now);
            if reason.is_some() {
                key.reason = reason.map(Into::into);
            }
            done.push(Done::new(event, key, cause));
        };
        match transition {
            Transition::Announce { alg, cause } => {
                let record = make(*alg, *cause)?;
                done.push(Done::new(Event::KeyAnnounced, &record, *cause));
                self.keys.push(record);
            }
            Transition::Activate { alg, cause } => {
                let Some(next) = self.announced(*alg).map(|key| key.kid.clone()) else {
                    return Ok(done);
                };
                let signing = self.signing(*alg).map(|key| key.kid.clone());
                if let Some(old) = signing.and_then(|kid| self.get_mut(&kid)) {
                    enter(old, Stage::Retired, Event::KeyRetired, *cause);
                }
                if let Some(next) = self.get_mut(&next) {
                    enter(next, Stage::Signing, Event::KeySigning, *cause);
                    // So its first tokens need no further write.
                    next.note_tokens_until(now.plus(policy.token_lease()));
                }
            }
            Transition::Retire { kid, cause } => {
                if let Some(key) = self.get_mut(kid) {
                    enter(key, Stage::Retired, Event::KeyRetired, *cause);
                }
            }
            Transition::Remove { kid, cause } => {
                if let Some(key) = self.get_mut(kid) {
                    enter(key, Stage::Gone, Event::KeyRemoved, *cause);
                }
                self.forget_the_long_gone();
            }
            Transition::Revoke { kid } => {
                if let Some(key) = self.get_mut(kid) {
                    enter(key, Stage::Revoked, Event::KeyRevoked, Cause::Revocation);
                }
            }
            Transition::Migrate {
                audience,
                from,
                to,
                cause,
            } => {
                let drained_at = self.signing(*from).and_then(|old| old.tokens_until);
                if let Some(signer) = self.signing(*to) {
                    done.push(Done::new(Event::AudienceMigrated, signer, *cause));
                }
                self.migrate(Migration {
                    audience: audience.clone(),
                    from: *from,
                    to: *to,
                    at: now,
                    drained_at,
                });
            }
        }
        Ok(done)
    }

    fn forget_the_long_gone(&mut self) {
        let is_gone = |key: &KeyRecord| key.stage == Stage::Gone;
        let mut surplus = self.keys.iter().filter(|key| is_gone(key)).count();
        self.keys.retain(|key| {
            if !is_gone(key) || surplus <= GONE_KEPT {
                return true;
            }
            surplus -= 1;
            false
        });
    }
}
