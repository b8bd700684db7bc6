//! Attacks by way of what surrounds a verifier: URLs, clocks, metrics (95, 106, 110). The rest of 91 to 108 is tests/remote.rs.

use std::time::Duration;

use keywheel::verify::BuildError;
use keywheel::{Claims, ManualClock, NumericDate, Verifier};

use crate::ground::{AUDIENCE, ED, ISSUER, NOW, good_token, header, payload, verdict, verifier};
use crate::mint;
use crate::ports;
use crate::waiting::meanwhile;

/// What the builder says to a key set at `url`, outside any runtime to fetch it on.
fn build_error(issuer: &str, jwks_url: Option<&str>) -> BuildError {
    let mut builder = Verifier::builder().issuer(issuer).audience(AUDIENCE);
    if let Some(url) = jwks_url {
        builder = builder.jwks_url(url);
    }
    match builder.build() {
        Err(error) => error,
        Ok(_) => panic!("{issuer} {jwks_url:?} is fetched from outside a runtime"),
    }
}

#[test]
fn key_sets_come_over_https_or_from_this_machine() {
    for (url, may_be_fetched) in [
        ("https://issuer.example/jwks", true),
        ("http://127.0.0.1:3001/jwks", true),
        ("http://[::1]:3001/jwks", true),
        ("http://localhost:3001/jwks", true),
        ("http://169.254.169.254/latest/meta-data", false),
        ("http://[fe80::1]/jwks", false),
        ("http://10.0.0.1/jwks", false),
        ("http://issuer.example/jwks", false),
        ("http://127.0.0.1.evil.test/jwks", false),
        ("http://localhost.evil.test/jwks", false),
        ("http://evil.test#@127.0.0.1/", false),
        ("file:///etc/passwd", false),
        ("data:application/json,{}", false),
        ("", false),
    ] {
        for error in [
            build_error(ISSUER, Some(url)),
            build_error(&format!("{url} "), None),
        ] {
            match error {
                BuildError::NoRuntime { .. } => assert!(may_be_fetched, "{url}"),
                BuildError::Url { .. } | BuildError::NoIssuer => assert!(!may_be_fetched, "{url}"),
                error => panic!("{url}: {error}"),
            }
        }
    }
}

/// How often the key set has been asked for, in vain.
fn failed_fetches(verifier: &Verifier) -> Option<u64> {
    let metrics = verifier.metrics().render();
    let line = metrics.lines().find(|line| {
        line.starts_with("keywheel_jwks_fetches_total") && line.contains("transport")
    })?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[tokio::test]
async fn a_jumping_wall_clock_moves_claims_and_no_fetch() {
    let (_nobody, address) = ports::refusing();
    let clock = ManualClock::new(NOW);
    let verifier = Verifier::builder()
        .issuer(ISSUER)
        .jwks_url(format!("http://{address}/jwks"))
        .audience(AUDIENCE)
        .clock(clock.clone())
        .build()
        .unwrap();
    let refused = verifier.verify::<Claims>(&good_token()).await.unwrap_err();
    assert_eq!(refused.code(), "keys_unavailable");
    assert_eq!(failed_fetches(&verifier), Some(1));
    let planned = verifier.status()[0].next_refresh;
    assert!(planned.is_some());
    for seconds in [0, i64::MIN, i64::MAX, NOW.seconds() + 10 * 365 * 86_400] {
        clock.set_wall(NumericDate::from_seconds(seconds));
        meanwhile().await;
        let refused = verifier.verify::<Claims>(&good_token()).await.unwrap_err();
        assert_eq!(refused.code(), "keys_unavailable");
        assert_eq!(failed_fetches(&verifier), Some(1), "{seconds}");
        assert_eq!(verifier.status()[0].next_refresh, planned, "{seconds}");
    }
    // Time that has really passed does.
    clock.advance(Duration::from_secs(5));
    verifier.verify::<Claims>(&good_token()).await.unwrap_err();
    assert!(failed_fetches(&verifier) >= Some(2));
}

#[test]
fn no_token_can_make_a_time_series() {
    let verifier = verifier();
    verdict(&verifier, &good_token());
    let series = |metrics: &str| metrics.lines().count();
    let before = series(&verifier.metrics().render());
    for n in 0..40 {
        let hostile = format!("hostile-{n}");
        let header = header(&ED);
        for (header, claims) in [
            (
                header.replace("\"ed\"", &format!("\"{hostile}\"")),
                payload(""),
            ),
            (header.replace("EdDSA", &hostile), payload("")),
            (
                header.replace('}', &format!(",\"typ\":\"{hostile}\"}}")),
                payload(""),
            ),
            (header.clone(), payload("").replace(ISSUER, &hostile)),
            (
                header.clone(),
                payload("").replace("\"api\"", &format!("\"{hostile}\"")),
            ),
            (header.clone(), payload(&format!(",\"nbf\":\"{hostile}\""))),
        ] {
            let token = mint::token(&ED, &header, claims);
            assert_ne!(verdict(&verifier, &token), "accept", "{header}");
        }
    }
    let after = verifier.metrics().render();
    assert_eq!(series(&after), before);
    assert!(!after.contains("hostile"), "{after}");
}
