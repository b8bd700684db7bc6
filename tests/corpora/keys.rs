//! The key files of PyJWT and jsonwebtoken: every JWK by `VerifyingKey`, every PKCS#8 DER by `SigningKey`.

use keywheel::jose::SigningKey;
use keywheel::{Algorithm, JwkSet, VerifyingKey};

use crate::corpus;
use crate::tally::{LeftOut, Tally};

/// What a JWK file comes to.
const PYJWT: &[(&str, &str)] = &[
    ("jwk_ec_key_P-256.json", "P256"),
    ("jwk_ec_key_P-384.json", "P384"),
    ("jwk_ec_key_P-521.json", "P521"),
    (
        "jwk_ec_key_secp256k1.json",
        "crv `secp256k1` is not supported",
    ),
    ("jwk_ec_pub_P-256.json", "P256"),
    ("jwk_ec_pub_P-384.json", "P384"),
    ("jwk_ec_pub_P-521.json", "P521"),
    (
        "jwk_ec_pub_secp256k1.json",
        "crv `secp256k1` is not supported",
    ),
    ("jwk_empty.json", "not a JWK: not a JSON object at byte 0"),
    (
        "jwk_hmac.json",
        "kty `oct` has no public-key signature here",
    ),
    ("jwk_keyset_only_unknown_alg.json", "0 of 1"),
    ("jwk_keyset_with_unknown_alg.json", "1 of 2"),
    ("jwk_okp_key_Ed25519.json", "Ed25519"),
    ("jwk_okp_key_Ed448.json", "crv `Ed448` is not supported"),
    ("jwk_okp_pub_Ed25519.json", "Ed25519"),
    ("jwk_okp_pub_Ed448.json", "crv `Ed448` is not supported"),
    ("jwk_rsa_key.json", "Rsa"),
    ("jwk_rsa_pub.json", "Rsa"),
];

const NO_PEM: &str = "not covered yet: there is no import of PEM, SSH or certificate files";

#[test]
fn pyjwts_keys_are_usable_or_refused_by_name() {
    let Some(folder) = corpus::path("corpora pyjwt", "pyjwt/tests/keys") else {
        return;
    };
    let mut tally = Tally::new("corpora pyjwt", &[]);
    let mut left_out = Vec::new();
    for path in corpus::files(&folder) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.ends_with(".json") {
            left_out.push(LeftOut {
                id: name.to_owned(),
                why: NO_PEM,
            });
            continue;
        }
        let (_, expected) = PYJWT.iter().find(|(listed, _)| *listed == name).unwrap();
        let text = corpus::read(&path);
        let ours = if name.contains("keyset") {
            let set = JwkSet::parse(text.as_bytes()).unwrap();
            let usable = set.keys.len();
            format!("{usable} of {}", usable + set.skipped.len())
        } else {
            match VerifyingKey::from_jwk(&text) {
                Ok(key) => format!("{:?}", key.key_type()),
                Err(error) => error.to_string(),
            }
        };
        tally.case(name, expected, &ours, false);
    }
    tally.finish(&left_out);
}

/// DER files that are private keys, what to sign by, and whether that is possible.
const JSONWEBTOKEN: &[(&str, Algorithm, bool)] = &[
    // Keywheel verifies ECDSA and does not sign by it.
    ("ecdsa/private_ecdsa_key.pk8", Algorithm::ES256, false),
    ("eddsa/private_ed25519_der_key.bin", Algorithm::EdDSA, true),
    ("eddsa/private_ed25519_key.pk8", Algorithm::EdDSA, true),
    // PKCS#1, which says nothing of what the key is for.
    ("rsa/private_rsa_key.der", Algorithm::RS256, false),
];

#[test]
fn jsonwebtokens_private_keys_sign_if_they_are_pkcs8_for_an_algorithm_of_the_issuer() {
    let Some(folder) = corpus::path("corpora jsonwebtoken", "jsonwebtoken/tests") else {
        return;
    };
    let mut tally = Tally::new("corpora jsonwebtoken", &[]);
    let mut left_out = Vec::new();
    for part in ["ecdsa", "eddsa", "header", "rsa"] {
        for path in corpus::files(&folder.join(part)) {
            let name = format!("{part}/{}", path.file_name().unwrap().to_str().unwrap());
            let Some((_, algorithm, signs)) = JSONWEBTOKEN.iter().find(|(id, ..)| *id == name)
            else {
                left_out.push(LeftOut {
                    id: name,
                    why: NO_PEM,
                });
                continue;
            };
            let key = SigningKey::from_pkcs8(*algorithm, &std::fs::read(&path).unwrap(), None);
            let ours = match key {
                Ok(key) => {
                    let signature = key.sign(b"message").unwrap();
                    let public = VerifyingKey::from_jwk(&key.verifying_key().to_jwk()).unwrap();
                    assert!(public.verify(*algorithm, b"message", &signature), "{name}");
                    "signs"
                }
                Err(_) => "refused",
            };
            tally.case(&name, if *signs { "signs" } else { "refused" }, ours, false);
        }
    }
    tally.finish(&left_out);
}
