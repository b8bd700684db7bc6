//! ECDSA public keys: the point is proven to be on its curve at load; ring verifies P-256 and P-384, RustCrypto P-521.

use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use super::algorithm::KeyType;
use super::jwk::JwkError;

/// A point that is on its curve, uncompressed SEC 1 form (`04 || x || y`).
pub(crate) enum EcKey {
    P256(UnparsedPublicKey<[u8; 65]>),
    P384(UnparsedPublicKey<[u8; 97]>),
    #[cfg(feature = "es512")]
    P521(Box<p521::ecdsa::VerifyingKey>),
}

// === impl EcKey ===

impl EcKey {
    /// # Errors
    /// A coordinate that is not exactly the curve's size (RFC 7518 §6.2.1.2: "The length of this octet string MUST be the
    /// full size of a coordinate"), or a point that is not on the curve.
    pub(crate) fn new(curve: Curve, x: &[u8], y: &[u8]) -> Result<Self, JwkError> {
        match curve {
            Curve::P256 => {
                let point = uncompressed::<65>(x, y)?;
                p256::PublicKey::from_sec1_bytes(&point).map_err(|_| JwkError::EcPoint)?;
                Ok(EcKey::P256(UnparsedPublicKey::new(
                    &ECDSA_P256_SHA256_FIXED,
                    point,
                )))
            }
            Curve::P384 => {
                let point = uncompressed::<97>(x, y)?;
                p384::PublicKey::from_sec1_bytes(&point).map_err(|_| JwkError::EcPoint)?;
                Ok(EcKey::P384(UnparsedPublicKey::new(
                    &ECDSA_P384_SHA384_FIXED,
                    point,
                )))
            }
            #[cfg(feature = "es512")]
            Curve::P521 => {
                let point = uncompressed::<133>(x, y)?;
                let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(&point)
                    .map_err(|_| JwkError::EcPoint)?;
                Ok(EcKey::P521(Box::new(key)))
            }
        }
    }

    pub(crate) fn key_type(&self) -> KeyType {
        match self {
            EcKey::P256(_) => KeyType::P256,
            EcKey::P384(_) => KeyType::P384,
            #[cfg(feature = "es512")]
            EcKey::P521(_) => KeyType::P521,
        }
    }

    /// Whether `signature` is `r || s`, each of the curve's size (RFC 7518 §3.4), over `message`. DER is never accepted.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            EcKey::P256(key) => key.verify(message, signature).is_ok(),
            EcKey::P384(key) => key.verify(message, signature).is_ok(),
            #[cfg(feature = "es512")]
            EcKey::P521(key) => {
                use p521::ecdsa::signature::Verifier as _;
                p521::ecdsa::Signature::from_slice(signature)
                    .is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
        }
    }
}

/// The curves that JWS has an algorithm for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    #[cfg(feature = "es512")]
    P521,
}

// === impl Curve ===

impl Curve {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "P-256" => Curve::P256,
            "P-384" => Curve::P384,
            #[cfg(feature = "es512")]
            "P-521" => Curve::P521,
            _ => return None,
        })
    }
}

fn uncompressed<const LEN: usize>(x: &[u8], y: &[u8]) -> Result<[u8; LEN], JwkError> {
    let size = (LEN - 1) / 2;
    if x.len() != size || y.len() != size {
        return Err(JwkError::CoordinateSize { expected: size });
    }
    let mut point = [0; LEN];
    point[0] = 4;
    point[1..=size].copy_from_slice(x);
    point[size + 1..].copy_from_slice(y);
    Ok(point)
}
