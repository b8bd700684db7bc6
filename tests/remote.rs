//! Keys that are fetched: every way in which an issuer can be slow, wrong or gone, over real HTTP, with time at the test's
//! command.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::time::Duration;

use keywheel::verify::{IssuerStatus, RefreshPolicy, VerifierBuilder};
use keywheel::{Claims, ManualClock, Reject, Verifier};
use serde_json::json;
use support::eventually;
use support::jwks_server::{JwksServer, Reply};
use support::tokens::{self, AUDIENCE, ISSUER, NOW, jwks, key, token};

const COOL_DOWN: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3600);

fn builder(clock: &ManualClock) -> VerifierBuilder {
    Verifier::builder()
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .clock(clock.clone())
}

fn verifier(server: &JwksServer, clock: &ManualClock) -> Verifier {
    builder(clock)
        .jwks_url(server.url("/jwks.json"))
        .build()
        .unwrap()
}

async fn reason(verifier: &Verifier, token: &str) -> Result<(), &'static str> {
    let verdict = verifier.verify::<Claims>(token).await;
    verdict.map(|_| ()).map_err(|reject| reject.code())
}

fn status(verifier: &Verifier) -> IssuerStatus {
    verifier.status().remove(0)
}

/// Lets `by` pass and waits until the fetch that this makes due has ended.
async fn advance_and_fetch(
    clock: &ManualClock,
    verifier: &Verifier,
    server: &JwksServer,
    by: Duration,
) {
    let before = fetches(verifier);
    let asked = server.count();
    clock.advance(by);
    server.asked(asked + 1).await;
    eventually("the fetch ends", || fetches(verifier) > before).await;
}

/// Fetches that have ended, whatever came of them.
fn fetches(verifier: &Verifier) -> u64 {
    metric(verifier, "keywheel_jwks_fetches_total")
}

fn metric(verifier: &Verifier, name: &str) -> u64 {
    let rendered = verifier.metrics().render();
    let series = rendered.lines().filter(|line| line.starts_with(name));
    series
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

#[tokio::test]
async fn a_thousand_first_tokens_cost_one_fetch() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (verifier, token) = (verifier.clone(), token(&key));
        tasks.spawn(async move { reason(&verifier, &token).await });
    }
    while let Some(verdict) = tasks.join_next().await {
        assert_eq!(verdict.unwrap(), Ok(()));
    }
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn unknown_kid_flood_costs_one_fetch_per_cool_down() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    let good = token(&key);
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    const SECONDS: usize = 60;
    for second in 0..SECONDS {
        for n in 0..100 {
            let header = json!({ "alg": "EdDSA", "kid": format!("invented-{second}-{n}") });
            let flood = tokens::forged(&tokens::sign(&key, &header, &tokens::claims()));
            assert_eq!(reason(&verifier, &flood).await, Err("unknown_key"));
        }
        assert_eq!(reason(&verifier, &good).await, Ok(()));
        clock.advance(Duration::from_secs(1));
    }
    let most = 1 + SECONDS / 5;
    assert!(
        (2..=most).contains(&server.count()),
        "{} fetches",
        server.count()
    );
    let suppressed = metric(&verifier, "keywheel_jwks_refreshes_suppressed_total");
    assert!(suppressed > 5900, "{suppressed}");
}

#[tokio::test]
async fn a_kid_that_stays_unknown_asks_ever_more_rarely() {
    let (clock, known, unknown) = (ManualClock::new(NOW), key("a"), key("b"));
    let server = JwksServer::start(Reply::ok(jwks(&[&known]))).await;
    let verifier = verifier(&server, &clock);
    let stale = token(&unknown);
    for _ in 0..100 {
        assert_eq!(reason(&verifier, &stale).await, Err("unknown_key"));
        clock.advance(COOL_DOWN);
    }
    // 500 s: without the memory there would be 100 fetches.
    assert!(server.count() < 12, "{} fetches", server.count());
}

