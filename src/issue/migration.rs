//! Moving audiences from one algorithm to another: from which moment on, and until when tokens of the former may live.

use serde::{Deserialize, Serialize};

use super::ring::KeyRing;
use super::rotation::RotationPolicy;
use super::settings::TokenSettings;
use crate::jose::{Algorithm, NumericDate};

/// One audience that was moved, or all of them. It wins over the configuration, which is older.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// The audience; every one if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// What signed its tokens before.
    pub from: Algorithm,
    /// What signs them since.
    pub to: Algorithm,
    /// Since when.
    pub at: NumericDate,
    /// When the last token of the former algorithm that was signed before has expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_at: Option<NumericDate>,
}

impl KeyRing {
    /// The algorithm that `audience` was moved to, if it was; the last word counts.
    pub fn migrated(&self, audience: &str) -> Option<&Migration> {
        let concerns = |migration: &&Migration| {
            let named = migration.audience.as_deref();
            named.is_none_or(|named| named == audience)
        };
        self.migrations.iter().rev().find(concerns)
    }

    /// Adds a word that outdates earlier ones on the same audience, and on every one if it concerns all.
    pub(super) fn migrate(&mut self, migration: Migration) {
        self.migrations.retain(|earlier| {
            migration.audience.is_some() && earlier.audience != migration.audience
        });
        self.migrations.push(migration);
    }
}

/// The algorithm of tokens for `audience`: what it was moved to, else what the settings say, else the policy's first.
pub fn algorithm_for(
    ring: &KeyRing,
    policy: &RotationPolicy,
    settings: &TokenSettings,
    audience: &str,
) -> Algorithm {
    let moved = ring.migrated(audience).map(|moved| moved.to);
    let named = settings.audiences.get(audience);
    moved
        // Dropped from the configuration meanwhile, or back in it and without a key that every verifier has.
        .filter(|moved| policy.algorithms.contains(moved) && ring.signing(*moved).is_some())
        .or_else(|| named.and_then(|audience| audience.algorithm))
        .or_else(|| policy.algorithms.first().copied())
        .unwrap_or(Algorithm::EdDSA)
}
