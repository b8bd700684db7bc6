//! An issuer whose URL has a path: found by discovery and used under it, whether a proxy takes the path away or not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use axum::body::Body;
use keywheel::{Claims, Verifier};
use serde_json::json;
use support::auth::{Auth, PASSWORD};
use support::process::request_with;
use tokio::sync::watch;

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_finds_an_issuer_with_a_path_and_its_status_list_by_discovery() {
    let listener = keywheel::http::bind("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}/login");
    let auth = Auth::with(|config| config.issuer = url.clone()).await;
    let (stop, stopped) = watch::channel(false);
    let listening = keywheel::http::Listening::new("public", 100, &auth.metrics);
    let router = auth.router.clone();
    let running = tokio::spawn(keywheel::http::run(listener, router, listening, stopped));
    let verifier = Verifier::builder()
        .issuer(&url)
        .audience("api")
        .clock(auth.clock.clone())
        .build()
        .unwrap();
    let body = json!({ "name": "A", "email": "ada@example.com", "password": PASSWORD });
    let path = "/login/api/auth/sign-up/email";
    let headers = [("content-type", "application/json")];
    let signed_up = request_with(address, "POST", path, &headers, &body.to_string());
    assert_eq!(signed_up.status, 200);
    let bearer = format!("Bearer {}", signed_up.header("set-auth-token").unwrap());
    let headers = [("authorization", bearer.as_str())];
    let answer = request_with(address, "GET", "/login/api/auth/token", &headers, "").json();
    let token = answer["token"].as_str().unwrap();
    // By discovery alone, its status list included.
    let verified = verifier.verify::<Claims>(token).await.unwrap();
    assert_eq!(verified.token().issuer(), url);
    // The verifier holds a request for the next key set; nobody waits for that.
    running.abort();
    drop(stop);
}

#[tokio::test]
async fn every_document_is_where_either_standard_puts_it_and_the_rest_under_the_path() {
    let auth = Auth::with(|config| config.issuer = "https://a.example/tenants/one".into()).await;
    let metadata = async |path: &str| auth.send("GET", path, &[], Body::empty()).await;
    for path in [
        // OpenID Connect Discovery 1.0 §4, RFC 8414 §3.1 and §5.
        "/tenants/one/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/tenants/one",
        "/.well-known/openid-configuration/tenants/one",
        "/tenants/one/.well-known/oauth-authorization-server",
        // Behind a proxy that takes the path away.
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    ] {
        let reply = metadata(path).await;
        assert_eq!(reply.status, 200, "{path}");
        let said = reply.json();
        assert_eq!(said["issuer"], "https://a.example/tenants/one");
        assert_eq!(
            said["jwks_uri"],
            "https://a.example/tenants/one/.well-known/jwks.json"
        );
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    }
    for path in ["", "/tenants/one"] {
        for (rest, status) in [
            ("/.well-known/jwks.json", 200),
            ("/api/auth/jwks", 200),
            ("/api/auth/ok", 200),
            ("/api/auth/get-session?disableRefresh=true", 200),
            ("/api/auth/token", 401),
            ("/status/1", 200),
            ("/", 200),
            ("/page.js", 200),
            ("/nothing", 404),
            ("/.well-known/nothing", 404),
        ] {
            let reply = metadata(&format!("{path}{rest}")).await;
            assert_eq!(reply.status, status, "{path}{rest}");
            assert!(reply.header("strict-transport-security").is_some());
        }
        let page = metadata(&format!("{path}/")).await.text;
        assert!(page.contains("src=\"/tenants/one/page.js\""), "{page}");
    }
    for nowhere in [
        "/tenants/two/api/auth/ok",
        "/tenants/one1/api/auth/ok",
        "/tenants/api/auth/ok",
    ] {
        assert_eq!(metadata(nowhere).await.status, 404, "{nowhere}");
    }
    // A foreign page is refused there as well.
    let headers = [
        ("content-type", "application/json"),
        ("origin", "https://evil.example"),
    ];
    let path = "/tenants/one/api/auth/sign-in/email";
    assert_eq!(auth.send("POST", path, &headers, "{}").await.status, 403);
    // And cookies are cleared under the path as well as above it.
    let dead = [("cookie", "__Secure-better-auth.session_token=x")];
    let reply = auth
        .send(
            "GET",
            "/tenants/one/api/auth/get-session",
            &dead,
            Body::empty(),
        )
        .await;
    let cleared = reply.cookies();
    for path in [
        "; Path=/;",
        "; Path=/tenants/one;",
        "; Path=/tenants/one/api/auth;",
    ] {
        assert!(
            cleared.iter().any(|line| line.contains(path)),
            "{path}: {cleared:?}"
        );
    }
}
