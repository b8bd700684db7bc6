//! Guessing passwords is slow, and keeps nobody else out: neither an account's own people nor those behind the same address.
#![cfg(test)]
#![cfg(feature = "server")]

mod support;

use std::time::Duration;

use axum::body::Body;
use serde_json::json;
use support::auth::{Auth, ISSUER, PASSWORD, Reply};
use support::process::{Home, request_with};

const MINUTE: Duration = Duration::from_secs(60);
const ADA: &str = "ada@example.com";

/// A service behind a proxy, with the limits that it has by default.
async fn service() -> Auth {
    Auth::with(|config| {
        let defaults = keywheel::config::Config::parse("", "k.toml", []).unwrap();
        config.accounts.rate_limit = defaults.accounts.rate_limit;
        config.accounts.account_rate_limit = defaults.accounts.account_rate_limit;
        config.trusted_proxies = vec![serde_json::from_value("192.0.2.1".into()).unwrap()];
    })
    .await
}

async fn sign_in(auth: &Auth, from: &str, cookie: Option<&str>, email: &str, pw: &str) -> Reply {
    let mut headers = vec![
        ("content-type", "application/json"),
        ("origin", ISSUER),
        ("x-forwarded-for", from),
    ];
    headers.extend(cookie.map(|cookie| ("cookie", cookie)));
    let body = json!({ "email": email, "password": pw }).to_string();
    auth.send("POST", "/api/auth/sign-in/email", &headers, body)
        .await
}

async fn sign_up(auth: &Auth, from: &str, email: &str) -> Reply {
    let headers = [
        ("content-type", "application/json"),
        ("origin", ISSUER),
        ("x-forwarded-for", from),
    ];
    let body = json!({ "name": "Ada", "email": email, "password": PASSWORD }).to_string();
    let reply = auth.send("POST", "/api/auth/sign-up/email", &headers, body);
    reply.await
}

/// The cookie by which a browser is known that was signed in.
fn device(reply: &Reply) -> String {
    let cookies = reply.cookies();
    let device = cookies.iter().find(|c| c.contains(".known_device="));
    let pair = device.expect("a device cookie").split(';').next();
    pair.unwrap().to_owned()
}

#[tokio::test]
async fn one_who_guesses_from_one_network_keeps_nobody_out() {
    let auth = service().await;
    assert_eq!(sign_up(&auth, "198.51.100.7", ADA).await.status, 200);
    let mut guesses = 0;
    for _ in 0..120 {
        for _ in 0..3 {
            for host in 1..=4 {
                let from = format!("203.0.113.{host}");
                let reply = sign_in(&auth, &from, None, ADA, "a wrong one").await;
                guesses += u32::from(reply.status == 401);
            }
        }
        // From an address that nobody has seen before.
        let reply = sign_in(&auth, "198.51.100.99", None, ADA, PASSWORD).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        auth.clock.advance(MINUTE / 2);
    }
    // In an hour; ten a minute would be six hundred.
    assert!((10..=70).contains(&guesses), "{guesses}");
}

#[tokio::test]
async fn a_thousand_networks_that_guess_keep_no_known_device_and_no_known_network_out() {
    let auth = service().await;
    let signed_up = sign_up(&auth, "198.51.100.7", ADA).await;
    let device = device(&signed_up);
    for round in 0..3 {
        for network in 0..200 {
            let from = format!("10.{round}.{network}.1");
            sign_in(&auth, &from, None, ADA, "a wrong one").await;
        }
        // A stranger waits, and is told how long; on a device that was signed in before nobody does.
        let new = format!("192.0.2.{}", 77 + round);
        let stranger = sign_in(&auth, &new, None, ADA, PASSWORD).await;
        assert_eq!(stranger.status, 429);
        let wait: u64 = stranger.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        let known = sign_in(&auth, "192.0.2.70", Some(&device), ADA, PASSWORD).await;
        assert_eq!(known.status, 200, "{}", known.text);
        // Nor where the account is signed in, as a client without cookies is known.
        let at_home = sign_in(&auth, "198.51.100.7", None, ADA, PASSWORD).await;
        assert_eq!(at_home.status, 200, "{}", at_home.text);
        auth.clock.advance(Duration::from_secs(wait));
        let stranger = sign_in(&auth, &new, None, ADA, PASSWORD).await;
        assert_eq!(stranger.status, 200, "after the wait that was said");
        auth.clock.advance(MINUTE);
    }
}

#[tokio::test]
async fn a_device_cookie_opens_nothing_and_gives_no_more_guesses_than_a_stranger_has() {
    let auth = service().await;
    let ada = device(&sign_up(&auth, "198.51.100.7", ADA).await);
    let bob = device(&sign_up(&auth, "198.51.100.7", "bob@example.com").await);
    let guess = async |cookie: &str| {
        let reply = sign_in(&auth, "203.0.113.5", Some(cookie), ADA, "a wrong one").await;
        reply.status
    };
    let mut guesses = 0;
    for _ in 0..100 {
        guesses += u32::from(guess(&ada).await == 401);
    }
    assert_eq!(guesses, 10);
    // Another account's is none for this one, and a forged one neither: a stranger's limits, three from one address.
    for cookie in [
        &bob,
        "better-auth.known_device=AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA",
    ] {
        auth.clock.advance(MINUTE);
        let mut guesses = 0;
        for _ in 0..20 {
            guesses += u32::from(guess(cookie).await == 401);
        }
        assert_eq!(guesses, 3);
    }
    // It says nothing of whether there is an account: who does not sign in gets none.
    let reply = sign_in(
        &auth,
        "203.0.113.9",
        None,
        "nobody@example.com",
        "wrong one",
    )
    .await;
    assert_eq!((reply.status, reply.cookies().len()), (401, 0));
}

