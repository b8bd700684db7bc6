//! `keywheel gate`: what a proxy is told about a request, however the proxy asks and whatever a client slips in.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Request, Response};
use keywheel::config::gate::GateConfig;
use keywheel::http::gate::{Gate, GateRules};
use keywheel::{ManualClock, Metrics, Verifier};
use serde_json::{Value, json};
use std::sync::Arc;
use support::eventually;
use support::jwks_server::{JwksServer, Reply};
use support::process::{Home, Outcome, Service, get, keywheel, request, until};
use support::tokens::{self, AUDIENCE, ISSUER, NOW, jwks, key};
use tower::ServiceExt as _;

use keywheel::jose::SigningKey;

const RULES: &str = r#"
cookie = "access_token"

[[rule]]
path = "/public"
allow = "public"

[[rule]]
path = "/orders"
scopes = ["orders:read"]

[[rule]]
path = "/orders"
methods = ["POST", "DELETE"]
scopes = ["orders:write"]

[[rule]]
path = "/admin"
roles = ["admin"]

[[rule]]
path = "/api/{user_id}/tasks"
subject = "user_id"
"#;

struct Bench {
    key: Arc<SigningKey>,
    server: JwksServer,
    gate: Gate,
    metrics: Metrics,
}

// === impl Bench ===

impl Bench {
    async fn new(rules: &str) -> Self {
        let key = key("a");
        let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
        Bench::with(rules, key, server).await
    }

    async fn with(rules: &str, key: Arc<SigningKey>, server: JwksServer) -> Self {
        let issuer = format!(
            "[[issuer]]\nname = \"{ISSUER}\"\naudience = [\"{AUDIENCE}\"]\njwks_urls = [\"{}\"]\n",
            server.url("/keys")
        );
        let config = GateConfig::parse(&format!("{rules}\n{issuer}"), "gate.toml").unwrap();
        let metrics = Metrics::new().unwrap();
        let builder = Verifier::builder()
            .metrics(&metrics)
            .clock(ManualClock::new(NOW));
        let gate = Gate::new(GateRules {
            verifier: config.verifier(builder).unwrap(),
            rules: config.rules("gate.toml").unwrap(),
            realm: config.realm.clone(),
            cookie: config.cookie.clone(),
            unavailable: config.when_unavailable,
        });
        Bench {
            key,
            server,
            gate,
            metrics,
        }
    }

    fn token(&self, claims: Value) -> String {
        let mut all = tokens::claims();
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        tokens::sign(&self.key, &tokens::header(&self.key), &all)
    }

    async fn ask(&self, request: Request<Body>) -> Response<Body> {
        let service = self.gate.service(&self.metrics);
        service.oneshot(request).await.unwrap()
    }

    /// As nginx asks.
    async fn nginx(&self, method: &str, uri: &str, headers: &[(&str, &str)]) -> Response<Body> {
        let mut request = Request::get("/verify")
            .header("x-original-uri", uri)
            .header("x-original-method", method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(Body::empty()).unwrap()).await
    }

    async fn status(&self, method: &str, uri: &str, token: Option<&str>) -> u16 {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = bearer
            .iter()
            .map(|bearer| ("authorization", bearer.as_str()))
            .collect();
        let answer = self.nginx(method, uri, &headers).await;
        answer.status().as_u16()
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).unwrap().to_str().unwrap()
}

#[tokio::test]
async fn an_identity_is_the_same_from_a_token_that_is_remembered() {
    let bench = Bench::new("").await;
    let (one, two) = (
        bench.token(json!({"sub": "user-1", "jti": "1"})),
        bench.token(json!({"sub": "user-2", "jti": "2"})),
    );
    let mut answers = Vec::new();
    for token in [&one, &one, &two, &one] {
        let authorization = format!("Bearer {token}");
        answers.push(
            bench
                .nginx("GET", "/", &[("authorization", &authorization)])
                .await,
        );
    }
    for name in ["x-auth-subject", "x-auth-claims", "x-auth-roles"] {
        let value = |n: usize| answers[n].headers()[name].as_bytes();
        assert_eq!((value(0), value(1)), (value(1), value(3)), "{name}");
        assert_eq!(value(2) == value(1), name == "x-auth-roles", "{name}");
    }
}

