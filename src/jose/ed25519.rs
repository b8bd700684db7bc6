//! Ed25519 public keys (RFC 8032, RFC 8037), fast for keys that are used again and again.
//!
//! # The mathematics
//!
//! A signature (R, S) of a message M by the key A is good if \[S\]B = R + \[k\]A, with k = SHA-512(R ‖ A ‖ M) mod L: RFC 8032
//! §5.1.7, without its optional factor of 8, as ring and dalek check it. So R' = \[S\]B − \[k\]A is computed, and its encoding
//! must be the signature's first 32 bytes, byte for byte.
//!
//! A key from a JWKS is known long before the tokens that it signs. So the multiples j·2^(8·i)·(−A), for i below 32 and j up to
//! 128, can be kept ([`table`]), and the same of B once for all keys. S and k, written with 32 signed digits to the base 256,
//! then choose 64 points to add ([`point`]): no doubling at all, where the usual ways need some 250. One inversion
//! ([`inverse`]) gives the encoding of the sum. The arithmetic mod 2^255 − 19 is `fiat-crypto`'s ([`field`]), generated and
//! formally verified; scalars are `curve25519-dalek`'s, as is every verification by a key without a table.
//!
//! # The same verdict
//!
//! With a table and without it, the verdict is that of `ed25519-dalek`'s `verify_strict`, on every input:
//!
//! | | `verify_strict` | here |
//! | --- | --- | --- |
//! | S ≥ L | refused | refused, by the same function |
//! | A of small order, or not canonical | the first refused at each verification | no [`Ed25519Key`] exists |
//! | A of mixed order | k as an integer counts | the same: the digits of k add up to k itself, and the addition law is complete |
//! | R not canonical, or no point | R' is never encoded so, hence refused | the same |
//! | R of small order | refused | the eight encodings there are, refused |
//!
//! # Variable time
//!
//! How long this takes, and which memory it reads, depends on the signature, the message and the key: all of them public. That
//! is right for verification and for nothing else. **Never use any of it with a secret**: no signing, no key agreement, no
//! scalar that others may not know.

mod field;
mod inverse;
mod point;
mod table;

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{LazyLock, OnceLock};

use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signature, VerifyingKey};
use ring::digest::{Context, SHA512};

use super::jwk::JwkError;
use point::{Affine, Point};
use table::Table;

/// So many signatures of a key are accepted before it counts as busy. The table costs about as much as a hundred verifications.
const BUSY: u32 = 64;

/// Of the base point; as large as a key's.
static BASE_POINT: LazyLock<Option<Table>> = LazyLock::new(|| {
    // RFC 8032 §5.1: y = 4/5, and x is even.
    let mut encoding = [0x66; 32];
    encoding[0] = 0x58;
    Affine::decode(&encoding).map(|point| Table::of(&point))
});

/// A point that is canonical and not of small order.
pub(crate) struct Ed25519Key {
    key: VerifyingKey,
    precomputed: OnceLock<Precomputed>,
    accepted: AtomicU32,
    is_building: AtomicBool,
}

struct Precomputed {
    base_point: &'static Table,
    /// Of −A.
    key: Table,
    /// The place that the table takes, given back with it.
    _place: Box<dyn Any + Send + Sync>,
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
        Ok(Ed25519Key {
            key,
            precomputed: OnceLock::new(),
            accepted: AtomicU32::new(0),
            is_building: AtomicBool::new(false),
        })
    }

    /// RFC 8032 §5.1.7 without the cofactor: S < L, R canonical and not of small order.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = <&[u8; 64]>::try_from(signature) else {
            return false;
        };
        match self.precomputed.get() {
            Some(tables) => tables.verify(self.key.as_bytes(), message, signature),
            None => self
                .key
                .verify_strict(message, &Signature::from_bytes(signature))
                .is_ok(),
        }
    }

    /// Counts one accepted signature. `true` now and then: the key is busy, and has no table yet.
    pub(crate) fn is_busy(&self) -> bool {
        // Relaxed: only the number matters, it orders nothing.
        !self.is_precomputed() && self.accepted.fetch_add(1, Ordering::Relaxed) % BUSY == BUSY - 1
    }

    pub(crate) fn is_precomputed(&self) -> bool {
        self.precomputed.get().is_some()
    }

    /// Builds the table, unless it is there or being built: some milliseconds, so not where anyone waits. `place` is kept for as
    /// long as the table is.
    pub(crate) fn precompute(&self, place: impl Any + Send + Sync) {
        if self.is_precomputed() || self.is_building.swap(true, Ordering::Relaxed) {
            return;
        }
        let point = Affine::decode(self.key.as_bytes());
        // Both are there: the one is a constant, the other was decoded before.
        if let (Some(base_point), Some(point)) = (&*BASE_POINT, point) {
            let key = Table::of(&point.negated());
            let _place = Box::new(place);
            // Cannot be set already: whoever is building it is alone.
            let _ = self.precomputed.set(Precomputed {
                base_point,
                key,
                _place,
            });
        }
    }
}

// === impl Precomputed ===

impl Precomputed {
    fn verify(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        let r = signature.r_bytes();
        let s = Scalar::from_canonical_bytes(*signature.s_bytes());
        let Some(s) = Option::<Scalar>::from(s) else {
            return false;
        };
        let mut hash = Context::new(&SHA512);
        hash.update(r);
        hash.update(key);
        hash.update(message);
        let Ok(hash) = <[u8; 64]>::try_from(hash.finish().as_ref()) else {
            return false;
        };
        let k = Scalar::from_bytes_mod_order_wide(&hash);
        let sum = self.base_point.add_to(Point::IDENTITY, s.as_bytes());
        let sum = self.key.add_to(sum, k.as_bytes());
        // The first costs next to nothing, and spares most of the forged ones the inversion.
        sum.may_encode_to(r) && sum.encode() == *r && !point::is_small_order(r)
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

    /// A key of its own for each call, from a seed.
    fn signing_key(seed: u8) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&[seed; 32])
    }

    #[test]
    fn a_key_is_busy_after_so_many_accepted_signatures_and_no_more_once_it_has_its_table() {
        let key = Ed25519Key::new(signing_key(1).verifying_key().as_bytes()).unwrap();
        let busy: Vec<u32> = (1..=2 * BUSY).filter(|_| key.is_busy()).collect();
        assert_eq!(busy, [BUSY, 2 * BUSY]);
        key.precompute(());
        assert!((0..2 * BUSY).all(|_| !key.is_busy()));
    }

    #[test]
    fn the_place_of_a_table_is_given_back_with_the_key() {
        let place = std::sync::Arc::new(());
        let key = Ed25519Key::new(signing_key(2).verifying_key().as_bytes()).unwrap();
        key.precompute(place.clone());
        key.precompute(place.clone());
        assert_eq!(std::sync::Arc::strong_count(&place), 2);
        drop(key);
        assert_eq!(std::sync::Arc::strong_count(&place), 1);
    }
}
