//! `Thumbprint`: what names a key by what it is (RFC 7638).

use std::fmt;

use super::base64url;

/// A JWK thumbprint: SHA-256 over the key's required members in lexicographic order (RFC 7638 §3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 32]);

// === impl Thumbprint ===

impl Thumbprint {
    pub(crate) fn of(canonical_jwk: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, canonical_jwk.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Thumbprint(bytes)
    }

    /// The 32 bytes of the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// base64url without padding, 43 characters: the form in which it serves as a `kid`.
impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url::encode(&self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}
