//! Carries transitions out: makes keys, saves, and only then lets anybody see; and the loop that does so in a server.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::issuer::{Issuer, IssuerError};
use super::key_record::KeyRecord;
use super::ring::{KeyRing, MaxAgePromise};
use super::rotation::{self, RotationPolicy};
use super::transition::{Done, Transition};
use crate::audit::AuditLog;
use crate::jose::{NumericDate, SigningKey};
use crate::store::{KeyWriter, StoreError};

/// How often a server looks at its store and its plan: what is left of the second within which a stolen key dies. A look costs
/// one `stat`.
const POLL: Duration = Duration::from_millis(50);
/// A wall clock that gains this much on one that never leaps has leapt; less is within what `clock_skew` allows for.
const LEAST_JUMP: Duration = Duration::from_secs(2);

/// Carries `transitions` out on `ring` and saves it. When this returns an error, the saved ring is the old one.
pub(super) fn carry_out(
    writer: &dyn KeyWriter,
    ring: &mut KeyRing,
    policy: &RotationPolicy,
    transitions: &[Transition],
    now: NumericDate,
    reason: Option<&str>,
) -> Result<Vec<Done>, StoreError> {
    let mut make = |alg, cause| {
        let generated = SigningKey::generate(alg);
        let (key, pkcs8) = generated.map_err(|source| StoreError::Generate {
            algorithm: alg,
            source,
        })?;
        writer.save_key(&key, &pkcs8)?;
        Ok(KeyRecord::announced(key.verifying_key(), alg, now, cause))
    };
    let mut done = Vec::new();
    for transition in transitions {
        let changed = ring.apply(transition, policy, now, reason, &mut make)?;
        done.extend(changed);
    }
    save_and_prune(writer, ring)?;
    Ok(done)
}

pub(super) fn save_and_prune(writer: &dyn KeyWriter, ring: &mut KeyRing) -> Result<(), StoreError> {
    save(writer, ring)?;
    if let Err(error) = writer.prune(ring) {
        // The ring is saved: a private half that outlives its use is a risk to name, not a failed rotation.
        tracing::warn!(%error, "a private key that is no longer needed could not be removed");
    }
    Ok(())
}

pub(super) fn save(writer: &dyn KeyWriter, ring: &mut KeyRing) -> Result<(), StoreError> {
    ring.serial += 1;
    writer.save_ring(ring)
}

/// Keeps the issuer in step with its store and its plan, until `stop` changes or its sender is gone.
pub async fn run(issuer: Issuer, audit: Arc<AuditLog>, mut stop: watch::Receiver<bool>) {
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
                    done.audit(&audit, "keywheel serve", None);
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
        // Also while the store cannot be followed: the key that signs grows old all the same.
        self.metrics()
            .show_ages(&self.published().ring, self.policy(), self.clock().now());
        outcome
    }

    fn try_tick(&self) -> Result<Vec<Done>, IssuerError> {
        let store = self.store();
        if store.revision()? != self.published().revision() || !self.published().problems.is_empty()
        {
            self.publish(store.load()?)?;
        }
        // First, for all that follows goes by the clock.
        self.note_clock_jump()?;
        self.note_max_age()?;
        let done = self.carry_out_what_is_due()?;
        self.note_first_publication()?;
        self.renew_token_leases()?;
        Ok(done)
    }

    fn carry_out_what_is_due(&self) -> Result<Vec<Done>, IssuerError> {
        let is_due =
            |ring: &KeyRing| !rotation::step(ring, self.policy(), self.clock().now()).is_empty();
        if !is_due(&self.published().ring) {
            return Ok(Vec::new());
        }
        let mut done = Vec::new();
        self.change(|writer, ring, now| {
            let transitions = rotation::step(ring, self.policy(), now);
            if transitions.is_empty() {
                return Ok(false);
            }
            done = carry_out(writer, ring, self.policy(), &transitions, now, None)?;
            Ok(true)
        })?;
        Ok(done)
    }

    /// Keeps other writers out, loads, lets `change` change and save, and publishes what is then in the store.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&dyn KeyWriter, &mut KeyRing, NumericDate) -> Result<bool, StoreError>,
    ) -> Result<(), IssuerError> {
        let writer = self.store().lock()?;
        let mut stored = writer.load()?;
        // Waiting for the lock takes time, and whoever held it may have done what was due.
        let now = self.clock().now();
        match change(&*writer, &mut stored.ring, now)? {
            true => self.publish(writer.load()?),
            false => self.publish(stored),
        }
    }

    /// Saves since when the keys that are published now have been: not before they were, and none that are not.
    fn note_first_publication(&self) -> Result<(), IssuerError> {
        let published = self.published();
        let is_new = |key: &KeyRecord| key.stage.is_published() && key.first_published.is_none();
        if !published.ring.keys.iter().any(is_new) {
            return Ok(());
        }
        self.change(|writer, ring, now| {
            // `now` was read after they were put in force: too late is safe, too early is not. Up to the next second, for what
            // is shown and saved may be cut.
            let whole = NumericDate::from_seconds(now.seconds());
            let now = match now == whole {
                true => whole,
                false => whole.plus(Duration::from_secs(1)),
            };
            let promised = ring.longest_max_age.map(|promise| promise.duration());
            let promised = promised.unwrap_or_default().max(self.policy().jwks_max_age);
            for key in &mut ring.keys {
                if is_new(key) && published.ring.get(&key.kid).is_some() {
                    key.first_published = Some(now);
                    key.unknown_until = Some(now.plus(promised));
                }
            }
            save(writer, ring)?;
            Ok(true)
        })
    }

    /// Writes down how long a fetched set may be kept, before it is promised; a promise that is no longer made counts until it
    /// has run out.
    fn note_max_age(&self) -> Result<(), IssuerError> {
        let seconds = self.policy().jwks_max_age.as_secs();
        let skew = self.policy().clock_skew;
        let wanted = |ring: &KeyRing, now: NumericDate| {
            let promise = ring.longest_max_age;
            let ended_at = match promise {
                Some(old) if old.seconds > seconds => match old.ended_at {
                    // Only at a start: another server may still promise the longer.
                    None if self.is_starting() => Some(now),
                    None => return promise,
                    Some(ended) if ring.settled(now) >= ended.plus(old.duration()).plus(skew) => {
                        None
                    }
                    Some(_) => return promise,
                },
                _ => None,
            };
            let seconds = match (promise, ended_at) {
                (Some(old), Some(_)) => old.seconds,
                _ => seconds,
            };
            Some(MaxAgePromise { seconds, ended_at })
        };
        let now = self.clock().now();
        let ring = &self.published().ring;
        let is_noted = wanted(ring, now) == ring.longest_max_age;
        if !is_noted {
            self.change(|writer, ring, now| {
                ring.longest_max_age = wanted(ring, now);
                save(writer, ring)?;
                Ok(true)
            })?;
        }
        self.has_started();
        Ok(())
    }

    /// Writes down that the wall clock has leapt forward, before anything is done by it.
    fn note_clock_jump(&self) -> Result<(), IssuerError> {
        let least = LEAST_JUMP.min(self.policy().clock_skew / 2);
        let Some(leap) = self.clock_leap(least.max(Duration::from_millis(500))) else {
            return Ok(());
        };
        tracing::warn!(
            seconds = leap.as_secs(),
            "the clock has leapt forward: planned changes wait until what was promised before has surely run out"
        );
        self.change(|writer, ring, now| {
            ring.note_clock_jump(self.policy(), now, leap);
            save(writer, ring)?;
            Ok(true)
        })?;
        self.leap_is_noted();
        Ok(())
    }
}
