//! `SigningKey`: a private key that signs, and nothing else: it cannot be cloned, printed or serialised.
//!
//! The public half is always derived from the private one, never taken from the caller: a wrong public key at signing
//! leaks an Ed25519 private key (RUSTSEC-2022-0093).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, Ed25519KeyPair, KeyPair as _, RsaEncoding as _, RsaKeyPair, RsaSignatureEncoding,
};
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use super::base64url;
use super::key::VerifyingKey;

/// What can go wrong with a private key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// Keywheel signs with EdDSA, Ed25519, and the RS and PS families.
    #[error("{0} is not an algorithm that Keywheel signs with")]
    Algorithm(Algorithm),
    /// Not PKCS#8, truncated, another key type, or a weak key.
    #[error("not a usable {algorithm} private key: {why}")]
    Key {
        /// What it was to be used for.
        algorithm: Algorithm,
        /// The reason, without a byte of the key.
        why: String,
    },
    /// The random source or the cryptographic library failed.
    #[error("the cryptographic library failed to {0}")]
    Crypto(&'static str),
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static RsaSignatureEncoding),
}

/// A private key with the one algorithm it signs by.
pub struct SigningKey {
    pair: Pair,
    algorithm: Algorithm,
    verifying: Arc<VerifyingKey>,
}

// === impl SigningKey ===

impl SigningKey {
    /// A new key from the operating system's random source; RSA keys have 2048 bits. Also gives its PKCS#8 form, to be saved.
    ///
    /// # Errors
    /// [`SigningError::Algorithm`], or [`SigningError::Crypto`] if no key could be made.
    pub fn generate(algorithm: Algorithm) -> Result<(Self, Zeroizing<Vec<u8>>), SigningError> {
        let failed = |_| SigningError::Crypto("generate a key");
        let pkcs8: Zeroizing<Vec<u8>> = match algorithm {
            Algorithm::EdDSA | Algorithm::Ed25519 => {
                let document = Ed25519KeyPair::generate()
                    .and_then(|pair| pair.to_pkcs8v1())
                    .map_err(failed)?;
                Zeroizing::new(document.as_ref().to_vec())
            }
            _ if encoding(algorithm).is_some() => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                Zeroizing::new(der.as_ref().to_vec())
            }
            _ => return Err(SigningError::Algorithm(algorithm)),
        };
        Ok((Self::from_pkcs8(algorithm, &pkcs8, None)?, pkcs8))
    }

    /// A key from its PKCS#8 form; `kid` is the RFC 7638 thumbprint unless one is given.
    ///
    /// # Errors
    /// [`SigningError::Algorithm`]; [`SigningError::Key`] if the bytes are no such key or the key is too weak to verify with.
    pub fn from_pkcs8(
        algorithm: Algorithm,
        pkcs8: &[u8],
        kid: Option<&str>,
    ) -> Result<Self, SigningError> {
        let rejected = |why: String| SigningError::Key { algorithm, why };
        let (pair, members) = match (algorithm, encoding(algorithm)) {
            (_, Some(encoding)) => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|e| rejected(e.to_string()))?;
                let public = pair.public_key();
                let n = base64url::encode(public.modulus().big_endian_without_leading_zero());
                let e = base64url::encode(public.exponent().big_endian_without_leading_zero());
                let members = format!(r#""kty":"RSA","n":"{n}","e":"{e}""#);
                (Pair::Rsa(pair, encoding), members)
            }
            (Algorithm::EdDSA | Algorithm::Ed25519, None) => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
                    .map_err(|e| rejected(e.to_string()))?;
                let x = base64url::encode(pair.public_key().as_ref());
                let members = format!(r#""kty":"OKP","crv":"Ed25519","x":"{x}""#);
                (Pair::Ed25519(pair), members)
            }
            _ => return Err(SigningError::Algorithm(algorithm)),
        };
        // Through the verifier's own parser: a key that no verifier would take must not sign.
        let parse = |kid: &str| {
            let kid = serde_json::Value::from(kid);
            VerifyingKey::from_jwk(&format!(r#"{{{members},"alg":"{algorithm}","kid":{kid}}}"#))
                .map_err(|error| rejected(error.to_string()))
        };
        let verifying = match kid {
            Some(kid) => parse(kid)?,
            None => {
                let thumbprint = parse("")?.thumbprint().to_string();
                parse(&thumbprint)?
            }
        };
        Ok(SigningKey {
            pair,
            algorithm,
            verifying: Arc::new(verifying),
        })
    }

    /// The algorithm this key signs by.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The identifier that goes into the header and the key set.
    pub fn kid(&self) -> &str {
        // Always there: `from_pkcs8` gives every key one.
        self.verifying.kid().unwrap_or_default()
    }

    /// The public half.
    pub fn verifying_key(&self) -> &Arc<VerifyingKey> {
        &self.verifying
    }

    /// The signature over `message`, in the form that JWS carries.
    ///
    /// # Errors
    /// [`SigningError::Crypto`] if the library failed; no signature is then given.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        let failed = |_| SigningError::Crypto("sign");
        match &self.pair {
            Pair::Ed25519(pair) => pair
                .try_sign(message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(failed),
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    encoding.encoding(),
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

/// Shows which key it is, never what it is.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid())
            .finish_non_exhaustive()
    }
}

fn encoding(algorithm: Algorithm) -> Option<&'static RsaSignatureEncoding> {
    Some(match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_SHA512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_signs_its_public_half_verifies() {
        for &algorithm in Algorithm::ALL {
            if algorithm.name().starts_with("ES") {
                assert!(matches!(
                    SigningKey::generate(algorithm),
                    Err(SigningError::Algorithm(_))
                ));
                continue;
            }
            let (key, pkcs8) = SigningKey::generate(algorithm).unwrap();
            let signature = key.sign(b"message").unwrap();
            let public = key.verifying_key();
            assert!(
                public.verify(algorithm, b"message", &signature),
                "{algorithm}"
            );
            assert!(
                !public.verify(algorithm, b"massage", &signature),
                "{algorithm}"
            );
            assert_eq!(key.kid(), public.thumbprint().to_string());
            let again = SigningKey::from_pkcs8(algorithm, &pkcs8, Some("mine")).unwrap();
            assert_eq!(again.kid(), "mine");
            assert_eq!(again.verifying_key().thumbprint(), public.thumbprint());
            let published = VerifyingKey::from_jwk(&public.to_jwk()).unwrap();
            assert!(published.is_same_key(public), "{}", public.to_jwk());
            let truncated = &pkcs8[..pkcs8.len() - 1];
            assert!(SigningKey::from_pkcs8(algorithm, truncated, None).is_err());
        }
    }

    #[test]
    fn a_key_of_another_type_is_refused() {
        let (_, pkcs8) = SigningKey::generate(Algorithm::EdDSA).unwrap();
        assert!(SigningKey::from_pkcs8(Algorithm::RS256, &pkcs8, None).is_err());
    }
}
