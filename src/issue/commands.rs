//! What an operator's commands do to a store, whether a server runs on it or not; servers follow within a second.

use super::key_record::{KeyRecord, Stage};
use super::operator::{self, Intent, Refused};
use super::ring::KeyRing;
use super::rotation::RotationPolicy;
use super::rotator::{carry_out, save_and_prune};
use super::transition::{Cause, Done, Transition};
use crate::jose::{Algorithm, ImportedKey, NumericDate};
use crate::store::{KeyStore, StoreError};

/// Why an operator's command did nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotationError {
    /// A rule forbids it.
    #[error("refused: {0}")]
    Refused(Refused),
    /// The store does.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refused> for RotationError {
    fn from(refused: Refused) -> Self {
        RotationError::Refused(refused)
    }
}

/// How a command is carried out.
#[derive(Debug, Clone, Copy, Default)]
pub struct How<'a> {
    /// Override the rules that protect verifiers.
    pub force: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// In the operator's words; goes into the ring.
    pub reason: Option<&'a str>,
}

/// What a command came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was asked for, and what it breaks.
    pub intent: Intent,
    /// What was done; nothing, in a dry run.
    pub done: Vec<Done>,
}

/// Lets `decide` look at the ring and does what it says, all or nothing.
///
/// # Errors
/// What `decide` refuses, or [`RotationError::Store`]; the ring is then as it was.
pub fn apply(
    store: &dyn KeyStore,
    policy: &RotationPolicy,
    now: NumericDate,
    how: How<'_>,
    decide: impl FnOnce(&KeyRing) -> Result<Intent, Refused>,
) -> Result<Outcome, RotationError> {
    let writer = store.lock()?;
    let mut ring = writer.load()?.ring;
    let intent = decide(&ring)?;
    if how.force && ring.check_clock(policy, now).is_err() {
        ring.believe_clock(now);
    }
    let done = match how.dry_run {
        true => Vec::new(),
        false => {
            let transitions = &intent.transitions;
            carry_out(&*writer, &mut ring, policy, transitions, now, how.reason)?
        }
    };
    Ok(Outcome { intent, done })
}

/// Rotates each of `algorithms` now, all or none.
///
/// # Errors
/// [`RotationError::Refused`] as [`rotate`](operator::rotate) says; [`RotationError::Store`].
pub fn apply_rotation(
    store: &dyn KeyStore,
    policy: &RotationPolicy,
    algorithms: &[Algorithm],
    now: NumericDate,
    how: How<'_>,
) -> Result<Outcome, RotationError> {
    apply(store, policy, now, how, |ring| {
        let mut intent = Intent::default();
        for &alg in algorithms {
            let one = operator::rotate(ring, policy, alg, now, how.force)?;
            intent.transitions.extend(one.transitions);
            intent.breaks.extend(one.breaks);
        }
        Ok(intent)
    })
}

/// Takes a stolen key out of the set; see [`revoke`](operator::revoke).
///
/// # Errors
/// [`RotationError::Refused`] if there is no such key, or it is published no more; [`RotationError::Store`].
pub fn apply_revocation(
    store: &dyn KeyStore,
    policy: &RotationPolicy,
    kid: &str,
    now: NumericDate,
    how: How<'_>,
) -> Result<Outcome, RotationError> {
    apply(store, policy, now, how, |ring| {
        operator::revoke(ring, policy, kid, now)
    })
}

/// Why a key was not taken into the ring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportRefused {
    /// The ring has this key, or another of this name.
    #[error("the ring already has key `{kid}`, which is {stage}")]
    Known {
        /// The kid in the ring.
        kid: String,
        /// What it is doing.
        stage: Stage,
    },
    /// No rotation would ever let it sign.
    #[error("keys.algorithms does not have {alg}: no rotation would ever let this key sign")]
    Algorithm {
        /// What the key signs by.
        alg: Algorithm,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes an imported key the announced one of its algorithm; the key that was, which has never signed, leaves the set.
/// The next rotation lets it sign, by the same rules as any. With `dry_run` nothing is changed.
///
/// # Errors
/// [`ImportRefused`].
pub fn import_key(
    store: &dyn KeyStore,
    policy: &RotationPolicy,
    imported: &ImportedKey,
    now: NumericDate,
    dry_run: bool,
) -> Result<Vec<Done>, ImportRefused> {
    let key = &imported.key;
    let alg = key.algorithm();
    if !policy.algorithms.contains(&alg) {
        return Err(ImportRefused::Algorithm { alg });
    }
    let writer = store.lock()?;
    let mut ring = writer.load()?.ring;
    let thumbprint = key.verifying_key().thumbprint();
    let known = ring.keys.iter().find(|known| {
        let public = known.verifying_key();
        known.kid == key.kid() || public.is_ok_and(|public| public.thumbprint() == thumbprint)
    });
    if let Some(known) = known {
        return Err(ImportRefused::Known {
            kid: known.kid.clone(),
            stage: known.stage,
        });
    }
    let mut transitions = Vec::new();
    if let Some(announced) = ring.announced(alg) {
        transitions.push(Transition::Remove {
            kid: announced.kid.clone(),
            cause: Cause::Import,
        });
    }
    let cause = Cause::Import;
    transitions.push(Transition::Announce { alg, cause });
    let mut done = Vec::new();
    let mut make = |alg, cause| {
        let record = KeyRecord::announced(key.verifying_key(), alg, now, cause);
        Ok::<_, StoreError>(record)
    };
    for transition in &transitions {
        done.extend(ring.apply(transition, policy, now, None, &mut make)?);
    }
    if !dry_run {
        writer.save_key(key, &imported.pkcs8)?;
        save_and_prune(&*writer, &mut ring)?;
    }
    Ok(done)
}
