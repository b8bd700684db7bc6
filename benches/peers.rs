//! Against the others, in one run and in turns, each at its best: its key parsed once where that can be had, the same token, the same
//! checks. Ends with the table of targets, each met or not met.
//!
//! `cargo bench --bench peers`
#![allow(missing_docs, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::hint::black_box;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use keywheel::jose::SigningKey;
use keywheel::{Algorithm, Claims, JwkSet};
use support::{Contender, HitRate, Measured, Round, different_tokens, ratio, take_turns, tokens};

const TOKENS: usize = 10_000;
/// An RSA signature takes most of a millisecond to make; so many are as far beyond any cache of the machine.
const RSA_TOKENS: usize = 2_000;
const ROUNDS: usize = 21;
const SLICE: Duration = Duration::from_millis(20);

/// What an application would decode.
#[derive(serde::Deserialize)]
#[allow(dead_code)]
struct Decoded {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    iat: u64,
    jti: String,
    scope: String,
}

/// A token's parts as the raw verification functions want them.
struct Raw {
    message: Vec<u8>,
    signature: Vec<u8>,
}

fn raw(token: &str) -> Raw {
    let (message, signature) = token.rsplit_once('.').expect("a token");
    Raw {
        message: message.into(),
        signature: BASE64URL.decode(signature).expect("base64url"),
    }
}

/// A target, and what was measured for it.
struct Target {
    what: &'static str,
    wanted: String,
    is: String,
    met: bool,
}

#[derive(Default)]
struct Targets(Vec<Target>);

impl Targets {
    fn at_most(&mut self, what: &'static str, limit: f64, is: f64, unit: &str) {
        let (wanted, met) = (format!("≤ {limit} {unit}"), is <= limit);
        let is = format!("{is:.2} {unit}");
        self.0.push(Target {
            what,
            wanted,
            is,
            met,
        });
    }

    fn at_least(&mut self, what: &'static str, limit: f64, is: f64, unit: &str) {
        let (wanted, met) = (format!("≥ {limit} {unit}"), is >= limit);
        let is = format!("{is:.2} {unit}");
        self.0.push(Target {
            what,
            wanted,
            is,
            met,
        });
    }

    fn print(&self) {
        println!("\n| target | wanted | measured | |\n| --- | --- | --- | --- |");
        for Target {
            what,
            wanted,
            is,
            met,
        } in &self.0
        {
            let met = if *met { "met" } else { "NOT MET" };
            println!("| {what} | {wanted} | {is} | {met} |");
        }
    }
}

fn find<'m>(measured: &'m [Measured], name: &str) -> &'m Measured {
    let mut measured = measured.iter();
    measured
        .find(|one| one.name == name)
        .expect("it was measured")
}

/// jsonwebtoken with aws-lc, its fastest backend.
fn jsonwebtoken<'a>(key: &SigningKey, algorithm: Algorithm, tokens: &'a [String]) -> Contender<'a> {
    use jsonwebtoken::{DecodingKey, Validation, decode, jwk::Jwk};
    let jwk: Jwk = serde_json::from_str(&key.verifying_key().to_jwk()).expect("a JWK");
    let key = DecodingKey::from_jwk(&jwk).expect("a key");
    let mut validation = Validation::new(algorithm.name().parse().expect("an algorithm"));
    validation.set_issuer(&[tokens::ISSUER]);
    validation.set_audience(&[tokens::AUDIENCE]);
    validation.leeway = 0;
    let mut round = Round::of(tokens);
    let run = move || {
        black_box(decode::<Decoded>(round.next(), &key, &validation).expect("accepted"));
    };
    ("jsonwebtoken (aws-lc)", Box::new(run))
}

fn keywheel<'a>(set: &JwkSet, tokens: &'a [String], name: &'a str, good: bool) -> Contender<'a> {
    let verifier = support::verifier(set.clone(), 0);
    let mut round = Round::of(tokens);
    let run = move || {
        let verdict = verifier.try_verify::<Claims>(black_box(round.next()));
        assert_eq!(black_box(verdict).is_ok(), good);
    };
    (name, Box::new(run))
}

/// The same signatures by our own key, without everything around them.
fn keywheel_raw<'a>(set: &JwkSet, algorithm: Algorithm, raws: &'a [Raw]) -> Contender<'a> {
    let key = set.keys[0].clone();
    let mut round = Round::of(raws);
    let run = move || {
        let Raw { message, signature } = round.next();
        assert!(key.verify(algorithm, black_box(message), signature));
    };
    ("keywheel, signature alone", Box::new(run))
}

