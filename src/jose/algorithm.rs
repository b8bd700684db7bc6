//! Everything about one JWS `alg` in one place: its name, the keys it goes with, its sizes.
//!
//! `none`, the HMAC family and every unknown name have no value here, so no later code can meet them.

use std::fmt;
use std::str::FromStr;

/// A JWS signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Algorithm {
    /// `EdDSA` over Ed25519 (RFC 8037). Ed448 is never meant.
    EdDSA,
    /// `Ed25519`, the fully-specified name of the same signature (RFC 9864 §2.2).
    Ed25519,
    /// ECDSA, P-256, SHA-256.
    ES256,
    /// ECDSA, P-384, SHA-384.
    ES384,
    /// ECDSA, P-521, SHA-512.
    #[cfg(feature = "es512")]
    ES512,
    /// RSASSA-PKCS1-v1_5, SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5, SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5, SHA-512.
    RS512,
    /// RSASSA-PSS, SHA-256, MGF1 with SHA-256, a salt of 32 bytes.
    PS256,
    /// RSASSA-PSS, SHA-384, MGF1 with SHA-384, a salt of 48 bytes.
    PS384,
    /// RSASSA-PSS, SHA-512, MGF1 with SHA-512, a salt of 64 bytes.
    PS512,
}

/// What kind of key material an algorithm needs: `kty` and `crv` together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyType {
    /// `OKP`, `Ed25519`.
    Ed25519,
    /// `EC`, `P-256`.
    P256,
    /// `EC`, `P-384`.
    P384,
    /// `EC`, `P-521`.
    #[cfg(feature = "es512")]
    P521,
    /// `RSA`.
    Rsa,
}

// === impl Algorithm ===

impl Algorithm {
    /// Every algorithm this build knows.
    pub const ALL: &'static [Algorithm] = &[
        Algorithm::EdDSA,
        Algorithm::Ed25519,
        Algorithm::ES256,
        Algorithm::ES384,
        #[cfg(feature = "es512")]
        Algorithm::ES512,
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
    ];

    /// The registered name, as in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::EdDSA => "EdDSA",
            Algorithm::Ed25519 => "Ed25519",
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            #[cfg(feature = "es512")]
            Algorithm::ES512 => "ES512",
            Algorithm::RS256 => "RS256",
            Algorithm::RS384 => "RS384",
            Algorithm::RS512 => "RS512",
            Algorithm::PS256 => "PS256",
            Algorithm::PS384 => "PS384",
            Algorithm::PS512 => "PS512",
        }
    }

    /// The algorithm of this exact name: names are case-sensitive (RFC 7515 §4.1.1).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|algorithm| algorithm.name() == name)
    }

    /// The kind of key that this algorithm verifies with.
    pub const fn key_type(self) -> KeyType {
        match self {
            Algorithm::EdDSA | Algorithm::Ed25519 => KeyType::Ed25519,
            Algorithm::ES256 => KeyType::P256,
            Algorithm::ES384 => KeyType::P384,
            #[cfg(feature = "es512")]
            Algorithm::ES512 => KeyType::P521,
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => KeyType::Rsa,
        }
    }

    /// Whether the two names stand for one and the same signature: `EdDSA` on an Ed25519 key and `Ed25519` do
    /// (RFC 9864 §2.2), no others.
    pub fn is_same_signature(self, other: Algorithm) -> bool {
        self == other
            || (self.key_type() == KeyType::Ed25519 && other.key_type() == KeyType::Ed25519)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no algorithm of this build: `none`, an HMAC, an encryption, or unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no signature algorithm here; there are {}", names())]
pub struct UnknownAlgorithm {
    name: String,
}

fn names() -> String {
    let names: Vec<_> = Algorithm::ALL.iter().map(|a| a.name()).collect();
    names.join(", ")
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Algorithm::from_name(name).ok_or_else(|| UnknownAlgorithm { name: name.into() })
    }
}

impl serde::Serialize for Algorithm {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Algorithm {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        for &algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        for name in [
            "none", "None", "", "HS256", "eddsa", "RS256 ", "Ed448", "dir", "ES256K",
        ] {
            assert_eq!(Algorithm::from_name(name), None, "{name}");
        }
    }
}
