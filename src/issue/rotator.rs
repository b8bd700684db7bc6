//! Carries transitions out: makes keys, saves, and only then lets anybody see; and the loop that does so in a server.

use std::time::Duration;

use tokio::sync::watch;

use super::issuer::{Issuer, IssuerError};
use super::ring::{KeyRecord, KeyRing, Stage};
use super::rotation::{self, Cause, Refused, RotationPolicy, Transition};
use crate::audit::{AuditLog, Event, Fields};
use crate::jose::{Algorithm, ImportedKey, NumericDate, SigningKey};
use crate::store::{KeyStore, KeyWriter, StoreError};

/// How often a server looks at its store and its plan: what is left of the second within which a stolen key dies. A look costs
/// one `stat`.
const POLL: Duration = Duration::from_millis(50);

/// One transition that has been carried out and saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What happened to the key.
    pub event: Event,
    /// Which key.
    pub kid: String,
    /// Its algorithm.
    pub alg: Algorithm,
    /// Why.
    pub cause: Cause,
}

// === impl Done ===

impl Done {
    /// Writes it to the audit trail.
    pub fn audit(&self, audit: &AuditLog, by: &str) {
        let detail = format!("{} by {by}", self.alg);
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

/// Carries `transitions` out on `ring` and saves it. When this returns an error, the saved ring is the old one.
pub(super) fn carry_out(
    writer: &dyn KeyWriter,
    ring: &mut KeyRing,
    transitions: &[Transition],
    now: NumericDate,
) -> Result<Vec<Done>, StoreError> {
    let mut done = Vec::new();
    for transition in transitions {
        match transition {
            Transition::Announce { alg, cause } => {
                let (key, pkcs8) =
                    SigningKey::generate(*alg).map_err(|source| StoreError::Generate {
                        algorithm: *alg,
                        source,
                    })?;
                writer.save_key(&key, &pkcs8)?;
                let record = KeyRecord::announced(key.verifying_key(), *alg, now);
                done.push(report(Event::KeyAnnounced, &record, *cause));
                ring.keys.push(record);
            }
            Transition::Activate { alg, cause } => {
                let signing = ring.signing(*alg).map(|key| key.kid.clone());
                let Some(next) = ring.announced(*alg).map(|key| key.kid.clone()) else {
                    continue;
                };
                if let Some(old) = signing.and_then(|kid| ring.get_mut(&kid)) {
                    old.stage = Stage::Retired;
                    old.retired_at = Some(now);
                    done.push(report(Event::KeyRetired, old, *cause));
                }
                if let Some(next) = ring.get_mut(&next) {
                    next.stage = Stage::Signing;
                    next.signing_since = Some(now);
                    done.push(report(Event::KeySigning, next, *cause));
                }
            }
            Transition::Remove { kid, cause } => {
                if let Some(gone) = ring.get(kid) {
                    done.push(report(Event::KeyRemoved, gone, *cause));
                }
                ring.keys.retain(|key| key.kid != *kid);
            }
        }
    }
    save_and_prune(writer, ring)?;
    Ok(done)
}

fn save_and_prune(writer: &dyn KeyWriter, ring: &KeyRing) -> Result<(), StoreError> {
    writer.save_ring(ring)?;
    if let Err(error) = writer.prune(ring) {
        // The ring is saved: a private half that outlives its use is a risk to name, not a failed rotation.
        tracing::warn!(%error, "a private key that is no longer needed could not be removed");
    }
    Ok(())
}

fn report(event: Event, key: &KeyRecord, cause: Cause) -> Done {
    Done {
        event,
        kid: key.kid.clone(),
        alg: key.alg,
        cause,
    }
}

/// Why an operator's rotation did not happen.
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

/// Rotates each of `algorithms` now, all or none, on the store itself; servers on it follow within a second.
/// With `dry_run` nothing is changed and the transitions are given back as they would be.
///
/// # Errors
/// [`RotationError::Refused`] as [`rotate`](rotation::rotate) says; [`RotationError::Store`].
pub fn apply_rotation(
    store: &dyn KeyStore,
    policy: &RotationPolicy,
    algorithms: &[Algorithm],
    now: NumericDate,
    force: bool,
    dry_run: bool,
) -> Result<(Vec<Transition>, Vec<Done>), RotationError> {
    let writer = store.lock()?;
    let mut stored = writer.load()?;
    let mut transitions = Vec::new();
    for &alg in algorithms {
        let planned = rotation::rotate(&stored.ring, policy, alg, now, force)
            .map_err(RotationError::Refused)?;
        transitions.extend(planned);
    }
    let done = if dry_run {
        Vec::new()
    } else {
        carry_out(&*writer, &mut stored.ring, &transitions, now)?
    };
    Ok((transitions, done))
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
    let mut done = Vec::new();
    if let Some(announced) = ring.announced(alg) {
        done.push(report(Event::KeyRemoved, announced, Cause::Operator));
    }
    ring.keys
        .retain(|key| key.alg != alg || key.stage != Stage::Announced);
    let record = KeyRecord::announced(key.verifying_key(), alg, now);
    done.push(report(Event::KeyAnnounced, &record, Cause::Operator));
    ring.keys.push(record);
    if !dry_run {
        writer.save_key(key, &imported.pkcs8)?;
        save_and_prune(&*writer, &ring)?;
    }
    Ok(done)
}

/// Keeps the issuer in step with its store and its plan, until `stop` changes or its sender is gone.
pub async fn run(issuer: Issuer, audit: AuditLog, mut stop: watch::Receiver<bool>) {
    let mut last_error = None;
    loop {
        tokio::select! {
            () = issuer.clock().sleep(POLL) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let ticking = issuer.clone();
        let ticked = tokio::task::spawn_blocking(move || ticking.tick()).await;
        let error = match ticked {
            Ok(Ok(done)) => {
                for done in done {
                    done.audit(&audit, "keywheel serve");
                }
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            // The runtime is shutting down.
            Err(_) => return,
        };
        // Said once, not twenty times a second.
        if error != last_error {
            match &error {
                Some(error) => {
                    tracing::error!(%error, "the key store cannot be followed; the keys in hand go on serving");
                }
                None => tracing::info!("the key store can be followed again"),
            }
            last_error = error;
        }
    }
}

impl Issuer {
    /// One look at the store and the plan: loads what changed, carries out what is due, publishes.
    ///
    /// # Errors
    /// [`IssuerError`]; what was published stays in force.
    pub fn tick(&self) -> Result<Vec<Done>, IssuerError> {
        let outcome = self.try_tick();
        self.note(outcome.as_ref().err());
        outcome
    }

    fn try_tick(&self) -> Result<Vec<Done>, IssuerError> {
        let store = self.store();
        if store.revision()? != self.published().revision() || !self.published().problems.is_empty()
        {
            self.publish(store.load()?)?;
        }
        let done = self.carry_out_what_is_due()?;
        self.note_first_publication()?;
        Ok(done)
    }

    fn carry_out_what_is_due(&self) -> Result<Vec<Done>, IssuerError> {
        let is_due =
            |ring: &KeyRing| !rotation::step(ring, self.policy(), self.clock().now()).is_empty();
        if !is_due(&self.published().ring) {
            return Ok(Vec::new());
        }
        let writer = self.store().lock()?;
        let mut stored = writer.load()?;
        // Waiting for the lock takes time, and whoever held it may have done what was due.
        let now = self.clock().now();
        let transitions = rotation::step(&stored.ring, self.policy(), now);
        if transitions.is_empty() {
            self.publish(stored)?;
            return Ok(Vec::new());
        }
        let done = carry_out(&*writer, &mut stored.ring, &transitions, now)?;
        self.publish(writer.load()?)?;
        for done in &done {
            self.metrics()
                .transition(done.alg, done.event.name(), done.cause.name());
        }
        Ok(done)
    }

    /// Saves since when the keys that are published now have been: not before they were, and none that are not.
    fn note_first_publication(&self) -> Result<(), IssuerError> {
        let published = self.published();
        let is_new = |key: &KeyRecord| key.first_published.is_none();
        if !published.ring.keys.iter().any(is_new) {
            return Ok(());
        }
        // Read after they were put in force: too late is safe, too early is not.
        let now = self.clock().now();
        let writer = self.store().lock()?;
        let mut stored = writer.load()?;
        for key in &mut stored.ring.keys {
            if is_new(key) && published.ring.get(&key.kid).is_some() {
                key.first_published = Some(now);
            }
        }
        writer.save_ring(&stored.ring)?;
        self.publish(writer.load()?)?;
        Ok(())
    }
}
