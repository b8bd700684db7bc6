//! RSA: the same verdict as ring's on every signature that anybody could think of.
//!
//! Only an optimized build verifies RSA itself (`cargo nextest run --release --test rsa`, or `./test rsa`); in any other, ring
//! stands on both sides.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

use std::hash::{BuildHasher, RandomState};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keywheel::{Algorithm, VerifyingKey};
use num_bigint::BigUint;
use ring::digest;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents};

const PKCS1: [(Algorithm, &RsaParameters); 3] = [
    (Algorithm::RS256, &signature::RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::RS384, &signature::RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::RS512, &signature::RSA_PKCS1_2048_8192_SHA512),
];
const MESSAGE: &[u8] = b"a message";

/// One key, in both hands.
struct Key {
    ours: VerifyingKey,
    n: Vec<u8>,
    modulus: BigUint,
    secret: BigUint,
}

impl Key {
    fn new(size: KeySize) -> Self {
        let pair = KeyPair::generate(size).unwrap();
        let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let [n, e, d] = components(pkcs8.as_ref());
        assert_eq!(e, [1, 0, 1]);
        let jwk = format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, encode(n));
        Key {
            ours: VerifyingKey::from_jwk(&jwk).unwrap(),
            n: n.into(),
            modulus: BigUint::from_bytes_be(n),
            secret: BigUint::from_bytes_be(d),
        }
    }

    fn length(&self) -> usize {
        self.n.len()
    }

    /// What verifies to this block.
    fn sign(&self, block: &[u8]) -> Vec<u8> {
        let block = BigUint::from_bytes_be(block);
        fixed(&block.modpow(&self.secret, &self.modulus), self.length())
    }

    /// The one verdict of both; a panic if there are two.
    fn verdict(&self, which: usize, message: &[u8], signature: &[u8]) -> bool {
        let (algorithm, parameters) = PKCS1[which % PKCS1.len()];
        let theirs = RsaPublicKeyComponents {
            n: &self.n[..],
            e: &[1, 0, 1],
        };
        let theirs = theirs.verify(parameters, message, signature).is_ok();
        let ours = self.ours.verify(algorithm, message, signature);
        assert_eq!(
            ours, theirs,
            "{algorithm} n {:02x?} message {message:02x?} signature {signature:02x?}",
            self.n
        );
        ours
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// As many bytes, zeros first.
fn fixed(number: &BigUint, length: usize) -> Vec<u8> {
    let bytes = number.to_bytes_be();
    [vec![0; length.saturating_sub(bytes.len())], bytes].concat()
}

/// n, e and d of a PKCS #8 document (RFC 5208 §5, RFC 8017 §A.1.2).
fn components(pkcs8: &[u8]) -> [&[u8]; 3] {
    let (_, document, _) = element(pkcs8);
    let (_, _version, rest) = element(document);
    let (_, _algorithm, rest) = element(rest);
    let (_, key, _) = element(rest);
    let (_, key, _) = element(key);
    let (_, _version, rest) = element(key);
    let (_, n, rest) = element(rest);
    let (_, e, rest) = element(rest);
    let (_, d, _) = element(rest);
    // DER puts a zero before what would look negative.
    [n, e, d].map(|number| number.strip_prefix(&[0]).unwrap_or(number))
}

/// The first DER element: tag, content, and what follows.
fn element(der: &[u8]) -> (u8, &[u8], &[u8]) {
    let (long, start) = match der[1] {
        short @ ..0x80 => (usize::from(short), 2),
        count => {
            let start = 2 + usize::from(count & 0x7f);
            let length = der[2..start].iter();
            (
                length.fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
                start,
            )
        }
    };
    let (content, rest) = der[start..].split_at(long);
    (der[0], content, rest)
}

const HASHES: [(&digest::Algorithm, u8); 3] = [
    (&digest::SHA256, 1),
    (&digest::SHA384, 2),
    (&digest::SHA512, 3),
];

/// DigestInfo and hash, with the parameters' bytes chosen.
fn digest_info(which: usize, message: &[u8], parameters: &[u8]) -> Vec<u8> {
    let (hash, last) = HASHES[which];
    let hash = digest::digest(hash, message);
    let oid = [
        0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last,
    ];
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let algorithm = [&oid[..], parameters].concat();
    let octets = [&[0x04, length(hash.as_ref())], hash.as_ref()].concat();
    let inner = [&[0x30, length(&algorithm)], &algorithm[..], &octets].concat();
    [&[0x30, length(&inner)], &inner[..]].concat()
}

const NULL: &[u8] = &[0x05, 0x00];

/// 00 01 FF … FF 00 and the end.
fn padded(length: usize, end: &[u8]) -> Vec<u8> {
    let padding = length - 3 - end.len();
    [&[0, 1][..], &vec![0xff; padding], &[0], end].concat()
}

fn good_block(key: &Key, which: usize, message: &[u8]) -> Vec<u8> {
    padded(key.length(), &digest_info(which, message, NULL))
}

/// Blocks that a parser may take for the good one, and ones that differ from it in a place that matters.
fn crafted(length: usize, which: usize) -> Vec<(&'static str, Vec<u8>)> {
    let info = digest_info(which, MESSAGE, NULL);
    let good = padded(length, &info);
    let changed = |at: usize, to: u8| {
        let mut block = good.clone();
        block[at] = to;
        block
    };
    let garbage = |padding: usize| {
        let mut block = [&[0, 1][..], &vec![0xff; padding], &[0], &info].concat();
        block.resize(length, 0);
        block
    };
    let separator = length - info.len() - 1;
    let other = digest_info((which + 1) % 3, MESSAGE, NULL);
    let no_info = digest::digest(HASHES[which].0, MESSAGE);
    vec![
        (
            "no parameters",
            padded(length, &digest_info(which, MESSAGE, &[])),
        ),
        (
            "NULL of one byte",
            padded(length, &digest_info(which, MESSAGE, &[0x05, 0x01, 0x00])),
        ),
        (
            "NULL in two",
            padded(length, &digest_info(which, MESSAGE, &[0x05, 0x81, 0x00])),
        ),
        ("garbage after eight", garbage(8)),
        ("garbage after none", garbage(0)),
        ("garbage of one byte", garbage(length - 4 - info.len())),
        ("block type 0", changed(1, 0)),
        ("block type 2", changed(1, 2)),
        ("first byte 1", changed(0, 1)),
        ("first padding", changed(2, 0xfe)),
        ("middle padding", changed(length / 2, 0)),
        ("last padding", changed(separator - 1, 0x7f)),
        ("separator", changed(separator, 1)),
        ("separator FF", changed(separator, 0xff)),
        ("hash", changed(length - 1, good[length - 1] ^ 1)),
        ("another hash", padded(length, &other)),
        ("hash alone", padded(length, no_info.as_ref())),
        (
            "another message",
            padded(length, &digest_info(which, b"another", NULL)),
        ),
        ("nothing", vec![0; length]),
        ("one", fixed(&BigUint::from(1u8), length)),
    ]
}

#[test]
fn only_the_one_block_is_accepted() {
    for size in [KeySize::Rsa2048, KeySize::Rsa3072, KeySize::Rsa4096] {
        let key = Key::new(size);
        for which in 0..3 {
            let good = key.sign(&good_block(&key, which, MESSAGE));
            assert!(key.verdict(which, MESSAGE, &good));
            assert!(!key.verdict(which + 1, MESSAGE, &good));
            for (name, block) in crafted(key.length(), which) {
                let signature = key.sign(&block);
                assert!(!key.verdict(which, MESSAGE, &signature), "{name}");
            }
        }
    }
}

#[test]
fn signatures_at_the_edges_are_judged_alike() {
    for size in [KeySize::Rsa2048, KeySize::Rsa3072, KeySize::Rsa4096] {
        let key = Key::new(size);
        let (n, length) = (&key.modulus, key.length());
        let end = BigUint::from(1u8) << (8 * length);
        let good = BigUint::from_bytes_be(&key.sign(&good_block(&key, 0, MESSAGE)));
        let mut edges: Vec<BigUint> = [0u8, 1, 2].map(BigUint::from).into();
        edges.extend([
            n - 2u8,
            n - 1u8,
            n.clone(),
            n + 1u8,
            &end - 1u8,
            n - &good,
            &good + n,
        ]);
        for edge in edges {
            assert!(!key.verdict(0, MESSAGE, &fixed(&edge, length)), "{edge:x}");
        }
        let good = fixed(&good, length);
        assert!(key.verdict(0, MESSAGE, &good));
        for wrong in [
            &good[1..],
            &good[..length - 1],
            &[&[0], &good[..]].concat(),
            &[&good[..], &[0]].concat(),
            &[],
        ] {
            assert!(!key.verdict(0, MESSAGE, wrong));
        }
    }
}

/// Moduli that no key has: the verdict on them is the same all the same.
#[test]
fn strange_moduli_are_judged_alike() {
    for bits in [2048usize, 2056, 3072, 4096, 4095, 2049] {
        let top = BigUint::from(1u8) << (bits - 1);
        for modulus in [&top + 1u8, (&top << 1u8) - 1u8, &top + 0xffff_ffffu32] {
            let n = modulus.to_bytes_be();
            // RFC 7518 §6.3.1.1 forbids the leading zero; some publish it.
            for published in [n.clone(), [&[0], &n[..]].concat()] {
                let jwk = format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, encode(&published));
                let key = Key {
                    ours: VerifyingKey::from_jwk(&jwk).unwrap(),
                    n: n.clone(),
                    modulus: modulus.clone(),
                    secret: BigUint::from(1u8),
                };
                let block = good_block(&key, 0, MESSAGE);
                for signature in [&block, &vec![0x55; n.len()], &vec![0; n.len()]] {
                    key.verdict(0, MESSAGE, signature);
                }
            }
        }
    }
}