#[tokio::test]
async fn cool_down_counts_failed_attempts() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::with(500, &[], "")).await;
    let verifier = verifier(&server, &clock);
    for _ in 0..1000 {
        let verdict = verifier.verify::<Claims>(&token(&key)).await;
        assert!(
            matches!(verdict, Err(Reject::KeysUnavailable { retry_after }) if retry_after >= Duration::from_secs(1)),
            "{verdict:?}"
        );
    }
    assert_eq!(server.count(), 1);
    assert!(!verifier.is_ready());
}

#[tokio::test]
async fn an_issuer_that_is_down_at_start_is_found_when_it_returns() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    // A port that was free a moment ago: connections to it are refused.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let verifier = builder(&clock)
        .jwks_url(format!("http://{address}/jwks.json"))
        .build()
        .unwrap();
    assert_eq!(
        reason(&verifier, &token(&key)).await,
        Err("keys_unavailable")
    );
    for _ in 0..20 {
        let before = fetches(&verifier);
        clock.advance(Duration::from_secs(2));
        eventually("another try", || fetches(&verifier) > before).await;
    }
    assert!(status(&verifier).last_error.unwrap().contains("refused"));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let server = JwksServer::on(listener, Reply::ok(jwks(&[&key])));
    clock.advance(Duration::from_secs(2));
    server.asked(1).await;
    eventually("keys are there", || verifier.is_ready()).await;
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    assert_eq!(status(&verifier).last_error, None);
}