#[tokio::test]
async fn who_mistypes_twice_and_then_gets_it_right_is_signed_in() {
    let auth = service().await;
    sign_up(&auth, "198.51.100.7", ADA).await;
    for attempt in ["a wrong one", "another one", PASSWORD] {
        let expected = if attempt == PASSWORD { 200 } else { 401 };
        let reply = sign_in(&auth, "192.0.2.50", None, ADA, attempt).await;
        assert_eq!(reply.status, expected);
    }
}

#[tokio::test]
async fn people_behind_one_address_who_sign_in_rightly_use_up_nothing() {
    let auth = service().await;
    for n in 0..20 {
        let email = format!("user{n}@example.com");
        sign_up(&auth, &format!("198.51.100.{n}"), &email).await;
    }
    for n in 0..20 {
        let email = format!("user{n}@example.com");
        let reply = sign_in(&auth, "192.0.2.50", None, &email, PASSWORD).await;
        assert_eq!(reply.status, 200, "{n}");
    }
    // While wrong passwords still count.
    let mut guesses = 0;
    for n in 0..20 {
        let email = format!("user{n}@example.com");
        let reply = sign_in(&auth, "192.0.2.50", None, &email, "a wrong one").await;
        guesses += u32::from(reply.status == 401);
    }
    assert_eq!(guesses, 3);
}

#[tokio::test]
async fn one_who_guesses_behind_the_same_address_does_not_keep_a_known_device_out() {
    let auth = service().await;
    let device = device(&sign_up(&auth, "198.51.100.7", ADA).await);
    for n in 0..10 {
        let email = format!("user{n}@example.com");
        sign_in(&auth, "198.51.100.7", None, &email, "a wrong one").await;
    }
    let reply = sign_in(&auth, "198.51.100.7", Some(&device), ADA, PASSWORD).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

#[tokio::test]
async fn what_is_no_address_fills_no_accounts_windows_and_still_counts_for_its_sender() {
    let auth = service().await;
    let mut answers = Vec::new();
    for n in 0..5 {
        let invented = format!("{n}@nowhere");
        let reply = sign_in(&auth, "203.0.113.5", None, &invented, "a wrong one").await;
        answers.push(reply.status);
    }
    assert_eq!(answers, [400, 400, 400, 429, 429]);
    let headers = [
        ("content-type", "application/json"),
        ("origin", ISSUER),
        ("x-forwarded-for", "203.0.113.6"),
    ];
    let mut answers = Vec::new();
    for _ in 0..5 {
        let reply = auth.send("POST", "/api/auth/sign-in/email", &headers, Body::from("{"));
        answers.push(reply.await.status);
    }
    assert_eq!(answers, [400, 400, 400, 429, 429]);
}

#[tokio::test]
async fn whoever_has_a_stolen_session_does_not_keep_the_owner_from_changing_the_password() {
    let auth = Auth::with(|config| config.accounts.account_rate_limit.attempts = 4).await;
    auth.sign_up(ADA).await;
    let (thief, owner) = (auth.sign_in(ADA).await, auth.sign_in(ADA).await);
    let change = async |cookie: &str, current: &str| {
        let body = json!({ "currentPassword": current, "newPassword": "another horse" });
        let reply = auth.post("/change-password", Some(cookie), body).await;
        reply.status
    };
    for expected in [400, 400, 400, 400, 429, 429] {
        assert_eq!(change(&thief.cookie, "a wrong one").await, expected);
    }
    assert_eq!(change(&owner.cookie, PASSWORD).await, 200);
}

#[test]
fn a_proxy_that_nobody_trusts_is_named_in_the_log_once_with_the_line_to_write() {
    let home = Home::new();
    let service = home.serve();
    let body = format!("{{\"email\":\"{ADA}\",\"password\":\"a wrong one\"}}");
    for n in 0..5 {
        let forwarded = format!("198.51.100.{n}, \u{1b}]0;title\u{7}");
        let headers = [
            ("Content-Type", "application/json"),
            ("Origin", "http://issuer.test"),
            ("X-Forwarded-For", &*forwarded),
        ];
        request_with(
            service.public,
            "POST",
            "/api/auth/sign-in/email",
            &headers,
            &body,
        );
    }
    let headers = [
        ("Content-Type", "application/json"),
        ("Forwarded", "for=198.51.100.1"),
    ];
    request_with(
        service.public,
        "POST",
        "/api/auth/sign-in/email",
        &headers,
        &body,
    );
    let log = service.into_log();
    let hint = "trusted_proxies = [\\\"127.0.0.1\\\"]";
    assert_eq!(log.matches(hint).count(), 1, "{log}");
    assert!(!log.contains("198.51.100.") && !log.contains('\u{1b}') && !log.contains("title"));
}

#[test]
fn a_service_without_a_proxy_is_not_warned_of_one() {
    let home = Home::new();
    let service = home.serve();
    let headers = [("Content-Type", "application/json")];
    let path = "/api/auth/sign-in/email";
    request_with(service.public, "POST", path, &headers, "{}");
    assert!(!service.into_log().contains("trusted_proxies"));
}
