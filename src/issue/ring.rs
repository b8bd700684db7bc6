//! `KeyRing`: the keys of an issuer and their stages, and the JWKS that is published of them.
//!
//! Holds public halves only; the private ones are the store's.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::jose::{Algorithm, JwkError, NumericDate, VerifyingKey};

/// What a key is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Published ahead, so that every verifier has it before its first token.
    Announced,
    /// Signs new tokens.
    Signing,
    /// Signs no more; published until its last token has expired.
    Retired,
}

// === impl Stage ===

impl Stage {
    /// Every stage, in the order a key goes through them.
    pub const ALL: [Stage; 3] = [Stage::Announced, Stage::Signing, Stage::Retired];

    /// As in files, metrics and lists.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Announced => "announced",
            Stage::Signing => "signing",
            Stage::Retired => "retired",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One key: who it is, what it is doing, since when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// The identifier in the header and in the set.
    pub kid: String,
    /// The one algorithm it signs by.
    pub alg: Algorithm,
    /// What it is doing.
    pub stage: Stage,
    /// Its public half as it is published, one JWK.
    pub public: serde_json::Value,
    /// When it was made.
    pub created_at: NumericDate,
    /// When a server first had it in its published set. A key that no verifier can have seen must not sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_published: Option<NumericDate>,
    /// When it began to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_since: Option<NumericDate>,
    /// When it ceased to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<NumericDate>,
    /// Whether its private half could be had; not saved, found out at each load.
    #[serde(skip, default = "yes")]
    pub usable: bool,
}

fn yes() -> bool {
    true
}

// === impl KeyRecord ===

impl KeyRecord {
    /// A key just made.
    pub fn announced(key: &VerifyingKey, alg: Algorithm, now: NumericDate) -> Self {
        KeyRecord {
            kid: key.kid().unwrap_or_default().to_owned(),
            alg,
            stage: Stage::Announced,
            // `to_jwk` writes JSON; were it not, the ring would refuse the record when it is loaded.
            public: serde_json::from_str(&key.to_jwk()).unwrap_or_default(),
            created_at: now,
            first_published: None,
            signing_since: None,
            retired_at: None,
            usable: true,
        }
    }

    /// The public half, checked.
    ///
    /// # Errors
    /// As [`VerifyingKey::from_jwk`].
    pub fn verifying_key(&self) -> Result<VerifyingKey, JwkError> {
        VerifyingKey::from_jwk(&self.public.to_string())
    }
}

/// The keys of an issuer, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRing {
    /// Layout of the file; 1.
    version: u32,
    /// The keys, in the order they were made.
    pub keys: Vec<KeyRecord>,
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
            keys: Vec::new(),
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
                && key.stage != Stage::Retired
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

    /// The JWK Set of every key in the ring. Built from parsed public keys alone: no private member can be in it.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn to_jwks(&self) -> Result<String, RingError> {
        let keys: Result<Vec<String>, RingError> = self
            .keys
            .iter()
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
}
