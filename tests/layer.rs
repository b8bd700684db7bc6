//! The tower layer and the axum extractors: who gets in, and what RFC 6750 has the rest told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{HeaderValue, Request, StatusCode};
use keywheel::jose::SigningKey;
use keywheel::verify::Verified;
use keywheel::{Claims, JwkSet, ManualClock, Verifier};
use serde::Deserialize;
use serde_json::{Value, json};
use support::tokens::{self, AUDIENCE, ISSUER, NOW, key, token};
use tower::ServiceExt as _;

struct Backend {
    key: Arc<SigningKey>,
    verifier: Verifier,
    router: Router,
}

#[derive(Deserialize)]
struct Profile {
    email: String,
}

async fn whoami(token: Verified<Claims>) -> String {
    token.subject().to_owned()
}

async fn email(token: Verified<Profile>) -> String {
    token.into_claims().email
}

async fn maybe(token: Option<Verified<Claims>>) -> String {
    token.map_or("nobody".into(), |token| token.subject().to_owned())
}

fn backend() -> Backend {
    let key = key("a");
    let keys = JwkSet::parse(tokens::jwks(&[&key]).as_bytes()).unwrap();
    let verifier = Verifier::builder()
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .static_keys(keys)
        .clock(ManualClock::new(NOW))
        .build()
        .unwrap();
    let layer = || verifier.layer();
    let guarded = |path, layer| Router::new().route(path, get(whoami)).layer(layer);
    let router = Router::new()
        .merge(guarded("/whoami", layer()))
        .merge(guarded("/orders", layer().require_scope("orders:read")))
        .merge(guarded("/admin", layer().require_role("admin")))
        .merge(guarded(
            "/users/{user_id}",
            layer().require_subject("user_id"),
        ))
        .merge(guarded("/nobody", layer().require_subject("user_id")))
        .merge(Router::new().route("/email", get(email)).layer(layer()))
        .merge(
            Router::new()
                .route("/maybe", get(maybe))
                .layer(layer().optional()),
        )
        .route("/unguarded", get(whoami));
    Backend {
        key,
        verifier,
        router,
    }
}

struct Answer {
    status: StatusCode,
    challenge: Option<String>,
    body: String,
}

