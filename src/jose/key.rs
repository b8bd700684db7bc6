//! `VerifyingKey`: a public key, parsed and checked once; the key owns the algorithm, the header may only agree with it.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::algorithm::{Algorithm, KeyType};
use super::ecdsa::EcKey;
use super::ed25519::Ed25519Key;
use super::jwk::{self, JwkError};
use super::rsa::RsaKey;
use super::thumbprint::Thumbprint;

/// Which key it is, of all that this process has ever parsed: for whatever remembers a key and must not keep it alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct KeyId(u64);

impl KeyId {
    fn next() -> Self {
        // 0 is no key's.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only that they differ matters. 2^64 keys take longer to parse than there is time.
        KeyId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A public key fit to verify JWS signatures: it exists only if its material, `use`, `key_ops` and `alg` passed their checks.
pub struct VerifyingKey {
    id: KeyId,
    kid: Option<Box<str>>,
    declared: Option<Algorithm>,
    material: Material,
    /// The required members alone, in lexicographic order: what the thumbprint is taken over.
    canonical: Box<str>,
    thumbprint: Thumbprint,
}

pub(crate) enum Material {
    Ed25519(Ed25519Key),
    Ec(EcKey),
    Rsa(RsaKey),
}

// === impl VerifyingKey ===

impl VerifyingKey {
    /// One JWK (RFC 7517 §4) as JSON text.
    ///
    /// # Errors
    /// [`JwkError`] says which member is missing, wrong, or not for verifying signatures.
    pub fn from_jwk(json: &str) -> Result<Self, JwkError> {
        jwk::parse_jwk(json)
    }

    pub(crate) fn new(
        kid: Option<Box<str>>,
        declared: Option<Algorithm>,
        material: Material,
        canonical: Box<str>,
    ) -> Self {
        VerifyingKey {
            id: KeyId::next(),
            kid,
            declared,
            material,
            thumbprint: Thumbprint::of(&canonical),
            canonical,
        }
    }

    /// This key as a public JWK: its required members, `use`, and `alg` and `kid` where it has them.
    pub fn to_jwk(&self) -> String {
        let mut jwk = String::from(&self.canonical[..self.canonical.len() - 1]);
        if let Some(declared) = self.declared {
            jwk.push_str(&format!(r#","alg":"{declared}""#));
        }
        if let Some(kid) = &self.kid {
            let kid = serde_json::Value::from(&**kid);
            jwk.push_str(&format!(r#","kid":{kid}"#));
        }
        jwk.push_str(r#","use":"sig"}"#);
        jwk
    }

    /// The key's identifier as published, an opaque string.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(crate) fn id(&self) -> KeyId {
        self.id
    }

    /// RFC 7638, SHA-256.
    pub fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// The key's `kty` and `crv`.
    pub fn key_type(&self) -> KeyType {
        match &self.material {
            Material::Ed25519(_) => KeyType::Ed25519,
            Material::Ec(key) => key.key_type(),
            Material::Rsa(_) => KeyType::Rsa,
        }
    }

    /// The `alg` that the JWK named, if it did.
    pub fn declared_algorithm(&self) -> Option<Algorithm> {
        self.declared
    }

    /// Whether this key may verify `algorithm`: the key type fits, and so does the `alg` the JWK named, where it named one
    /// (RFC 7517 §4.4, RFC 8725 §3.1).
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        match self.declared {
            Some(declared) => declared.is_same_signature(algorithm),
            None => self.key_type() == algorithm.key_type(),
        }
    }

    /// Whether `signature` is this key's, by `algorithm`, over `message`; `false` too when the key does not allow the algorithm.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.allows(algorithm)
            && match &self.material {
                Material::Ed25519(key) => key.verify(message, signature),
                Material::Ec(key) => key.verify(message, signature),
                Material::Rsa(key) => key.verify(algorithm, message, signature),
            }
    }

    /// Computes ahead what makes verification by an Ed25519 key three times as fast: takes 480 KiB for as long as the key lives,
    /// and some milliseconds, once. A [`Verifier`](crate::Verifier) does this by itself for busy keys, off the hot path.
    /// Changes no verdict, and does nothing for other types of keys.
    pub fn precompute(&self) {
        self.precompute_in(());
    }

    /// Whether [`precompute`](Self::precompute) has been done.
    pub fn is_precomputed(&self) -> bool {
        matches!(&self.material, Material::Ed25519(key) if key.is_precomputed())
    }

    /// As [`precompute`](Self::precompute); `place` is dropped with the table.
    pub(crate) fn precompute_in(&self, place: impl Any + Send + Sync) {
        if let Material::Ed25519(key) = &self.material {
            key.precompute(place);
        }
    }

    /// Counts one accepted signature. `true` now and then: this key is busy, and should be [`precompute`](Self::precompute)d.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(&self.material, Material::Ed25519(key) if key.is_busy())
    }

    /// Whether the other key is this very key: same material, same `kid`, same `alg`.
    pub(crate) fn is_same_key(&self, other: &VerifyingKey) -> bool {
        self.thumbprint == other.thumbprint
            && self.kid == other.kid
            && self.declared == other.declared
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("kid", &self.kid)
            .field("key_type", &self.key_type())
            .field("declared", &self.declared)
            .field("thumbprint", &self.thumbprint)
            .finish()
    }
}
