//! `keywheel doctor` against services of which one thing is wrong: it names that step and its mend, and no other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use http::{HeaderMap, StatusCode};
use keywheel::{Algorithm, Claims, Verifier};
use serde_json::json;
use support::process::{Home, Outcome, Service, keywheel, request_with};

const PASSWORD: &str = "correct horse";

/// What is wrong with an API.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    None,
    Open,
    DecodesOnly,
    Crashes,
    NoBearerPrefix,
    OtherAudience,
    Forbids,
}

#[derive(Clone)]
struct Api {
    verifier: Verifier,
    fault: Fault,
}

async fn serve_api(issuer: &str, fault: Fault) -> SocketAddr {
    let audience = if fault == Fault::OtherAudience {
        "elsewhere"
    } else {
        "api"
    };
    let verifier = Verifier::builder()
        .issuer(issuer)
        .audience(audience)
        .algorithms([Algorithm::EdDSA])
        .build()
        .unwrap();
    let router = Router::new()
        .route("/tasks", any(tasks))
        .route("/orders", post(tasks))
        .with_state(Api { verifier, fault });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn tasks(State(api): State<Api>, headers: HeaderMap) -> Response {
    let sent = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let token = match (api.fault, sent) {
        (Fault::Open, _) => return "anybody's".into_response(),
        (_, None) => {
            return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Bearer")]).into_response();
        }
        (Fault::NoBearerPrefix, Some(sent)) => sent,
        (_, Some(sent)) => sent.strip_prefix("Bearer ").unwrap_or_default(),
    };
    match api.verifier.verify::<Claims>(token).await {
        Ok(_) if api.fault == Fault::Forbids => StatusCode::FORBIDDEN.into_response(),
        Ok(_) => "one's own".into_response(),
        Err(_) if api.fault == Fault::DecodesOnly => "whoever".into_response(),
        Err(_) if api.fault == Fault::Crashes => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(_) => StatusCode::UNAUTHORIZED.into_response(),
    }
}

/// A service whose issuer is where it is, with an account.
fn auth_service(home: &Home) -> (Service, String) {
    let address = support::ports::free().to_string();
    let issuer = format!("http://{address}");
    let mut command = home.command(&["serve"]);
    command
        .env("KEYWHEEL_ISSUER", &issuer)
        .env("KEYWHEEL_LISTEN", &address);
    command.env("KEYWHEEL_TRUSTED_ORIGINS", "[\"http://127.0.0.1:5173\"]");
    command.env(
        "KEYWHEEL_ACCOUNTS__RATE_LIMIT",
        "{ window = \"10s\", attempts = 1000 }",
    );
    command.env(
        "KEYWHEEL_ACCOUNTS__ACCOUNT_RATE_LIMIT",
        "{ window = \"10s\", attempts = 1000 }",
    );
    let service = Service::start(command);
    let body =
        json!({ "name": "Ada", "email": "ada@example.com", "password": PASSWORD }).to_string();
    let headers = [("Content-Type", "application/json")];
    assert_eq!(
        request_with(
            service.public,
            "POST",
            "/api/auth/sign-up/email",
            &headers,
            &body
        )
        .status,
        200
    );
    (service, issuer)
}

async fn doctor(home: &Home, auth: &str, api: &str, more: &[&str]) -> Outcome {
    let file = home.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let mut args = vec![
        "doctor",
        "--auth",
        auth,
        "--api",
        api,
        "--email",
        "ada@example.com",
        "--password-file",
    ];
    args.push(file.to_str().unwrap());
    args.extend(more);
    let mut command = keywheel(&args);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    Outcome::from(output.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_names_the_first_broken_step_of_an_api_and_its_mend() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let (service, issuer) = auth_service(&home);
    for (fault, broken, mend) in [
        (Fault::None, None, ""),
        (
            Fault::Open,
            Some("the API refuses a request without a token"),
            "not protected",
        ),
        (
            Fault::DecodesOnly,
            Some("the API refuses a token that is none"),
            "decoding is not verifying",
        ),
        (
            Fault::Crashes,
            Some("the API refuses a token that is none"),
            "uncaught",
        ),
        (
            Fault::NoBearerPrefix,
            Some("the API accepts it"),
            "RFC 6750 §2.1",
        ),
        (
            Fault::OtherAudience,
            Some("the API accepts it"),
            "aud `api`",
        ),
        (
            Fault::Forbids,
            Some("the API accepts it"),
            "keywheel users scopes",
        ),
    ] {
        let api = serve_api(&issuer, fault).await;
        let outcome = doctor(&home, &issuer, &format!("http://{api}/tasks"), &[]).await;
        let crosses: Vec<_> = outcome
            .stdout
            .lines()
            .filter(|line| line.starts_with('✗'))
            .collect();
        match broken {
            None => assert_eq!((outcome.code, crosses.len()), (0, 0), "{outcome:?}"),
            Some(step) => {
                assert_eq!(
                    (outcome.code, crosses.len()),
                    (1, 1),
                    "{fault:?} {outcome:?}"
                );
                assert!(
                    crosses[0].starts_with(&format!("✗ {step}: ")),
                    "{fault:?} {outcome:?}"
                );
                assert!(outcome.stdout.contains(mend), "{fault:?} {outcome:?}");
            }
        }
    }
    // Its sessions are not left behind.
    let sessions = home.run(&["users", "sessions", "ada@example.com", "--json"]);
    let sessions: serde_json::Value = serde_json::from_str(&sessions.stdout).unwrap();
    assert_eq!(
        sessions["sessions"].as_array().unwrap().len(),
        1,
        "the one of the sign-up"
    );
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_names_what_is_wrong_with_addresses_origins_and_accounts() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let (service, issuer) = auth_service(&home);
    let api = serve_api(&issuer, Fault::None).await;
    let (api, gone) = (format!("http://{api}/tasks"), "http://127.0.0.1:1");
    let localhost = issuer.replace("127.0.0.1", "localhost");
    let jobs: [(&str, &str, &[&str], &str, &str); 6] = [
        (gone, &api, &[], "the auth service answers", "--auth"),
        (
            &localhost,
            &api,
            &[],
            "it is the issuer that it says it is",
            "issuer = ",
        ),
        (&issuer, gone, &[], "the API answers", "--api"),
        (
            &issuer,
            &api,
            &["--origin", "http://evil.test"],
            "pages of the origin may sign in there",
            "trusted_origins",
        ),
        (
            &issuer,
            &api,
            &["--origin", "http://127.0.0.1:5173"],
            "pages of the origin may call the API with a token",
            "allow the origin",
        ),
        (
            &issuer,
            &api,
            &["--audience", "elsewhere"],
            "the session gives a token",
            "--audience",
        ),
    ];
    for (auth, api, more, step, mend) in jobs {
        let outcome = doctor(&home, auth, api, more).await;
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(
            outcome.stdout.contains(&format!("✗ {step}: ")),
            "{step}: {outcome:?}"
        );
        assert!(outcome.stdout.contains(mend), "{mend}: {outcome:?}");
    }
    // An address that takes another method is not taken for one without protection.
    let orders = api.replace("/tasks", "/orders");
    let outcome = doctor(&home, &issuer, &orders, &[]).await;
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(
        outcome.stdout.contains("✗ the API answers: ") && outcome.stdout.contains("--method POST"),
        "{outcome:?}"
    );
    let outcome = doctor(&home, &issuer, &orders, &["--method", "POST"]).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    home.run(&["users", "disable", "ada@example.com"]);
    let outcome = doctor(&home, &issuer, &api, &["--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let last = report["steps"].as_array().unwrap().last().unwrap();
    assert_eq!((&report["ok"], &last["ok"]), (&json!(false), &json!(false)));
    assert!(
        last["mend"]
            .as_str()
            .unwrap()
            .contains("keywheel users enable"),
        "{last}"
    );
    drop(service);
}
