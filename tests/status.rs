//! Ended sessions reach verifiers: the Token Status List, over real HTTP, with time at the test's command.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use keywheel::jose::SigningKey;
use keywheel::verify::{StatusCheck, VerifierBuilder};
use keywheel::{Claims, Clock as _, ManualClock, SystemClock, Verifier};
use serde_json::{Value, json};
use support::behind::Behind;
use support::jwks_server::{JwksServer, Reply};
use support::real_time::{Machine, refusals};
use support::tokens::{self, AUDIENCE, NOW, jwks, key};
use support::{eventually, meanwhile};

/// An issuer with its keys at one server and its status list at its own origin.
struct Issuer {
    key: Arc<SigningKey>,
    keys: JwksServer,
    lists: JwksServer,
    clock: ManualClock,
}

// === impl Issuer ===

impl Issuer {
    async fn new() -> Self {
        let key = key("a");
        Issuer {
            keys: JwksServer::start(Reply::ok(jwks(&[&key]))).await,
            lists: JwksServer::start(Reply::ok("")).await,
            clock: ManualClock::new(NOW),
            key,
        }
    }

    fn name(&self) -> String {
        self.lists.url("")
    }

    fn uri(&self) -> String {
        self.lists.url("/status/0")
    }

    fn builder(&self) -> VerifierBuilder {
        Verifier::builder()
            .issuer(self.name())
            .jwks_url(self.keys.url("/jwks.json"))
            .audience(AUDIENCE)
            .clock(Behind {
                clock: self.clock.clone(),
                lag: Duration::from_secs(1),
            })
            .token_cache(64)
    }

    fn verifier(&self) -> Verifier {
        self.builder().build().unwrap()
    }

    /// A token that refers to this place of the list, good for months.
    fn token(&self, idx: u64) -> String {
        self.token_with(json!({ "status_list": { "idx": idx, "uri": self.uri() } }))
    }

    fn token_with(&self, status: Value) -> String {
        let mut claims = tokens::claims();
        claims["iss"] = json!(self.name());
        claims["exp"] = json!(NOW.seconds() + 10_000_000);
        claims["status"] = status;
        tokens::sign(&self.key, &tokens::header(&self.key), &claims)
    }

    /// The claims of a list with these places ended, written just now and good for a day.
    fn list_claims(&self, ended: &[usize]) -> Value {
        let mut bits = vec![0u8; 16];
        for place in ended {
            bits[place / 8] |= 1 << (place % 8);
        }
        let now = self.clock.now().seconds();
        json!({
            "sub": self.uri(),
            "iss": self.name(),
            "iat": now,
            "exp": now + 86_400,
            "ttl": 600,
            "status_list": { "bits": 1, "lst": deflate(&bits) },
        })
    }

    fn sign_list(&self, claims: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "kid": "a", "typ": "statuslist+jwt" });
        tokens::sign(&self.key, &header, claims)
    }

    fn list(&self, ended: &[usize]) -> String {
        self.sign_list(&self.list_claims(ended))
    }

    /// From now on this list is served, and pushed to whoever waits.
    fn publish(&self, etag: &str, ended: &[usize]) {
        self.lists.reply(Reply::Push {
            etag: format!("\"{etag}\""),
            body: self.list(ended).into(),
        });
    }
}

fn deflate(bytes: &[u8]) -> String {
    use base64::Engine as _;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(encoder.finish().unwrap())
}

async fn reason(verifier: &Verifier, token: &str) -> Result<(), &'static str> {
    let verdict = verifier.verify::<Claims>(token).await;
    verdict.map(|_| ()).map_err(|reject| reject.code())
}

fn try_reason(verifier: &Verifier, token: &str) -> Result<(), &'static str> {
    let verdict = verifier.try_verify::<Claims>(token);
    verdict.map(|_| ()).map_err(|reject| reject.code())
}

fn list_error(verifier: &Verifier) -> Option<String> {
    let status = verifier.status().remove(0);
    status.status_lists.first()?.last_error.clone()
}

