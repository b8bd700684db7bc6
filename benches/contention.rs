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
const SLICE: Duration = Duration::from_millis(300);
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

/// How long this thread has been on a core; the time itself where Linux does not tell.
fn on_core(since: Instant) -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = stat.and_then(|stat| stat.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| now() - since, Duration::from_nanos)
}

/// How many verifications so many threads manage in a second, together; and in a second on a core each.
fn rate(verifier: &Verifier, tokens: &[String], threads: usize) -> [f64; 2] {
    let barrier = Barrier::new(threads);
    let work = |thread: usize| {
        let mut round = Round::from(tokens, thread * tokens.len() / threads);
        barrier.wait();
        let (start, mut count) = (now(), 0);
        let before = on_core(start);
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
                let busy = on_core(start) - before;
                return [took, busy].map(|time| count as f64 / time.as_secs_f64());
            }
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..threads).map(|n| scope.spawn(move || work(n))).collect();
        let rates = threads
            .into_iter()
            .map(|thread| thread.join().expect("done"));
        rates.fold([0.0; 2], |sum, rate| [sum[0] + rate[0], sum[1] + rate[1]])
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
    let rounds: Vec<[[f64; 2]; 2]> = (0..ROUNDS)
        .map(|_| [rate(verifier, tokens, 1), rate(verifier, tokens, 2)])
        .collect();
    let of = |choose: &dyn Fn(&[[f64; 2]; 2]) -> f64| median(rounds.iter().map(choose).collect());
    let (one, two) = (of(&|[one, _]| one[0]), of(&|[_, two]| two[0]));
    let ratio = of(&|[one, two]| two[0] / one[0]);
    let on_core = of(&|[one, two]| two[1] / one[1]);
    let met = match (ratio >= wanted, on_core >= wanted) {
        (true, _) => "met",
        (_, true) => "met on the core",
        _ => "NOT MET",
    };
    let [p50, p99, p999] = latencies(verifier, tokens);
    println!(
        "| {name} | {one:.0} | {two:.0} | {ratio:.2} × | {on_core:.2} × | ≥ {wanted} × | {met} | {p50} | {p99} | {p999} |"
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
        "| EdDSA, while a writer publishes | 1 thread, /s | 2 threads, /s | by the clock | by time on a core | wanted | | p50 ns | p99 | p99.9 |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
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
