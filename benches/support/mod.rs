//! What the benches share: tokens, verifiers, and a stop-watch that takes turns.
#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::print_stdout)]

#[path = "../../tests/support/tokens.rs"]
pub mod tokens;

use std::sync::Arc;
use std::time::{Duration, Instant};

use keywheel::jose::SigningKey;
use keywheel::{Algorithm, Claims, JwkSet, Verifier};
use serde_json::json;

/// One thing to be measured: its name, and what to do once.
pub type Contender<'a> = (&'a str, Box<dyn FnMut() + 'a>);

/// Nanoseconds for one time, round by round.
pub struct Measured {
    pub name: String,
    pub rounds: Vec<f64>,
}

impl Measured {
    pub fn median(&self) -> f64 {
        median(self.rounds.clone())
    }
}

/// How many times as long `a` takes as `b`: the median of the rounds' ratios, for what disturbs a round disturbs both.
pub fn ratio(a: &Measured, b: &Measured) -> f64 {
    let ratios = a.rounds.iter().zip(&b.rounds).map(|(a, b)| a / b);
    median(ratios.collect())
}

pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() % 2 {
        0 => (numbers[middle - 1] + numbers[middle]) / 2.0,
        _ => numbers[middle],
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a bench reads the machine's clock"
)]
pub fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// Measures the contenders in turn, each for about `slice` at a time.
pub fn take_turns(rounds: usize, slice: Duration, contenders: Vec<Contender<'_>>) -> Vec<Measured> {
    let mut contenders: Vec<_> = contenders
        .into_iter()
        .map(|(name, mut run)| {
            // Warms it up, and tells how often it fits into a slice.
            let mut times = 1u32;
            loop {
                let took = timed(|| (0..times).for_each(|_| run()));
                if took > slice / 4 {
                    let fit = u128::from(times) * slice.as_nanos() / took.as_nanos();
                    times = u32::try_from(fit).unwrap_or(u32::MAX).max(1);
                    break;
                }
                times *= 2;
            }
            let measured = Measured {
                name: name.to_owned(),
                rounds: Vec::new(),
            };
            (measured, times, run)
        })
        .collect();
    for _ in 0..rounds {
        for (measured, times, run) in &mut contenders {
            let took = timed(|| (0..*times).for_each(|_| run()));
            measured
                .rounds
                .push(took.as_nanos() as f64 / f64::from(*times));
        }
    }
    contenders
        .into_iter()
        .map(|(measured, _, _)| measured)
        .collect()
}

pub fn print(measured: &[Measured]) {
    for one in measured {
        let (mut low, mut high) = (f64::MAX, 0.0f64);
        for &round in &one.rounds {
            (low, high) = (low.min(round), high.max(round));
        }
        println!(
            "  {:<52} {:>9.0} ns   ({low:.0} to {high:.0})",
            one.name,
            one.median()
        );
    }
}

/// A key, and the set that publishes it.
pub fn keys(algorithm: Algorithm) -> (Arc<SigningKey>, JwkSet) {
    let key = tokens::key_for(algorithm, "bench");
    let set = JwkSet::parse(tokens::jwks(&[&key]).as_bytes()).expect("a set");
    (key, set)
}

pub fn different_tokens(key: &SigningKey, count: usize) -> Vec<String> {
    let one = |n: usize| {
        let mut claims = tokens::claims();
        claims["jti"] = json!(format!("token-{n:06}"));
        claims["scope"] = json!("orders:read orders:write");
        claims["exp"] = json!(i32::MAX);
        tokens::sign(key, &tokens::header(key), &claims)
    };
    (0..count).map(one).collect()
}

/// With the busy key's table, as it is a moment after the start.
pub fn verifier(set: JwkSet, cache: usize) -> Verifier {
    for key in &set.keys {
        key.precompute();
    }
    builder(cache).static_keys(set).build().expect("a verifier")
}

pub fn builder(cache: usize) -> keywheel::verify::VerifierBuilder {
    Verifier::builder()
        .issuer(tokens::ISSUER)
        .audience(tokens::AUDIENCE)
        .algorithms([Algorithm::EdDSA, Algorithm::RS256])
        .token_cache(cache)
        .audit_rate(0)
}

/// Puts every token into the verifier's cache.
pub fn fill(verifier: &Verifier, tokens: &[String]) {
    for token in tokens {
        verifier.try_verify::<Claims>(token).expect("accepted");
    }
}

/// Of the looks at accepted tokens since the last call, the part that the cache answered.
pub struct HitRate(f64, f64);

impl HitRate {
    pub fn start(verifier: &Verifier) -> Self {
        HitRate(looks(verifier, "hit"), looks(verifier, "miss"))
    }

    pub fn percent(&self, verifier: &Verifier) -> f64 {
        let hits = looks(verifier, "hit") - self.0;
        let misses = looks(verifier, "miss") - self.1;
        100.0 * hits / (hits + misses)
    }
}

fn looks(verifier: &Verifier, result: &str) -> f64 {
    let rendered = verifier.metrics().render();
    let series = format!("keywheel_token_cache_total{{result=\"{result}\"}} ");
    let line = rendered.lines().find_map(|line| line.strip_prefix(&series));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}

/// Goes round a list for ever.
pub struct Round<'a, T> {
    items: &'a [T],
    next: usize,
}

impl<'a, T> Round<'a, T> {
    pub fn of(items: &'a [T]) -> Self {
        Round { items, next: 0 }
    }

    /// As from another place, for a second thread.
    pub fn from(items: &'a [T], next: usize) -> Self {
        Round { items, next }
    }

    pub fn next(&mut self) -> &'a T {
        let item = &self.items[self.next];
        self.next = if self.next + 1 == self.items.len() {
            0
        } else {
            self.next + 1
        };
        item
    }
}