#[tokio::test]
async fn an_ended_session_is_refused_on_arrival_of_the_list_cached_tokens_included() {
    let issuer = Issuer::new().await;
    issuer.publish("1", &[]);
    let verifier = issuer.verifier();
    let (ours, other) = (issuer.token(3), issuer.token(4));
    for _ in 0..3 {
        assert_eq!(reason(&verifier, &ours).await, Ok(()));
        assert_eq!(reason(&verifier, &other).await, Ok(()));
    }
    let rendered = verifier.metrics().render();
    assert!(rendered.contains("keywheel_token_cache_total{result=\"hit\"} 4"));
    issuer.lists.holds(1).await;
    issuer.publish("2", &[3]);
    eventually("the list arrives", || try_reason(&verifier, &ours).is_err()).await;
    assert_eq!(try_reason(&verifier, &ours), Err("revoked"));
    assert_eq!(try_reason(&verifier, &other), Ok(()));
    // Whoever comes with the same session and another token fares no better.
    assert_eq!(reason(&verifier, &issuer.token(3)).await, Err("revoked"));
    let shown = verifier.status().remove(0).status_lists.remove(0);
    assert_eq!((shown.uri, shown.capacity), (issuer.uri(), Some(128)));
    let rendered = verifier.metrics().render();
    assert!(
        rendered.contains("keywheel_status_list_age_seconds{"),
        "{rendered}"
    );
}

#[tokio::test]
async fn first_tokens_100_at_once_cost_one_request_for_the_list() {
    let issuer = Issuer::new().await;
    issuer.lists.reply(Reply::ok(issuer.list(&[7])));
    let verifier = issuer.verifier();
    let mut tasks = tokio::task::JoinSet::new();
    for idx in 0..100 {
        let (verifier, token) = (verifier.clone(), issuer.token(idx));
        tasks.spawn(async move { (idx, reason(&verifier, &token).await) });
    }
    while let Some(outcome) = tasks.join_next().await {
        let (idx, verdict) = outcome.unwrap();
        let expected = if idx == 7 { Err("revoked") } else { Ok(()) };
        assert_eq!(verdict, expected, "{idx}");
    }
    assert_eq!((issuer.keys.count(), issuer.lists.count()), (1, 1));
    assert!(issuer.lists.heads()[0].contains("accept: application/statuslist+jwt"));
}

#[tokio::test]
async fn without_a_list_the_choice_decides() {
    for (check, verdict, asked) in [
        (None, Err("status_unavailable"), 1),
        (Some(StatusCheck::FailClosed), Err("status_unavailable"), 1),
        (Some(StatusCheck::FailOpen), Ok(()), 1),
        (Some(StatusCheck::Ignore), Ok(()), 0),
    ] {
        let issuer = Issuer::new().await;
        issuer.lists.reply(Reply::with(500, &[], ""));
        let mut builder = issuer.builder();
        if let Some(check) = check {
            builder = builder.status_check(check);
        }
        let verifier = builder.build().unwrap();
        for _ in 0..10 {
            assert_eq!(
                reason(&verifier, &issuer.token(3)).await,
                verdict,
                "{check:?}"
            );
        }
        if asked > 0 {
            issuer.lists.asked(asked).await;
        }
        meanwhile().await;
        assert_eq!(issuer.lists.count(), asked, "{check:?}");
        if check == Some(StatusCheck::Ignore) {
            continue;
        }
        // Once it can be had, it decides, whatever was said before.
        eventually("the failure shows", || list_error(&verifier).is_some()).await;
        issuer.publish("1", &[3]);
        issuer.clock.advance(Duration::from_secs(2));
        issuer.lists.holds(1).await;
        assert_eq!(try_reason(&verifier, &issuer.token(3)), Err("revoked"));
        assert_eq!(try_reason(&verifier, &issuer.token(4)), Ok(()));
    }
}