#[tokio::test]
async fn an_unannounced_key_is_found_by_one_refetch() {
    let (clock, old, new) = (ManualClock::new(NOW), key("old"), key("new"));
    let server = JwksServer::start(Reply::ok(jwks(&[&old]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&old)).await, Ok(()));
    server.reply(Reply::ok(jwks(&[&old, &new])));
    // Within the cool-down of the first fetch the answer is immediate.
    assert_eq!(reason(&verifier, &token(&new)).await, Err("unknown_key"));
    assert_eq!(server.count(), 1);
    clock.advance(COOL_DOWN);
    assert_eq!(reason(&verifier, &token(&new)).await, Ok(()));
    assert_eq!(reason(&verifier, &token(&old)).await, Ok(()));
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn try_verify_never_waits_and_asks_in_the_background() {
    let (clock, old, new) = (ManualClock::new(NOW), key("old"), key("new"));
    let server = JwksServer::start(Reply::ok(jwks(&[&old]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&old)).await, Ok(()));
    server.reply(Reply::ok(jwks(&[&old, &new])));
    clock.advance(COOL_DOWN);
    let verdict = verifier.try_verify::<Claims>(&token(&new));
    assert_eq!(verdict.unwrap_err(), Reject::UnknownKey);
    eventually("the key comes", || {
        verifier.try_verify::<Claims>(&token(&new)).is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_removed_key_is_refused_at_once() {
    let (clock, a, b) = (ManualClock::new(NOW), key("a"), key("b"));
    let server = JwksServer::start(Reply::ok(jwks(&[&a, &b]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&a)).await, Ok(()));
    server.reply(Reply::ok(jwks(&[&b])));
    advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    assert_eq!(
        verifier.try_verify::<Claims>(&token(&a)).unwrap_err(),
        Reject::UnknownKey
    );
    assert_eq!(reason(&verifier, &token(&b)).await, Ok(()));
    assert_eq!(status(&verifier).kids, ["b"]);
}

#[tokio::test]
async fn a_kid_with_new_material_replaces_the_key() {
    let (clock, first, second) = (ManualClock::new(NOW), key("same"), key("same"));
    let server = JwksServer::start(Reply::ok(jwks(&[&first]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&first)).await, Ok(()));
    assert_eq!(
        reason(&verifier, &token(&second)).await,
        Err("bad_signature")
    );
    server.reply(Reply::ok(jwks(&[&second])));
    advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    assert_eq!(
        reason(&verifier, &token(&first)).await,
        Err("bad_signature")
    );
    assert_eq!(reason(&verifier, &token(&second)).await, Ok(()));
}

#[tokio::test]
async fn bad_documents_leave_the_snapshot_unchanged() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    let good = tokens::lasting_token(&key);
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    let many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 101].join(","));
    for (reply, error) in [
        (Reply::with(404, &[], "not here"), "status 404"),
        (Reply::with(500, &[], jwks(&[&key])), "status 500"),
        (Reply::with(204, &[], ""), "status 204"),
        (Reply::with(304, &[], ""), "status 304"),
        (Reply::ok("<html>maintenance</html>"), "not a JWK Set"),
        (Reply::ok(""), "not a JWK Set"),
        (Reply::ok(r#"{"keys":[]}"#), "no usable key among 0"),
        (
            Reply::ok(r#"{"keys":[{"kty":"oct","k":"AA"}]}"#),
            "no usable key among 1",
        ),
        (Reply::ok(r#"{"keys":[],"keys":[]}"#), "duplicate"),
        (Reply::ok(b"{\"keys\":[]}\xff".to_vec()), "not UTF-8"),
        (Reply::ok(many), "more than 100 keys"),
        (Reply::Reset, "GET http://127.0.0.1"),
    ] {
        server.reply(reply.clone());
        advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
        let status = status(&verifier);
        let shown = status.last_error.unwrap_or_default();
        assert!(shown.contains(error), "{reply:?}: {shown}");
        assert_eq!(status.kids, ["a"], "{reply:?}");
        assert_eq!(reason(&verifier, &good).await, Ok(()), "{reply:?}");
        // Back to good, so that neither back-off nor staleness grows from case to case.
        server.reply(Reply::ok(jwks(&[&key])));
        advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    }
}

/// A gzip member (RFC 1952) with one stored block: as good as any to a reader that inflates.
fn gzip(content: &[u8]) -> Vec<u8> {
    let crc = !content.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            crc >> 1 ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    });
    let length = u16::try_from(content.len()).unwrap();
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(content);
    out.extend(crc.to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

#[tokio::test]
async fn compressed_answers_are_never_inflated() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    // A good set, but compressed: whoever inflated it would accept it, and would inflate a bomb too.
    let compressed = gzip(jwks(&[&key]).as_bytes());
    let reply = Reply::with(200, &[("Content-Encoding", "gzip")], compressed);
    let server = JwksServer::start(reply).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(
        reason(&verifier, &token(&key)).await,
        Err("keys_unavailable")
    );
    let error = status(&verifier).last_error.unwrap();
    assert!(error.contains("not a JWK Set"), "{error}");
    assert!(server.heads()[0].contains("accept-encoding: identity"));
}

#[tokio::test]
async fn flapping_sets_are_followed_at_their_own_pace() {
    let (clock, a, b) = (ManualClock::new(NOW), key("a"), key("b"));
    let server = JwksServer::start(Reply::ok(jwks(&[&a, &b]))).await;
    let verifier = verifier(&server, &clock);
    let (token_a, token_b) = (tokens::lasting_token(&a), tokens::lasting_token(&b));
    assert_eq!(reason(&verifier, &token_a).await, Ok(()));
    const STEPS: usize = 20;
    for step in 0..STEPS {
        let (set, there, gone) = match step % 2 {
            0 => (jwks(&[&a]), &token_a, &token_b),
            _ => (jwks(&[&b]), &token_b, &token_a),
        };
        server.reply(Reply::ok(set));
        advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
        for _ in 0..50 {
            assert_eq!(reason(&verifier, there).await, Ok(()), "step {step}");
            assert_eq!(
                reason(&verifier, gone).await,
                Err("unknown_key"),
                "step {step}"
            );
        }
    }
    assert_eq!(server.count(), 1 + STEPS);
}

#[tokio::test]
async fn one_unusable_key_among_ten_leaves_nine() {
    let clock = ManualClock::new(NOW);
    let keys: Vec<_> = (0..9).map(|n| key(&format!("k{n}"))).collect();
    let good: Vec<String> = keys
        .iter()
        .map(|key| key.verifying_key().to_jwk())
        .collect();
    let document = format!(
        r#"{{"keys":[{{"kty":"EC","kid":"broken"}},{}]}}"#,
        good.join(",")
    );
    let server = JwksServer::start(Reply::ok(document)).await;
    let verifier = verifier(&server, &clock);
    for key in &keys {
        assert_eq!(reason(&verifier, &token(key)).await, Ok(()));
    }
    assert_eq!(status(&verifier).skipped, 1);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let target = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let server = JwksServer::start(Reply::ok("")).await;
    for (status, location) in [
        (301, target.url("/jwks.json")),
        (302, target.url("/jwks.json")),
        (303, target.url("/jwks.json")),
        (307, target.url("/jwks.json")),
        (308, server.url("/jwks.json")),
        (302, "file:///etc/passwd".into()),
    ] {
        server.reply(Reply::with(status, &[("Location", &location)], ""));
        let asked = server.count();
        let verifier = verifier(&server, &clock);
        assert_eq!(
            reason(&verifier, &token(&key)).await,
            Err("keys_unavailable")
        );
        let error = self::status(&verifier).last_error.unwrap();
        assert!(error.contains("redirects are not followed"), "{error}");
        assert_eq!(server.count(), asked + 1, "{status} {location}");
    }
    assert_eq!(target.count(), 0);
}

#[tokio::test]
async fn slow_answers_end_at_the_deadline() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::Silence).await;
    let verifier = verifier(&server, &clock);
    server.asked(1).await;
    let waiting = tokio::spawn({
        let (verifier, token) = (verifier.clone(), token(&key));
        async move { reason(&verifier, &token).await }
    });
    clock.advance(Duration::from_secs(5));
    assert_eq!(waiting.await.unwrap(), Err("keys_unavailable"));
    let error = status(&verifier).last_error.unwrap();
    assert!(error.contains("no answer within 5000 ms"), "{error}");
}

#[tokio::test]
async fn oversize_answers_leave_the_snapshot_unchanged() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    let padded = format!("{}{}", jwks(&[&key]), " ".repeat(256 * 1024));
    for reply in [Reply::ok(padded), Reply::Endless] {
        server.reply(reply);
        advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
        let error = status(&verifier).last_error.unwrap();
        assert!(
            error.contains("a body of more than 262144 bytes"),
            "{error}"
        );
        assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    }
}

#[tokio::test]
async fn last_good_set_serves_until_the_staleness_bound() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    let long_lived = tokens::lasting_token(&key);
    assert_eq!(reason(&verifier, &long_lived).await, Ok(()));
    server.reply(Reply::with(500, &[], ""));
    for _ in 0..59 {
        clock.advance(Duration::from_secs(60));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(reason(&verifier, &long_lived).await, Ok(()));
    }
    clock.advance(Duration::from_secs(61));
    eventually("the set is withdrawn", || !verifier.is_ready()).await;
    assert_eq!(
        reason(&verifier, &long_lived).await,
        Err("keys_unavailable")
    );
    // And back, without its old entity tag: a 304 would be no use.
    server.reply(Reply::ok(jwks(&[&key])));
    for _ in 0..3 {
        clock.advance(Duration::from_secs(2));
        tokio::task::yield_now().await;
    }
    eventually("keys are back", || verifier.is_ready()).await;
    assert_eq!(reason(&verifier, &long_lived).await, Ok(()));
}

#[tokio::test]
async fn not_modified_keeps_the_set() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let etag = "\"v1\"";
    let server = JwksServer::start(Reply::Tagged {
        etag,
        body: jwks(&[&key]).into(),
    })
    .await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    for _ in 0..3 {
        advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
        assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    }
    let status = status(&verifier);
    assert_eq!(
        (status.etag.as_deref(), status.last_error),
        (Some(etag), None)
    );
    assert!(!server.heads()[0].contains("if-none-match"));
    assert!(server.heads()[3].contains("if-none-match: \"v1\""));
    assert!(server.heads()[0].contains("accept-encoding: identity"));
}

