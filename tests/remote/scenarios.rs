//! The scenarios of a scripted JWKS server, one test each, named as in `scenarios.json` of the corpora.
//!
//! Two of them leave room, and we take a stand. `flap` would have a key that has just left the set still accepted: ours ends
//! with the answer that lacks it, and what is never refused is a token whose key is in the set. `good-then-empty`: a set
//! without one usable key is a bad answer, and the last good one serves on to its bound.

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;
use crate::support::corpus;

/// Every scenario, by its id, and the test that plays it.
const SCENARIOS: [&str; 14] = [
    "unknown-kid-flood",
    "cooldown-after-error",
    "redirect-http",
    "redirect-loop",
    "slow-headers",
    "gzip-bomb",
    "good-then-500",
    "good-then-empty",
    "removal",
    "flap",
    "max-age-huge",
    "out-of-order",
    "bad-key-in-good-set",
    "tls-bad-cert",
];

#[test]
fn every_scenario_of_the_corpus_has_its_test() {
    let source = include_str!("scenarios.rs");
    for id in SCENARIOS {
        let function = format!("fn {}(", id.replace('-', "_"));
        assert!(source.contains(&function), "{id} has no test");
    }
    let Some(text) = corpus::text("scenarios", "scenarios.json") else {
        return;
    };
    let corpus: serde_json::Value = serde_json::from_str(&text).unwrap();
    let listed = corpus["scenarios"].as_array().unwrap().iter();
    let ids: Vec<&str> = listed.map(|each| each["id"].as_str().unwrap()).collect();
    assert_eq!(ids, SCENARIOS);
}

#[tokio::test]
async fn unknown_kid_flood() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    let good = token(&key);
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    for moment in 0..100 {
        for n in 0..100 {
            let header = json!({ "alg": "EdDSA", "kid": format!("{moment}-{n}") });
            let flood = format!(
                "{}.{}",
                tokens::encode(&header.to_string()),
                good.split_once('.').unwrap().1
            );
            assert_eq!(reason(&verifier, &flood).await, Err("unknown_key"));
        }
        assert_eq!(reason(&verifier, &good).await, Ok(()));
        clock.advance(Duration::from_millis(10));
    }
    assert!(
        server.count() <= 2,
        "{} fetches in a second",
        server.count()
    );
}

#[tokio::test]
async fn cooldown_after_error() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::with(500, &[], "")).await;
    let verifier = verifier(&server, &clock);
    for _ in 0..1000 {
        assert_eq!(
            reason(&verifier, &token(&key)).await,
            Err("keys_unavailable")
        );
    }
    assert_eq!(server.count(), 1);
    // A minute of it: no more than the back-off without keys, 1.5 s less its jitter, allows.
    for _ in 0..600 {
        clock.advance(Duration::from_millis(100));
        assert_eq!(
            reason(&verifier, &token(&key)).await,
            Err("keys_unavailable")
        );
    }
    assert!(server.count() <= 1 + 60, "{} fetches", server.count());
}

#[tokio::test]
async fn redirect_http() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok("")).await;
    let target = server.url("/elsewhere");
    server.reply(Reply::with(302, &[("Location", &target)], jwks(&[&key])));
    let verifier = verifier(&server, &clock);
    assert_eq!(
        reason(&verifier, &token(&key)).await,
        Err("keys_unavailable")
    );
    assert!(
        server
            .heads()
            .iter()
            .all(|head| !head.contains("elsewhere"))
    );
}

#[tokio::test]
async fn redirect_loop() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::with(302, &[("Location", "/jwks.json")], "")).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(
        reason(&verifier, &token(&key)).await,
        Err("keys_unavailable")
    );
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn slow_headers() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::Dribble).await;
    let verifier = verifier(&server, &clock);
    server.asked(1).await;
    for _ in 0..5 {
        server.release();
        clock.advance(Duration::from_secs(1));
    }
    eventually("it is given up", || status(&verifier).last_error.is_some()).await;
    let error = status(&verifier).last_error.unwrap();
    assert!(error.contains("no answer within 5000 ms"), "{error}");
    assert_eq!(
        verifier
            .try_verify::<Claims>(&token(&key))
            .unwrap_err()
            .code(),
        "keys_unavailable"
    );
}

