//! The hot path takes no lock: counted, from outside, in steady state, on two threads at once, while a writer publishes.
//!
//! A verification runs in a process of its own, this very file again, under an interposer (`tests/no_locks/interposer.c`) that
//! counts calls of `pthread_mutex_*` and `pthread_rwlock_*` and futex system calls by the threads that verify. A lock of the
//! standard library makes no such call until two threads meet in it; so they are made to meet, often enough that they do.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

#[path = "support/tokens.rs"]
#[allow(dead_code, unreachable_pub)]
mod tokens;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use keywheel::verify::{KeySet, channel};
use keywheel::{Algorithm, Claims, JwkSet, SystemClock, Verifier};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

const THREADS: usize = 2;
/// Enough for two threads to meet in any lock, many times.
const TIMES: usize = 20_000;
const TOKENS: usize = 50;

/// Compiles the interposer, once for each process that needs it.
fn interposer(folder: &Path) -> PathBuf {
    let library = folder.join("interposer.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/no_locks/interposer.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl")
        .status();
    assert!(compiled.expect("a C compiler, cc").success());
    library
}

/// Runs one of the ignored tests below in a process of its own, and gives what its threads counted: mutexes, rwlocks, futexes.
fn counts(test: &str) -> Vec<[u64; 3]> {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env("LD_PRELOAD", interposer(folder.path()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test}: {said}");
    let counted: Vec<[u64; 3]> = said
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_once("counted ")?.1.split(' ').collect();
            Some([words[1], words[3], words[5]].map(|number| number.parse().unwrap()))
        })
        .collect();
    println!("{test}: mutexes, rwlocks, futexes by thread: {counted:?}");
    assert_eq!(counted.len(), THREADS, "{said}");
    counted
}

/// Runs `work` on all threads at once, `TIMES` times each, and has it counted, but for the first rounds, in which threads make
/// what they keep.
fn count(work: impl Fn(usize) + Sync) {
    let barrier = std::sync::Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (work, barrier) = (&work, &barrier);
            scope.spawn(move || {
                // A file of its own: standard error has a lock, which would be counted.
                let mut null = std::fs::File::create("/dev/null").unwrap();
                let mut mark = |text: &str| null.write_all(text.as_bytes()).unwrap();
                (0..2 * TOKENS).for_each(|n| work(thread + n));
                barrier.wait();
                mark("#count+\n");
                (0..TIMES).for_each(|n| work(thread + n));
                mark("#count-\n");
            });
        }
    });
}

/// Tokens of one algorithm, and the set that publishes their key.
fn tokens_by(algorithm: Algorithm) -> (JwkSet, Vec<String>) {
    let claims = |n: usize| {
        let mut claims = tokens::claims();
        claims["jti"] = json!(n.to_string());
        claims
    };
    let set = |jwks: String| JwkSet::parse(jwks.as_bytes()).unwrap();
    if algorithm != Algorithm::ES256 {
        let key = tokens::key_for(algorithm, "a");
        let sign = |n| tokens::sign(&key, &tokens::header(&key), &claims(n));
        return (set(tokens::jwks(&[&key])), (0..TOKENS).map(sign).collect());
    }
    let random = ring::rand::SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let (x, y) = (BASE64URL.encode(x), BASE64URL.encode(y));
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": y});
    let sign = |n| {
        let header = json!({"alg": "ES256", "kid": "a", "typ": "at+jwt"}).to_string();
        let input = format!(
            "{}.{}",
            tokens::encode(&header),
            tokens::encode(&claims(n).to_string())
        );
        let signature = pair.sign(&random, input.as_bytes()).unwrap();
        format!("{input}.{}", BASE64URL.encode(signature))
    };
    (
        set(json!({"keys": [jwk]}).to_string()),
        (0..TOKENS).map(sign).collect(),
    )
}