#[tokio::test]
async fn freshness_is_clamped() {
    let key = key("a");
    for (cache_control, at_least, at_most) in [
        ("max-age=0", 8, 10),
        ("no-store", 8, 10),
        ("max-age=-5", 480, 600),
        ("public", 480, 600),
        ("max-age=300", 240, 300),
        ("max-age=1000000000000", 2900, 3600),
        ("max-age=99999999999999999999999", 480, 600),
    ] {
        let clock = ManualClock::new(NOW);
        let headers = [("Cache-Control", cache_control)];
        let server = JwksServer::start(Reply::with(200, &headers, jwks(&[&key]))).await;
        let verifier = verifier(&server, &clock);
        assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
        let next = status(&verifier).next_refresh.unwrap().as_secs();
        assert!(
            (at_least..=at_most).contains(&next),
            "{cache_control}: {next} s"
        );
    }
}

#[tokio::test]
async fn headers_that_point_elsewhere_cause_no_connection() {
    let (clock, ours, theirs) = (ManualClock::new(NOW), key("a"), key("attacker"));
    let trap = JwksServer::start(Reply::ok(jwks(&[&theirs]))).await;
    let server = JwksServer::start(Reply::ok(jwks(&[&ours]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&ours)).await, Ok(()));
    let jwk: serde_json::Value = serde_json::from_str(&theirs.verifying_key().to_jwk()).unwrap();
    for kid in ["attacker", "a"] {
        for (name, value) in [
            ("jku", json!(trap.url("/jwks.json"))),
            ("x5u", json!(trap.url("/chain.pem"))),
            ("jwk", jwk.clone()),
        ] {
            let mut header = json!({ "alg": "EdDSA", "kid": kid });
            header[name] = value;
            let token = tokens::sign(&theirs, &header, &tokens::claims());
            let expected = if kid == "a" {
                "bad_signature"
            } else {
                "unknown_key"
            };
            assert_eq!(reason(&verifier, &token).await, Err(expected), "{header}");
        }
    }
    assert_eq!(trap.count(), 0);
}

