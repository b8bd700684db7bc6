//! Every input gets an answer, and the code that says why: no bytes, no text and no document make a parser do anything else.

#![cfg(feature = "server")]
#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made ends the test"
)]

#[path = "support/fixture.rs"]
mod tokens;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use keywheel::jose::{Compact, MAX_TOKEN_BYTES, Policy, RegisteredClaims, SetError};
use keywheel::{Algorithm, Claims, JwkSet, NumericDate, VerifyingKey};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use tokens::{AUDIENCE, CLAIMS, FIXTURE, HEADER, NOW, json_value, sign, verifier, verify};

/// Text that gets further into a JSON reader than arbitrary text does.
fn nearly_json() -> impl Strategy<Value = String> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        " ",
        "\n",
        "-",
        "0",
        "1.5",
        "e9",
        "true",
        "null",
        "\"keys\"",
        "\"kty\"",
        "\"OKP\"",
        "\"crv\"",
        "\"Ed25519\"",
        "\"x\"",
        "\"alg\"",
        "\"aud\"",
        "\"exp\"",
        "\"\\ud800\"",
        "\"\\u12",
        "\"\\ud83d\\",
        "\"\\u0000\"",
        "\u{0}",
        "\u{feff}",
        "ü",
    ];
    let starts = select(vec!["", "{", "{\"keys\":[", "{\"keys\":[{", "{\"x\":"]);
    let rest = vec(select(pieces.to_vec()), 0..40);
    (starts, rest).prop_map(|(start, rest)| start.to_owned() + &rest.concat())
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        nearly_json(),
        json_value().prop_map(|v| v.to_string())
    ]
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..200),
        any_text().prop_map(String::into_bytes)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn parsers_answer_to_any_bytes(bytes in any_bytes(), limit in any::<Index>()) {
        let policy = Policy::new([AUDIENCE]);
        if let Ok(claims) = RegisteredClaims::parse(&bytes, &policy) {
            let _ = policy.check(&claims, NumericDate::from_seconds(NOW));
        }
        let _ = JwkSet::parse(&bytes);
        let _ = JwkSet::parse_bounded(&bytes, limit.index(4));
    }

    #[test]
    fn parsers_answer_to_any_text(token in any_text(), limit in any::<Index>()) {
        let _ = Compact::parse(&token, limit.index(1_000), &mut Vec::new());
        let _ = VerifyingKey::from_jwk(&token);
        prop_assert!(verify(&token).is_err());
    }

    #[test]
    fn parsers_answer_to_any_segments(
        header in prop_oneof![any_text(), Just(HEADER.to_owned())],
        payload in any_bytes(),
        signature in any_bytes(),
    ) {
        let token = [header.as_bytes(), &payload, &signature].map(|part| BASE64URL.encode(part));
        let token = token.join(".");
        let mut decoded = Vec::new();
        if let Ok(jws) = Compact::parse(&token, usize::MAX, &mut decoded) {
            prop_assert_eq!(jws.payload, payload);
            prop_assert_eq!(jws.signature, signature);
        }
        prop_assert!(verify(&token).is_err());
    }

    #[test]
    fn a_key_that_is_taken_is_published_as_it_was(
        key in any::<Index>(),
        member in select(vec!["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "key_ops"]),
        value in prop_oneof![
            Just(None),
            json_value().prop_map(Some),
            select(vec!["EdDSA", "Ed25519", "ES384", "RS512", "sig", "enc"]).prop_map(|name| Some(json!(name))),
            vec(any::<u8>(), 0..260).prop_map(|bytes| Some(json!(BASE64URL.encode(bytes)))),
        ],
    ) {
        let keys = &FIXTURE.keys.keys;
        let jwk = keys[key.index(keys.len())].to_jwk();
        let mut jwk: Value = serde_json::from_str(&jwk).unwrap();
        match value {
            Some(value) => jwk[member] = value,
            None => drop(jwk.as_object_mut().unwrap().remove(member)),
        }
        if let Ok(key) = VerifyingKey::from_jwk(&jwk.to_string()) {
            let again = VerifyingKey::from_jwk(&key.to_jwk()).unwrap();
            prop_assert_eq!(again.thumbprint(), key.thumbprint());
            prop_assert_eq!(again.kid(), key.kid());
            prop_assert_eq!(again.declared_algorithm(), key.declared_algorithm());
        }
    }
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

/// A document that holds `value` as one more member.
fn with_member(object: &str, value: &str) -> String {
    format!(r#"{},"z":{value}}}"#, &object[..object.len() - 1])
}

#[test]
fn hostile_tokens_get_the_code_that_says_why() {
    let capped = verifier(FIXTURE.keys.clone(), [AUDIENCE], MAX_TOKEN_BYTES);
    let check = |what: &str, token: &str, within_cap: &str, without_cap: &str| {
        let reject = capped.try_verify::<Claims>(token).unwrap_err();
        assert_eq!(reject.code(), within_cap, "{what}");
        assert_eq!(verify(token).unwrap_err(), without_cap, "{what}");
    };
    let signed = |header: &str, payload: &str| sign(Algorithm::EdDSA, header, payload);
    let header_with = |value: &str| signed(&with_member(HEADER, value), CLAIMS);
    let claims_with = |value: &str| signed(HEADER, &with_member(CLAIMS, value));
    let good = signed(HEADER, CLAIMS);
    let megabytes = "a".repeat(50 << 20);
    let dots = ".".repeat(100_000);
    let deep = nested(100_000);
    for token in [&megabytes, &format!("{good}{megabytes}")] {
        let reject = capped.try_verify::<Claims>(token).unwrap_err();
        assert_eq!(reject.code(), "too_large");
    }
    for (what, token) in [
        ("10^5 dots", dots.clone()),
        ("10^5 levels of header", header_with(&deep)),
        ("10^5 levels of claims", claims_with(&deep)),
        ("10^5 open brackets", claims_with(&deep[..100_000])),
        (
            "10^5 open braces",
            signed(HEADER, &r#"{"":"#.repeat(100_000)),
        ),
    ] {
        check(what, &token, "too_large", "malformed");
    }
    // The deepest that still fit: four characters for three bytes.
    let within_cap = [nested(5_500), "[".repeat(11_000), nested(32)];
    for value in within_cap {
        check(
            "levels of header",
            &header_with(&value),
            "malformed",
            "malformed",
        );
        check(
            "levels of claims",
            &claims_with(&value),
            "malformed",
            "malformed",
        );
    }
    for text in [
        "\"\0\"",
        r#""\ud800""#,
        r#""\udfff""#,
        r#""\ud83d\u0020""#,
        r#""\ud83d\n""#,
        r#""\u12"#,
        r#""\u12g4""#,
        r#""\"#,
        r#"0,"\ud800":0"#,
    ] {
        check(text, &header_with(text), "malformed", "malformed");
        check(text, &claims_with(text), "malformed", "malformed");
    }
    for token in [
        dots[..MAX_TOKEN_BYTES].to_owned(),
        format!("{good}\0"),
        format!("\0{good}"),
        signed(HEADER, &format!("{CLAIMS}\0")),
        signed(&format!("{HEADER}\0"), CLAIMS),
    ] {
        check("framing", &token, "malformed", "malformed");
    }
    let kid = HEADER.replace(r#"kid":"EdDSA"#, r#"kid":"EdDSA\u0000"#);
    check(
        "a NUL in the kid",
        &signed(&kid, CLAIMS),
        "unknown_key",
        "unknown_key",
    );
    let iss = CLAIMS.replace("example", r"example\u0000");
    check(
        "a NUL in the issuer",
        &signed(HEADER, &iss),
        "unknown_issuer",
        "unknown_issuer",
    );

    for value in [&nested(31), r#""\u0000""#, r#""\ud83d\ude00""#, "1e400"] {
        let token = signed(&with_member(HEADER, value), &with_member(CLAIMS, value));
        assert!(capped.try_verify::<Claims>(&token).is_ok(), "{value}");
    }
}

#[test]
fn hostile_key_sets_are_refused_or_bounded() {
    let good = FIXTURE.keys.keys[0].to_jwk();
    let set = |keys: &str| JwkSet::parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes());
    let deep = nested(100_000);
    for keys in [
        &deep,
        &deep[..100_000],
        &with_member(&good, &deep),
        &with_member(&good, "\"\0\""),
        &with_member(&good, r#""\ud800""#),
    ] {
        assert!(matches!(set(keys), Err(SetError::Json(_))));
        assert!(VerifyingKey::from_jwk(keys).is_err());
    }
    assert_eq!(
        set(&with_member(&good, r#""\u0000""#)).unwrap().keys.len(),
        1
    );

    let many = vec!["{}"; 100_000].join(",");
    let document = format!(r#"{{"keys":[{many},{good}]}}"#);
    assert_eq!(
        JwkSet::parse_bounded(document.as_bytes(), 100).unwrap_err(),
        SetError::TooManyKeys { limit: 100 }
    );
    let whole = JwkSet::parse(document.as_bytes()).unwrap();
    assert_eq!((whole.keys.len(), whole.skipped.len()), (1, 100_000));
    assert_eq!(whole.skipped[99_999].index, 99_999);

    // One key over and over is one candidate, not an ambiguity.
    let twice = set(&[&*good; 2].join(",")).unwrap();
    assert_eq!(twice.keys.len(), 2);
    let token = sign(Algorithm::EdDSA, HEADER, CLAIMS);
    let verifier = verifier(twice, [AUDIENCE], usize::MAX);
    assert!(verifier.try_verify::<Claims>(&token).is_ok());
}