/// A gzip member (RFC 1952) that inflates to about 158 times its size, all zeros: one fixed block (RFC 1951 §3.2.6) of a
/// literal and then copies of 258 bytes from one byte back, 13 bits each.
fn bomb(compressed: usize) -> Vec<u8> {
    let mut bits = vec![true, true, false]; // the last block; fixed codes
    bits.extend([false, false, true, true, false, false, false, false]); // literal 0
    // Length code 285 is 11000101, distance code 0 is 00000.
    let copy = [
        true, true, false, false, false, true, false, true, false, false, false, false, false,
    ];
    while bits.len() < compressed * 8 {
        bits.extend(copy);
    }
    let packed = bits.chunks(8).map(|byte| {
        byte.iter()
            .rev()
            .fold(0, |value, &bit| value << 1 | u8::from(bit))
    });
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    member.extend(packed);
    member
}

/// Memory of this process that is in use, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

#[tokio::test]
async fn gzip_bomb() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    for (compressed, error) in [
        // 31 MB inflated, from a body within the limit; and 1 GB from one beyond it.
        (200 * 1024, "not a JWK Set"),
        (6_800_000, "a body of more than 262144 bytes"),
    ] {
        let body = bomb(compressed);
        let reply = Reply::with(200, &[("Content-Encoding", "gzip")], body);
        let server = JwksServer::start(reply).await;
        let before = resident();
        let verifier = verifier(&server, &clock);
        assert_eq!(
            reason(&verifier, &token(&key)).await,
            Err("keys_unavailable")
        );
        let shown = status(&verifier).last_error.unwrap();
        assert!(shown.contains(error), "{shown}");
        let grown = resident().saturating_sub(before);
        assert!(grown < 24 << 20, "{grown} bytes more");
    }
}

#[tokio::test]
async fn good_then_500() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let headers = [("Cache-Control", "max-age=1")];
    let server = JwksServer::start(Reply::with(200, &headers, jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    let good = tokens::lasting_token(&key);
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    server.reply(Reply::with(500, &[], ""));
    // No pause between two tries is longer than 60 s and its jitter.
    for _ in 0..51 {
        let before = fetches(&verifier);
        clock.advance(Duration::from_secs(70));
        eventually("another try", || fetches(&verifier) > before).await;
        assert_eq!(reason(&verifier, &good).await, Ok(()));
    }
    clock.advance(Duration::from_secs(29));
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    let failed = metric(
        &verifier,
        &format!("keywheel_jwks_fetches_total{{issuer=\"{ISSUER}\",result=\"status\"}}"),
    );
    assert!(failed >= 51, "{failed} failures in the metric");
    clock.advance(Duration::from_secs(2));
    eventually("the bound holds", || !verifier.is_ready()).await;
    assert_eq!(reason(&verifier, &good).await, Err("keys_unavailable"));
}

#[tokio::test]
async fn good_then_empty() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    let good = tokens::lasting_token(&key);
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    server.reply(Reply::ok(r#"{"keys":[]}"#));
    advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    clock.advance(HOUR);
    eventually("the bound holds", || !verifier.is_ready()).await;
    assert_eq!(reason(&verifier, &good).await, Err("keys_unavailable"));
}

#[tokio::test]
async fn removal() {
    let (clock, a, b) = (ManualClock::new(NOW), key("a"), key("b"));
    let server = JwksServer::start(Reply::ok(jwks(&[&a, &b]))).await;
    let verifier = verifier(&server, &clock);
    let cached = tokens::lasting_token(&a);
    for _ in 0..2 {
        assert_eq!(reason(&verifier, &cached).await, Ok(()));
    }
    assert_eq!(
        metric(&verifier, "keywheel_token_cache_total{result=\"hit\"}"),
        1
    );
    server.reply(Reply::ok(jwks(&[&b])));
    advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    assert_eq!(reason(&verifier, &cached).await, Err("unknown_key"));
    assert_eq!(
        reason(&verifier, &tokens::lasting_token(&a)).await,
        Err("unknown_key")
    );
    assert_eq!(reason(&verifier, &tokens::lasting_token(&b)).await, Ok(()));
}

#[tokio::test]
async fn flap() {
    const STEPS: usize = 100;
    let clock = ManualClock::new(NOW);
    let keys: Vec<_> = (0..5).map(|n| key(&format!("k{n}"))).collect();
    let set = |step: usize| [&keys[step % 5], &keys[(step + 1) % 5]];
    let reply = |step: usize| Reply::Push {
        etag: format!("\"{step}\""),
        body: jwks(&set(step)).into(),
    };
    let server = JwksServer::start(reply(0)).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&keys[0])).await, Ok(()));
    for step in 1..STEPS {
        server.holds(1).await;
        clock.advance(Duration::from_secs(1));
        server.reply(reply(step));
        eventually("the step is there", || {
            status(&verifier).etag == Some(format!("\"{step}\""))
        })
        .await;
        for key in set(step) {
            let token = tokens::lasting_token(key);
            assert_eq!(reason(&verifier, &token).await, Ok(()), "step {step}");
        }
        let gone = tokens::lasting_token(set(step - 1)[0]);
        assert_eq!(reason(&verifier, &gone).await, Err("unknown_key"));
    }
    // One answer a step; and no more for the keys that are gone than the cool-down allows.
    let most = 2 + STEPS + 2 * STEPS / 5;
    assert!(server.count() <= most, "{} requests", server.count());
}

