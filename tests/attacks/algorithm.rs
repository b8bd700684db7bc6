//! Attacks on the algorithm, and on what binds it to a key (1 to 15).

use keywheel::verify::BuildError;
use keywheel::{Algorithm, TrustedIssuer, Verifier, VerifyingKey};
use ring::hmac;

use crate::ground::{
    AUDIENCE, ED, ED_2, EcKey, ISSUER, RSA, builder, check_headers, check_sets, clock, good_token,
    header, jwks, payload, rsa, trusted, verdict, verifier,
};
use crate::mint::{self, base64url};

#[test]
fn none_is_refused_in_every_spelling_before_any_key_is_asked_for() {
    // Without a single key: a look for one would end in `unknown_key`.
    let keyless = builder(r#"{"keys":[]}"#).build().unwrap();
    let good = good_token();
    let (_, old_signature) = good.rsplit_once('.').unwrap();
    for alg in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "none ",
        " none",
        "",
        "null",
        "\\u006eone",
    ] {
        let header = format!(r#"{{"alg":"{alg}","kid":"ed"}}"#);
        let unsigned = mint::compact(&header, payload(""), "");
        for token in [unsigned.clone(), unsigned + old_signature] {
            assert_eq!(verdict(&keyless, &token), "alg_not_allowed", "{alg:?}");
        }
    }
}

#[test]
fn an_empty_signature_is_no_signature() {
    let verifier = verifier();
    for key in [&*ED, &*RSA] {
        let token = mint::compact(&header(key), payload(""), "");
        assert_eq!(verdict(&verifier, &token), "bad_signature", "{key:?}");
    }
    for key in EcKey::all() {
        assert!(
            !key.public().verify(key.algorithm, b"message", b""),
            "{}",
            key.algorithm
        );
    }
}

#[test]
fn a_token_without_its_third_segment_is_malformed() {
    let good = good_token();
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    assert_eq!(verdict(&verifier(), unsigned), "malformed");
}

#[test]
fn an_hmac_keyed_with_anything_public_is_refused() {
    let ec = EcKey::new(Algorithm::ES256);
    let (x, y) = ec.point();
    let rsa: serde_json::Value = serde_json::from_str(&RSA.verifying_key().to_jwk()).unwrap();
    let without_alg = rsa_without_alg();
    let n = rsa["n"].as_str().unwrap();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{n}\n-----END PUBLIC KEY-----\n");
    let keys = format!(
        r#"{{"keys":[{},{without_alg}]}}"#,
        ED.verifying_key().to_jwk()
    );
    let verifier = builder(&keys).build().unwrap();
    for secret in [
        pem.as_bytes(),
        pem.trim_end().as_bytes(),
        format!("\n {pem}").as_bytes(),
        n.as_bytes(),
        RSA.verifying_key().to_jwk().as_bytes(),
        without_alg.as_bytes(),
        ED.verifying_key().to_jwk().as_bytes(),
        ED.verifying_key().thumbprint().as_bytes(),
        jwks().as_bytes(),
        &[&[4], x, y].concat(),
        x,
        b"",
        b"secret",
    ] {
        for (alg, algorithm) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ] {
            for kid in [r#","kid":"rsa""#, r#","kid":"ed""#, ""] {
                let header = format!(r#"{{"alg":"{alg}"{kid}}}"#);
                let signed = format!("{}.{}", base64url(header), base64url(payload("")));
                let tag = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
                let token = format!("{signed}.{}", base64url(tag));
                assert_eq!(verdict(&verifier, &token), "alg_not_allowed", "{alg}{kid}");
            }
        }
    }
}

/// The RSA key as a JWK that leaves its algorithm open.
fn rsa_without_alg() -> String {
    let jwk = RSA.verifying_key().to_jwk();
    let open = jwk.replace(r#","alg":"RS256""#, "");
    assert_ne!(open, jwk);
    open
}

#[test]
fn a_symmetric_key_in_a_set_is_never_a_key() {
    for oct in [
        r#"{"kty":"oct","kid":"k","k":"c2VjcmV0"}"#,
        r#"{"kty":"oct","kid":"k","k":"c2VjcmV0","alg":"HS256","use":"sig"}"#,
        r#"{"kty":"oct","kid":"k","k":"c2VjcmV0","alg":"RS256"}"#,
        r#"{"kty":"oct","kid":"k","k":"","alg":"HS256"}"#,
    ] {
        assert!(VerifyingKey::from_jwk(oct).is_err(), "{oct}");
        let verifier = builder(&format!(r#"{{"keys":[{oct}]}}"#)).build().unwrap();
        let signed = format!(
            "{}.{}",
            base64url(r#"{"alg":"HS256","kid":"k"}"#),
            base64url(payload(""))
        );
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, b"secret"),
            signed.as_bytes(),
        );
        let token = format!("{signed}.{}", base64url(tag));
        assert_eq!(verdict(&verifier, &token), "alg_not_allowed", "{oct}");
    }
}

#[test]
fn a_key_for_one_algorithm_refuses_its_siblings() {
    let verifier = verifier();
    for algorithm in [
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS512,
    ] {
        // The signature is good, and the set says that the key is for RS256.
        let key = rsa(algorithm, "rsa");
        let token = mint::token(&key, &header(&key), payload(""));
        assert_eq!(verdict(&verifier, &token), "key_mismatch", "{algorithm}");
    }
}

#[test]
fn a_signature_by_another_padding_or_hash_is_wrong() {
    let open = builder(&format!(r#"{{"keys":[{}]}}"#, rsa_without_alg()))
        .build()
        .unwrap();
    let family = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    for claimed in family {
        for used in family {
            let key = rsa(used.parse().unwrap(), "rsa");
            let token = mint::token(&key, &format!(r#"{{"alg":"{claimed}"}}"#), payload(""));
            let expected = if claimed == used {
                "accept"
            } else {
                "bad_signature"
            };
            assert_eq!(
                verdict(&open, &token),
                expected,
                "{claimed} says the header, {used} it is"
            );
        }
    }
}

#[test]
fn a_key_of_another_curve_is_no_candidate() {
    for key in EcKey::all() {
        let (x, y) = key.point();
        let jwk = key.jwk(x, y);
        let verifier = builder(&format!(r#"{{"keys":[{jwk}]}}"#)).build().unwrap();
        for algorithm in [Algorithm::ES256, Algorithm::ES384, Algorithm::ES512] {
            let header = format!(r#"{{"alg":"{algorithm}","kid":"ec"}}"#);
            let signed = format!("{}.{}", base64url(header), base64url(payload("")));
            let signature = key.sign(signed.as_bytes());
            let token = format!("{signed}.{}", base64url(signature));
            let its_own = algorithm == key.algorithm;
            let expected = if its_own { "accept" } else { "key_mismatch" };
            assert_eq!(
                verdict(&verifier, &token),
                expected,
                "{algorithm}, {}",
                key.algorithm
            );
        }
        for claimed in ["ES256", "ES384", "ES512", "RS256", "EdDSA"] {
            let jwk = jwk.replace(r#""kid""#, &format!(r#""alg":"{claimed}","kid""#));
            let fits = claimed == key.algorithm.name();
            assert_eq!(VerifyingKey::from_jwk(&jwk).is_ok(), fits, "{jwk}");
        }
        // secp256k1 has a name in JOSE, and none here.
        let koblitz = jwk.replace(r#""crv":"P-"#, r#""crv":"secp256k1","was":""#);
        assert!(VerifyingKey::from_jwk(&koblitz).is_err(), "{koblitz}");
    }
}

#[test]
fn an_algorithm_outside_the_allow_list_is_refused_however_good_the_signature() {
    let only_rsa = trusted(&jwks()).algorithms([Algorithm::RS256]);
    let verifier = Verifier::builder()
        .trust(only_rsa)
        .clock(clock())
        .build()
        .unwrap();
    assert_eq!(verdict(&verifier, &good_token()), "alg_not_allowed");
    let token = mint::token(&RSA, &header(&RSA), payload(""));
    assert_eq!(verdict(&verifier, &token), "accept");
}

#[test]
fn an_alg_that_is_no_registered_string_is_refused_and_none_is_assumed() {
    check_headers(&[
        (r#"{"kid":"ed"}"#, "malformed"),
        (r#"{"alg":null,"kid":"ed"}"#, "malformed"),
        (r#"{"alg":1,"kid":"ed"}"#, "malformed"),
        (r#"{"alg":true,"kid":"ed"}"#, "malformed"),
        (r#"{"alg":["EdDSA"],"kid":"ed"}"#, "malformed"),
        (r#"{"alg":{"alg":"EdDSA"},"kid":"ed"}"#, "malformed"),
        (r#"{"alg":"eddsa","kid":"ed"}"#, "alg_not_allowed"),
        (r#"{"alg":"EDDSA","kid":"ed"}"#, "alg_not_allowed"),
        (r#"{"alg":"EdDSA ","kid":"ed"}"#, "alg_not_allowed"),
        (r#"{"alg":"EdDSA\u0000","kid":"ed"}"#, "alg_not_allowed"),
        (r#"{"ALG":"EdDSA","kid":"ed"}"#, "malformed"),
        (r#"{"alg":"EdDSA","kid":"ed"}"#, "accept"),
    ]);
}

#[test]
fn the_default_allow_list_is_short_and_an_empty_one_does_not_build() {
    let default = TrustedIssuer::new(ISSUER)
        .audience(AUDIENCE)
        .static_keys(keywheel::JwkSet::parse(jwks().as_bytes()).unwrap());
    let verifier = Verifier::builder()
        .trust(default)
        .clock(clock())
        .build()
        .unwrap();
    for (key, expected) in [
        (&*ED, "accept"),
        (&*RSA, "accept"),
        (&rsa(Algorithm::PS256, "rsa"), "alg_not_allowed"),
    ] {
        let token = mint::token(key, &header(key), payload(""));
        assert_eq!(verdict(&verifier, &token), expected, "{key:?}");
    }
    let none = Verifier::builder()
        .trust(trusted(&jwks()).algorithms([]))
        .build();
    assert!(matches!(none.err(), Some(BuildError::NoAlgorithms { .. })));
}

#[test]
fn a_kid_selects_its_own_key_and_no_other_is_tried() {
    check_headers(&[
        (r#"{"alg":"EdDSA","kid":"ed-2"}"#, "bad_signature"),
        (r#"{"alg":"EdDSA","kid":"rsa"}"#, "key_mismatch"),
        (r#"{"alg":"EdDSA"}"#, "ambiguous_key"),
    ]);
    // One kid for two keys: the good one is among them, and is not looked for.
    let (first, second) = (ED.verifying_key().to_jwk(), ED_2.verifying_key().to_jwk());
    let namesakes = format!(r#"{{"keys":[{first},{}]}}"#, second.replace("ed-2", "ed"));
    check_sets(&good_token(), &[(namesakes, "ambiguous_key")]);
}

#[test]
fn ed25519_by_its_other_name_passes_only_where_that_is_allowed() {
    let token = mint::token(&ED, r#"{"alg":"Ed25519","kid":"ed"}"#, payload(""));
    assert_eq!(verdict(&verifier(), &token), "accept");
    let older = trusted(&jwks()).algorithms([Algorithm::EdDSA]);
    let older = Verifier::builder()
        .trust(older)
        .clock(clock())
        .build()
        .unwrap();
    assert_eq!(verdict(&older, &token), "alg_not_allowed");
    check_headers(&[(r#"{"alg":"Ed448","kid":"ed"}"#, "alg_not_allowed")]);
    let x = base64url([7; 57]);
    let ed448 = format!(r#"{{"kty":"OKP","crv":"Ed448","alg":"EdDSA","x":"{x}"}}"#);
    assert!(VerifyingKey::from_jwk(&ed448).is_err());
}
