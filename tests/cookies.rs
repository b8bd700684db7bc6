//! The session cookie among others: old ones, planted ones, lost answers; and that nothing but the cookie proves a session.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};
use support::auth::{Auth, PASSWORD, Reply};
use support::browser::Browser;
use support::process::{Home, Service, request_with};

const DAY: Duration = Duration::from_secs(24 * 3600);
const NAME: &str = "__Secure-better-auth.session_token";
const ADA: &str = "ada@example.com";
const EVE: &str = "eve@example.com";
const JSON: (&str, &str) = ("content-type", "application/json");

async fn service() -> Auth {
    Auth::with(|config| config.issuer = "https://auth.example.com".into()).await
}

fn credentials(email: &str) -> Value {
    json!({ "name": "A", "email": email, "password": PASSWORD })
}

/// The session cookie of somebody who signs up elsewhere.
async fn cookie_of(auth: &Auth, how: &str, email: &str) -> String {
    let path = format!("/api/auth/{how}/email");
    let mut body = credentials(email);
    if how == "sign-in" {
        body.as_object_mut().unwrap().remove("name");
    }
    let reply = auth.send("POST", &path, &[JSON], body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.cookie()
}

async fn enter(browser: &mut Browser<'_>, how: &str, email: &str) {
    let mut body = credentials(email);
    if how == "sign-in" {
        body.as_object_mut().unwrap().remove("name");
    }
    let reply = browser.post(&format!("/{how}/email"), body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

/// Every place where somebody else may have put a cookie that goes to `get-session`.
const PLACES: &[(Option<&str>, &str)] = &[
    (Some("example.com"), "/"),
    (Some("auth.example.com"), "/"),
    (None, "/api"),
    (None, "/api/"),
    (Some("example.com"), "/api/auth"),
    (Some("example.com"), "/api/auth/"),
    (Some("auth.example.com"), "/api/auth/get-session"),
    (Some("example.com"), "/api/auth/get-session"),
];

#[tokio::test]
async fn a_session_is_found_whatever_its_neighbours_hold() {
    let auth = service().await;
    let ada = cookie_of(&auth, "sign-up", ADA).await;
    let many = "x=1; ".repeat(200);
    let long = format!("x={}; ", "y".repeat(30 * 1024));
    for before in [
        "name=J\u{fc}rgen; ",
        "\u{ff}; ",
        "no pair; ; ;",
        &many,
        &long,
    ] {
        let cookie = format!("{before}{ada}; name=\u{1f600}");
        let cookies = [("cookie", cookie.as_str())];
        for path in ["/api/auth/get-session", "/api/auth/token"] {
            let reply = auth.send("GET", path, &cookies, Body::empty()).await;
            assert_eq!(reply.status, 200, "{before}");
            assert_ne!(reply.text, "null", "{before}");
        }
        let reply = auth
            .send(
                "GET",
                "/api/auth/token",
                &[cookies[0], ("cookie", "a=\u{ff}")],
                Body::empty(),
            )
            .await;
        assert_eq!(reply.status, 200);
    }
    let quoted = ada.replacen('=', "=\"", 1) + "\"";
    let cookie = [("cookie", quoted.as_str())];
    assert_eq!(
        auth.send("GET", "/api/auth/token", &cookie, Body::empty())
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn an_old_or_foreign_cookie_beside_the_good_one_neither_hides_nor_removes_it() {
    let auth = service().await;
    let old = cookie_of(&auth, "sign-up", EVE).await;
    let headers = [
        ("cookie", old.as_str()),
        ("origin", "https://auth.example.com"),
    ];
    auth.send("POST", "/api/auth/sign-out", &headers, Body::empty())
        .await;
    let foreign = format!("{NAME}=0123456789abcdef0123456789abcdef.c2lnbmF0dXJl");
    let mut first = true;
    for stale in [
        old.as_str(),
        &foreign,
        &format!("{NAME}=x"),
        &format!("{NAME}="),
    ] {
        for &(domain, path) in PLACES {
            let mut browser = Browser::new(&auth);
            enter(&mut browser, if first { "sign-up" } else { "sign-in" }, ADA).await;
            first = false;
            browser.plant(stale, domain, path);
            assert_eq!(
                browser.whoami().await.as_deref(),
                Some(ADA),
                "{domain:?} {path}"
            );
            // And the one that is no use does not come again.
            assert_eq!(
                browser.named(NAME).len(),
                1,
                "{domain:?} {path}: {:?}",
                browser.cookies
            );
            assert_eq!(browser.get("/token").await.status, 200);
            assert_eq!(browser.whoami().await.as_deref(), Some(ADA));
        }
    }
    // Many at once, and on a path of their own.
    let mut browser = Browser::new(&auth);
    enter(&mut browser, "sign-in", ADA).await;
    for (n, &(domain, path)) in PLACES.iter().enumerate() {
        browser.plant(&format!("{NAME}=garbage{n}"), domain, path);
    }
    browser.plant(&old, Some("example.com"), "/api/auth/token");
    assert_eq!(browser.get("/token").await.status, 200);
    assert_eq!(browser.whoami().await.as_deref(), Some(ADA));
    assert_eq!(browser.named(NAME).len(), 1, "{:?}", browser.cookies);
}

#[tokio::test]
async fn of_two_sessions_of_one_user_the_newest_counts() {
    let auth = service().await;
    let older = cookie_of(&auth, "sign-up", ADA).await;
    for older_first in [true, false] {
        let mut browser = Browser::new(&auth);
        auth.clock.advance(Duration::from_secs(10));
        enter(&mut browser, "sign-in", ADA).await;
        let newest = browser.get("/get-session").await.json()["session"]["id"].clone();
        let path = if older_first { "/api" } else { "/" };
        browser.plant(&older, Some("example.com"), path);
        let found = browser.get("/get-session").await.json();
        assert_eq!(found["session"]["id"], newest);
        assert_eq!(browser.named(NAME).len(), 1, "{:?}", browser.cookies);
    }
}

#[tokio::test]
async fn a_planted_session_of_somebody_else_is_refused_and_locks_nobody_out() {
    let auth = service().await;
    let planted = cookie_of(&auth, "sign-up", EVE).await;
    let mut first = true;
    for &(domain, path) in PLACES {
        for endpoint in ["/get-session", "/token"] {
            let mut browser = Browser::new(&auth);
            enter(&mut browser, if first { "sign-up" } else { "sign-in" }, ADA).await;
            first = false;
            let path = path.replace("/get-session", endpoint);
            browser.plant(&planted, domain, &path);
            let reply = browser.get(endpoint).await;
            match endpoint {
                "/token" => {
                    assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"));
                }
                _ => assert_eq!(reply.text, "null"),
            }
            assert!(
                browser.named(NAME).is_empty(),
                "{domain:?} {path}: {:?}",
                browser.cookies
            );
            enter(&mut browser, "sign-in", ADA).await;
            assert_eq!(browser.whoami().await.as_deref(), Some(ADA));
        }
    }
    // Where it is there already, signing in takes it away.
    let mut browser = Browser::new(&auth);
    browser.plant(&planted, Some("example.com"), "/");
    browser.plant(&planted, Some("example.com"), "/api/auth");
    enter(&mut browser, "sign-in", ADA).await;
    assert_eq!(browser.whoami().await.as_deref(), Some(ADA));
}

#[tokio::test]
async fn more_planted_sessions_than_are_tried_are_all_refused_and_cleared() {
    let auth = service().await;
    let mut planted = vec![cookie_of(&auth, "sign-up", EVE).await];
    for _ in 0..4 {
        planted.push(cookie_of(&auth, "sign-in", EVE).await);
    }
    let mut browser = Browser::new(&auth);
    enter(&mut browser, "sign-up", ADA).await;
    for (cookie, &(domain, path)) in planted.iter().zip(PLACES) {
        browser.plant(cookie, domain, path);
    }
    assert_eq!(browser.whoami().await, None);
    assert!(browser.named(NAME).is_empty(), "{:?}", browser.cookies);
    enter(&mut browser, "sign-in", ADA).await;
    assert_eq!(browser.whoami().await.as_deref(), Some(ADA));
}

/// nginx, for one, takes 4 KiB from what it stands before, and answers 502 where there is more.
#[tokio::test]
async fn an_answer_that_clears_cookies_fits_what_proxies_take() {
    for (issuer, old) in [
        ("https://auth.example.com", None),
        ("https://a.login.example.co.uk/tenants/one", Some("earlier")),
    ] {
        let auth = Auth::with(|config| {
            config.issuer = issuer.into();
            config.sessions.old_cookie_prefix = old.map(String::from);
        })
        .await;
        let dead = format!("{NAME}=x; {NAME}=y");
        for path in ["/api/auth/get-session", "/api/auth/sign-out"] {
            let method = if path.ends_with("out") { "POST" } else { "GET" };
            let headers = [("cookie", dead.as_str()), ("referer", issuer)];
            let reply = auth.send(method, path, &headers, Body::empty()).await;
            assert_eq!(reply.status, 200);
            let lines = reply.headers.iter();
            let bytes: usize = lines
                .map(|(name, value)| name.as_str().len() + value.len() + 4)
                .sum();
            assert!(bytes < 4000, "{issuer} {path}: {bytes}");
        }
    }
}

/// Of the cookies only the one that proves no session may be left: by it the browser is known at its next sign-in.
fn assert_signed_out(browser: &Browser<'_>) {
    let mut left = browser.cookies.iter();
    let proves_nothing = left.all(|cookie| cookie.name.ends_with(".known_device"));
    assert!(proves_nothing, "{:?}", browser.cookies);
}

#[tokio::test]
async fn sign_out_ends_every_session_that_the_browser_sends() {
    let auth = service().await;
    let planted = cookie_of(&auth, "sign-up", EVE).await;
    let mut browser = Browser::new(&auth);
    enter(&mut browser, "sign-up", ADA).await;
    let own = browser.header("/api/auth/token");
    browser.plant(&planted, Some("example.com"), "/");
    assert_eq!(browser.post("/sign-out", json!({})).await.status, 200);
    assert_signed_out(&browser);
    for cookie in [own.as_str(), &planted] {
        let reply = auth
            .send(
                "GET",
                "/api/auth/token",
                &[("cookie", cookie)],
                Body::empty(),
            )
            .await;
        assert_eq!(reply.status, 401);
    }
}

#[tokio::test]
async fn a_cookie_of_the_old_prefix_is_taken_over_by_the_host_prefix() {
    let old = service().await;
    let mut browser = Browser::new(&old);
    enter(&mut browser, "sign-up", ADA).await;
    let url = old.config.database.url.clone();
    let auth = Auth::with(|config| {
        config.issuer = "https://auth.example.com".into();
        config.database.url = url;
        config.sessions.cookie_prefix = "__Host-better-auth".into();
        config.sessions.old_cookie_prefix = Some("better-auth".into());
    })
    .await;
    let mut browser = browser.moved_to(&auth);
    assert_eq!(browser.whoami().await.as_deref(), Some(ADA));
    let taken_over = browser.named("__Host-better-auth.session_token");
    assert_eq!(taken_over.len(), 1);
    assert_eq!(
        (taken_over[0].domain.as_deref(), taken_over[0].path.as_str()),
        (None, "/")
    );
    assert_eq!(browser.whoami().await.as_deref(), Some(ADA));
    assert!(browser.ask("/get-session", None).await.cookies().is_empty());
    browser.post("/sign-out", json!({})).await;
    assert_signed_out(&browser);
}

#[test]
fn a_changed_cookie_name_is_said_at_start() {
    let home = Home::new();
    let start = |name: &str, old: Option<&str>| {
        let mut command = home.command(&["serve"]);
        command.env("KEYWHEEL_SESSIONS__COOKIE_PREFIX", name);
        if let Some(old) = old {
            command.env("KEYWHEEL_SESSIONS__OLD_COOKIE_PREFIX", old);
        }
        Service::start(command)
            .started
            .contains("sessions.old_cookie_prefix")
    };
    assert!(!start("one", None));
    assert!(start("two", None));
    assert!(!start("two", Some("one")));
    assert!(!start("one", None));
}

// === Renewal ===

#[tokio::test]
async fn a_page_that_asks_for_nothing_but_tokens_stays_signed_in() {
    let auth = service().await;
    let mut browser = Browser::new(&auth);
    enter(&mut browser, "sign-up", ADA).await;
    for day in 0..20 {
        auth.clock.advance(DAY);
        assert_eq!(browser.get("/token").await.status, 200, "day {day}");
    }
    auth.clock.advance(7 * DAY);
    assert_eq!(browser.get("/token").await.status, 401);
}

#[tokio::test]
async fn a_lost_answer_does_not_cost_the_cookie_its_longer_life() {
    let auth = Auth::with(|config| {
        config.issuer = "https://auth.example.com".into();
        config.sessions.ttl = keywheel::config::Span(Duration::from_secs(60 * 60));
        config.sessions.renew_after = keywheel::config::Span(Duration::from_secs(50 * 60));
    })
    .await;
    let mut first = true;
    for (renewing, next) in [
        ("/token", "/token"),
        ("/get-session", "/token"),
        ("/token", "/get-session"),
        ("/token", "/list-sessions"),
    ] {
        let mut browser = Browser::new(&auth);
        enter(&mut browser, if first { "sign-up" } else { "sign-in" }, ADA).await;
        first = false;
        auth.clock.advance(Duration::from_secs(50 * 60));
        let lost = browser.ask(renewing, None).await;
        assert!(!lost.cookies().is_empty());
        auth.clock.advance(Duration::from_secs(9 * 60));
        browser.get(next).await;
        // Past the first end, and no further than the session lives.
        auth.clock.advance(Duration::from_secs(50 * 60));
        assert_eq!(
            browser.ask("/token?disableRefresh=true", None).await.status,
            200
        );
        auth.clock.advance(Duration::from_secs(60));
        let name = format!("{NAME}=");
        assert!(
            !browser.header("/api/auth/token").contains(&name),
            "{:?}",
            browser.cookies
        );
    }
}

#[tokio::test]
async fn answers_that_come_at_once_in_any_order_agree_in_the_end() {
    let auth = service().await;
    let mut browser = Browser::new(&auth);
    enter(&mut browser, "sign-up", ADA).await;
    auth.clock.advance(DAY + Duration::from_millis(700));
    let (one, two) = (
        browser.ask("/token", None),
        browser.ask("/get-session", None),
    );
    let (one, two) = tokio::join!(one, two);
    browser.take(&two);
    browser.take(&one);
    assert_eq!(browser.get("/token").await.status, 200);
    assert!(browser.ask("/token", None).await.cookies().is_empty());
    assert_eq!(browser.named(NAME).len(), 1);
}

#[tokio::test]
async fn no_answer_makes_a_browser_session_permanent_or_renews_against_the_callers_wish() {
    let auth = service().await;
    let mut browser = Browser::new(&auth);
    enter(&mut browser, "sign-up", ADA).await;
    auth.clock.advance(3 * DAY);
    for path in [
        "/token?disableRefresh=true",
        "/get-session?disableRefresh=true",
    ] {
        let before = browser.get("/list-sessions").await.json()[0]["expiresAt"].clone();
        assert!(browser.ask(path, None).await.cookies().is_empty(), "{path}");
        assert_eq!(
            browser.get("/list-sessions").await.json()[0]["expiresAt"],
            before
        );
    }
    let mut browser = Browser::new(&auth);
    let body = json!({ "email": ADA, "password": PASSWORD, "rememberMe": false });
    browser.post("/sign-in/email", body).await;
    browser.plant(&format!("{NAME}=x"), Some("example.com"), "/");
    for path in ["/get-session", "/token", "/list-sessions"] {
        let reply = browser.get(path).await;
        for set in reply.cookies() {
            assert!(
                set.contains("=;") || !set.contains("Max-Age"),
                "{path}: {set}"
            );
        }
        assert_eq!(browser.named("session_token").len(), 1);
    }
    assert!(browser.named("session_expires").is_empty());
}

// === What proves a session ===

/// Every string of an answer that a script of the page can read: all but `Set-Cookie` (Fetch §2.2.2).
fn readable(reply: &Reply) -> Vec<String> {
    fn strings(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::String(text) => into.push(text.clone()),
            Value::Array(all) => all.iter().for_each(|one| strings(one, into)),
            Value::Object(all) => all.values().for_each(|one| strings(one, into)),
            _ => {}
        }
    }
    let headers = reply
        .headers
        .iter()
        .filter(|(name, _)| *name != "set-cookie");
    let mut found: Vec<String> = headers
        .map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    strings(&reply.json(), &mut found);
    found
}

async fn is_credential(auth: &Auth, text: &str) -> bool {
    let bearer = format!("Bearer {text}");
    let headers = [("authorization", bearer.as_str())];
    let token = auth
        .send("GET", "/api/auth/token", &headers, Body::empty())
        .await;
    let session = auth
        .send("GET", "/api/auth/get-session", &headers, Body::empty())
        .await;
    token.status == 200 || session.text != "null"
}

#[tokio::test]
async fn nothing_that_a_page_can_read_proves_a_session() {
    let auth = service().await;
    let mut browser = Browser::new(&auth);
    let sign_up = browser.post("/sign-up/email", credentials(ADA)).await;
    let sign_in = json!({ "email": ADA, "password": PASSWORD });
    let sign_in = browser.post("/sign-in/email", sign_in).await;
    let change = json!({ "currentPassword": PASSWORD, "newPassword": PASSWORD });
    let change = browser.post("/change-password", change).await;
    // As on plain http, where browsers send no Fetch Metadata with a GET.
    let cookie = browser.header("/api/auth/get-session");
    let plain = async |path: &str| {
        let path = format!("/api/auth{path}");
        auth.send("GET", &path, &[("cookie", &cookie)], Body::empty())
            .await
    };
    let replies = [
        sign_up,
        sign_in,
        change,
        browser.get("/get-session").await,
        browser.get("/list-sessions").await,
        plain("/get-session").await,
        plain("/list-sessions").await,
    ];
    for reply in &replies {
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.header("set-auth-token").is_none());
        for text in readable(reply) {
            assert!(!is_credential(&auth, &text).await, "{text}");
        }
    }
    // The signed-in page goes by one name everywhere, so that it can tell its own session from others.
    let own = replies[3].json()["session"]["token"].clone();
    assert_eq!(replies[2].json()["token"], own);
    assert_eq!(replies[4].json()[0]["token"], own);
    // Either of the two headers says that a page asks, whatever it holds.
    for header in [
        ("origin", "https://auth.example.com"),
        ("sec-fetch-mode", "cors"),
    ] {
        let body = json!({ "email": ADA, "password": PASSWORD }).to_string();
        let reply = auth
            .send("POST", "/api/auth/sign-in/email", &[JSON, header], body)
            .await;
        assert_eq!(reply.status, 200);
        assert!(reply.header("set-auth-token").is_none(), "{header:?}");
    }
}

#[tokio::test]
async fn a_client_that_is_no_page_keeps_the_signed_token_and_nothing_less_is_taken() {
    let auth = service().await;
    let body = credentials(ADA).to_string();
    let reply = auth
        .send("POST", "/api/auth/sign-up/email", &[JSON], body)
        .await;
    let signed = reply.header("set-auth-token").unwrap();
    let raw = signed.split('.').next().unwrap();
    let encoded = signed
        .replace('=', "%3D")
        .replace('+', "%2B")
        .replace('/', "%2F");
    for (credentials, expected) in [
        (format!("Bearer {signed}"), true),
        (format!("bearer {signed}"), true),
        (format!("BEARER   {signed} "), true),
        (format!("Bearer {encoded}"), true),
        (format!("Bearer {raw}"), false),
        (format!("Bearer {raw}."), false),
        (format!("Bearer {signed}x"), false),
        (format!("Basic {signed}"), false),
        (
            format!("Bearer {}", reply.json()["token"].as_str().unwrap()),
            false,
        ),
        ("Bearer".into(), false),
        (signed.to_owned(), false),
    ] {
        let headers = [("authorization", credentials.as_str())];
        let token = auth
            .send("GET", "/api/auth/token", &headers, Body::empty())
            .await;
        assert_eq!(token.status == 200, expected, "{credentials}");
        let session = auth
            .send("GET", "/api/auth/get-session", &headers, Body::empty())
            .await;
        assert_eq!(session.text != "null", expected, "{credentials}");
        assert!(session.cookies().is_empty() && token.cookies().is_empty());
    }
    let bearer = format!("Bearer {signed}");
    let twice = [
        ("authorization", bearer.as_str()),
        ("authorization", &bearer),
    ];
    let token = async |headers: &[(&str, &str)], query: &str| {
        let path = format!("/api/auth/token{query}");
        auth.send("GET", &path, headers, Body::empty()).await.status
    };
    assert_eq!(token(&twice, "").await, 401);
    let signed_in_address = format!("?access_token={encoded}&token={encoded}");
    assert_eq!(token(&[], &signed_in_address).await, 401);
    // A bearer that is no session is not made good by a cookie, and costs the cookie nothing.
    let cookie = reply.cookie();
    let both = [("authorization", "Bearer x"), ("cookie", cookie.as_str())];
    let session = auth
        .send("GET", "/api/auth/get-session", &both, Body::empty())
        .await;
    assert_eq!(
        (session.text.as_str(), session.cookies().len()),
        ("null", 0)
    );
    // A proxy's own password is none of ours.
    let both = [("authorization", "Basic dTpw"), ("cookie", cookie.as_str())];
    assert_eq!(token(&both, "").await, 200);
    // Its own session can be named by what it holds.
    let body = json!({ "token": signed }).to_string();
    let headers = [JSON, ("authorization", bearer.as_str())];
    let reply = auth
        .send("POST", "/api/auth/revoke-session", &headers, body)
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(token(&[("authorization", &bearer)], "").await, 401);
}

#[tokio::test]
async fn with_bearer_allowed_signing_in_gives_pages_the_signed_token() {
    let auth = Auth::with(|config| config.sessions.bearer = true).await;
    let reply = auth.post("/sign-up/email", None, credentials(ADA)).await;
    let signed = reply.header("set-auth-token").unwrap();
    let exposed = reply.header("access-control-expose-headers").unwrap();
    assert!(exposed.contains("set-auth-token"), "{exposed}");
    assert_eq!(reply.json()["token"], signed);
    assert!(is_credential(&auth, signed).await);
    assert!(!is_credential(&auth, signed.split('.').next().unwrap()).await);
    // What is asked for later gives nothing that was not given then.
    for path in ["/get-session", "/list-sessions"] {
        for text in readable(&auth.get(path, Some(&reply.cookie())).await) {
            assert!(!is_credential(&auth, &text).await, "{path}: {text}");
        }
    }
}

#[test]
fn a_running_service_finds_the_session_among_bytes_that_are_no_text() {
    use std::io::{Read as _, Write as _};
    let home = Home::new();
    let service = home.serve();
    let body = credentials(ADA).to_string();
    let reply = request_with(
        service.public,
        "POST",
        "/api/auth/sign-up/email",
        &[JSON],
        &body,
    );
    let cookie = reply
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let mut stream = std::net::TcpStream::connect(service.public).unwrap();
    let head = b"GET /api/auth/token HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: name=J\xfcrgen; x=\xff\xfe; ";
    stream.write_all(head).unwrap();
    stream
        .write_all(format!("{cookie}\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
