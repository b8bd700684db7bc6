//! Verifications per second: EdDSA and RS256, not seen before, seen before, and refused.
//!
//! `cargo bench --bench verify`. "uncached" rotates over 10,000 different tokens with the token cache off, "cached" over
//! 10,000 with it on; each names its hit rate. Read the ratios of one run, not its times: machines differ.
#![allow(missing_docs, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use keywheel::jose::SigningKey;
use keywheel::verify::Claims;
use keywheel::{Algorithm, JwkSet, Verifier};
use serde_json::json;

#[path = "../tests/support/tokens.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used)]
mod tokens;

const TOKENS: usize = 10_000;
const ALGORITHMS: [Algorithm; 2] = [Algorithm::EdDSA, Algorithm::RS256];

fn main() {
    divan::main();
}

fn keys(algorithm: Algorithm) -> (Arc<SigningKey>, JwkSet) {
    let key = tokens::key_for(algorithm, "bench");
    let set = JwkSet::parse(tokens::jwks(&[&key]).as_bytes()).expect("a set");
    (key, set)
}

fn different_tokens(key: &SigningKey, count: usize) -> Vec<String> {
    let one = |n: usize| {
        let mut claims = tokens::claims();
        claims["jti"] = json!(format!("token-{n:06}"));
        claims["scope"] = json!("orders:read orders:write");
        claims["exp"] = json!(i32::MAX);
        tokens::sign(key, &tokens::header(key), &claims)
    };
    (0..count).map(one).collect()
}

fn verifier(set: JwkSet, cache: usize) -> Verifier {
    Verifier::builder()
        .issuer(tokens::ISSUER)
        .audience(tokens::AUDIENCE)
        .algorithms(ALGORITHMS)
        .static_keys(set)
        .token_cache(cache)
        .audit_rate(0)
        .build()
        .expect("a verifier")
}

/// Measures one verification, going round `tokens`; each must end as `accepted` says.
fn measure(bencher: Bencher<'_, '_>, verifier: &Verifier, tokens: &[String], accepted: bool) {
    let next = AtomicUsize::new(0);
    bencher.counter(ItemsCount::new(1usize)).bench(|| {
        let index = next.fetch_add(1, Ordering::Relaxed) % tokens.len();
        let verdict = verifier.try_verify::<Claims>(black_box(&tokens[index]));
        assert_eq!(verdict.is_ok(), accepted);
        verdict
    });
}

#[divan::bench(args = ALGORITHMS)]
fn uncached(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let (key, set) = keys(algorithm);
    // An RSA signature takes most of a millisecond to make; a tenth of the tokens is as far beyond any cache of the machine.
    let count = if algorithm == Algorithm::RS256 {
        TOKENS / 10
    } else {
        TOKENS
    };
    let tokens = different_tokens(&key, count);
    measure(bencher, &verifier(set, 0), &tokens, true);
}

#[divan::bench(args = ALGORITHMS, sample_size = 1000)]
fn cached(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let (key, set) = keys(algorithm);
    let count = if algorithm == Algorithm::RS256 {
        TOKENS / 10
    } else {
        TOKENS
    };
    let tokens = different_tokens(&key, count);
    let verifier = verifier(set, 32_768);
    for token in &tokens {
        verifier.try_verify::<Claims>(token).expect("accepted");
    }
    let looks = |result: &str| -> f64 {
        let rendered = verifier.metrics().render();
        let series = format!("keywheel_token_cache_total{{result=\"{result}\"}} ");
        let line = rendered.lines().find_map(|line| line.strip_prefix(&series));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    };
    let misses_before = looks("miss");
    measure(bencher, &verifier, &tokens, true);
    let (hits, misses) = (looks("hit"), looks("miss") - misses_before);
    eprintln!("{algorithm}: {:.1} % hits", 100.0 * hits / (hits + misses));
}

#[divan::bench(args = ALGORITHMS)]
fn forged(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let (key, set) = keys(algorithm);
    let tokens: Vec<String> = different_tokens(&key, 1000)
        .iter()
        .map(|token| tokens::forged(token))
        .collect();
    measure(bencher, &verifier(set, 32_768), &tokens, false);
}

#[divan::bench(args = ALGORITHMS)]
fn unknown_kid(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let (key, _) = keys(algorithm);
    let (_, other_set) = {
        let key = tokens::key_for(algorithm, "other");
        let set = JwkSet::parse(tokens::jwks(&[&key]).as_bytes()).expect("a set");
        (key, set)
    };
    let tokens = different_tokens(&key, 1000);
    measure(bencher, &verifier(other_set, 32_768), &tokens, false);
}
