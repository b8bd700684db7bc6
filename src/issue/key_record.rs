//! `KeyRecord`: one key of a ring, its public half, its stage, and when it came to it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::transition::Cause;
use crate::jose::{Algorithm, JwkError, NumericDate, VerifyingKey};

/// What a key is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Published ahead, so that every verifier has it before its first token.
    Announced,
    /// Signs new tokens.
    Signing,
    /// Signs no more; published until its last token has expired.
    Retired,
    /// No longer published: no token of it lives. Kept for the record.
    Gone,
    /// No longer published, although tokens of it may live: nobody is to trust them.
    Revoked,
}

// === impl Stage ===

impl Stage {
    /// Every stage, in the order a key goes through them.
    pub const ALL: [Stage; 5] = [
        Stage::Announced,
        Stage::Signing,
        Stage::Retired,
        Stage::Gone,
        Stage::Revoked,
    ];

    /// As in files, metrics and lists.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Announced => "announced",
            Stage::Signing => "signing",
            Stage::Retired => "retired",
            Stage::Gone => "gone",
            Stage::Revoked => "revoked",
        }
    }

    /// Whether the key is in the JWKS.
    pub const fn is_published(self) -> bool {
        matches!(self, Stage::Announced | Stage::Signing | Stage::Retired)
    }

    /// Whether the private half is kept: it signs, or will.
    pub const fn needs_private_half(self) -> bool {
        matches!(self, Stage::Announced | Stage::Signing)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One key: who it is, what it is doing, since when and why.
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
    /// Until when somebody may hold a set without it: the longest promise made before it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_until: Option<NumericDate>,
    /// When it began to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_since: Option<NumericDate>,
    /// No token that it signed lives longer: written down before any such token is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_until: Option<NumericDate>,
    /// When it ceased to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<NumericDate>,
    /// When it left the published set, its tokens having expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<NumericDate>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<NumericDate>,
    /// Why it came to each stage that it has been in.
    #[serde(default)]
    pub causes: BTreeMap<Stage, Cause>,
    /// Why, in an operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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
    pub fn announced(key: &VerifyingKey, alg: Algorithm, now: NumericDate, cause: Cause) -> Self {
        // `to_jwk` writes JSON; were it not, the ring would refuse the record when it is loaded.
        let public = serde_json::from_str(&key.to_jwk()).unwrap_or_default();
        let kid = key.kid().unwrap_or_default();
        Self::new(kid, alg, public, now, cause)
    }

    pub(super) fn new(
        kid: &str,
        alg: Algorithm,
        public: serde_json::Value,
        now: NumericDate,
        cause: Cause,
    ) -> Self {
        KeyRecord {
            kid: kid.to_owned(),
            alg,
            stage: Stage::Announced,
            public,
            created_at: now,
            first_published: None,
            unknown_until: None,
            signing_since: None,
            tokens_until: None,
            retired_at: None,
            gone_at: None,
            revoked_at: None,
            causes: BTreeMap::from([(Stage::Announced, cause)]),
            reason: None,
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

    /// Since when it is in its stage.
    pub fn stage_since(&self) -> Option<NumericDate> {
        match self.stage {
            Stage::Announced => Some(self.created_at),
            Stage::Signing => self.signing_since,
            Stage::Retired => self.retired_at,
            Stage::Gone => self.gone_at,
            Stage::Revoked => self.revoked_at,
        }
    }

    pub(super) fn enter(&mut self, stage: Stage, cause: Cause, now: NumericDate) {
        self.stage = stage;
        self.causes.insert(stage, cause);
        match stage {
            Stage::Announced => {}
            Stage::Signing => self.signing_since = Some(now),
            Stage::Retired => self.retired_at = Some(now),
            Stage::Gone => self.gone_at = Some(now),
            Stage::Revoked => self.revoked_at = Some(now),
        }
    }

    /// Raises [`tokens_until`](Self::tokens_until); never lowers it.
    pub(super) fn note_tokens_until(&mut self, at: NumericDate) {
        self.tokens_until = Some(self.tokens_until.map_or(at, |until| until.max(at)));
    }
}
