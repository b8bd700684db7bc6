//! Ed25519 public keys (RFC 8032, RFC 8037).

use ed25519_dalek::{Signature, VerifyingKey};

use super::jwk::JwkError;

/// A point that is canonical and not of small order.
pub(crate) struct Ed25519Key {
    key: VerifyingKey,
}

// === impl Ed25519Key ===

impl Ed25519Key {
    /// # Errors
    /// Not 32 bytes; no point of the curve; a non-canonical encoding (y ≥ p, RFC 8032 §5.1.3), which would give one key two
    /// thumbprints; a point of small order, under which one signature fits every message.
    pub(crate) fn new(x: &[u8]) -> Result<Self, JwkError> {
        let bytes: &[u8; 32] = x
            .try_into()
            .map_err(|_| JwkError::CoordinateSize { expected: 32 })?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| JwkError::EdPoint)?;
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(JwkError::EdPointNotCanonical);
        }
        if key.is_weak() {
            return Err(JwkError::EdPointSmallOrder);
        }
        Ok(Ed25519Key { key })
    }

    /// RFC 8032 §5.1.7 without the cofactor: S < L, R canonical and not of small order.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(bytes) = <&[u8; 64]>::try_from(signature) else {
            return false;
        };
        self.key
            .verify_strict(message, &Signature::from_bytes(bytes))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_small_order_and_non_canonical_ones_are_refused() {
        let identity = {
            let mut bytes = [0; 32];
            bytes[0] = 1;
            bytes
        };
        // y = p + 1 ≡ 1: the identity again, spelt with a y that is not reduced.
        let mut not_reduced = [0xff; 32];
        not_reduced[0] = 0xee;
        not_reduced[31] = 0x7f;
        assert!(matches!(
            Ed25519Key::new(&identity),
            Err(JwkError::EdPointSmallOrder)
        ));
        assert!(matches!(
            Ed25519Key::new(&not_reduced),
            Err(JwkError::EdPointNotCanonical)
        ));
        assert!(matches!(
            Ed25519Key::new(&[0; 31]),
            Err(JwkError::CoordinateSize { expected: 32 })
        ));
        // Half of all y have no x on the curve.
        let off_curve = (2..100u8)
            .map(|y| {
                let mut bytes = [0; 32];
                bytes[0] = y;
                Ed25519Key::new(&bytes)
            })
            .filter(|key| matches!(key, Err(JwkError::EdPoint)))
            .count();
        assert!((20..80).contains(&off_curve), "{off_curve} of 98");
    }
}