/// Whether the token is short enough to be remembered or not, asked once or again.
#[tokio::test]
async fn the_claims_are_the_payload_as_it_was_signed() {
    let bench = Bench::new("").await;
    for filler in [0, 1_000, 4_000] {
        let token = bench.token(json!({ "filler": "x".repeat(filler), "scope": ["a", "b"] }));
        let bearer = format!("Bearer {token}");
        for _ in 0..2 {
            let answer = bench.nginx("GET", "/", &[("authorization", &bearer)]).await;
            let claims = header(answer.headers(), "x-auth-claims");
            assert_eq!(Some(claims), token.split('.').nth(1), "{filler}");
            assert_eq!(header(answer.headers(), "x-auth-scope"), "a b");
            assert_eq!(header(answer.headers(), "content-length"), "0");
            assert_eq!(header(answer.headers(), "cache-control"), "no-store");
            assert_eq!(answer.headers().len(), 7);
        }
    }
}

#[tokio::test]
async fn rules_decide_by_path_and_method_and_the_answer_tells_401_from_403() {
    let bench = Bench::new(RULES).await;
    let plain = bench.token(json!({}));
    let reader = bench.token(json!({ "scope": "orders:read" }));
    let writer = bench.token(json!({ "scope": "orders:read orders:write" }));
    let admin = bench.token(json!({ "roles": ["admin"] }));
    let forged = tokens::forged(&writer);
    for (method, uri, token, expected) in [
        ("GET", "/", None, 401),
        ("GET", "/", Some(&plain), 200),
        ("GET", "/", Some(&forged), 401),
        ("GET", "/public/a.css", None, 200),
        ("GET", "/public/a.css", Some(&forged), 200),
        ("GET", "/publicity", None, 401),
        ("GET", "/orders/7", None, 401),
        ("GET", "/orders/7", Some(&plain), 403),
        ("GET", "/orders/7", Some(&reader), 200),
        ("GET", "/orders?x=/public", Some(&plain), 403),
        ("POST", "/orders", Some(&reader), 403),
        ("POST", "/orders", Some(&writer), 200),
        ("DELETE", "/orders/7/", Some(&reader), 403),
        ("GET", "/admin", Some(&writer), 403),
        ("GET", "/admin/x", Some(&admin), 200),
        ("GET", "/api/user-1/tasks", Some(&plain), 200),
        ("GET", "/api/user%2D1/tasks/3", Some(&plain), 200),
        ("GET", "/api/user-2/tasks", Some(&plain), 403),
        ("GET", "/api/user-2", Some(&plain), 200),
        // Every way of saying /orders that a backend may understand and a prefix would not.
        ("GET", "/public/../orders", Some(&writer), 403),
        ("GET", "/public/%2e%2e/orders", None, 403),
        ("GET", "/public/..%2forders", None, 403),
        ("GET", "//orders", Some(&writer), 403),
        ("GET", "/public;/../orders", None, 403),
        ("GET", "/public\\..\\orders", None, 403),
        ("GET", "orders", Some(&writer), 403),
        ("GET", "http://evil.example/public", None, 403),
    ] {
        let status = bench.status(method, uri, token.map(String::as_str)).await;
        assert_eq!(status, expected, "{method} {uri}");
    }
    let answer = bench.nginx("GET", "/orders", &[]).await;
    assert_eq!(
        header(answer.headers(), "www-authenticate"),
        "Bearer realm=\"api\""
    );
    assert_eq!(header(answer.headers(), "cache-control"), "no-store");
}

#[tokio::test]
async fn the_identity_is_the_tokens_and_never_what_a_client_sent() {
    let bench = Bench::new(RULES).await;
    let token = bench.token(json!({ "scope": "a b", "roles": ["x", "y"], "extra": 7 }));
    let bearer = format!("Bearer {token}");
    let slipped = [
        ("x-auth-subject", "admin"),
        ("x-auth-roles", "admin"),
        ("x-auth-scope", "everything"),
        ("x-auth-issuer", "me"),
        ("x-auth-claims", "e30"),
    ];
    let with = [&slipped[..], &[("authorization", bearer.as_str())]].concat();
    let answer = bench.nginx("GET", "/", &with).await;
    let headers = answer.headers();
    assert_eq!(answer.status(), 200);
    assert_eq!(header(headers, "x-auth-subject"), "user-1");
    assert_eq!(header(headers, "x-auth-issuer"), ISSUER);
    assert_eq!(header(headers, "x-auth-scope"), "a b");
    assert_eq!(header(headers, "x-auth-roles"), "x,y");
    let claims = URL_SAFE_NO_PAD
        .decode(header(headers, "x-auth-claims"))
        .unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["extra"], 7);
    // A stranger on a public path, and one who is refused, have every one of them, with nothing in it.
    for uri in ["/public", "/orders"] {
        let answer = bench.nginx("GET", uri, &slipped).await;
        for (name, _) in slipped {
            assert_eq!(header(answer.headers(), name), "", "{uri} {name}");
        }
    }
}

