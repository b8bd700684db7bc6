//! Verifications, by algorithm: a token not seen before, one seen before, and refused ones.
//!
//! `cargo bench --bench verify`. "uncached" rotates over 10,000 different tokens with the token cache off, "cached" over
//! 10,000 with it on, and names its hit rate. Read the ratios of one run, not its times: machines differ.
#![allow(missing_docs, clippy::expect_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use keywheel::{Algorithm, Claims, Verifier};
use support::{HitRate, different_tokens, fill, keys, tokens, verifier};

const ALGORITHMS: [Algorithm; 2] = [Algorithm::EdDSA, Algorithm::RS256];

fn main() {
    divan::main();
}

/// An RSA signature takes most of a millisecond to make; a tenth of the tokens is as far beyond any cache of the machine.
fn count(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::RS256 => 1_000,
        _ => 10_000,
    }
}

/// Measures one verification, going round `tokens`; each must end as `accepted` says.
fn measure(bencher: Bencher<'_, '_>, verifier: &Verifier, tokens: &[String], accepted: bool) {
    let next = AtomicUsize::new(0);
    bencher.counter(ItemsCount::new(1usize)).bench(|| {
        let index = next.fetch_add(1, Ordering::Relaxed) % tokens.len();
        let verdict = verifier.try_verify::<Claims>(black_box(&tokens[index]));
        assert_eq!(verdict.is_ok(), accepted);
    });
}

#[divan::bench(args = ALGORITHMS, sample_size = 100)]
fn uncached(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let (key, set) = keys(algorithm);
    let tokens = different_tokens(&key, count(algorithm));
    measure(bencher, &verifier(set, 0), &tokens, true);
}

#[divan::bench(args = ALGORITHMS, sample_size = 10_000)]
fn cached(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let (key, set) = keys(algorithm);
    let tokens = different_tokens(&key, count(algorithm));
    let verifier = verifier(set, 32_768);
    fill(&verifier, &tokens);
    let rate = HitRate::start(&verifier);
    measure(bencher, &verifier, &tokens, true);
    eprintln!("{algorithm}: {:.1} % hits", rate.percent(&verifier));
}

#[divan::bench(args = ALGORITHMS, sample_size = 100)]
fn forged(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let (key, set) = keys(algorithm);
    let tokens = different_tokens(&key, 1_000);
    let forged: Vec<String> = tokens.iter().map(|token| tokens::forged(token)).collect();
    measure(bencher, &verifier(set, 32_768), &forged, false);
}

#[divan::bench(args = ALGORITHMS, sample_size = 1_000)]
fn unknown_kid(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let (key, _) = keys(algorithm);
    let other = tokens::key_for(algorithm, "other");
    let set = keywheel::JwkSet::parse(tokens::jwks(&[&other]).as_bytes()).expect("a set");
    let tokens = different_tokens(&key, 1_000);
    measure(bencher, &verifier(set, 32_768), &tokens, false);
}
