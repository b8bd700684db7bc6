//! Attacks by way of claims, and by way of how a verifier is told to check them (65 to 81).

use std::process::Command;
use std::time::Duration;

use keywheel::verify::BuildError;
use keywheel::{Algorithm, Claims, JwkSet, ManualClock, NumericDate, TrustedIssuer, Verifier};

use crate::ground::{
    AUDIENCE, ED, ED_2, ISSUER, NOW, builder, check_payloads, clock, header, jwks, payload,
    trusted, verdict, verifier,
};
use crate::mint;

/// Checks the verdict on claims with these times and otherwise good ones, at [`NOW`] with so much leeway.
fn check_times(leeway: u64, cases: &[(&str, &str)]) {
    let leeway = Duration::from_secs(leeway);
    let verifier = builder(&jwks()).leeway(leeway).build().unwrap();
    for (times, expected) in cases {
        let claims = format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}"{times}}}"#);
        let token = mint::token(&ED, &header(&ED), claims);
        assert_eq!(
            verdict(&verifier, &token),
            *expected,
            "{times}, leeway {leeway:?}"
        );
    }
}

#[test]
fn a_token_ends_on_its_exp_and_not_a_moment_later() {
    check_times(
        0,
        &[
            (r#","exp":1790000001"#, "accept"),
            (r#","exp":1790000000.000001"#, "accept"),
            (r#","exp":1790000000"#, "expired"),
            (r#","exp":1789999999.999999"#, "expired"),
            (r#","exp":1789999999"#, "expired"),
        ],
    );
    check_times(
        60,
        &[
            (r#","exp":1789999941"#, "accept"),
            (r#","exp":1789999940"#, "expired"),
            (r#","exp":1789999939"#, "expired"),
        ],
    );
    // One token, as its time comes.
    let moving = ManualClock::new(NOW);
    let verifier = Verifier::builder()
        .trust(trusted(&jwks()))
        .clock(moving.clone());
    let verifier = verifier.build().unwrap();
    let token = mint::token(&ED, &header(&ED), payload(""));
    assert_eq!(verdict(&verifier, &token), "accept");
    moving.advance(Duration::from_millis(899_999));
    assert_eq!(verdict(&verifier, &token), "accept");
    moving.advance(Duration::from_millis(1));
    assert_eq!(verdict(&verifier, &token), "expired");
}

#[test]
fn a_date_that_is_no_number_is_refused_and_never_absent() {
    for name in ["exp", "nbf", "iat"] {
        for value in [
            "null",
            "true",
            "false",
            r#""1790000001""#,
            r#""""#,
            "[]",
            "[1790000001]",
            "{}",
        ] {
            let exp = if name == "exp" {
                ""
            } else {
                r#","exp":1790000900"#
            };
            check_times(0, &[(&format!(r#"{exp},"{name}":{value}"#), "bad_claim")]);
        }
    }
}

#[test]
fn no_date_wraps_or_becomes_for_ever_by_accident() {
    check_times(
        600,
        &[
            (r#","exp":-1"#, "expired"),
            (r#","exp":0"#, "expired"),
            (r#","exp":-0"#, "expired"),
            (r#","exp":-9223372036854775808"#, "expired"),
            (r#","exp":4294967296"#, "accept"),
            (r#","exp":9007199254740993"#, "accept"),
            (r#","exp":9223372036854775807"#, "accept"),
            (r#","exp":9223372036854775808"#, "bad_claim"),
            (r#","exp":18446744073709551616"#, "bad_claim"),
            (r#","exp":9.3e18"#, "bad_claim"),
            (r#","exp":1e308"#, "bad_claim"),
            (r#","exp":1e400"#, "bad_claim"),
            (r#","exp":-1e400"#, "bad_claim"),
            (r#","exp":1.7900009e9"#, "accept"),
            (
                r#","exp":1790000900,"nbf":9223372036854775807"#,
                "not_yet_valid",
            ),
            (r#","exp":1790000900,"nbf":-9223372036854775808"#, "accept"),
            (r#","exp":1790000900,"nbf":1e400"#, "bad_claim"),
            (r#","exp":1790000900,"iat":1e400"#, "bad_claim"),
        ],
    );
}

#[test]
fn exp_is_required_unless_the_verifier_is_told_otherwise() {
    check_times(
        0,
        &[
            ("", "missing_claim"),
            (r#","Exp":1790000900"#, "missing_claim"),
        ],
    );
    let timeless = builder(&jwks()).require([""; 0]).build().unwrap();
    let claims = format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}"}}"#);
    let token = mint::token(&ED, &header(&ED), claims);
    assert_eq!(verdict(&timeless, &token), "accept");
    // What is there is held against the clock all the same.
    let claims = format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","exp":1}}"#);
    let token = mint::token(&ED, &header(&ED), claims);
    assert_eq!(verdict(&timeless, &token), "expired");
    let more = builder(&jwks())
        .require(["exp", "sub", "jti"])
        .build()
        .unwrap();
    let token = mint::token(&ED, &header(&ED), payload(""));
    assert_eq!(verdict(&more, &token), "missing_claim");
    let token = mint::token(&ED, &header(&ED), payload(r#","j\u0074i":"x""#));
    assert_eq!(verdict(&more, &token), "accept");
}

#[test]
fn a_token_before_its_nbf_is_refused() {
    check_times(
        0,
        &[
            (r#","exp":1790000900,"nbf":1790000000"#, "accept"),
            (
                r#","exp":1790000900,"nbf":1790000000.000001"#,
                "not_yet_valid",
            ),
            (r#","exp":1790000900,"nbf":1790000001"#, "not_yet_valid"),
            (r#","exp":1790000001,"nbf":1790000900"#, "not_yet_valid"),
        ],
    );
    check_times(
        60,
        &[
            (r#","exp":1790000900,"nbf":1790000060"#, "accept"),
            (r#","exp":1790000900,"nbf":1790000061"#, "not_yet_valid"),
        ],
    );
}

#[test]
fn an_iat_in_the_future_is_no_reason_by_itself() {
    check_times(0, &[(r#","exp":1790000900,"iat":1890000000"#, "accept")]);
}

#[test]
fn a_leeway_that_would_be_a_longer_life_is_refused_before_the_first_token() {
    for (leeway, builds) in [(0, true), (600, true), (601, false), (u64::MAX, false)] {
        let built = builder(&jwks()).leeway(Duration::from_secs(leeway)).build();
        match built.err() {
            None => assert!(builds, "{leeway} s"),
            Some(BuildError::Leeway { .. }) => assert!(!builds, "{leeway} s"),
            Some(error) => panic!("{error}"),
        }
    }
    // Text from outside: what is negative, not finite or no number never becomes a duration.
    for leeway in [
        "-1",
        "NaN",
        "inf",
        "1e9",
        "601",
        "",
        "60s",
        "99999999999999999999",
    ] {
        let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/claims.jsonl");
        let status = Command::new(env!("CARGO_BIN_EXE_keywheel"))
            .args([
                "verify",
                "--issuer",
                "https://issuer.example",
                "--audience",
                "api",
            ])
            .args(["--jwks", keys, &format!("--leeway={leeway}"), "a.b.c"])
            .output()
            .unwrap()
            .status;
        assert_eq!(status.code(), Some(2), "--leeway={leeway}");
    }
}

#[test]
fn issuers_compare_as_whole_strings() {
    for iss in [
        "https://issuer.example/",
        "https://issuer.exampl",
        "https://issuer.example.evil.test",
        "https://ISSUER.example",
        "HTTPS://issuer.example",
        "issuer.example",
        " https://issuer.example",
        "https://issuer.example#x",
        "https://issuer.example:443",
        "",
        "https://\u{456}ssuer.example",
    ] {
        let claims = payload("").replace(ISSUER, iss);
        check_payloads(&[(&claims, "unknown_issuer")]);
    }
}

#[test]
fn an_issuer_that_is_no_string_is_unknown() {
    for iss in [
        format!(r#"["{ISSUER}"]"#),
        format!(r#"["{ISSUER}","https://evil.test"]"#),
        format!(r#"{{"0":"{ISSUER}"}}"#),
        "null".to_owned(),
        "0".to_owned(),
    ] {
        let claims = payload("").replace(&format!(r#""{ISSUER}""#), &iss);
        check_payloads(&[(&claims, "unknown_issuer")]);
    }
    check_payloads(&[(r#"{"aud":"api","exp":1790000900}"#, "unknown_issuer")]);
}

#[test]
fn an_accepted_audience_is_a_member_compared_whole() {
    for (aud, expected) in [
        (r#""api""#, "accept"),
        (r#"["api"]"#, "accept"),
        (r#"["x","api","y"]"#, "accept"),
        (r#""ap""#, "wrong_audience"),
        (r#""api ""#, "wrong_audience"),
        (r#""API""#, "wrong_audience"),
        (r#""api/""#, "wrong_audience"),
        (r#""https://api""#, "wrong_audience"),
        (r#""http://api/""#, "wrong_audience"),
        (r#""x api""#, "wrong_audience"),
        (r#""x,api""#, "wrong_audience"),
        (r#""""#, "wrong_audience"),
        ("[]", "wrong_audience"),
        (r#"["x"]"#, "wrong_audience"),
        (r#"[["api"]]"#, "bad_claim"),
        (r#"["api",1]"#, "bad_claim"),
        (r#"["api",null]"#, "bad_claim"),
        (r#"{"api":true}"#, "bad_claim"),
        ("null", "bad_claim"),
        ("true", "bad_claim"),
    ] {
        check_payloads(&[(&payload("").replace(r#""api""#, aud), expected)]);
    }
    check_payloads(&[(&payload("").replace(r#""aud":"api","#, ""), "missing_claim")]);
    let nobody = TrustedIssuer::new(ISSUER).static_keys(JwkSet::default());
    let nobody = Verifier::builder().trust(nobody).build();
    assert!(matches!(nobody.err(), Some(BuildError::NoAudience { .. })));
    let anybody = Verifier::builder()
        .trust(trusted(&jwks()).audience(""))
        .build();
    assert!(matches!(anybody.err(), Some(BuildError::NoAudience { .. })));
}

/// A verifier of these settings, and the verdict on a token that says so.
fn verdict_with_settings(issuer: &str, audience: &str, (iss, aud): (&str, &str)) -> &'static str {
    let trusted = TrustedIssuer::new(issuer)
        .audience(audience)
        .static_keys(JwkSet::parse(jwks().as_bytes()).unwrap());
    let verifier = Verifier::builder()
        .trust(trusted)
        .clock(clock())
        .build()
        .unwrap();
    let exp = NOW.seconds() + 900;
    let claims = serde_json::json!({ "iss": iss, "aud": aud, "exp": exp }).to_string();
    verdict(&verifier, &mint::token(&ED, &header(&ED), claims))
}

#[test]
fn settings_are_strings_and_never_patterns() {
    for (issuer, audience) in [
        ("https://.*\\.example", "^a+$"),
        ("*", "*"),
        ("https://issuer.exampl.", "(a|a)*b"),
        ("https://*.example", "a%"),
    ] {
        let literally = verdict_with_settings(issuer, audience, (issuer, audience));
        assert_eq!(literally, "accept", "{issuer} {audience}");
        let by_pattern = verdict_with_settings(issuer, audience, (ISSUER, audience));
        assert_eq!(by_pattern, "unknown_issuer", "{issuer}");
        for aud in ["api", "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"] {
            let by_pattern = verdict_with_settings(issuer, audience, (issuer, aud));
            assert_eq!(by_pattern, "wrong_audience", "{audience}");
        }
    }
}

#[test]
fn a_tenant_template_is_a_string_like_any_other() {
    let template = "https://login.example/{tenantid}/v2.0";
    let tenant = "https://login.example/9122040d-6c67-4c5b-b112-36a304b66dad/v2.0";
    let said = |iss| verdict_with_settings(template, "api", (iss, "api"));
    assert_eq!(said(tenant), "unknown_issuer");
    assert_eq!(said(template), "accept");
}

#[test]
fn a_key_of_one_issuer_signs_for_no_other() {
    let other = "https://other.example";
    let set = |key| JwkSet::parse(mint::jwks(&[key]).as_bytes()).unwrap();
    let issuers = [(ISSUER, &*ED), (other, &*ED_2)];
    let mut builder = Verifier::builder().clock(clock());
    for (issuer, key) in issuers {
        let trusted = TrustedIssuer::new(issuer)
            .audience(AUDIENCE)
            .algorithms([Algorithm::EdDSA])
            .static_keys(set(key));
        builder = builder.trust(trusted);
    }
    let verifier = builder.build().unwrap();
    for (issuer, own) in issuers {
        for key in [&*ED, &*ED_2] {
            let is_own = key.kid() == own.kid();
            let claims = payload("").replace(ISSUER, issuer);
            let expected = if is_own { "accept" } else { "unknown_key" };
            let token = mint::token(key, &header(key), &claims);
            assert_eq!(
                verdict(&verifier, &token),
                expected,
                "{issuer} by {}",
                key.kid()
            );
            // Without a kid each issuer has one candidate, and it is its own.
            let expected = if is_own { "accept" } else { "bad_signature" };
            let token = mint::token(key, r#"{"alg":"EdDSA"}"#, &claims);
            assert_eq!(
                verdict(&verifier, &token),
                expected,
                "{issuer} by {}",
                key.kid()
            );
        }
    }
    let twice = Verifier::builder()
        .trust(trusted(&jwks()))
        .trust(trusted(&jwks()))
        .build();
    assert!(matches!(twice.err(), Some(BuildError::IssuerTwice { .. })));
}

#[test]
fn client_id_azp_and_signer_are_there_for_policy() {
    let more = r#","client_id":"spa","azp":"spa","signer":"arn:aws:x","scope":"a b","roles":["r"]"#;
    let token = mint::token(&ED, &header(&ED), payload(more));
    let verified = verifier().try_verify::<Claims>(&token).unwrap();
    assert_eq!(verified.registered().client_id.as_deref(), Some("spa"));
    assert_eq!(
        verified.claim::<String>("azp").unwrap().as_deref(),
        Some("spa")
    );
    assert_eq!(
        verified.claim::<String>("signer").unwrap().as_deref(),
        Some("arn:aws:x")
    );
    assert_eq!(verified.claim::<String>("absent").unwrap(), None);
    assert!(verified.has_scope("a") && !verified.has_scope("a b") && verified.has_role("r"));
    assert_eq!(
        verified.expires_at(),
        Some(NumericDate::from_seconds(1_790_000_900))
    );
    check_payloads(&[
        (&payload(r#","client_id":["spa"]"#), "bad_claim"),
        (&payload(r#","scope":{"a":true}"#), "bad_claim"),
        (
            &payload(r#","sub":1"#).replace(r#""sub":"alice","#, ""),
            "bad_claim",
        ),
        (&payload(r#","jti":null"#), "bad_claim"),
        // RFC 9068 §2.2.3.1 leaves the type of roles open: an unknown one grants none.
        (&payload(r#","roles":{"admin":true}"#), "accept"),
    ]);
}