#[tokio::test]
async fn a_failing_tls_handshake_is_no_reason_for_plain_http() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = builder(&clock)
        .jwks_url(server.url("/jwks.json").replace("http:", "https:"))
        .build()
        .unwrap();
    eventually("the fetch fails", || status(&verifier).last_error.is_some()).await;
    assert_eq!(
        reason(&verifier, &token(&key)).await,
        Err("keys_unavailable")
    );
    assert_eq!(server.count(), 0);
}

/// A server whose metadata names `issuer` and its own key set; `issuer` is its own address unless given.
async fn discoverable(key: &std::sync::Arc<keywheel::jose::SigningKey>) -> JwksServer {
    let server = JwksServer::start(Reply::ok("")).await;
    let metadata = json!({ "issuer": server.url(""), "jwks_uri": server.url("/keys") });
    // One body for both paths: each parser takes its own members.
    let mut body = metadata;
    let set: serde_json::Value = serde_json::from_str(&jwks(&[key])).unwrap();
    body["keys"] = set["keys"].clone();
    server.reply(Reply::ok(body.to_string()));
    server
}

#[tokio::test]
async fn discovery_leads_to_the_keys() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = discoverable(&key).await;
    let verifier = Verifier::builder()
        .issuer(server.url(""))
        .audience(AUDIENCE)
        .clock(clock.clone())
        .build()
        .unwrap();
    let mut claims = tokens::claims();
    claims["iss"] = json!(server.url(""));
    let token = tokens::sign(&key, &tokens::header(&key), &claims);
    assert_eq!(reason(&verifier, &token).await, Ok(()));
    let paths: Vec<String> = server
        .heads()
        .iter()
        .map(|head| head.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(paths, ["/.well-known/openid-configuration", "/keys"]);
}

#[tokio::test]
async fn metadata_of_another_issuer_is_refused() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok("")).await;
    let keys = server.url("/keys");
    for (metadata, error) in [
        (
            json!({ "issuer": "https://evil.example", "jwks_uri": keys }),
            "names issuer",
        ),
        (
            json!({ "issuer": format!("{}/", server.url("")), "jwks_uri": keys }),
            "names issuer",
        ),
        (json!({ "jwks_uri": keys }), "names issuer"),
        (json!({ "issuer": server.url("") }), "no jwks_uri"),
        (
            json!({ "issuer": server.url(""), "jwks_uri": "http://auth.example.com/keys" }),
            "plain http",
        ),
        (
            json!({ "issuer": server.url(""), "jwks_uri": "file:///etc/passwd" }),
            "scheme file",
        ),
        (json!([]), "not strict JSON"),
    ] {
        server.reply(Reply::ok(metadata.to_string()));
        let asked = server.count();
        let verifier = Verifier::builder()
            .issuer(server.url(""))
            .audience(AUDIENCE)
            .clock(clock.clone())
            .build()
            .unwrap();
        eventually("the fetch fails", || status(&verifier).last_error.is_some()).await;
        let shown = status(&verifier).last_error.unwrap();
        assert!(shown.contains(error), "{metadata}: {shown}");
        let mut claims = tokens::claims();
        claims["iss"] = json!(server.url(""));
        let token = tokens::sign(&key, &tokens::header(&key), &claims);
        assert_eq!(reason(&verifier, &token).await, Err("keys_unavailable"));
        assert_eq!(server.count(), asked + 1, "{metadata}");
    }
}

