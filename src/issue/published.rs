//! `Published`: one state of the key ring, as it is served and signed with.

use std::sync::Arc;

use bytes::Bytes;

use super::issuer::IssuerError;
use super::key_record::Stage;
use super::lease::Lease;
use super::mint::{TYP, header};
use super::ring::{KeyRing, etag_of};
use crate::jose::{Algorithm, SigningKey};
use crate::store::{KeyProblem, Revision, StoredKeys};

/// What is in force: built whole, then published; nothing in it changes.
#[derive(Debug)]
pub struct Published {
    /// The keys and their stages.
    pub ring: KeyRing,
    /// The body of the JWKS.
    pub jwks: Bytes,
    /// Its strong entity tag, quotes included.
    pub etag: String,
    /// What is wrong with single keys.
    pub problems: Vec<KeyProblem>,
    signers: Vec<Signer>,
    revision: Revision,
}

/// A key that signs.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) key: Arc<SigningKey>,
    /// The first segment of every token this key signs.
    pub(super) header: String,
    pub(super) lease: Lease,
}

// === impl Published ===

impl Published {
    pub(super) fn new(stored: StoredKeys, before: Option<&Published>) -> Result<Self, IssuerError> {
        let jwks = stored.ring.to_jwks()?;
        let is_signing = |key: &SigningKey| {
            let signing = stored.ring.signing(key.algorithm());
            signing.is_some_and(|record| record.kid == key.kid())
        };
        let signers = stored
            .signers
            .iter()
            .filter(|key| is_signing(key))
            .map(|key| {
                let until = stored.ring.get(key.kid()).and_then(|key| key.tokens_until);
                let before = before.and_then(|before| before.signer_of(key.kid()));
                Signer {
                    header: header(key, TYP),
                    key: key.clone(),
                    lease: Lease::new(until, before.map(|signer| &signer.lease)),
                }
            })
            .collect();
        Ok(Published {
            etag: etag_of(&jwks),
            jwks: jwks.into(),
            signers,
            ring: stored.ring,
            problems: stored.problems,
            revision: stored.revision,
        })
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = (Algorithm, &Lease)> {
        let signers = self.signers.iter();
        signers.map(|signer| (signer.key.algorithm(), &signer.lease))
    }

    /// Whether a key that was published in `before` is revoked in this.
    pub(super) fn revokes_what_was_in(&self, before: &Published) -> bool {
        let was_published = |kid: &str| before.ring.published().any(|key| key.kid == kid);
        let mut keys = self.ring.keys.iter();
        keys.any(|key| key.stage == Stage::Revoked && was_published(&key.kid))
    }

    fn signer_of(&self, kid: &str) -> Option<&Signer> {
        self.signers.iter().find(|signer| signer.key.kid() == kid)
    }

    pub(super) fn signer(&self, algorithm: Algorithm) -> Option<&Signer> {
        self.signers
            .iter()
            .find(|signer| signer.key.algorithm() == algorithm)
    }
}