#[tokio::test]
async fn max_age_huge() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    for max_age in [
        "1000000000000",
        "18446744073709551615",
        "99999999999999999999",
    ] {
        let header = format!("max-age={max_age}");
        let headers = [("Cache-Control", header.as_str())];
        let server = JwksServer::start(Reply::with(200, &headers, jwks(&[&key]))).await;
        let verifier = verifier(&server, &clock);
        assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
        let next = status(&verifier).next_refresh.unwrap();
        assert!(next <= HOUR, "{max_age}: {next:?}");
    }
}

#[tokio::test]
async fn out_of_order() {
    let (clock, old, new) = (ManualClock::new(NOW), key("old"), key("new"));
    let delayed = Reply::Delayed {
        then: Box::new(Reply::ok(jwks(&[&old]))),
    };
    let server = JwksServer::start(delayed).await;
    let verifier = verifier(&server, &clock);
    server.asked(1).await;
    // The first answer is under way until its deadline, and nothing else is started beside it.
    clock.advance(Duration::from_secs(2));
    verifier.try_verify::<Claims>(&token(&new)).unwrap_err();
    assert_eq!(server.count(), 1);
    clock.advance(Duration::from_secs(3));
    eventually("the first is given up", || fetches(&verifier) == 1).await;
    // The second one is immediate, and the first comes after it. (The change of the script is what lets it go.)
    server.reply(Reply::ok(jwks(&[&new])));
    clock.advance(Duration::from_secs(2));
    eventually("the second is there", || verifier.is_ready()).await;
    server.release();
    meanwhile().await;
    assert_eq!(status(&verifier).kids, ["new"]);
    assert_eq!(reason(&verifier, &token(&new)).await, Ok(()));
}

#[tokio::test]
async fn bad_key_in_good_set() {
    let (clock, good) = (ManualClock::new(NOW), key("good"));
    let document = format!(
        r#"{{"keys":[
            {{"kty":"XYZ","kid":"1"}},
            {{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"2"}},
            {{"kty":"OKP","crv":"X25519","x":"3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08","kid":"3"}},
            {{"kty":"AKP","alg":"ML-DSA-44","pub":"AAAA","kid":"4"}},
            {}
        ]}}"#,
        good.verifying_key().to_jwk()
    );
    let server = JwksServer::start(Reply::ok(document)).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&good)).await, Ok(()));
    assert_eq!(status(&verifier).skipped, 4);
    assert_eq!(status(&verifier).kids, ["good"]);
}

#[tokio::test]
async fn tls_bad_cert() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let certificate = certified.cert.der().clone();
    let private = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = || std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], private.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let plain = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let backend = plain.url("").replace("http://", "");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, backend) = (acceptor.clone(), backend.clone());
            tokio::spawn(async move {
                let mut tls = acceptor.accept(stream).await?;
                let mut plain = tokio::net::TcpStream::connect(backend).await?;
                tokio::io::copy_bidirectional(&mut tls, &mut plain).await
            });
        }
    });
    let url = format!("https://localhost:{port}/jwks.json");
    let verifier = builder(&clock).jwks_url(&url).build().unwrap();
    assert_eq!(
        reason(&verifier, &token(&key)).await,
        Err("keys_unavailable")
    );
    let error = status(&verifier).last_error.unwrap().to_lowercase();
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(plain.count(), 0);
    // The same server, to a caller's own client that knows its certificate.
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let verifier = builder(&clock)
        .jwks_url(&url)
        .http_client(client)
        .build()
        .unwrap();
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
}
