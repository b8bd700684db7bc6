//! `Issuer`: follows its store, and holds what is in force: the keys that sign, and the bytes of the JWKS that is published.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::migration::algorithm_for;
use super::mint::MintError;
use super::published::Published;
use super::ring::{KeyRing, RingError};
use super::rotation::RotationPolicy;
use super::settings::TokenSettings;
use super::watchers::Watchers;
use crate::clock::Clock;
use crate::jose::{Algorithm, NumericDate};
use crate::metrics::issuer::{IssuerMetrics, Store};
use crate::store::{KeyStore, StoreError, StoredKeys};

/// Why an issuer cannot open or follow its store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A ring that cannot be published.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// An older ring has taken the place of the one in force, as when a backup is restored.
    #[error(
        "the store holds an older ring (change {found}) than the one in force (change {in_force}): a restored backup? Restart the server to go by it, or put the newer one back"
    )]
    Older {
        /// In the store.
        found: u64,
        /// In force.
        in_force: u64,
    },
    /// A ring that nobody vouches for has taken the place of one that somebody does.
    #[error(
        "the store holds a ring without a seal of a configured wrapping key; the one in force has one and stays"
    )]
    Unvouched,
}

/// Mints tokens. Cheap to clone; clones share the keys.
#[derive(Clone)]
pub struct Issuer {
    inner: Arc<Inner>,
}

struct Inner {
    store: Box<dyn KeyStore>,
    policy: RotationPolicy,
    settings: TokenSettings,
    clock: Arc<dyn Clock>,
    published: ArcSwap<Published>,
    last_error: ArcSwapOption<String>,
    metrics: IssuerMetrics,
    watchers: Watchers,
    /// How far the wall clock is ahead of the one that never leaps, as far as it is accounted for; in milliseconds.
    clock_offset: AtomicI64,
    has_started: AtomicBool,
}

// === impl Issuer ===

impl Issuer {
    /// Opens the store, makes its first keys if it has none, and has something to sign with and to publish when it returns.
    ///
    /// Blocks on the store; run [`run_rotator`](super::run_rotator) afterwards to follow it.
    ///
    /// # Errors
    /// [`IssuerError`] names the file.
    pub fn open(
        store: impl KeyStore,
        policy: RotationPolicy,
        settings: TokenSettings,
        clock: impl Clock,
        metrics: &crate::Metrics,
    ) -> Result<Self, IssuerError> {
        let issuer = Self::open_existing(store, policy, settings, clock, metrics)?;
        issuer.tick()?;
        Ok(issuer)
    }

