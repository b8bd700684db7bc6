//! A sign-out at the auth service, and how long it takes until a hundred APIs refuse the token that has not expired.
//! `cargo nextest run --test sign_out --no-capture` prints the times.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::time::Duration;

use keywheel::{Algorithm, Claims, Clock as _, SystemClock, Verifier};
use serde_json::json;
use support::process::{Home, request, request_with};
use support::real_time::{Machine, refusals};

const VERIFIERS: usize = 100;
/// The promise.
const WITHIN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_reaches_a_hundred_verifiers_within_a_second_cached_tokens_included() {
    let home = Home::with("jwks_max_age = \"10m\"");
    // The issuer's name must be where it is: a status list is fetched from its origin only.
    let issuer = format!("http://{}", support::ports::free());
    let mut command = home.command(&["serve"]);
    command.env("KEYWHEEL_ISSUER", &issuer);
    command.env("KEYWHEEL_LISTEN", issuer.strip_prefix("http://").unwrap());
    let service = support::process::Service::start(command);

    let body = json!({ "name": "Ada", "email": "ada@example.com", "password": "correct horse" })
        .to_string();
    let json = ("Content-Type", "application/json");
    let reply = request_with(
        service.public,
        "POST",
        "/api/auth/sign-up/email",
        &[json],
        &body,
    );
    let cookie = reply
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let reply = request(
        service.public,
        "GET",
        "/api/auth/token",
        &[("Cookie", &cookie)],
    );
    let token = reply.json()["token"].as_str().unwrap().to_owned();

    let mut verifiers = Vec::new();
    for _ in 0..VERIFIERS {
        let verifier = Verifier::builder()
            .issuer(&issuer)
            .audience("api")
            .algorithms([Algorithm::EdDSA])
            .build()
            .unwrap();
        // Twice: the second comes from the cache of accepted tokens.
        verifier.verify::<Claims>(&token).await.unwrap();
        verifier.try_verify::<Claims>(&token).unwrap();
        verifiers.push(verifier);
    }
    // Each holds a request for the next list before anybody signs out.
    support::eventually("everybody watches", || {
        verifiers.iter().all(|verifier| {
            let status = verifier.status();
            status[0]
                .status_lists
                .iter()
                .all(|list| format!("{:?}", list.updates) == "Push")
        })
    })
    .await;

    let machine = Machine::measured().await;
    let started = SystemClock.monotonic();
    let public = service.public;
    let origin = issuer.clone();
    let out = tokio::task::spawn_blocking(move || {
        let headers = [("Cookie", cookie.as_str()), ("Origin", &origin)];
        let status = request(public, "POST", "/api/auth/sign-out", &headers).status;
        (status, SystemClock.monotonic())
    });
    // From the moment the request was sent.
    let times = refusals(&verifiers, &token, started).await;
    let (status, answered) = out.await.unwrap();
    assert_eq!(status, 200);
    println!("the sign-out was answered after {:?}", answered - started);
    machine.holds(WITHIN, times[VERIFIERS - 1]).await;
    for verifier in &verifiers {
        let reject = verifier.try_verify::<Claims>(&token).unwrap_err();
        assert_eq!(reject.code(), "revoked");
    }
}
