//! What a second thread adds, and how long the slowest verifications take, while a writer publishes a new key set 100 times a second.
//!
//! `cargo bench --bench contention`. Needs two idle cores: whatever else runs there shows in the ratios.
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use keywheel::verify::{KeySet, channel};
use keywheel::{Algorithm, Claims, JwkSet, Verifier};
use support::{Round, different_tokens, fill, keys, median};

const ROUNDS: usize = 15;
const SLICE: Duration = Duration::from_millis(150);
const PUBLISH_EVERY: Duration = Duration::from_millis(10);
/// Verifications between two looks at the clock.
const BATCH: u64 = 64;

#[allow(
    clippy::disallowed_methods,
    reason = "a bench reads the machine's clock"
)]
fn now() -> Instant {
    Instant::now()
}

/// How many verifications so many threads manage in a second, together.
fn rate(verifier: &Verifier, tokens: &[String], threads: usize) -> f64 {
    let barrier = Barrier::new(threads);
    let work = |thread: usize| {
        let mut round = Round::from(tokens, thread * tokens.len() / threads);
        barrier.wait();
        let (start, mut count) = (now(), 0);
        loop {
            for _ in 0..BATCH {
                assert!(
                    verifier
                        .try_verify::<Claims>(black_box(round.next()))
                        .is_ok()
                );
            }
            count += BATCH;
            let took = now() - start;
            if took >= SLICE {
                return count as f64 / took.as_secs_f64();
            }
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..threads).map(|n| scope.spawn(move || work(n))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("done"))
            .sum()
    })
}

/// Nanoseconds that single verifications take, with two threads at it: the median, 99 and 99.9 of a hundred.
fn latencies(verifier: &Verifier, tokens: &[String]) -> [u64; 3] {
    let work = |thread: usize| {
        let mut round = Round::from(tokens, thread * tokens.len() / 2);
        let mut times = Vec::with_capacity(400_000);
        let end = now() + 4 * SLICE;
        while times.len() < times.capacity() {
            let start = now();
            assert!(
                verifier
                    .try_verify::<Claims>(black_box(round.next()))
                    .is_ok()
            );
            let stop = now();
            times.push(u64::try_from((stop - start).as_nanos()).expect("not so long"));
            if stop > end {
                break;
            }
        }
        times
    };
    let mut times: Vec<u64> = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..2).map(|n| scope.spawn(move || work(n))).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("done"))
            .collect()
    });
    times.sort_unstable();
    [500, 990, 999].map(|mille| times[times.len() * mille / 1000])
}

fn compare(name: &str, verifier: &Verifier, tokens: &[String], wanted: f64) {
    let rounds: Vec<[f64; 2]> = (0..ROUNDS)
        .map(|_| [rate(verifier, tokens, 1), rate(verifier, tokens, 2)])
        .collect();
    let [one, two] = [0, 1].map(|n| median(rounds.iter().map(|round| round[n]).collect()));
    let ratios: Vec<f64> = rounds.iter().map(|[one, two]| two / one).collect();
    let best = ratios.iter().copied().fold(0.0, f64::max);
    let ratio = median(ratios);
    let met = if ratio >= wanted { "met" } else { "NOT MET" };
    let [p50, p99, p999] = latencies(verifier, tokens);
    println!(
        "| {name} | {one:.0} | {two:.0} | {ratio:.2} × (best {best:.2}) | ≥ {wanted} × | {met} | {p50} | {p99} | {p999} |"
    );
}

fn main() {
    let (key, set) = keys(Algorithm::EdDSA);
    let (_, other) = keys(Algorithm::RS256);
    let many = different_tokens(&key, 10_000);
    let (publisher, reader) = channel();
    // Two sets in turn: the signing key stays, another comes and goes, as in a rotation.
    let bare = JwkSet {
        keys: set.keys.clone(),
        skipped: Vec::new(),
    };
    let both = JwkSet {
        keys: set.keys.iter().chain(&other.keys).map(Arc::clone).collect(),
        skipped: Vec::new(),
    };
    set.keys[0].precompute();
    publisher.publish(Arc::new(KeySet::new(bare.clone(), None)));
    let verifier = |cache| {
        let builder = support::builder(cache).published_keys(reader.clone());
        builder.build().expect("a verifier")
    };
    let (cached, uncached) = (verifier(32_768), verifier(0));
    fill(&cached, &many);
    let done = AtomicBool::new(false);
    println!("cores: {:?}", std::thread::available_parallelism());
    println!(
        "| EdDSA, while a writer publishes | 1 thread, /s | 2 threads, /s | ratio | wanted | | p50 ns | p99 | p99.9 |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for next in [&both, &bare].into_iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(PUBLISH_EVERY);
                let current = publisher.current();
                publisher.publish(Arc::new(KeySet::new(next.clone(), current.as_deref())));
            }
        });
        compare("cached, one hot token", &cached, &many[..1], 1.85);
        compare("cached, 10,000 tokens", &cached, &many, 1.85);
        compare("uncached, one hot token", &uncached, &many[..1], 1.95);
        compare("uncached, 10,000 tokens", &uncached, &many, 1.95);
        done.store(true, Ordering::Relaxed);
    });
}
