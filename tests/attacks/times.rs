//! Attacks by way of times, and of how tolerantly a verifier is told to read them (65 to 71).

use std::process::Command;
use std::time::Duration;

use keywheel::verify::BuildError;
use keywheel::{ManualClock, Verifier};

use crate::folder::Folder;
use crate::ground::{AUDIENCE, ED, ISSUER, NOW, builder, header, jwks, payload, trusted, verdict};
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
    let folder = Folder::new("leeway");
    std::fs::create_dir(folder.path()).unwrap();
    let keys = folder.path().join("jwks.json");
    std::fs::write(&keys, jwks()).unwrap();
    let exit_code = |leeway: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_keywheel"))
            .args([
                "verify",
                "--issuer",
                ISSUER,
                "--audience",
                AUDIENCE,
                "--jwks",
            ])
            .arg(&keys)
            .args([&format!("--leeway={leeway}"), "a.b.c"])
            .output();
        output.unwrap().status.code()
    };
    assert_eq!(
        exit_code("600"),
        Some(1),
        "a.b.c is refused, the setting is not"
    );
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
        assert_eq!(exit_code(leeway), Some(2), "--leeway={leeway}");
    }
}