#[tokio::test]
async fn a_status_that_leads_nowhere_is_refused_and_causes_no_connection() {
    let issuer = Issuer::new().await;
    issuer.publish("1", &[]);
    let elsewhere = JwksServer::start(Reply::ok(issuer.list(&[]))).await;
    let verifier = issuer.verifier();
    let uri = issuer.uri();
    for (status, expected) in [
        (
            json!({ "status_list": { "idx": 3, "uri": elsewhere.url("/status/0") } }),
            Err("bad_claim"),
        ),
        (
            json!({ "status_list": { "idx": 3, "uri": uri.replace("http:", "https:") } }),
            Err("bad_claim"),
        ),
        (
            json!({ "status_list": { "idx": 3, "uri": "file:///etc/passwd" } }),
            Err("bad_claim"),
        ),
        (
            json!({ "status_list": { "idx": 3, "uri": "/status/0" } }),
            Err("bad_claim"),
        ),
        (
            json!({ "status_list": { "idx": 128, "uri": uri } }),
            Err("bad_claim"),
        ),
        (
            json!({ "status_list": { "idx": u64::MAX, "uri": uri } }),
            Err("bad_claim"),
        ),
        (
            json!({ "status_list": { "idx": -1, "uri": uri } }),
            Err("bad_claim"),
        ),
        (
            json!({ "status_list": { "idx": 1.5, "uri": uri } }),
            Err("bad_claim"),
        ),
        (
            json!({ "status_list": { "idx": "3", "uri": uri } }),
            Err("bad_claim"),
        ),
        (json!({ "status_list": { "idx": 3 } }), Err("bad_claim")),
        (json!({ "status_list": { "uri": uri } }), Err("bad_claim")),
        (json!({ "status_list": [] }), Err("bad_claim")),
        (json!("revoked"), Err("bad_claim")),
        (json!(null), Err("bad_claim")),
        (json!({ "status_list": { "idx": 127, "uri": uri } }), Ok(())),
        // Another mechanism is none of ours, and RFC 7519 §4 has us ignore what we do not understand.
        (json!({ "other": { "idx": 3 } }), Ok(())),
        (json!({}), Ok(())),
    ] {
        let token = issuer.token_with(status.clone());
        assert_eq!(reason(&verifier, &token).await, expected, "{status}");
    }
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn a_forged_token_causes_no_request_for_a_list() {
    let issuer = Issuer::new().await;
    let verifier = issuer.verifier();
    let forged = tokens::forged(&issuer.token(3));
    assert_eq!(reason(&verifier, &forged).await, Err("bad_signature"));
    assert_eq!(issuer.lists.count(), 0);
    assert!(verifier.status()[0].status_lists.is_empty());
}

#[tokio::test]
async fn only_a_list_that_the_issuer_signed_for_this_uri_counts() {
    let issuer = Issuer::new().await;
    let stranger = key("a");
    let with = |name: &str, value: Value| {
        let mut claims = issuer.list_claims(&[]);
        claims[name] = value;
        issuer.sign_list(&claims)
    };
    let header = |header: Value| tokens::sign(&issuer.key, &header, &issuer.list_claims(&[]));
    let lst = |bits: Value, lst: String| with("status_list", json!({ "bits": bits, "lst": lst }));
    let zeros = deflate(&[0; 16]);
    let now = NOW.seconds();
    for (list, error) in [
        (
            tokens::sign(
                &stranger,
                &json!({ "alg": "EdDSA", "kid": "a", "typ": "statuslist+jwt" }),
                &issuer.list_claims(&[]),
            ),
            "signature",
        ),
        (tokens::forged(&issuer.list(&[])), "signature"),
        (header(json!({ "alg": "EdDSA", "kid": "a" })), "typ"),
        (
            header(json!({ "alg": "EdDSA", "kid": "a", "typ": "at+jwt" })),
            "typ",
        ),
        (
            header(json!({ "alg": "EdDSA", "kid": "b", "typ": "statuslist+jwt" })),
            "no key",
        ),
        (
            header(json!({ "alg": "HS256", "kid": "a", "typ": "statuslist+jwt" })),
            "alg",
        ),
        (
            header(json!({ "alg": "none", "typ": "statuslist+jwt" })),
            "alg",
        ),
        (with("sub", json!("http://127.0.0.1/status/1")), "sub"),
        (with("sub", Value::Null), "sub"),
        (with("iss", json!("https://evil.example")), "iss"),
        (with("exp", json!(now)), "expired"),
        (with("exp", json!("tomorrow")), "expired"),
        (with("iat", Value::Null), "iat"),
        (with("status_list", Value::Null), "status_list"),
        (lst(json!(3), zeros.clone()), "bits"),
        (lst(json!(0), zeros.clone()), "bits"),
        (lst(json!("1"), zeros.clone()), "bits"),
        (lst(json!(1), format!("{zeros}=")), "base64url"),
        (lst(json!(1), "AAAA".into()), "inflated"),
        (lst(json!(1), deflate(&vec![0; (4 << 20) + 1])), "inflated"),
        ("<html>".into(), "JWS"),
        (String::new(), "JWS"),
        ("x".repeat((1 << 20) + 1), "more than 1048576 bytes"),
    ] {
        // At first sight there is no list; and with one in force, that one stays.
        issuer.lists.reply(Reply::ok(list.clone()));
        let verifier = issuer.verifier();
        let token = issuer.token(3);
        assert_eq!(
            reason(&verifier, &token).await,
            Err("status_unavailable"),
            "{error}"
        );
        let shown = list_error(&verifier).unwrap();
        assert!(shown.contains(error), "{error}: {shown}");
        issuer.publish("good", &[3]);
        let verifier = issuer.verifier();
        assert_eq!(reason(&verifier, &token).await, Err("revoked"));
        issuer.lists.holds(1).await;
        issuer.lists.reply(Reply::ok(list));
        eventually("it is looked at", || list_error(&verifier).is_some()).await;
        assert_eq!(try_reason(&verifier, &token), Err("revoked"), "{error}");
    }
}

#[tokio::test]
async fn the_last_list_holds_until_its_exp_and_then_nothing_passes() {
    let issuer = Issuer::new().await;
    let mut claims = issuer.list_claims(&[3]);
    claims["exp"] = json!(NOW.seconds() + 1800);
    issuer.lists.reply(Reply::ok(issuer.sign_list(&claims)));
    let verifier = issuer.verifier();
    let (ended, good) = (issuer.token(3), issuer.token(4));
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    issuer.lists.reply(Reply::Reset);
    issuer.clock.advance(Duration::from_secs(1799));
    assert_eq!(try_reason(&verifier, &good), Ok(()));
    assert_eq!(try_reason(&verifier, &ended), Err("revoked"));
    issuer.clock.advance(Duration::from_secs(1));
    assert_eq!(try_reason(&verifier, &good), Err("status_unavailable"));
    assert_eq!(try_reason(&verifier, &ended), Err("status_unavailable"));
    let reject = verifier.try_verify::<Claims>(&good).unwrap_err();
    assert_eq!(reject.reason().status(), 503);
}

/// `GET /readyz` of a backend: its status, and the first issuer of its body.
async fn readyz(verifier: &Verifier) -> (u16, Value) {
    use tower::ServiceExt as _;
    let request = http::Request::get("/readyz").body(axum::body::Body::empty());
    let routes = keywheel::verify::health_routes(verifier);
    let answer = routes.oneshot(request.unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await;
    let body: Value = serde_json::from_slice(&body.unwrap()).unwrap();
    (status, body[0].clone())
}

/// What the documents say of an issuer that is down: its keys serve for an hour, and its lists, which Keywheel signs for 15 minutes
/// from the start of a span of 4, for 11 minutes more at least.
#[tokio::test]
async fn an_issuer_that_is_down_costs_tokens_of_sessions_after_11_min_and_all_others_after_60() {
    const LIST_OF_KEYWHEEL: i64 = 15 * 60;
    const SPAN: i64 = 4 * 60;
    for (check, of_session, consequence) in [
        (
            StatusCheck::FailClosed,
            Err("status_unavailable"),
            "refused with status_unavailable",
        ),
        (StatusCheck::FailOpen, Ok(()), "ended sessions are accepted"),
    ] {
        let issuer = Issuer::new().await;
        let mut claims = issuer.list_claims(&[]);
        // Signed at the end of its span: the worst moment for the issuer to go.
        claims["iat"] = json!(NOW.seconds() - SPAN);
        claims["exp"] = json!(NOW.seconds() - SPAN + LIST_OF_KEYWHEEL);
        issuer.lists.reply(Reply::ok(issuer.sign_list(&claims)));
        let verifier = issuer.builder().status_check(check).build().unwrap();
        let session = issuer.token(4);
        let plain = {
            let mut claims = tokens::claims();
            claims["iss"] = json!(issuer.name());
            claims["exp"] = json!(NOW.seconds() + 10_000_000);
            tokens::sign(&issuer.key, &tokens::header(&issuer.key), &claims)
        };
        assert_eq!(reason(&verifier, &session).await, Ok(()));
        assert_eq!(reason(&verifier, &plain).await, Ok(()));
        assert_eq!(readyz(&verifier).await.1["problems"], json!([]));

        issuer.lists.reply(Reply::Reset);
        issuer.keys.reply(Reply::Reset);
        let minutes = async |count: u64| {
            for _ in 0..count * 6 {
                issuer.clock.advance(Duration::from_secs(10));
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            }
        };
        minutes(10).await;
        assert_eq!(
            try_reason(&verifier, &session),
            Ok(()),
            "{check:?} at 10 min"
        );
        minutes(1).await;
        assert_eq!(
            try_reason(&verifier, &session),
            of_session,
            "{check:?} at 11 min"
        );
        assert_eq!(try_reason(&verifier, &plain), Ok(()));
        eventually("the failure shows", || list_error(&verifier).is_some()).await;
        let (status, shown) = readyz(&verifier).await;
        assert_eq!(status, 200, "other tokens pass: {shown}");
        let problems = shown["problems"].to_string();
        for words in [issuer.uri().as_str(), consequence] {
            assert!(problems.contains(words), "{words}: {problems}");
        }
        assert_eq!(shown["status_lists"][0]["capacity"], Value::Null);

        minutes(48).await;
        assert_eq!(try_reason(&verifier, &plain), Ok(()), "{check:?} at 59 min");
        minutes(2).await;
        eventually("the keys are dropped", || !verifier.is_ready()).await;
        assert_eq!(try_reason(&verifier, &plain), Err("keys_unavailable"));
        assert_eq!(readyz(&verifier).await.0, 503);
    }
}

#[tokio::test]
async fn an_older_list_gives_no_session_its_life_back() {
    let issuer = Issuer::new().await;
    let older = issuer.list(&[]);
    issuer.clock.advance(Duration::from_secs(10));
    issuer.publish("new", &[3]);
    let verifier = issuer.verifier();
    assert_eq!(reason(&verifier, &issuer.token(3)).await, Err("revoked"));
    issuer.lists.holds(1).await;
    issuer.lists.reply(Reply::ok(older));
    eventually("it is seen", || list_error(&verifier).is_some()).await;
    assert!(list_error(&verifier).unwrap().contains("older"));
    assert_eq!(try_reason(&verifier, &issuer.token(3)), Err("revoked"));
}

#[tokio::test]
async fn lists_are_followed_for_64_uris_and_no_more() {
    let issuer = Issuer::new().await;
    let verifier = issuer.verifier();
    for n in 0..70 {
        let uri = issuer.lists.url(&format!("/status/{n}"));
        let token = issuer.token_with(json!({ "status_list": { "idx": 0, "uri": uri } }));
        assert_eq!(
            reason(&verifier, &token).await,
            Err("status_unavailable"),
            "{n}"
        );
    }
    assert_eq!(verifier.status()[0].status_lists.len(), 64);
    assert_eq!(issuer.lists.count(), 64);
}

#[tokio::test]
async fn static_keys_ask_nobody_unless_told_to() {
    let issuer = Issuer::new().await;
    issuer.publish("1", &[3]);
    let set = keywheel::JwkSet::parse(jwks(&[&issuer.key]).as_bytes()).unwrap();
    let builder = || {
        Verifier::builder()
            .issuer(issuer.name())
            .static_keys(set.clone())
            .audience(AUDIENCE)
            .clock(issuer.clock.clone())
    };
    let verifier = builder().build().unwrap();
    assert_eq!(reason(&verifier, &issuer.token(3)).await, Ok(()));
    assert_eq!(issuer.lists.count(), 0);
    let verifier = builder()
        .status_check(StatusCheck::FailClosed)
        .build()
        .unwrap();
    assert_eq!(reason(&verifier, &issuer.token(3)).await, Err("revoked"));
    assert_eq!(reason(&verifier, &issuer.token(4)).await, Ok(()));
}

#[tokio::test]
async fn explain_names_the_ended_session() {
    let issuer = Issuer::new().await;
    issuer.publish("1", &[3]);
    let verifier = issuer.verifier();
    let shown = verifier.explain(&issuer.token(3)).await.to_string();
    assert!(shown.contains("✓ aud names this audience"), "{shown}");
    assert!(
        shown.contains("✗ the session has not ended: place 3 of"),
        "{shown}"
    );
    assert!(shown.contains("signed out"), "{shown}");
    let shown = verifier.explain(&issuer.token(4)).await.to_string();
    assert!(shown.contains("✓ the session has not ended"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ended_session_is_refused_by_100_verifiers_within_1_s() {
    const VERIFIERS: usize = 100;
    let issuer = Issuer::new().await;
    issuer.publish("1", &[]);
    let verifiers: Vec<Verifier> = (0..VERIFIERS).map(|_| issuer.verifier()).collect();
    let token = issuer.token(3);
    for verifier in &verifiers {
        // The second time from the cache.
        for _ in 0..2 {
            assert_eq!(reason(verifier, &token).await, Ok(()));
        }
    }
    issuer.lists.holds(VERIFIERS).await;
    let machine = Machine::measured().await;
    let ended = SystemClock.monotonic();
    issuer.publish("2", &[3]);
    let waits = refusals(&verifiers, &token, ended).await;
    machine
        .holds(Duration::from_secs(1), waits[VERIFIERS - 1])
        .await;
    for verifier in &verifiers {
        assert_eq!(try_reason(verifier, &token), Err("revoked"));
    }
}