/// Verifies while a writer publishes a new snapshot without a pause; `cache` as in the builder. `beside` is done with each.
fn verify(algorithm: Algorithm, cache: usize, beside: impl Fn() + Sync) {
    let (set, tokens) = tokens_by(algorithm);
    let (publisher, reader) = channel();
    let first = Arc::new(KeySet::new(set.clone(), None));
    // In steady state, that is with its table.
    first.keys()[0].precompute();
    publisher.publish(first);
    let verifier = Verifier::builder()
        .issuer(tokens::ISSUER)
        .audience(tokens::AUDIENCE)
        .published_keys(reader)
        // The machine's own clock: how that reads the time is part of the path. No leeway is long enough, so it is set back.
        .clock(Past(SystemClock))
        .token_cache(cache)
        .build()
        .unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let current = publisher.current();
                publisher.publish(Arc::new(KeySet::new(set.clone(), current.as_deref())));
                std::thread::yield_now();
            }
        });
        let done = SetOnDrop(&done);
        count(|n| {
            let verdict = verifier.try_verify::<Claims>(&tokens[n % TOKENS]);
            assert!(verdict.is_ok(), "{verdict:?}");
            beside();
        });
        drop(done);
    });
}

/// Ends the writer, also when a verification has failed.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The machine's clock, but always before the tokens expire.
struct Past(SystemClock);

impl keywheel::Clock for Past {
    fn now(&self) -> keywheel::NumericDate {
        self.0.now().min(tokens::NOW)
    }

    fn monotonic(&self) -> std::time::Duration {
        self.0.monotonic()
    }

    fn sleep(&self, duration: std::time::Duration) -> keywheel::clock::Sleep {
        self.0.sleep(duration)
    }
}

macro_rules! counted {
    ($($name:ident: $algorithm:ident, $cache:expr;)*) => {
        $(
            #[test]
            #[ignore = "run by the test that counts"]
            fn $name() {
                verify(Algorithm::$algorithm, $cache, || ());
            }
        )*

        #[test]
        fn verification_takes_no_lock_while_a_writer_publishes() {
            for test in [$(stringify!($name)),*] {
                for counts in counts(test) {
                    assert_eq!(counts, [0; 3], "{test}: mutexes, rwlocks, futexes");
                }
            }
        }
    };
}

counted! {
    eddsa_cached: EdDSA, 1024;
    eddsa_uncached: EdDSA, 0;
    rs256_cached: RS256, 1024;
    rs256_uncached: RS256, 0;
    es256_cached: ES256, 1024;
    es256_uncached: ES256, 0;
}

#[test]
#[ignore = "run by the test that counts"]
#[allow(clippy::disallowed_types, reason = "it is there to be found")]
fn a_planted_mutex() {
    let planted = std::sync::Mutex::new(0u64);
    verify(Algorithm::EdDSA, 1024, || {
        let mut count = planted.lock().unwrap();
        (0..1_000).for_each(|_| *count = std::hint::black_box(*count + 1));
    });
}

#[test]
#[ignore = "run by the test that counts"]
fn a_peer_that_locks() {
    let (_, tokens) = tokens_by(Algorithm::RS256);
    let key = tokens::key_for(Algorithm::RS256, "a");
    let jwk = key.verifying_key().to_jwk();
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_str(&jwk).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
    let validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    // By another key, so refused; the lock is taken all the same.
    count(|n| {
        let decoded =
            jsonwebtoken::decode::<serde_json::Value>(&tokens[n % TOKENS], &key, &validation);
        assert!(decoded.is_err());
    });
}

#[test]
fn a_lock_would_have_been_seen() {
    // The standard library's, when two threads have met in it.
    let futexes: u64 = counts("a_planted_mutex")
        .iter()
        .map(|counts| counts[2])
        .sum();
    assert!(futexes > 0);
    // And aws-lc's, which takes one for each RSA verification, met or not.
    for [_, rwlocks, _] in counts("a_peer_that_locks") {
        assert!(rwlocks >= TIMES as u64, "{rwlocks}");
    }
}
