//! RSA public keys (RFC 8017), checked once at load.
//!
//! # Who verifies
//!
//! | key | PKCS #1 v1.5 (`RS…`) | PSS (`PS…`) |
//! | --- | --- | --- |
//! | 2048, 3072 or 4096 bits, e = 65537, on an x86-64 with AVX2 | here | ring |
//! | any other | ring | ring |
//!
//! A verification is one power modulo n, of sixteen squarings and a multiplication, and a comparison. What can be computed from n
//! alone, ring computes again for each signature, its key being only bytes to it; aws-lc keeps it, behind a lock. A JWKS key is
//! known long before its tokens, so here it is computed when the key is parsed ([`modulus`]), and the arithmetic is in vectors
//! ([`rows`]): a verification takes 0.72 to 0.80 of the time.
//!
//! # The same verdict
//!
//! That of ring, on every input: the signature as long as the modulus and less than it (RFC 8017 §8.2.2, §5.2.2), and its power
//! the one block there is for the message ([`pkcs1`]), compared whole. `tests/rsa.rs` and a fuzz target hold the two together.
//!
//! # Variable time
//!
//! How long this takes depends on the signature, the message and the key: all of them public. That is right for verification
//! and for nothing else. **Never use any of it with a secret**: no signing, no decryption, no exponent and no base that others
//! may not know.

#[cfg(target_arch = "x86_64")]
mod modulus;
mod pkcs1;
#[cfg(target_arch = "x86_64")]
mod power;
#[cfg(target_arch = "x86_64")]
mod rows;

use ring::signature::{self as ring_signature, RsaParameters, RsaPublicKeyComponents};

use super::algorithm::Algorithm;
use super::jwk::JwkError;
#[cfg(target_arch = "x86_64")]
use power::Power;

/// RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used".
const MIN_MODULUS_BITS: usize = 2048;
/// A 16-kilobit modulus costs a verifier milliseconds a token; ring draws the line here too.
const MAX_MODULUS_BITS: usize = 8192;
/// Public exponents beyond 33 bits are only ever an attempt to spend the verifier's time (SP 800-56B allows 256 bits; nobody uses them).
const MAX_EXPONENT_BITS: usize = 33;

/// A modulus and an exponent that passed the checks; big-endian, no leading zero.
pub(crate) struct RsaKey {
    components: RsaPublicKeyComponents<Box<[u8]>>,
    /// `None` for keys that are left to ring.
    power: Option<Power>,
}

/// Elsewhere everything is ring's.
#[cfg(not(target_arch = "x86_64"))]
enum Power {}

#[cfg(not(target_arch = "x86_64"))]
impl Power {
    fn new(_n: &[u8], _e: &[u8]) -> Option<Self> {
        None
    }

    fn of(&self, _signature: &[u8]) -> Option<[u8; 0]> {
        match *self {}
    }
}

// === impl RsaKey ===

impl RsaKey {
    /// # Errors
    /// A modulus outside 2048 to 8192 bits or even; an exponent below 3, even, or over 33 bits.
    pub(crate) fn new(n: &[u8], e: &[u8]) -> Result<Self, JwkError> {
        // RFC 7518 §6.3.1.1 forbids a leading zero octet; several well-known issuers publish one.
        let n = strip_leading_zeros(n);
        let e = strip_leading_zeros(e);
        let modulus_bits = bit_length(n);
        if !(MIN_MODULUS_BITS..=MAX_MODULUS_BITS).contains(&modulus_bits) {
            return Err(JwkError::RsaModulusSize { bits: modulus_bits });
        }
        if is_even(n) {
            return Err(JwkError::RsaModulusEven);
        }
        let too_small = matches!(e, [] | [1]);
        if too_small || is_even(e) || bit_length(e) > MAX_EXPONENT_BITS {
            return Err(JwkError::RsaExponent);
        }
        Ok(RsaKey {
            power: Power::new(n, e),
            components: RsaPublicKeyComponents {
                n: n.into(),
                e: e.into(),
            },
        })
    }

    pub(crate) fn modulus(&self) -> &[u8] {
        &self.components.n
    }

    pub(crate) fn exponent(&self) -> &[u8] {
        &self.components.e
    }

    /// Whether `signature` is exactly as long as the modulus and is `algorithm`'s over `message` (RFC 8017 §8.1.2, §8.2.2).
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if let (Some(power), Some(hash)) = (&self.power, pkcs1::hash(algorithm)) {
            let block = power.of(signature);
            let length = self.modulus().len();
            return block.is_some_and(|block| pkcs1::is_block_of(hash, message, &block[..length]));
        }
        parameters(algorithm).is_some_and(|parameters| {
            self.components
                .verify(parameters, message, signature)
                .is_ok()
        })
    }
}

fn parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &ring_signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &ring_signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &ring_signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &ring_signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &ring_signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &ring_signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn strip_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    &bytes[zeros..]
}

fn bit_length(stripped: &[u8]) -> usize {
    stripped.first().map_or(0, |first| {
        stripped.len() * 8 - first.leading_zeros() as usize
    })
}

fn is_even(bytes: &[u8]) -> bool {
    bytes.last().is_none_or(|last| last & 1 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bits: usize) -> Vec<u8> {
        let mut bytes = vec![0xff; bits.div_ceil(8)];
        if !bits.is_multiple_of(8) {
            bytes[0] = 0xff >> (8 - bits % 8);
        }
        bytes
    }

    #[test]
    fn modulus_and_exponent_are_bounded() {
        let f4: &[u8] = &[1, 0, 1];
        for (bits, ok) in [(2047, false), (2048, true), (8192, true), (8193, false)] {
            assert_eq!(RsaKey::new(&number(bits), f4).is_ok(), ok, "{bits} bits");
        }
        let n = number(2048);
        for (e, ok) in [
            (&[][..], false),
            (&[0], false),
            (&[1], false),
            (&[2], false),
            (&[3], true),
            (&[0, 0, 3], true),
            (f4, true),
            (&[1, 0, 0], false),
            (&[1, 0, 0, 0, 1], true),
            (&[2, 0, 0, 0, 1], false),
        ] {
            assert_eq!(RsaKey::new(&n, e).is_ok(), ok, "e = {e:?}");
        }
        let mut even = n.clone();
        even[255] = 0xfe;
        assert!(RsaKey::new(&even, f4).is_err());
        assert!(RsaKey::new(&[], f4).is_err());
        let leading_zero: Vec<u8> = [0].into_iter().chain(n).collect();
        assert!(RsaKey::new(&leading_zero, f4).is_ok());
    }
}