/// xorshift64*: what it gives is as good as any, and the seed repeats it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % limit
    }
}

/// A key with a good signature for each hash.
struct Signed {
    key: Key,
    good: [Vec<u8>; 3],
}

/// A signature that is good, damaged somewhere, moved by the modulus, of a wrong length, or any number at all.
fn case(random: &mut Random, signed: &Signed) -> bool {
    let which = random.below(3);
    let mut signature = signed.good[which].clone();
    let mut message = MESSAGE.to_vec();
    let mut asked = which;
    match random.below(16) {
        0 => {}
        1..6 => {
            let bit = random.below(8 * signature.len());
            signature[bit / 8] ^= 1 << (bit % 8);
        }
        6..9 => {
            let start = random.below(signature.len());
            let fill = random.next().to_le_bytes();
            for (at, byte) in signature[start..]
                .iter_mut()
                .take(1 + random.below(64))
                .enumerate()
            {
                *byte = fill[at % 8];
            }
        }
        9..13 => {
            for byte in &mut signature {
                *byte = random.next().to_le_bytes()[4];
            }
        }
        13 => {
            let sum = BigUint::from_bytes_be(&signature) + &signed.key.modulus;
            signature = fixed(&sum, signed.key.length());
        }
        14 => signature.truncate(random.below(signature.len())),
        _ => {
            asked += random.below(2);
            let bit = random.below(8 * message.len());
            message[bit / 8] ^= 1 << (bit % 8);
        }
    }
    signed.key.verdict(asked, &message, &signature)
}

fn run(cases: u64) {
    let seed = RandomState::new().hash_one(cases) | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    let signed = [
        KeySize::Rsa2048,
        KeySize::Rsa2048,
        KeySize::Rsa3072,
        KeySize::Rsa4096,
    ]
    .map(|size| {
        let key = Key::new(size);
        let good = [0, 1, 2].map(|which| key.sign(&good_block(&key, which, MESSAGE)));
        Signed { key, good }
    });
    let mut accepted = 0;
    for _ in 0..cases {
        let signed = &signed[random.below(signed.len())];
        accepted += u64::from(case(&mut random, signed));
    }
    println!("{cases} cases, {accepted} accepted");
    assert!(accepted > cases / 64 && accepted < cases / 4, "{accepted}");
}

#[test]
fn random_and_damaged_signatures_are_judged_alike() {
    run(20_000);
}

/// `cargo test --release --test rsa -- --ignored --nocapture`
#[test]
#[ignore = "a million cases take a minute"]
fn a_million_signatures_are_judged_alike() {
    run(1_000_000);
}