/// A raw verification function over the same signatures.
fn function<'a>(
    name: &'a str,
    raws: &'a [Raw],
    verify: impl Fn(&[u8], &[u8]) -> bool + 'a,
) -> Contender<'a> {
    let mut round = Round::of(raws);
    let run = move || {
        let Raw { message, signature } = round.next();
        assert!(verify(black_box(message), signature));
    };
    (name, Box::new(run))
}

fn eddsa(targets: &mut Targets) {
    let (key, set) = support::keys(Algorithm::EdDSA);
    let good = different_tokens(&key, TOKENS);
    let raws: Vec<Raw> = good.iter().map(|token| raw(token)).collect();
    let forged: Vec<String> = good.iter().map(|token| tokens::forged(token)).collect();
    let (other, _) = support::keys(Algorithm::EdDSA);
    let unknown: Vec<String> = different_tokens(&other, 1_000)
        .iter()
        .map(|token| {
            let (_, rest) = token.split_once('.').expect("a token");
            let header = r#"{"alg":"EdDSA","kid":"other","typ":"at+jwt"}"#;
            format!("{}.{rest}", tokens::encode(header))
        })
        .collect();
    let jwk: serde_json::Value =
        serde_json::from_str(&key.verifying_key().to_jwk()).expect("a JWK");
    let x = BASE64URL
        .decode(jwk["x"].as_str().expect("x"))
        .expect("base64url");
    let x: [u8; 32] = x.try_into().expect("32 bytes");
    let dalek = ed25519_dalek::VerifyingKey::from_bytes(&x).expect("a point");
    let ring = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, x);
    let aws = aws_lc_rs::signature::ParsedPublicKey::new(&aws_lc_rs::signature::ED25519, x);
    let aws = aws.expect("a key");
    let cached = support::verifier(set.clone(), 32_768);
    support::fill(&cached, &good);
    let rate = HitRate::start(&cached);
    let mut round = Round::of(&good);
    println!("EdDSA, token of {} bytes", good[0].len());
    let measured = take_turns(
        ROUNDS,
        SLICE,
        vec![
            keywheel(&set, &good, "keywheel", true),
            keywheel_raw(&set, Algorithm::EdDSA, &raws),
            function(
                "ed25519-dalek verify_strict, signature alone",
                &raws,
                |message, signature| {
                    let signature =
                        ed25519_dalek::Signature::from_slice(signature).expect("64 bytes");
                    dalek.verify_strict(message, &signature).is_ok()
                },
            ),
            function("ring, signature alone", &raws, |message, signature| {
                ring.verify(message, signature).is_ok()
            }),
            function(
                "aws-lc-rs parsed key, signature alone",
                &raws,
                |message, signature| aws.verify_sig(message, signature).is_ok(),
            ),
            jsonwebtoken(&key, Algorithm::EdDSA, &good),
            keywheel(&set, &forged, "keywheel, forged", false),
            keywheel(&set, &unknown, "keywheel, unknown kid", false),
            (
                "keywheel, cached, 10,000 tokens",
                Box::new(|| {
                    let verdict = cached.try_verify::<Claims>(black_box(round.next()));
                    assert!(black_box(verdict).is_ok());
                }),
            ),
        ],
    );
    support::print(&measured);
    println!("  {:.1} % of the looks were hits", rate.percent(&cached));
    let peers = node(&key, Algorithm::EdDSA, &good);
    let of = |name| find(&measured, name);
    let ours = of("keywheel");
    let dalek = of("ed25519-dalek verify_strict, signature alone");
    targets.at_most(
        "EdDSA, token not seen before / dalek's raw verify",
        0.5,
        ratio(ours, dalek),
        "×",
    );
    targets.at_least(
        "jsonwebtoken's fastest backend / EdDSA not seen before",
        2.7,
        ratio(of("jsonwebtoken (aws-lc)"), ours),
        "×",
    );
    targets.at_least(
        "ring's raw verify / EdDSA not seen before",
        3.5,
        ratio(of("ring, signature alone"), ours),
        "×",
    );
    let rest = ours
        .rounds
        .iter()
        .zip(&of("keywheel, signature alone").rounds);
    let rest = support::median(rest.map(|(whole, raw)| whole - raw).collect());
    targets.at_most("everything but the signature", 1.5, rest / 1e3, "µs");
    targets.at_most(
        "token seen before, 10,000 in use",
        200.0,
        of("keywheel, cached, 10,000 tokens").median(),
        "ns",
    );
    let theirs = peers
        .iter()
        .find(|(name, _)| name.starts_with("fast-jwt, cached"));
    if let Some((_, theirs)) = theirs {
        let ours = of("keywheel, cached, 10,000 tokens").median();
        targets.at_least("fast-jwt's cached verify / ours", 25.0, theirs / ours, "×");
    }
    targets.at_most(
        "forged / accepted",
        1.0,
        ratio(of("keywheel, forged"), ours),
        "×",
    );
    targets.at_most(
        "unknown kid",
        2.0,
        of("keywheel, unknown kid").median() / 1e3,
        "µs",
    );
}

