//! Keys of every algorithm, tokens signed by them, and the verifier that trusts them.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use keywheel::jose::SigningKey;
use keywheel::{Algorithm, Claims, JwkSet, ManualClock, NumericDate, Verified, Verifier};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const AUDIENCE: &str = "api://orders";
pub(crate) const NOW: i64 = 1_790_000_000;
pub(crate) const HEADER: &str = r#"{"alg":"EdDSA","kid":"EdDSA"}"#;
pub(crate) const CLAIMS: &str =
    r#"{"iss":"https://issuer.example","aud":"api://orders","exp":1790000900}"#;

/// A private key of any algorithm; the issuer has none for ECDSA, so those sign by the cryptographic library itself.
enum Signer {
    Own(SigningKey),
    Ecdsa(EcdsaKeyPair),
}

pub(crate) struct Fixture {
    /// Each algorithm's signer; its kid is the algorithm's name.
    signers: Vec<(Algorithm, Signer)>,
    pub(crate) keys: JwkSet,
    verifier: Verifier,
}

/// Made once in a process: an RSA key takes long to make.
pub(crate) static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let (_, rsa) = SigningKey::generate(Algorithm::RS256).unwrap();
    let mut jwks = Vec::new();
    let mut signers = Vec::new();
    for &algorithm in Algorithm::ALL {
        let signer = match algorithm {
            Algorithm::ES256 => ecdsa(
                algorithm,
                "P-256",
                &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            ),
            Algorithm::ES384 => ecdsa(
                algorithm,
                "P-384",
                &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            ),
            Algorithm::ES512 => ecdsa(
                algorithm,
                "P-521",
                &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
            ),
            Algorithm::EdDSA | Algorithm::Ed25519 => {
                let (_, pkcs8) = SigningKey::generate(algorithm).unwrap();
                own(algorithm, &pkcs8)
            }
            _ => own(algorithm, &rsa),
        };
        jwks.push(signer.1);
        signers.push((algorithm, signer.0));
    }
    let document = format!(r#"{{"keys":[{}]}}"#, jwks.join(","));
    let keys = JwkSet::parse(document.as_bytes()).unwrap();
    assert_eq!(keys.keys.len(), Algorithm::ALL.len(), "{:?}", keys.skipped);
    Fixture {
        verifier: verifier(keys.clone(), [AUDIENCE], usize::MAX),
        keys,
        signers,
    }
});

fn own(algorithm: Algorithm, pkcs8: &[u8]) -> (Signer, String) {
    let key = SigningKey::from_pkcs8(algorithm, pkcs8, Some(algorithm.name())).unwrap();
    let jwk = key.verifying_key().to_jwk();
    (Signer::Own(key), jwk)
}

fn ecdsa(algorithm: Algorithm, crv: &str, by: &'static EcdsaSigningAlgorithm) -> (Signer, String) {
    let pair = EcdsaKeyPair::generate(by).unwrap();
    // SEC 1 §2.3.3: one byte for "uncompressed", then both coordinates.
    let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
    let (x, y) = (BASE64URL.encode(x), BASE64URL.encode(y));
    let jwk = json!({"kty": "EC", "crv": crv, "x": x, "y": y, "kid": algorithm.name()});
    (Signer::Ecdsa(pair), jwk.to_string())
}

pub(crate) fn verifier<'a>(
    keys: JwkSet,
    audiences: impl IntoIterator<Item = &'a str>,
    max_token_bytes: usize,
) -> Verifier {
    let audiences = audiences.into_iter();
    audiences
        .fold(
            Verifier::builder().issuer(ISSUER).static_keys(keys),
            |builder, audience| builder.audience(audience),
        )
        .algorithms(Algorithm::ALL.iter().copied())
        .clock(ManualClock::new(NumericDate::from_seconds(NOW)))
        .max_token_bytes(max_token_bytes)
        .build()
        .unwrap()
}

// === impl Signer ===

impl Signer {
    fn sign(&self, header: &str, payload: &str) -> String {
        let mut token = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(payload));
        let message = token.as_bytes();
        let signature = match self {
            Signer::Own(key) => key.sign(message).unwrap(),
            Signer::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).unwrap();
                signature.as_ref().to_vec()
            }
        };
        token.push('.');
        token.push_str(&BASE64URL.encode(signature));
        token
    }
}

pub(crate) fn sign(algorithm: Algorithm, header: &str, payload: &str) -> String {
    let signers = &FIXTURE.signers;
    let (_, signer) = signers.iter().find(|(by, _)| *by == algorithm).unwrap();
    signer.sign(header, payload)
}

pub(crate) fn verify(token: &str) -> Result<Verified, &'static str> {
    let verdict = FIXTURE.verifier.try_verify::<Claims>(token);
    verdict.map_err(|reject| reject.code())
}

pub(crate) fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}