#[tokio::test]
async fn what_no_header_can_carry_is_refused() {
    let bench = Bench::new("").await;
    for (claims, expected) in [
        (json!({ "sub": "plain" }), 200),
        (json!({ "sub": "ä" }), 403),
        (json!({ "sub": "a\r\nX-Auth-Roles: admin" }), 403),
        (json!({ "sub": "a b" }), 403),
        (json!({ "roles": ["a,admin"] }), 403),
        (json!({ "roles": ["a\u{0}"] }), 403),
        (json!({ "roles": ["a", "b"] }), 200),
    ] {
        let token = bench.token(claims.clone());
        assert_eq!(
            bench.status("GET", "/", Some(&token)).await,
            expected,
            "{claims}"
        );
    }
}

#[tokio::test]
async fn each_proxy_asks_in_its_own_words() {
    let bench = Bench::new(RULES).await;
    let bearer = format!("Bearer {}", bench.token(json!({ "scope": "orders:read" })));
    let ask = async |method: &str, uri: &str, headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("authorization", &bearer);
        let answer = bench.ask(request.body(Body::empty()).unwrap()).await;
        answer.status().as_u16()
    };
    let traefik = |method| {
        [
            ("x-forwarded-method", method),
            ("x-forwarded-uri", "/orders/7"),
        ]
    };
    assert_eq!(ask("GET", "/verify", &traefik("GET")).await, 200);
    assert_eq!(ask("GET", "/verify", &traefik("POST")).await, 403);
    assert_eq!(ask("GET", "/envoy/orders/7", &[]).await, 200);
    assert_eq!(ask("POST", "/envoy/orders/7", &[]).await, 403);
    assert_eq!(ask("GET", "/envoy/orders/../admin", &[]).await, 403);
    // The query is the client's, and no wish of the proxy's.
    assert_eq!(
        ask("GET", "/envoy/orders?role=admin&scope=x", &[]).await,
        200
    );
    // Envoy says what was asked for by asking; what a client adds in other proxies' words is nothing.
    let public = [("x-original-uri", "/public"), ("x-original-method", "GET")];
    assert_eq!(ask("POST", "/envoy/orders", &public).await, 403);
    // The root has a prefix before it as any other path has.
    assert_eq!(ask("GET", "/envoy/", &[]).await, 200);
    assert_eq!(ask("GET", "/envoy", &[]).await, 200);
    for nowhere in ["/", "/verify/", "/verify/x", "/envoyer", "/Envoy/orders/7"] {
        assert_eq!(ask("GET", nowhere, &[]).await, 404, "{nowhere}");
    }
    // A client of nginx adds Traefik's words, a client of Traefik nginx's.
    let both = [&traefik("GET")[..], &public].concat();
    assert_eq!(ask("GET", "/verify", &both).await, 403);
    let twice = [&public[..], &public].concat();
    assert_eq!(ask("GET", "/verify", &twice).await, 403);
    assert_eq!(ask("GET", "/verify", &public[..1]).await, 403);
    assert_eq!(ask("GET", "/verify", &[]).await, 403);
}