#[tokio::test]
async fn a_key_of_one_issuer_never_verifies_another() {
    let (clock, a, b) = (ManualClock::new(NOW), key("same"), key("same"));
    let server_a = JwksServer::start(Reply::ok(jwks(&[&a]))).await;
    let server_b = JwksServer::start(Reply::ok(jwks(&[&b]))).await;
    let trusted = |issuer: &str, server: &JwksServer| {
        keywheel::TrustedIssuer::new(issuer)
            .audience(AUDIENCE)
            .jwks_url(server.url("/jwks.json"))
    };
    let verifier = Verifier::builder()
        .trust(trusted("https://a.example", &server_a))
        .trust(trusted("https://b.example", &server_b))
        .clock(clock.clone())
        .build()
        .unwrap();
    for (issuer, key, expected) in [
        ("https://a.example", &a, Ok(())),
        ("https://b.example", &b, Ok(())),
        ("https://a.example", &b, Err("bad_signature")),
        ("https://b.example", &a, Err("bad_signature")),
        ("https://c.example", &a, Err("unknown_issuer")),
        ("https://a.example/", &a, Err("unknown_issuer")),
    ] {
        let mut claims = tokens::claims();
        claims["iss"] = json!(issuer);
        let token = tokens::sign(key, &tokens::header(key), &claims);
        assert_eq!(reason(&verifier, &token).await, expected, "{issuer}");
    }
}

#[tokio::test]
async fn fetching_ends_with_the_verifier() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    drop(verifier);
    clock.advance(HOUR);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_at_once() {
    let build = |builder: VerifierBuilder| builder.build().err().map(|error| error.to_string());
    let fetched = Verifier::builder().issuer(ISSUER).audience(AUDIENCE);
    let mut slow = RefreshPolicy::default();
    slow.cool_down = Duration::from_secs(30);
    assert_eq!(build(fetched.refresh(slow)), None);
    for (builder, error) in [
        (Verifier::builder(), "issuer: name at least one"),
        (
            Verifier::builder().audience(AUDIENCE),
            "issuer: name at least one",
        ),
        (
            Verifier::builder().issuer(ISSUER),
            "audience: name the audience",
        ),
        (
            Verifier::builder().issuer(ISSUER).audience(""),
            "audience: name the audience",
        ),
        (
            Verifier::builder()
                .issuer(ISSUER)
                .audience("a")
                .algorithms([]),
            "algorithms: the list",
        ),
        (
            Verifier::builder().issuer("x").audience("a"),
            "issuer: `x` is not a URL",
        ),
        (
            Verifier::builder().issuer("http://a.example").audience("a"),
            "issuer: `http://a.example` is plain http",
        ),
        (
            Verifier::builder()
                .issuer(ISSUER)
                .audience("a")
                .leeway(HOUR),
            "leeway: ",
        ),
        (
            Verifier::builder()
                .issuer(ISSUER)
                .audience("a")
                .issuer(ISSUER)
                .audience("a"),
            "issuer: `https://issuer.example` is there twice",
        ),
    ] {
        let shown = build(builder).unwrap_or_default();
        assert!(shown.starts_with(error), "{error}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_ends_between_two_looks_is_not_missed() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let token = token(&key);
    // The very first look races with the very first fetch; which of them wins is chance, hence so many.
    for round in 0..40 {
        let verifier = verifier(&server, &clock);
        assert_eq!(reason(&verifier, &token).await, Ok(()), "round {round}");
    }
}
