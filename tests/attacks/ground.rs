//! The ground that attacks are made on: one issuer, one audience, one moment, and keys that are really trusted.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keywheel::jose::SigningKey;
use keywheel::verify::VerifierBuilder;
use keywheel::{
    Algorithm, Claims, JwkSet, ManualClock, NumericDate, TrustedIssuer, Verifier, VerifyingKey,
};

use crate::mint::{self, base64url};

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const AUDIENCE: &str = "api";
pub(crate) const NOW: NumericDate = NumericDate::from_seconds(1_790_000_000);

/// Signs by EdDSA under the kid `ed`.
pub(crate) static ED: LazyLock<SigningKey> = LazyLock::new(|| mint::key(Algorithm::EdDSA, "ed"));
/// Trusted as well, under the kid `ed-2`.
pub(crate) static ED_2: LazyLock<SigningKey> =
    LazyLock::new(|| mint::key(Algorithm::EdDSA, "ed-2"));
/// Signs by RS256 under the kid `rsa`.
pub(crate) static RSA: LazyLock<SigningKey> = LazyLock::new(|| rsa(Algorithm::RS256, "rsa"));

/// RSA keys take a while to find, so there is one.
static RSA_PKCS8: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (_, pkcs8) = SigningKey::generate(Algorithm::RS256).unwrap();
    pkcs8.to_vec()
});

/// The one RSA key, by another algorithm or under another kid.
pub(crate) fn rsa(algorithm: Algorithm, kid: &str) -> SigningKey {
    SigningKey::from_pkcs8(algorithm, &RSA_PKCS8, Some(kid)).unwrap()
}

/// An ECDSA key, which Keywheel verifies by and does not sign by.
pub(crate) struct EcKey {
    pub(crate) algorithm: Algorithm,
    curve: &'static str,
    pair: EcdsaKeyPair,
}

// === impl EcKey ===

impl EcKey {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let (curve, signing) = match algorithm {
            Algorithm::ES256 => ("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::ES384 => ("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::ES512 => ("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
            other => panic!("{other} is no ECDSA"),
        };
        let pair = EcdsaKeyPair::generate(signing).unwrap();
        EcKey {
            algorithm,
            curve,
            pair,
        }
    }

    /// Each of them.
    pub(crate) fn all() -> [EcKey; 3] {
        [Algorithm::ES256, Algorithm::ES384, Algorithm::ES512].map(EcKey::new)
    }

    /// x and y, each of the curve's size.
    pub(crate) fn point(&self) -> (&[u8], &[u8]) {
        let point = &self.pair.public_key().as_ref()[1..];
        point.split_at(point.len() / 2)
    }

    pub(crate) fn jwk(&self, x: &[u8], y: &[u8]) -> String {
        let (crv, x, y) = (self.curve, base64url(x), base64url(y));
        format!(r#"{{"kty":"EC","crv":"{crv}","kid":"ec","x":"{x}","y":"{y}"}}"#)
    }

    pub(crate) fn public(&self) -> VerifyingKey {
        let (x, y) = self.point();
        VerifyingKey::from_jwk(&self.jwk(x, y)).unwrap()
    }

    /// `r || s`
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&SystemRandom::new(), message).unwrap();
        signature.as_ref().to_vec()
    }
}

pub(crate) fn decode(base64url: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(base64url).unwrap()
}

/// The published set: `ed`, `ed-2`, `rsa`.
pub(crate) fn jwks() -> String {
    mint::jwks(&[&ED, &ED_2, &RSA])
}

pub(crate) fn trusted(jwks: &str) -> TrustedIssuer {
    TrustedIssuer::new(ISSUER)
        .audience(AUDIENCE)
        .algorithms(Algorithm::ALL.iter().copied())
        .static_keys(JwkSet::parse(jwks.as_bytes()).unwrap())
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::new(NOW)
}

/// Trusts every algorithm there is: the attacks must fail for better reasons than a short list.
pub(crate) fn builder(jwks: &str) -> VerifierBuilder {
    Verifier::builder().trust(trusted(jwks)).clock(clock())
}

pub(crate) fn verifier() -> Verifier {
    builder(&jwks()).build().unwrap()
}

/// `accept`, or the reason.
pub(crate) fn verdict(verifier: &Verifier, token: &str) -> &'static str {
    match verifier.try_verify::<Claims>(token) {
        Ok(_) => "accept",
        Err(reject) => reject.code(),
    }
}

/// A header for a key, as the issuer itself writes it.
pub(crate) fn header(key: &SigningKey) -> String {
    format!(r#"{{"alg":"{}","kid":"{}"}}"#, key.algorithm(), key.kid())
}

/// Claims that are good at [`NOW`], with further members that each begin with a comma.
pub(crate) fn payload(more: &str) -> String {
    let exp = NOW.seconds() + 900;
    format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"alice","exp":{exp}{more}}}"#)
}

/// A token that is good in every way.
pub(crate) fn good_token() -> String {
    mint::token(&ED, &header(&ED), payload(""))
}

/// Checks the verdict on `ED`'s token with each of these headers.
pub(crate) fn check_headers(cases: &[(&str, &str)]) {
    let verifier = verifier();
    for (header, expected) in cases {
        let token = mint::token(&ED, header, payload(""));
        assert_eq!(verdict(&verifier, &token), *expected, "{header}");
    }
}

/// Checks the verdict on `ED`'s token with each of these payloads.
pub(crate) fn check_payloads(cases: &[(&str, &str)]) {
    let verifier = verifier();
    for (payload, expected) in cases {
        let token = mint::token(&ED, &header(&ED), payload);
        assert_eq!(verdict(&verifier, &token), *expected, "{payload}");
    }
}

/// Checks the verdict on a token of the key that stands in each of these sets.
pub(crate) fn check_sets(token: &str, cases: &[(String, &str)]) {
    for (jwks, expected) in cases {
        let verifier = builder(jwks).build().unwrap();
        assert_eq!(verdict(&verifier, token), *expected, "{jwks}");
    }
}