impl Backend {
    async fn ask(&self, path: &str, authorization: &[&str]) -> Answer {
        let mut request = Request::get(path);
        for value in authorization {
            request = request.header("authorization", *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let challenge = response.headers().get("www-authenticate");
        let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16)
            .await
            .unwrap();
        Answer {
            status,
            challenge,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn ask_with(&self, path: &str, token: &str) -> Answer {
        self.ask(path, &[&format!("Bearer {token}")]).await
    }

    fn token_with(&self, name: &str, value: Value) -> String {
        let mut claims = tokens::claims();
        claims[name] = value;
        tokens::sign(&self.key, &tokens::header(&self.key), &claims)
    }

    fn counted(&self, outcome: &str) -> u64 {
        let label = format!("outcome=\"{outcome}\"");
        sum(&self.verifier, "keywheel_verifications_total", &label)
    }
}

#[tokio::test]
async fn a_good_token_gets_in_and_its_claims_arrive() {
    let backend = backend();
    let good = token(&backend.key);
    for scheme in ["Bearer", "bearer", "BEARER", "Bearer "] {
        let answer = backend.ask("/whoami", &[&format!("{scheme} {good}")]).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (StatusCode::OK, "user-1"),
            "{scheme}"
        );
    }
    let with_email = backend.token_with("email", json!("a@b.example"));
    assert_eq!(
        backend.ask_with("/email", &with_email).await.body,
        "a@b.example"
    );
    assert_eq!(backend.counted("accepted"), 5);
}

#[tokio::test]
async fn without_credentials_the_challenge_is_bare() {
    let backend = backend();
    for authorization in [
        &[][..],
        &["Basic dXNlcjpwYXNz"],
        &["Bearer"],
        &["Bearer "],
        &[""],
    ] {
        let answer = backend.ask("/whoami", authorization).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{authorization:?}");
        assert_eq!(
            answer.challenge.as_deref(),
            Some("Bearer realm=\"orders-api\"")
        );
        assert_eq!(
            serde_json::from_str::<Value>(&answer.body).unwrap(),
            json!({ "error": "missing_token", "error_description": "The access token is missing" })
        );
    }
    assert_eq!(backend.counted("missing_token"), 5);
}

#[tokio::test]
async fn the_client_is_told_expired_and_nothing_else_apart() {
    let backend = backend();
    let good = token(&backend.key);
    let invalid = "The access token is invalid";
    for (token, reason, description) in [
        (
            backend.token_with("exp", json!(NOW.seconds())),
            "expired",
            "The access token expired",
        ),
        (tokens::forged(&good), "bad_signature", invalid),
        (
            backend.token_with("aud", json!("other")),
            "wrong_audience",
            invalid,
        ),
        (
            backend.token_with("iss", json!("https://evil.example")),
            "unknown_issuer",
            invalid,
        ),
        (
            backend.token_with("nbf", json!(NOW.seconds() + 1)),
            "not_yet_valid",
            invalid,
        ),
        (
            backend.token_with("exp", json!("soon")),
            "bad_claim",
            invalid,
        ),
        (token(&key("other")), "unknown_key", invalid),
        ("x".repeat(20_000), "too_large", invalid),
        ("nonsense".into(), "malformed", invalid),
        (format!("{good} x"), "malformed", invalid),
    ] {
        let before = backend.counted(reason);
        let answer = backend.ask_with("/whoami", &token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{reason}");
        let challenge = format!(
            "Bearer realm=\"orders-api\", error=\"invalid_token\", error_description=\"{description}\""
        );
        assert_eq!(answer.challenge, Some(challenge), "{reason}");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(
            body,
            json!({ "error": "invalid_token", "error_description": description })
        );
        assert_eq!(backend.counted(reason), before + 1, "{reason}");
    }
}

/// How many looks were timed.
fn timed(verifier: &Verifier) -> u64 {
    sum(verifier, "keywheel_verification_seconds_count", "")
}

/// The sum of a metric's series with this label.
fn sum(verifier: &Verifier, metric: &str, label: &str) -> u64 {
    let rendered = verifier.metrics().render();
    let series = rendered
        .lines()
        .filter(|line| line.starts_with(metric) && line.contains(label));
    series
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum()
}

#[tokio::test]
async fn what_counts_nothing_is_not_timed() {
    let backend = backend();
    assert!(backend.verifier.explain("a.b.c").await.reason.is_some());
    assert!(
        backend
            .verifier
            .explain(&token(&backend.key))
            .await
            .reason
            .is_none()
    );
    assert_eq!(timed(&backend.verifier), 0);
    backend.ask_with("/whoami", "a.b.c").await;
    assert_eq!(timed(&backend.verifier), 1);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_no_token() {
    let backend = backend();
    let good = token(&backend.key);
    for (n, bytes) in [b"\xff".to_vec(), [good.as_bytes(), b"\xff"].concat()]
        .into_iter()
        .enumerate()
    {
        let value = HeaderValue::from_bytes(&[b"Bearer ", &bytes[..]].concat()).unwrap();
        let request = Request::get("/whoami").header("authorization", value);
        let request = request.body(Body::empty()).unwrap();
        let response = backend.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(backend.counted("malformed"), n as u64 + 1);
    }
}

#[tokio::test]
async fn two_credentials_are_none() {
    let backend = backend();
    let good = format!("Bearer {}", token(&backend.key));
    let answer = backend.ask("/whoami", &[&good, &good]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(backend.counted("malformed"), 1);
}

#[tokio::test]
async fn scopes_and_roles_decide_between_200_and_403() {
    let backend = backend();
    for (path, claim, value, status) in [
        ("/orders", "scope", json!("orders:read profile"), 200),
        ("/orders", "scope", json!(["orders:read"]), 200),
        ("/orders", "scope", json!("orders:write"), 403),
        ("/orders", "scope", json!("orders:read:all"), 403),
        ("/orders", "jti", json!("no scope at all"), 403),
        ("/admin", "roles", json!(["admin"]), 200),
        ("/admin", "roles", json!("admin"), 200),
        ("/admin", "roles", json!(["user"]), 403),
        ("/admin", "scope", json!("admin"), 403),
    ] {
        let token = backend.token_with(claim, value.clone());
        let answer = backend.ask_with(path, &token).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {claim} {value}");
    }
    assert_eq!(backend.counted("accepted"), 4);
    assert_eq!(backend.counted("insufficient_scope"), 5);
    let answer = backend.ask_with("/orders", &token(&backend.key)).await;
    assert_eq!(
        answer.challenge.as_deref(),
        Some(
            "Bearer realm=\"orders-api\", error=\"insufficient_scope\", error_description=\"The access token does not allow this request\", scope=\"orders:read\""
        )
    );
}

#[tokio::test]
async fn only_its_subject_gets_to_a_path() {
    let backend = backend();
    let good = token(&backend.key);
    for (path, token, status) in [
        ("/users/user-1", good.clone(), 200),
        ("/users/user%2D1", good.clone(), 200),
        ("/users/user-2", good.clone(), 403),
        ("/users/USER-1", good.clone(), 403),
        ("/nobody", good.clone(), 403),
        ("/users/", backend.token_with("sub", json!("")), 404),
        ("/nobody", backend.token_with("sub", json!("")), 403),
    ] {
        let answer = backend.ask_with(path, &token).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn an_optional_token_may_be_absent_but_not_bad() {
    let backend = backend();
    assert_eq!(backend.ask("/maybe", &[]).await.body, "nobody");
    let good = token(&backend.key);
    assert_eq!(backend.ask_with("/maybe", &good).await.body, "user-1");
    let forged = tokens::forged(&good);
    assert_eq!(
        backend.ask_with("/maybe", &forged).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_handler_that_nothing_guards_is_closed() {
    let backend = backend();
    let answer = backend.ask_with("/unguarded", &token(&backend.key)).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn claims_of_another_shape_are_refused() {
    let backend = backend();
    let answer = backend.ask_with("/email", &token(&backend.key)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn one_claim_is_read_whatever_the_others_are() {
    let backend = backend();
    let claims = format!(
        r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","exp":{},"plan":"gold","odd":1e400}}"#,
        NOW.seconds() + 60
    );
    let token = tokens::sign_text(&backend.key, &tokens::header(&backend.key), &claims);
    let token = backend.verifier.try_verify::<Claims>(&token).unwrap();
    assert_eq!(
        token.claim::<String>("plan").unwrap().as_deref(),
        Some("gold")
    );
    assert_eq!(token.claim::<String>("none").unwrap(), None);
    assert!(token.claim::<u8>("plan").is_err());
}

#[tokio::test]
async fn no_keys_is_503_with_retry_after() {
    let clock = ManualClock::new(NOW);
    let (_nobody, address) = support::ports::refusing();
    let url = format!("http://{address}/jwks.json");
    let verifier = Verifier::builder()
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .jwks_url(url)
        .clock(clock)
        .build()
        .unwrap();
    let router = Router::new()
        .route("/whoami", get(whoami))
        .layer(verifier.layer());
    let request = Request::get("/whoami")
        .header("authorization", format!("Bearer {}", token(&key("a"))))
        .body(Body::empty())
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    // One request, although it was looked at again after a fetch was tried.
    assert_eq!(timed(&verifier), 1);
    let retry_after = response.headers()["retry-after"].to_str().unwrap();
    assert!(retry_after.parse::<u64>().unwrap() >= 1);
    assert!(response.headers().get("www-authenticate").is_none());
}
