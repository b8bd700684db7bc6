//! Attacks by way of header parameters (53 to 64).

use keywheel::jose::SigningKey;
use keywheel::{Algorithm, Reject};

use crate::ground::{ED, builder, check_headers, good_token, jwks, payload, verdict, verifier};
use crate::mint::{self, base64url};

#[test]
fn crit_is_refused_in_every_shape_since_no_extension_is_understood() {
    check_headers(&[
        (
            r#"{"alg":"EdDSA","kid":"ed","crit":["exp"],"exp":1}"#,
            "critical_header",
        ),
        (
            r#"{"alg":"EdDSA","kid":"ed","crit":["urn:x"],"urn:x":true}"#,
            "critical_header",
        ),
        (
            r#"{"alg":"EdDSA","kid":"ed","crit":["urn:x"]}"#,
            "critical_header",
        ),
        (r#"{"alg":"EdDSA","kid":"ed","crit":[]}"#, "critical_header"),
        (
            r#"{"alg":"EdDSA","kid":"ed","crit":["alg"]}"#,
            "critical_header",
        ),
        (
            r#"{"alg":"EdDSA","kid":"ed","crit":["b64","b64"],"b64":true}"#,
            "critical_header",
        ),
        (
            r#"{"alg":"EdDSA","kid":"ed","crit":"exp"}"#,
            "critical_header",
        ),
        (
            r#"{"alg":"EdDSA","kid":"ed","crit":null}"#,
            "critical_header",
        ),
        (r#"{"alg":"EdDSA","kid":"ed","crit":{}}"#, "critical_header"),
        (
            r#"{"alg":"EdDSA","kid":"ed","crit":[1]}"#,
            "critical_header",
        ),
        (
            r#"{"alg":"EdDSA","kid":"ed","cr\u0069t":["exp"]}"#,
            "critical_header",
        ),
        // Another parameter by any account.
        (r#"{"alg":"EdDSA","kid":"ed","Crit":["exp"]}"#, "accept"),
    ]);
}

#[test]
fn an_unencoded_payload_is_refused_announced_or_not() {
    check_headers(&[
        (
            r#"{"alg":"EdDSA","kid":"ed","b64":false,"crit":["b64"]}"#,
            "critical_header",
        ),
        (
            r#"{"alg":"EdDSA","kid":"ed","b64":true,"crit":["b64"]}"#,
            "critical_header",
        ),
        (
            r#"{"alg":"EdDSA","kid":"ed","b64":false}"#,
            "critical_header",
        ),
        (
            r#"{"alg":"EdDSA","kid":"ed","b64":true}"#,
            "critical_header",
        ),
    ]);
    let header = base64url(r#"{"alg":"EdDSA","kid":"ed","b64":false,"crit":["b64"]}"#);
    let signed = format!("{header}.{}", payload(""));
    let signature = base64url(ED.sign(signed.as_bytes()).unwrap());
    let token = format!("{signed}.{signature}");
    assert_ne!(verdict(&verifier(), &token), "accept");
}

/// A key that nobody trusts, under a kid that everybody does.
fn impostor() -> SigningKey {
    mint::key(Algorithm::EdDSA, "ed")
}

#[test]
fn a_key_in_the_header_is_ignored() {
    let (verifier, impostor) = (verifier(), impostor());
    let jwk = impostor.verifying_key().to_jwk();
    for (kid, expected) in [
        (r#","kid":"ed""#, "bad_signature"),
        (r#","kid":"mine""#, "unknown_key"),
        ("", "ambiguous_key"),
    ] {
        let header = format!(r#"{{"alg":"EdDSA"{kid},"jwk":{jwk}}}"#);
        let token = mint::token(&impostor, &header, payload(""));
        assert_eq!(verdict(&verifier, &token), expected, "{header}");
    }
    // A good token is none the worse for one, whatever it says.
    check_headers(&[(
        r#"{"alg":"EdDSA","kid":"ed","jwk":{"kty":"none"}}"#,
        "accept",
    )]);
}

#[test]
fn a_certificate_chain_in_the_header_is_ignored() {
    let (verifier, impostor) = (verifier(), impostor());
    for chain in [
        r#""x5c":["MIIB","MIIC"]"#,
        r#""x5c":[],"x5t":"AAAA","x5t#S256":"AAAA""#,
        r#""x5c":"MIIB""#,
    ] {
        let header = format!(r#"{{"alg":"EdDSA","kid":"ed",{chain}}}"#);
        let forged = mint::token(&impostor, &header, payload(""));
        assert_eq!(verdict(&verifier, &forged), "bad_signature", "{chain}");
        let good = mint::token(&ED, &header, payload(""));
        assert_eq!(verdict(&verifier, &good), "accept", "{chain}");
    }
}

#[test]
fn a_kid_is_a_name_and_nothing_else() {
    let (verifier, impostor) = (verifier(), impostor());
    for kid in [
        "../../../../dev/null",
        "/dev/null",
        "ed' OR '1'='1",
        "ed; DROP TABLE keys; --",
        "$(cat /etc/passwd)",
        "|id",
        "https://evil.test/jwks.json",
        "file:///proc/self/environ",
        "%65%64",
        "",
        "*",
        "__proto__",
    ] {
        let header = format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#);
        let token = mint::token(&impostor, &header, payload(""));
        assert_eq!(verdict(&verifier, &token), "unknown_key", "{kid}");
    }
}

#[test]
fn a_kid_that_is_no_string_is_malformed_and_a_long_one_costs_no_more_than_its_token() {
    check_headers(&[
        (r#"{"alg":"EdDSA","kid":null}"#, "malformed"),
        (r#"{"alg":"EdDSA","kid":7}"#, "malformed"),
        (r#"{"alg":"EdDSA","kid":["ed"]}"#, "malformed"),
        (r#"{"alg":"EdDSA","kid":{"$ne":null}}"#, "malformed"),
    ]);
    let large = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, "x".repeat(64 * 1024));
    let large = mint::token(&ED, &large, payload(""));
    assert_eq!(verdict(&verifier(), &large), "too_large");
    let lenient = builder(&jwks())
        .max_token_bytes(large.len())
        .build()
        .unwrap();
    assert_eq!(verdict(&lenient, &large), "unknown_key");
}

#[test]
fn kids_compare_exactly() {
    for kid in [
        "Ed", "ED", " ed", "ed ", "ed\\n", "e", "edd", "ed-", "\\u0435d",
    ] {
        let header = format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#);
        check_headers(&[(&header, "unknown_key")]);
    }
    check_headers(&[(r#"{"alg":"EdDSA","kid":"\u0065d"}"#, "accept")]);
}

#[test]
fn zip_is_never_acted_on() {
    check_headers(&[(r#"{"alg":"EdDSA","kid":"ed","zip":"DEF"}"#, "accept")]);
    // What would be claims if it were inflated is no JSON as it stands: `{}` in a stored DEFLATE block.
    let deflated = [1, 2, 0, 0xfd, 0xff, b'{', b'}'];
    let token = mint::token(&ED, r#"{"alg":"EdDSA","kid":"ed","zip":"DEF"}"#, deflated);
    assert_eq!(verdict(&verifier(), &token), "malformed");
}

#[test]
fn no_algorithm_costs_what_its_sender_chooses() {
    for alg in [
        "PBES2-HS256+A128KW",
        "PBES2-HS512+A256KW",
        "dir",
        "A256KW",
        "RSA-OAEP",
        "ECDH-ES",
        "HS256",
        "RS1",
    ] {
        let p2 = r#""p2c":2147483647,"p2s":"AAAA","enc":"A256GCM""#;
        let header = format!(r#"{{"alg":"{alg}","kid":"ed",{p2}}}"#);
        check_headers(&[(&header, "alg_not_allowed")]);
    }
}

#[test]
fn another_kind_of_token_is_no_access_token() {
    let kinds = [
        ("at+jwt", "accept", "accept"),
        ("application/at+jwt", "accept", "accept"),
        ("AT+JWT", "accept", "accept"),
        ("JWT", "accept", "type_not_allowed"),
        ("logout+jwt", "type_not_allowed", "type_not_allowed"),
        ("dpop+jwt", "type_not_allowed", "type_not_allowed"),
        ("secevent+jwt", "type_not_allowed", "type_not_allowed"),
        ("statuslist+jwt", "type_not_allowed", "type_not_allowed"),
        ("application/json", "type_not_allowed", "type_not_allowed"),
        ("text/at+jwt", "type_not_allowed", "type_not_allowed"),
        ("at+jwt;x=1", "type_not_allowed", "type_not_allowed"),
        ("", "type_not_allowed", "type_not_allowed"),
    ];
    let strict = builder(&jwks()).typ("at+jwt").build().unwrap();
    for (typ, by_default, exactly) in kinds {
        let header = format!(r#"{{"alg":"EdDSA","kid":"ed","typ":"{typ}"}}"#);
        check_headers(&[(&header, by_default)]);
        let token = mint::token(&ED, &header, payload(""));
        assert_eq!(verdict(&strict, &token), exactly, "{typ}");
    }
    assert_eq!(
        verdict(&strict, &good_token()),
        Reject::TypeNotAllowed.code()
    );
    check_headers(&[(
        r#"{"alg":"EdDSA","kid":"ed","typ":["at+jwt"]}"#,
        "malformed",
    )]);
}