#[tokio::test]
async fn a_location_of_the_proxy_can_ask_for_more_and_never_for_less() {
    let bench = Bench::new("").await;
    let ask = async |query: &str, claims: Value| {
        let request = Request::get(format!("/verify{query}"))
            .header("authorization", format!("Bearer {}", bench.token(claims)));
        let answer = bench.ask(request.body(Body::empty()).unwrap()).await;
        answer.status().as_u16()
    };
    // Without rules a proxy need not say what the request was.
    assert_eq!(ask("", json!({})).await, 200);
    assert_eq!(ask("?scope=a", json!({})).await, 403);
    assert_eq!(ask("?scope=a", json!({ "scope": "a" })).await, 200);
    assert_eq!(ask("?scope=a%20b", json!({ "scope": "a" })).await, 403);
    assert_eq!(ask("?scope=a+b", json!({ "scope": "b a" })).await, 200);
    assert_eq!(ask("?role=admin", json!({ "roles": ["admin"] })).await, 200);
    assert_eq!(ask("?role=admin", json!({ "roles": ["user"] })).await, 403);
    let bench = Bench::new(RULES).await;
    let request = Request::get("/verify?scope=a")
        .header("x-original-uri", "/public")
        .header("x-original-method", "GET");
    let answer = bench.ask(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn a_cookie_is_for_looking_and_not_for_changing() {
    let bench = Bench::new(RULES).await;
    let cookie = format!("a=b; access_token={}", bench.token(json!({})));
    let ask = async |method: &str, headers: &[(&str, &str)]| {
        let answer = bench.nginx(method, "/page", headers).await;
        answer.status().as_u16()
    };
    assert_eq!(ask("GET", &[("cookie", &cookie)]).await, 200);
    assert_eq!(ask("HEAD", &[("cookie", &cookie)]).await, 200);
    assert_eq!(ask("POST", &[("cookie", &cookie)]).await, 401);
    assert_eq!(ask("GET", &[("cookie", "access_token=x")]).await, 401);
    // The credentials that are meant win, good or bad.
    assert_eq!(
        ask("GET", &[("cookie", &cookie), ("authorization", "Bearer x")]).await,
        401
    );
    let embedded = [
        ("cookie", cookie.as_str()),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "no-cors"),
    ];
    assert_eq!(ask("GET", &embedded).await, 401);
    let navigated = [embedded[0], embedded[1], ("sec-fetch-mode", "navigate")];
    assert_eq!(ask("GET", &navigated).await, 200);
}

#[tokio::test]
async fn a_cookie_that_somebody_put_beside_the_good_one_changes_nothing() {
    let bench = Bench::new(RULES).await;
    let ask = async |cookies: &[&str]| {
        let mut request = Request::get("/verify")
            .header("x-original-uri", "/page")
            .header("x-original-method", "GET");
        for line in cookies {
            request = request.header("cookie", line.as_bytes());
        }
        let answer = bench.ask(request.body(Body::empty()).unwrap()).await;
        let subject = answer.headers().get("x-auth-subject");
        let subject = subject.map_or("", |value| value.to_str().unwrap());
        (answer.status().as_u16(), subject.to_owned())
    };
    let token = |claims| format!("access_token={}", bench.token(claims));
    let good = token(json!({}));
    let newer = token(json!({ "iat": NOW.seconds() }));
    let expired = token(json!({ "exp": NOW.seconds() - 3600 }));
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let elsewhere = token(json!({ "sub": "user-2" }));
    let in_quotes = good.replace('=', "=\"") + "\"";
    let garbage = "access_token=x; ".repeat(200);
    let me = (200, "user-1".to_owned());
    for cookies in [
        format!("name=J\u{fc}rgen; {good}"),
        format!("access_token=x; {good}"),
        format!("{good}; access_token=x"),
        format!("{good}; {good}"),
        format!("{expired}; {good}"),
        format!("{forged}; {expired}; access_token=a.b.c; access_token=; {good}"),
        format!("{good}; {newer}; {forged}"),
        format!("{garbage}{good}"),
        in_quotes,
    ] {
        // Twice: a token is remembered when it was seen before.
        assert_eq!(ask(&[&cookies]).await, me, "{cookies}");
        assert_eq!(ask(&[&cookies]).await, me, "{cookies}");
    }
    assert_eq!(ask(&[&forged, "x=\u{ff}", &good]).await, me);
    let nobody = (401, String::new());
    for cookies in [
        // Whose request it is cannot be told.
        format!("{good}; {elsewhere}"),
        format!("{elsewhere}; {forged}; {good}"),
        format!("{expired}; {forged}"),
        "access_token=x; access_token=y".to_owned(),
        "access_token=".to_owned(),
        good.replace("access_token", "Access_Token"),
    ] {
        assert_eq!(ask(&[&cookies]).await, nobody, "{cookies}");
    }
}

#[tokio::test]
async fn without_keys_it_is_503_or_a_stranger_as_configured() {
    let down = || JwksServer::start(Reply::with(500, &[], ""));
    let bench = Bench::with(RULES, key("a"), down().await).await;
    let bearer = format!("Bearer {}", bench.token(json!({})));
    let credentials = [("authorization", bearer.as_str())];
    let answer = bench.nginx("GET", "/", &credentials).await;
    assert_eq!(answer.status(), 503);
    assert!(
        header(answer.headers(), "retry-after")
            .parse::<u64>()
            .unwrap()
            >= 1
    );
    let lenient = format!("when_unavailable = \"anonymous\"\n{RULES}");
    let bench = Bench::with(&lenient, bench.key, down().await).await;
    let answer = bench.nginx("GET", "/", &credentials).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(header(answer.headers(), "x-auth-subject"), "");
    // Where more than a token is asked for, a stranger does not have it.
    for uri in ["/orders", "/admin", "/api/user-1/tasks"] {
        assert_eq!(
            bench.nginx("GET", uri, &credentials).await.status(),
            503,
            "{uri}"
        );
    }
    // And without a token there is nothing to be lenient about.
    assert_eq!(bench.nginx("GET", "/", &[]).await.status(), 401);
    eventually("asked", || bench.server.count() > 0).await;
}

#[test]
fn a_wrong_file_is_named_with_its_line() {
    for (text, words) in [
        ("liste = \"127.0.0.1:1\"", "gate.toml:1"),
        ("\n[[rule]]\npath = 7", "gate.toml:3"),
        ("[[rule]]\npath = \"/a\"\nscope = [\"x\"]", "gate.toml:3"),
        (
            "[[rule]]\npath = \"/a\"\n[[rule]]\npath = \"b\"",
            "[[rule]] 2",
        ),
        ("[[rule]]\npath = \"/a\"\nallow = \"all\"", "gate.toml:3"),
        ("when_unavailable = \"pass\"", "gate.toml:1"),
        ("[[issuer]]\nname = \"https://a.example\"", "audience"),
    ] {
        let error = GateConfig::parse(text, "gate.toml")
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{text:?}: {error}");
    }
}

#[test]
fn the_program_follows_its_file_and_keeps_the_old_one_when_the_new_is_wrong() {
    let home = Home::new();
    let service = home.serve();
    let issued = home.run(&["token", "--sub", "user-1", "--aud", "api"]);
    let bearer = format!("Bearer {}", issued.stdout.trim());
    let file = home.path().join("gate.toml");
    let write = |rules: &str| {
        let text = format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n{rules}\n[[issuer]]\n\
             name = \"http://issuer.test\"\naudience = [\"api\"]\nstatus = \"ignore\"\n\
             jwks_urls = [\"http://{}/.well-known/jwks.json\"]\n",
            service.public
        );
        std::fs::write(&file, text).unwrap();
    };
    write("[[rule]]\npath = \"/\"\n");
    let named = file.to_str().unwrap();
    let gate = Service::start(keywheel(&["gate", "--config", named]));
    let ask = |path: &str| {
        let headers = [
            ("X-Forwarded-Uri", path),
            ("X-Forwarded-Method", "GET"),
            ("Authorization", &bearer),
        ];
        request(gate.public, "GET", "/verify", &headers)
    };
    let first = ask("/orders");
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.header("x-auth-subject"), Some("user-1"));
    write("[[rule]]\npath = \"/\"\nscopes = [\"nobody:has\"]\n");
    until("the new rules", || {
        (ask("/orders").status == 403).then_some(())
    });
    write("[[rule]]\npath = \"nonsense\"\n");
    let checked = Outcome::from(
        keywheel(&["gate", "--check", "--config", named])
            .output()
            .unwrap(),
    );
    assert_eq!(checked.code, 2);
    assert!(checked.stderr.contains("[[rule]] 1"), "{}", checked.stderr);
    for _ in 0..50 {
        assert_eq!(ask("/orders").status, 403);
    }
    write("[[rule]]\npath = \"/{a}/b\"\n[[rule]]\npath = \"/a/{b}\"\nscopes = [\"x\"]\n");
    until("and back", || (ask("/orders").status == 200).then_some(()));
    let checked = Outcome::from(
        keywheel(&["gate", "--check", "--config", named])
            .output()
            .unwrap(),
    );
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    assert!(
        checked.stdout.contains("a request must satisfy both"),
        "{}",
        checked.stdout
    );
    // Its keys outlive the issuer, and the probes say how it is.
    assert_eq!(get(gate.admin, "/readyz").status, 200);
    assert!(
        get(gate.admin, "/metrics").body.contains(
            "keywheel_http_requests_total{method=\"GET\",route=\"/verify\",status=\"200\"}"
        )
    );
    drop(service);
    assert_eq!(ask("/orders").status, 200);
    assert_eq!(gate.terminate(), Some(0));
}

#[test]
fn the_command_line_alone_will_do_and_says_what_is_missing() {
    let run = |args: &[&str]| Outcome::from(keywheel(args).output().unwrap());
    let good = [
        "gate",
        "--issuer",
        "https://a.example",
        "--audience",
        "api,web",
        "--check",
    ];
    assert_eq!(run(&good).code, 0);
    for (args, words) in [
        (&["gate"][..], "--issuer"),
        (&["gate", "--issuer", "https://a.example"], "--audience"),
        (
            &[
                "gate",
                "--issuer",
                "http://a.example",
                "--audience",
                "x",
                "--check",
            ],
            "plain http",
        ),
        (
            &["gate", "--config", "/nowhere/gate.toml"],
            "/nowhere/gate.toml",
        ),
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, 2, "{args:?}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(words),
            "{args:?}: {}",
            outcome.stderr
        );
    }
}
