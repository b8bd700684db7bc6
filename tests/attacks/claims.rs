//! Attacks by way of the other claims, and of how a verifier is told to check them (72 to 81).

use keywheel::verify::BuildError;
use keywheel::{Algorithm, Claims, JwkSet, NumericDate, TrustedIssuer, Verifier};

use crate::ground::{
    AUDIENCE, ED, ED_2, ISSUER, NOW, check_payloads, clock, header, jwks, payload, trusted,
    verdict, verifier,
};
use crate::mint;

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
