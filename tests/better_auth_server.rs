//! Keywheel's verifier against a real Better Auth server, across a change of its key. Needs Node: `./test better-auth`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keywheel::{Algorithm, Claims, ManualClock, Verifier};
use serde_json::json;
use support::documents::Document;
use support::named_tests::root;
use support::process::{Home, Outcome, get, request_with, until};

/// A server on Node; ends with its owner.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/better_auth/server.mjs");
        let mut child = Command::new("node")
            .arg(script)
            .stderr(Stdio::piped())
            .spawn()
            .expect("node");
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(
                stderr.read_line(&mut line).unwrap() > 0,
                "it ended before it was up"
            );
            if let Some(url) = line.strip_prefix("better auth serves http://") {
                break url.trim().parse().unwrap();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Server { child, address }
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    fn post(&self, path: &str) {
        assert_eq!(
            request_with(self.address, "POST", path, &[], "").status,
            200
        );
    }

    /// A session token of a new user.
    fn sign_up(&self) -> String {
        let body =
            json!({ "name": "Ada", "email": "ada@example.com", "password": "correct horse" })
                .to_string();
        let origin = self.origin();
        let headers = [("Content-Type", "application/json"), ("Origin", &origin)];
        let reply = request_with(
            self.address,
            "POST",
            "/api/auth/sign-up/email",
            &headers,
            &body,
        );
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.header("set-auth-token").unwrap().to_owned()
    }

    fn token(&self, session: &str) -> String {
        let bearer = format!("Bearer {session}");
        let reply = request_with(
            self.address,
            "GET",
            "/api/auth/token",
            &[("Authorization", &bearer)],
            "",
        );
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json()["token"].as_str().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node and Better Auth: ./test better-auth"]
async fn tokens_of_a_better_auth_server_are_accepted_across_a_change_of_its_key() {
    let server = Server::start();
    let session = server.sign_up();
    // First: the server makes its first key only when it is asked for a token.
    let old = server.token(&session);
    // As its clock reads, so that the cool-down between fetches can be let pass without waiting.
    let clock = ManualClock::new(keywheel::Clock::now(&keywheel::SystemClock));
    let verifier = Verifier::builder()
        .issuer(server.origin())
        .jwks_url(format!("{}/api/auth/jwks", server.origin()))
        .audience(server.origin())
        .algorithms([Algorithm::EdDSA])
        .leeway(Duration::from_secs(5))
        .clock(clock.clone())
        .build()
        .unwrap();
    let accepted = verifier.verify::<Claims>(&old).await.unwrap();
    assert!(!accepted.subject().is_empty());
    let forged = format!("{}AAAA", &old[..old.len() - 4]);
    assert_eq!(
        verifier.verify::<Claims>(&forged).await.unwrap_err().code(),
        "bad_signature"
    );

    // It goes on with another key and still publishes the old one: nobody told the verifier.
    server.post("/rotate");
    let new = server.token(&session);
    assert_ne!(kid(&old), kid(&new));
    clock.advance(Duration::from_secs(120));
    for token in [&new, &old] {
        let verdict = verifier.verify::<Claims>(token).await;
        assert_eq!(verdict.unwrap().subject(), accepted.subject());
    }

    // It has lost its keys: what they signed is worth nothing as soon as that is known.
    server.post("/forget");
    let last = server.token(&session);
    clock.advance(Duration::from_secs(120));
    verifier.verify::<Claims>(&last).await.unwrap();
    for token in [&new, &old] {
        assert_eq!(
            verifier.verify::<Claims>(token).await.unwrap_err().code(),
            "unknown_key"
        );
    }
}

/// The guide, from the row of its database to a token of its own that Keywheel's key set verifies.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node and Better Auth: ./test better-auth"]
async fn a_better_auth_server_hands_its_key_to_keywheel_as_the_guide_says() {
    let server = Server::start();
    let token = server.token(&server.sign_up());
    let row = request_with(server.address, "GET", "/row", &[], "").json();
    let id = row["id"].as_str().unwrap();
    assert_eq!(kid(&token), id);

    let guide = Document::read("docs/migrate.md");
    let shown = |language: &str| {
        let mut blocks = guide.blocks().into_iter();
        blocks
            .find(|block| block.language == language)
            .unwrap()
            .text
    };
    let home = Home::new();
    // Where Node finds Better Auth.
    let modules = root().join("tests/better_auth/node_modules/.guide");
    std::fs::create_dir_all(&modules).unwrap();
    let script = modules.join("key.mjs");
    std::fs::write(&script, shown("js")).unwrap();
    let written = Command::new("node")
        .arg(&script)
        .current_dir(home.path())
        .env("PRIVATE_KEY", row["privateKey"].as_str().unwrap())
        .env("BETTER_AUTH_SECRET", row["secret"].as_str().unwrap())
        .status();
    assert!(written.unwrap().success());

    let service = home.serve();
    let shell = shown("sh").replace("ROW_ID", id);
    let import = shell.lines().nth(1).unwrap().split(" # ").next().unwrap();
    let words: Vec<&str> = import.split_whitespace().skip(1).collect();
    let imported = home.command(&words).current_dir(home.path()).output();
    assert_eq!(Outcome::from(imported.unwrap()).code, 0);
    until("it is published", || {
        let published = get(service.public, "/api/auth/jwks").body;
        published.contains(id).then_some(())
    });

    let verifier = Verifier::builder()
        .issuer(server.origin())
        .jwks_url(format!("http://{}/api/auth/jwks", service.public))
        .audience(server.origin())
        .leeway(Duration::from_secs(5))
        .build()
        .unwrap();
    verifier.verify::<Claims>(&token).await.unwrap();
}

fn kid(token: &str) -> String {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(header)
        .unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}
