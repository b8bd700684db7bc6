//! The token cache: a verdict from it is the verdict there would be without it, at every moment.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keywheel::jose::SigningKey;
use keywheel::verify::{KeySet, VerifierBuilder, channel};
use keywheel::{Claims, JwkSet, ManualClock, Verified, Verifier};
use proptest::prelude::*;
use serde_json::json;
use support::behind::Behind;
use support::eventually;
use support::jwks_server::{JwksServer, Reply};
use support::tokens::{self, AUDIENCE, ISSUER, NOW, jwks, key, token};

fn builder(clock: &ManualClock, keys: &[&Arc<SigningKey>]) -> VerifierBuilder {
    Verifier::builder()
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .static_keys(JwkSet::parse(jwks(keys).as_bytes()).unwrap())
        .clock(clock.clone())
}

fn reason(verifier: &Verifier, token: &str) -> Result<String, &'static str> {
    let verdict = verifier.try_verify::<Claims>(token);
    verdict
        .map(|token| token.payload().to_owned())
        .map_err(|reject| reject.code())
}

fn looked_up(verifier: &Verifier, result: &str) -> u64 {
    let series = format!("keywheel_token_cache_total{{result=\"{result}\"}} ");
    let rendered = verifier.metrics().render();
    let line = rendered.lines().find_map(|line| line.strip_prefix(&series));
    line.map_or(0, |value| value.parse().unwrap())
}

#[test]
fn the_second_look_is_a_hit_and_says_the_same() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let verifier = builder(&clock, &[&key]).build().unwrap();
    let token = token(&key);
    let first = reason(&verifier, &token);
    assert_eq!(
        (looked_up(&verifier, "hit"), looked_up(&verifier, "miss")),
        (0, 1)
    );
    assert_eq!(reason(&verifier, &token), first);
    assert_eq!(
        (looked_up(&verifier, "hit"), looked_up(&verifier, "miss")),
        (1, 1)
    );
    let off = builder(&clock, &[&key]).token_cache(0).build().unwrap();
    assert_eq!(
        (reason(&off, &token), reason(&off, &token)),
        (first.clone(), first)
    );
    assert_eq!((looked_up(&off, "hit"), looked_up(&off, "miss")), (0, 0));
}

#[test]
fn a_hit_is_for_the_whole_text_and_no_other() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    // One bucket: every token meets every other.
    let verifier = builder(&clock, &[&key]).token_cache(1).build().unwrap();
    let good = token(&key);
    assert!(reason(&verifier, &good).is_ok());
    // Same signature, other claims.
    let mut claims = tokens::claims();
    claims["sub"] = json!("admin");
    let other = tokens::sign(&key, &tokens::header(&key), &claims);
    let (head, _) = other.rsplit_once('.').unwrap();
    let (_, signature) = good.rsplit_once('.').unwrap();
    assert_eq!(
        reason(&verifier, &format!("{head}.{signature}")),
        Err("bad_signature")
    );
    for position in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[position] ^= 1;
        let changed = String::from_utf8(bytes).unwrap();
        assert!(reason(&verifier, &changed).is_err(), "byte {position}");
    }
}

#[test]
fn refused_tokens_evict_nothing() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let verifier = builder(&clock, &[&key]).token_cache(2).build().unwrap();
    let good = token(&key);
    assert!(reason(&verifier, &good).is_ok());
    for n in 0..200 {
        let mut claims = tokens::claims();
        claims["sub"] = json!(n);
        assert_eq!(
            reason(&verifier, &tokens::forged(&good)),
            Err("bad_signature")
        );
        let bad = tokens::sign(&key, &tokens::header(&key), &claims);
        assert_eq!(reason(&verifier, &bad), Err("bad_claim"));
    }
    assert!(reason(&verifier, &good).is_ok());
    assert_eq!(looked_up(&verifier, "hit"), 1);
}