    /// As [`open`](Self::open), changing nothing: for programs that only mint.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_existing(
        store: impl KeyStore,
        policy: RotationPolicy,
        settings: TokenSettings,
        clock: impl Clock,
        metrics: &crate::Metrics,
    ) -> Result<Self, IssuerError> {
        let published = Published::new(store.load()?, None)?;
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let clock_offset = AtomicI64::new(offset(&*clock));
        let watchers = Watchers::new(
            clock.clone(),
            policy.jwks_max_age,
            metrics.issuer.revocation_propagation(),
        );
        watchers.publish(&published.etag, false);
        metrics.issuer.watch(&watchers);
        let issuer = Issuer {
            inner: Arc::new(Inner {
                store: Box::new(store),
                policy,
                settings,
                clock,
                published: ArcSwap::from_pointee(published),
                last_error: ArcSwapOption::empty(),
                metrics: metrics.issuer.clone(),
                watchers,
                clock_offset,
                has_started: AtomicBool::new(false),
            }),
        };
        issuer.show_keys();
        Ok(issuer)
    }

    /// What is in force at this moment.
    pub fn published(&self) -> arc_swap::Guard<Arc<Published>> {
        self.inner.published.load()
    }

    /// The rotation policy.
    pub fn policy(&self) -> &RotationPolicy {
        &self.inner.policy
    }

    /// What tokens say.
    pub fn settings(&self) -> &TokenSettings {
        &self.inner.settings
    }

    /// The issuer's clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// Closes the store, in order: for a program that is about to end.
    pub fn close_store(&self) {
        self.store().close();
    }

    pub(super) fn store(&self) -> &dyn KeyStore {
        &*self.inner.store
    }

    pub(super) fn publish(&self, stored: StoredKeys) -> Result<(), IssuerError> {
        let before = self.inner.published.load_full();
        let (found, in_force) = (stored.ring.serial, before.ring.serial);
        if found < in_force {
            return Err(IssuerError::Older { found, in_force });
        }
        if stored.ring.unvouched && !before.ring.unvouched && in_force > 0 {
            return Err(IssuerError::Unvouched);
        }
        let published = Arc::new(Published::new(stored, Some(&before))?);
        let is_revocation = published.revokes_what_was_in(&before);
        self.inner.published.store(published.clone());
        self.count_transitions(&before.ring, &published.ring);
        // After the set is in force: whoever is woken by this must find the new one.
        self.inner.watchers.publish(&published.etag, is_revocation);
        self.show_keys();
        Ok(())
    }

    /// Who watches the key set.
    pub fn watchers(&self) -> &Watchers {
        &self.inner.watchers
    }

    pub(super) fn metrics(&self) -> &IssuerMetrics {
        &self.inner.metrics
    }

    /// By how much the wall clock has leapt forward since it was last accounted for, if by more than `least`.
    pub(super) fn clock_leap(&self, least: Duration) -> Option<Duration> {
        let accounted = self.inner.clock_offset.load(Ordering::Relaxed);
        let leap = offset(self.clock()).saturating_sub(accounted);
        if leap < 0 {
            // Set back: the rules wait longer, which breaks nobody.
            self.leap_is_noted();
        }
        let leap = Duration::from_millis(u64::try_from(leap).unwrap_or(0));
        (leap > least).then_some(leap)
    }

    pub(super) fn leap_is_noted(&self) {
        let offset = offset(self.clock());
        self.inner.clock_offset.store(offset, Ordering::Relaxed);
    }

    pub(super) fn is_starting(&self) -> bool {
        !self.inner.has_started.load(Ordering::Relaxed)
    }

    pub(super) fn has_started(&self) {
        self.inner.has_started.store(true, Ordering::Relaxed);
    }

    pub(super) fn note(&self, error: Option<&IssuerError>) {
        self.inner
            .last_error
            .store(error.map(|error| Arc::new(error.to_string())));
        self.inner.metrics.store_up(Store::Keys, error.is_none());
    }

    /// Whoever made them: the command line changes the store and has no metrics that anybody would scrape.
    fn count_transitions(&self, before: &KeyRing, now: &KeyRing) {
        for key in &now.keys {
            if before.get(&key.kid).map(|before| before.stage) != Some(key.stage) {
                let cause = key
                    .causes
                    .get(&key.stage)
                    .map_or("unknown", |cause| cause.name());
                self.inner
                    .metrics
                    .transition(key.alg, key.stage.name(), cause);
            }
        }
    }

    fn show_keys(&self) {
        let published = self.published();
        self.inner
            .metrics
            .show(&published.ring, &self.inner.policy, self.clock().now());
    }

    /// What is wrong, one line each: a key that cannot be used, an algorithm without a signer, a store that cannot be followed.
    /// Empty when all is well.
    pub fn problems(&self) -> Vec<String> {
        let published = self.published();
        let mut problems: Vec<String> = published.problems.iter().map(|p| p.to_string()).collect();
        for &alg in &self.inner.policy.algorithms {
            if published.signer(alg).is_none() {
                problems.push(MintError::NoSigner(alg).to_string());
            }
        }
        let clock = published
            .ring
            .check_clock(&self.inner.policy, self.clock().now());
        if let Err(error) = clock {
            problems.push(error.to_string());
        }
        if let Some(error) = &*self.inner.last_error.load() {
            problems.push(error.to_string());
        }
        problems
    }

    /// How long the JWKS may be kept: the policy's limit, less where a planned change comes sooner.
    pub fn jwks_max_age(&self) -> Duration {
        let published = self.published();
        let policy = &self.inner.policy;
        let now = self.clock().now();
        let next_change = published
            .ring
            .keys
            .iter()
            .filter_map(|key| policy.next_step_at(&published.ring, key, now))
            .filter(|&at| at > now)
            .min();
        let until_change = next_change.map_or(Duration::MAX, |at| at.since(now));
        Duration::from_secs(policy.jwks_max_age.min(until_change).as_secs())
    }

    /// The algorithm of tokens for `audience`: what it was moved to, else what the configuration says.
    pub fn algorithm_for(&self, audience: &str) -> Algorithm {
        let ring = &self.published().ring;
        algorithm_for(ring, &self.inner.policy, &self.inner.settings, audience)
    }

    /// The kid of the key that signs by `algorithm` at this moment.
    pub(super) fn signing_kid(&self, algorithm: Algorithm) -> Option<String> {
        let published = self.published();
        Some(published.signer(algorithm)?.key.kid().to_owned())
    }
}

/// How far the wall clock is ahead of the one that never leaps, in milliseconds.
fn offset(clock: &dyn Clock) -> i64 {
    let wall = clock.now().since(NumericDate::EPOCH).as_millis();
    let monotonic = clock.monotonic().as_millis();
    let signed = |millis| i64::try_from(millis).unwrap_or(i64::MAX);
    signed(wall).saturating_sub(signed(monotonic))
}
