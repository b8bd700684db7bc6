//! `KeyRing`: the keys of an issuer and their stages, and the JWKS that is published of them.
//!
//! Holds public halves only; the private ones are the store's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock_jump::ClockJump;
use super::key_record::{KeyRecord, Stage};
use super::migration::Migration;
use crate::jose::{Algorithm, JwkError, NumericDate, base64url};

/// The keys of an issuer, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRing {
    /// Layout of the file; 1.
    version: u32,
    /// One more at each change: an older ring is told from a newer one.
    #[serde(default)]
    pub serial: u64,
    /// The keys, in the order they were made.
    pub keys: Vec<KeyRecord>,
    /// The longest that a fetched set may be kept, by the promises that servers on this ring have made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_max_age: Option<MaxAgePromise>,
    /// Leaps of the clock that still count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clock_jumps: Vec<ClockJump>,
    /// Audiences that were moved to another algorithm, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<Migration>,
    /// Nobody has vouched for this ring since it was found without a seal of a configured wrapping key.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unvouched: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// A `max-age` that servers promise, or have promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxAgePromise {
    /// In seconds.
    pub seconds: u64,
    /// Since when a shorter one is promised; a set that was fetched before may be kept for the longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<NumericDate>,
}

// === impl MaxAgePromise ===

impl MaxAgePromise {
    /// How long it is.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// Why a ring makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// A layout from another time.
    #[error("layout version {0}; this keywheel knows version {VERSION}")]
    Version(u32),
    /// One kid twice.
    #[error("kid `{0}` is there twice")]
    KidTwice(String),
    /// Two keys sign by one algorithm, or two are announced.
    #[error("two {stage} keys for {alg}: `{first}` and `{second}`")]
    TwoInStage {
        /// The stage.
        stage: Stage,
        /// The algorithm.
        alg: Algorithm,
        /// One kid.
        first: String,
        /// The other.
        second: String,
    },
    /// The public half is none.
    #[error("key `{kid}`: {error}")]
    Public {
        /// Whose.
        kid: String,
        /// What is wrong.
        error: JwkError,
    },
    /// The public half has another kid or algorithm than the record.
    #[error("key `{kid}`: `public` names another kid or alg")]
    PublicMismatch {
        /// Whose.
        kid: String,
    },
    /// A stage without the time it began.
    #[error("key `{kid}` is {stage} and has no `{missing}`")]
    NoTime {
        /// Whose.
        kid: String,
        /// The stage.
        stage: Stage,
        /// The missing member.
        missing: &'static str,
    },
}

/// Layout of the ring file.
const VERSION: u32 = 1;

// === impl KeyRing ===

impl KeyRing {
    /// A ring without keys.
    pub fn new() -> Self {
        KeyRing {
            version: VERSION,
            ..KeyRing::default()
        }
    }

    /// The key that signs by this algorithm.
    pub fn signing(&self, alg: Algorithm) -> Option<&KeyRecord> {
        self.find(alg, Stage::Signing)
    }

    /// The key that will sign next by this algorithm.
    pub fn announced(&self, alg: Algorithm) -> Option<&KeyRecord> {
        self.find(alg, Stage::Announced)
    }

    fn find(&self, alg: Algorithm, stage: Stage) -> Option<&KeyRecord> {
        self.keys
            .iter()
            .find(|key| key.alg == alg && key.stage == stage)
    }

    /// A key by its kid.
    pub fn get(&self, kid: &str) -> Option<&KeyRecord> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    pub(super) fn get_mut(&mut self, kid: &str) -> Option<&mut KeyRecord> {
        self.keys.iter_mut().find(|key| key.kid == kid)
    }

    /// Whether the ring makes sense: what is loaded is held against this before it is believed.
    ///
    /// # Errors
    /// [`RingError`] names the key.
    pub fn check(&self) -> Result<(), RingError> {
        if self.version != VERSION {
            return Err(RingError::Version(self.version));
        }
        for (index, key) in self.keys.iter().enumerate() {
            let kid = || key.kid.clone();
            let earlier = &self.keys[..index];
            if earlier.iter().any(|other| other.kid == key.kid) {
                return Err(RingError::KidTwice(kid()));
            }
            let same_place = earlier
                .iter()
                .find(|other| other.alg == key.alg && other.stage == key.stage);
            if let Some(other) = same_place
                && key.stage.needs_private_half()
            {
                return Err(RingError::TwoInStage {
                    stage: key.stage,
                    alg: key.alg,
                    first: other.kid.clone(),
                    second: kid(),
                });
            }
            let public = key
                .verifying_key()
                .map_err(|error| RingError::Public { kid: kid(), error })?;
            if public.kid() != Some(&key.kid) || public.declared_algorithm() != Some(key.alg) {
                return Err(RingError::PublicMismatch { kid: kid() });
            }
            let missing = match key.stage {
                Stage::Signing if key.signing_since.is_none() => Some("signing_since"),
                Stage::Retired if key.retired_at.is_none() => Some("retired_at"),
                Stage::Gone if key.gone_at.is_none() => Some("gone_at"),
                Stage::Revoked if key.revoked_at.is_none() => Some("revoked_at"),
                _ => None,
            };
            if let Some(missing) = missing {
                return Err(RingError::NoTime {
                    kid: kid(),
                    stage: key.stage,
                    missing,
                });
            }
        }
        Ok(())
    }

    /// The keys that are in the JWKS.
    pub fn published(&self) -> impl Iterator<Item = &KeyRecord> {
        self.keys.iter().filter(|key| key.stage.is_published())
    }

    /// The JWK Set of every published key. Built from parsed public keys alone: no private member can be in it.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn to_jwks(&self) -> Result<String, RingError> {
        let keys: Result<Vec<String>, RingError> = self
            .published()
            .map(|key| {
                let public = key.verifying_key().map_err(|error| RingError::Public {
                    kid: key.kid.clone(),
                    error,
                })?;
                Ok(public.to_jwk())
            })
            .collect();
        Ok(format!(r#"{{"keys":[{}]}}"#, keys?.join(",")))
    }

    /// The strong entity tag of [`to_jwks`](Self::to_jwks), quotes included.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn etag(&self) -> Result<String, RingError> {
        Ok(etag_of(&self.to_jwks()?))
    }
}

/// The strong entity tag of a body: a digest, so that every server on a ring gives the same.
pub(super) fn etag_of(body: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    format!("\"{}\"", base64url::encode(&digest.as_ref()[..18]))
}