#[tokio::test]
async fn a_removed_key_ends_its_cached_tokens_and_a_kept_one_does_not() {
    let (clock, a, b) = (ManualClock::new(NOW), key("a"), key("b"));
    let server = JwksServer::start(Reply::ok(jwks(&[&a, &b]))).await;
    let verifier = Verifier::builder()
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .jwks_url(server.url("/jwks.json"))
        .clock(clock.clone())
        .build()
        .unwrap();
    eventually("the first set", || verifier.is_ready()).await;
    let (token_a, token_b) = (token(&a), token(&b));
    for token in [&token_a, &token_b] {
        assert!(reason(&verifier, token).is_ok());
        assert!(reason(&verifier, token).is_ok());
    }
    assert_eq!(looked_up(&verifier, "hit"), 2);
    server.reply(Reply::ok(jwks(&[&b])));
    clock.advance(Duration::from_secs(600));
    eventually("the second set", || verifier.status()[0].kids == ["b"]).await;
    assert_eq!(reason(&verifier, &token_a), Err("unknown_key"));
    assert!(reason(&verifier, &token_b).is_ok());
    assert_eq!(looked_up(&verifier, "hit"), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the lives of the tokens, however the time goes and whichever keys come and go, with the cache and without it the
    /// verdicts are equal.
    #[test]
    fn cached_verdict_is_uncached_verdict_at_every_time(
        lives in prop::collection::vec((0usize..3, -20_000i64..40_000, -20_000i64..40_000), 1..8),
        steps in prop::collection::vec((0usize..8, 0u64..6_000, prop::option::weighted(0.2, 0u8..8)), 1..80),
        leeway in 0u64..10_000,
        lag in 0u64..=1_000,
        is_whole in any::<bool>(),
    ) {
        let (clock, keys) = (ManualClock::new(NOW), ["a", "b", "c"].map(key));
        let (publisher, reader) = channel();
        // Whole seconds are where one comparison borders on the next.
        let milliseconds = |n: u64| if is_whole { n / 1_000 * 1_000 } else { n };
        let verifier = |cache| {
            Verifier::builder()
                .issuer(ISSUER)
                .audience(AUDIENCE)
                .published_keys(reader.clone())
                .clock(Behind { clock: clock.clone(), lag: Duration::from_millis(lag) })
                .leeway(Duration::from_millis(milliseconds(leeway)))
                .token_cache(cache)
                .build()
                .unwrap()
        };
        // One for all tokens to meet in, and one with room for each.
        let cached = [verifier(4), verifier(1024)];
        let uncached = verifier(0);
        let publish = |present: u8| {
            let present: Vec<_> = (0..3).filter(|n| present >> n & 1 == 1).map(|n| &keys[n]).collect();
            let set = JwkSet::parse(jwks(&present).as_bytes()).unwrap();
            let current = publisher.current();
            publisher.publish(Arc::new(KeySet::new(set, current.as_deref())));
        };
        publish(7);
        let tokens: Vec<String> = lives
            .iter()
            .enumerate()
            .map(|(n, &(key, exp, nbf))| {
                let mut claims = tokens::claims();
                claims["jti"] = json!(n.to_string());
                let moment = |after: i64| match is_whole {
                    true => json!(NOW.seconds() + after / 1_000),
                    false => json!(NOW.as_seconds_f64() + after as f64 / 1e3),
                };
                claims["exp"] = moment(exp);
                claims["nbf"] = moment(nbf);
                tokens::sign(&keys[key], &tokens::header(&keys[key]), &claims)
            })
            .collect();
        for (token, pause, change) in steps {
            let token = &tokens[token % tokens.len()];
            clock.advance(Duration::from_millis(milliseconds(pause)));
            if let Some(present) = change {
                publish(present);
            }
            let expected = reason(&uncached, token);
            for cached in &cached {
                prop_assert_eq!(reason(cached, token), expected.clone());
            }
        }
    }
}

/// Holds a good token in the cache against so many forged ones, which must neither displace it nor be taken for it.
fn flood(count: usize) {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    // So many places that eight good ones, wherever chance puts them, never have to make room for each other.
    let verifier = builder(&clock, &[&key]).token_cache(256).build().unwrap();
    let good: Vec<String> = (0..8)
        .map(|n| {
            let mut claims = tokens::claims();
            claims["jti"] = json!(n.to_string());
            tokens::sign(&key, &tokens::header(&key), &claims)
        })
        .collect();
    for token in &good {
        assert!(reason(&verifier, token).is_ok());
    }
    let (input, signature) = good[0].rsplit_once('.').unwrap();
    let signature: [u8; 64] = URL_SAFE_NO_PAD
        .decode(signature)
        .unwrap()
        .try_into()
        .unwrap();
    for n in 0..count {
        // With the end of a good one, which is what chooses the place, and with other ends.
        let mut signature = signature;
        let place = if n % 2 == 0 { 0 } else { 48 };
        signature[place..place + 8].copy_from_slice(&n.to_le_bytes());
        let forged = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(reason(&verifier, &forged), Err("bad_signature"));
    }
    for token in &good {
        assert!(reason(&verifier, token).is_ok());
    }
    assert_eq!(looked_up(&verifier, "hit"), 8);
}

#[test]
fn forged_tokens_displace_nothing() {
    flood(20_000);
}

/// `cargo test --release --test token_cache -- --ignored`
#[test]
#[ignore = "a million forged tokens take most of a minute"]
fn a_million_forged_tokens_displace_nothing() {
    flood(1_000_000);
}

#[test]
fn what_is_handed_out_outlives_its_place_and_its_thread() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let verifier = builder(&clock, &[&key]).token_cache(1).build().unwrap();
    let token_of = |n: usize| {
        let mut claims = tokens::claims();
        claims["sub"] = json!(format!("user-{n}"));
        tokens::sign(&key, &tokens::header(&key), &claims)
    };
    // More at once than a thread can borrow, each displaced by those after it.
    let held: Vec<Verified> = (0..100)
        .map(|n| {
            let token = token_of(n);
            verifier.try_verify::<Claims>(&token).unwrap();
            verifier.try_verify::<Claims>(&token).unwrap()
        })
        .collect();
    let check = move || {
        for (n, token) in held.iter().enumerate() {
            assert_eq!(token.subject(), format!("user-{n}"));
            assert_eq!(token.token().clone().kid(), Some("a"));
            assert_eq!(token.issuer(), ISSUER);
        }
    };
    std::thread::spawn(check).join().unwrap();
}

#[test]
fn a_kid_that_the_header_does_not_name_is_the_keys() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let verifier = builder(&clock, &[&key]).build().unwrap();
    let token = tokens::sign(&key, &json!({"alg": "EdDSA"}), &tokens::claims());
    for _ in 0..2 {
        let verified = verifier.try_verify::<Claims>(&token).unwrap();
        assert_eq!(verified.kid(), Some("a"));
    }
}

#[test]
fn what_is_printed_of_a_token_lets_nobody_in() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let verifier = builder(&clock, &[&key]).build().unwrap();
    let token = token(&key);
    for _ in 0..2 {
        let verified = verifier.try_verify::<Claims>(&token).unwrap();
        let printed = format!("{verified:?} {:?}", verified.token());
        let bytes = format!("{:?}", &token.as_bytes()[..8]);
        let (_, signature) = token.rsplit_once('.').unwrap();
        assert!(printed.contains(ISSUER), "{printed}");
        assert!(!printed.contains(signature), "{printed}");
        assert!(
            !printed.contains(bytes.trim_matches(['[', ']'])),
            "{printed}"
        );
    }
}