fn rs256(targets: &mut Targets) {
    let (key, set) = support::keys(Algorithm::RS256);
    let good = different_tokens(&key, RSA_TOKENS);
    let raws: Vec<Raw> = good.iter().map(|token| raw(token)).collect();
    let jwk: serde_json::Value =
        serde_json::from_str(&key.verifying_key().to_jwk()).expect("a JWK");
    let member = |name: &str| {
        BASE64URL
            .decode(jwk[name].as_str().expect("a member"))
            .expect("base64url")
    };
    let (n, e) = (member("n"), member("e"));
    let ring = ring::signature::RsaPublicKeyComponents { n: &n, e: &e };
    let params = &ring::signature::RSA_PKCS1_2048_8192_SHA256;
    println!("\nRS256, token of {} bytes", good[0].len());
    let measured = take_turns(
        ROUNDS,
        SLICE,
        vec![
            keywheel(&set, &good, "keywheel", true),
            keywheel_raw(&set, Algorithm::RS256, &raws),
            function("ring, signature alone", &raws, |message, signature| {
                ring.verify(params, message, signature).is_ok()
            }),
            jsonwebtoken(&key, Algorithm::RS256, &good),
        ],
    );
    support::print(&measured);
    let of = |name| find(&measured, name);
    let ours = of("keywheel");
    targets.at_most(
        "RS256, token not seen before / ring's raw verify",
        1.06,
        ratio(ours, of("ring, signature alone")),
        "×",
    );
    targets.at_least(
        "jsonwebtoken's fastest backend / RS256 not seen before",
        1.0,
        ratio(of("jsonwebtoken (aws-lc)"), ours),
        "×",
    );
}

/// fast-jwt and jose on Node, if it is there and `npm ci` was run in `benches/peers`: name and nanoseconds a token.
fn node(key: &SigningKey, algorithm: Algorithm, tokens: &[String]) -> Vec<(String, f64)> {
    use std::io::Write as _;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    if !folder.join("node_modules").exists() {
        println!("  (fast-jwt and jose: not here; npm ci in benches/peers installs them)");
        return Vec::new();
    }
    let jwk: serde_json::Value =
        serde_json::from_str(&key.verifying_key().to_jwk()).expect("a JWK");
    let input = serde_json::json!({
        "jwk": jwk, "alg": algorithm.name(), "issuer": tokens::ISSUER, "audience": tokens::AUDIENCE, "tokens": tokens,
    });
    let node = std::process::Command::new("node")
        .arg(folder.join("node.mjs"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut node) = node else {
        println!("  (fast-jwt and jose: node cannot be run)");
        return Vec::new();
    };
    let mut stdin = node.stdin.take().expect("piped");
    stdin
        .write_all(input.to_string().as_bytes())
        .expect("written");
    drop(stdin);
    let output = node.wait_with_output().expect("done");
    let lines = String::from_utf8(output.stdout).expect("text");
    let line = |line: &str| {
        let (name, time) = line.split_once('\t')?;
        Some((format!("{name} (Node)"), time.parse().ok()?))
    };
    let measured: Vec<(String, f64)> = lines.lines().filter_map(line).collect();
    for (name, time) in &measured {
        println!("  {name:<52} {time:>9.0} ns");
    }
    measured
}

/// What the process takes of the machine's memory, in bytes; Linux tells it.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024.0)
}

/// Before anything else, so that nothing is taken from what others gave back.
fn memory(targets: &mut Targets) {
    let (key, set) = support::keys(Algorithm::EdDSA);
    let tokens = different_tokens(&key, TOKENS);
    let before = resident();
    let verifier = support::verifier(set, 32_768);
    support::fill(&verifier, &tokens);
    if let (Some(before), Some(after)) = (before, resident()) {
        let taken = (after - before) / f64::from(1 << 20);
        let what = "verifier with 10,000 cached tokens, its tables with it";
        targets.at_most(what, 16.0, taken, "MiB");
    }
    assert!(verifier.is_ready());
}

fn main() {
    let mut targets = Targets::default();
    memory(&mut targets);
    eddsa(&mut targets);
    rs256(&mut targets);
    targets.print();
}
