//! A stolen key dies within a second: a thousand verifiers, each with its own connection to a real service, and the command that
//! revokes.
//!
//! `cargo nextest run --test revoke_push --no-capture` prints how long it took.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and what was measured belongs in its output"
)]

mod support;

use std::time::Duration;

use keywheel::{Algorithm, Claims, Clock as _, SystemClock, Verifier};
use serde_json::Value;
use support::process::{Home, Outcome, Service, get, request, until};
use support::real_time::{Machine, raise_file_limit, refusals};

const JWKS: &str = "/.well-known/jwks.json";
const VERIFIERS: usize = 1_000;

fn verifier(service: &Service, client: &reqwest::Client) -> Verifier {
    Verifier::builder()
        .issuer("http://issuer.test")
        .jwks_url(format!("http://{}{JWKS}", service.public))
        .audience("api")
        .algorithms([Algorithm::EdDSA])
        .token_cache(4)
        .http_client(client.clone())
        .build()
        .unwrap()
}

fn watchers(service: &Service) -> Value {
    get(service.admin, "/watchers").json()
}

fn mint(home: &Home) -> String {
    let minted = home.run(&["token", "--sub", "u", "--aud", "api"]);
    assert_eq!(minted.code, 0, "{}", minted.stderr);
    minted.stdout.trim().to_owned()
}

fn revoke(home: &Home, service: &Service, more: &[&str]) -> Outcome {
    let kid = home.kids("EdDSA", "signing").remove(0);
    let admin = service.admin.to_string();
    let args = [
        "keys", "revoke", &kid, "--reason", "stolen", "--admin", &admin,
    ];
    home.run(&[&args[..], more].concat())
}

#[test]
fn a_stolen_key_is_refused_by_a_thousand_watching_verifiers_within_1_s() {
    raise_file_limit();
    let home = Home::with("jwks_max_age = \"10m\"");
    let service = home.serve();
    let stolen = mint(&home);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls())
        .build()
        .unwrap();
    let verifiers: Vec<Verifier> = (0..VERIFIERS)
        .map(|_| verifier(&service, &client))
        .collect();
    for verifier in &verifiers {
        let verdict = runtime.block_on(verifier.verify::<Claims>(&stolen));
        assert!(verdict.is_ok(), "{verdict:?}");
    }
    until("all of them watch", || {
        (watchers(&service)["current"] == VERIFIERS).then_some(())
    });

    let admin = service.admin;
    let machine = runtime.block_on(Machine::measured());
    let (took, revoked) = std::thread::scope(|scope| {
        let started = SystemClock.monotonic();
        let revoking = scope.spawn(|| revoke(&home, &service, &[]));
        // When each verifier first refuses what it accepted a moment before.
        let took = runtime.block_on(refusals(&verifiers, &stolen, started));
        (took, revoking.join().unwrap())
    });
    assert_eq!(revoked.code, 0, "{}", revoked.stderr);
    let line = revoked.stdout.lines().last().unwrap().to_owned();
    let (p50, p99, max) = (
        took[VERIFIERS / 2],
        took[VERIFIERS * 99 / 100],
        took[VERIFIERS - 1],
    );
    println!("{line}");
    println!(
        "from the start of `keys revoke` until a verifier refuses the stolen key's token: p50 {} ms, p99 {} ms, max {} ms, of {VERIFIERS} verifiers",
        p50.as_millis(),
        p99.as_millis(),
        max.as_millis()
    );
    assert!(
        line.starts_with("1,000 of 1,000 verifiers have the new set, "),
        "{line}"
    );
    runtime.block_on(machine.holds(Duration::from_secs(1), max));

    // And the new signer's tokens are accepted by all of them.
    let fresh = mint(&home);
    for verifier in &verifiers {
        assert!(verifier.try_verify::<Claims>(&fresh).is_ok());
    }
    let metrics = get(admin, "/metrics").body;
    assert!(
        metrics.contains("keywheel_revocation_propagation_seconds_count 1000"),
        "{metrics}"
    );
}

fn tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

#[test]
fn revoking_takes_the_key_out_lets_the_announced_one_sign_and_destroys_the_private_half() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let service = home.serve();
    let (stolen, next) = (
        home.kids("EdDSA", "signing"),
        home.kids("EdDSA", "announced"),
    );
    let file = home.keys().join(format!("{}.pem", stolen[0]));
    assert!(file.exists());
    let dry = revoke(&home, &service, &["--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert!(
        dry.stdout
            .contains(&format!("would revoke key {}", stolen[0])),
        "{}",
        dry.stdout
    );
    assert_eq!(home.kids("EdDSA", "signing"), stolen);

    let revoked = revoke(&home, &service, &[]);
    assert_eq!(revoked.code, 0, "{}", revoked.stderr);
    for words in [
        "\"event\":\"key_revoked\"",
        "\"reason\":\"revocation\"",
        ": stolen",
    ] {
        assert!(
            revoked.stderr.contains(words),
            "{words}: {}",
            revoked.stderr
        );
    }
    // What it breaks is said, with until when: the announced key was published a moment ago.
    assert!(
        revoked
            .stderr
            .contains("are refused by verifiers that hold an older set"),
        "{}",
        revoked.stderr
    );
    assert!(
        revoked.stdout.contains("no verifier watches"),
        "{}",
        revoked.stdout
    );
    assert_eq!(home.kids("EdDSA", "signing"), next);
    assert_eq!(home.kids("EdDSA", "announced").len(), 1);
    assert!(!get(service.public, JWKS).body.contains(&stolen[0]));
    assert!(!file.exists());
    let all = home.run(&["keys", "list", "--all", "--json"]);
    let all: Value = serde_json::from_str(&all.stdout).unwrap();
    let mut keys = all["keys"].as_array().unwrap().iter();
    let record = keys.find(|key| key["kid"] == *stolen[0]).unwrap();
    assert_eq!(
        (&record["stage"], &record["reason"]),
        (&"revoked".into(), &"stolen".into())
    );
    assert!(record["revoked_at"].is_number());
}

#[test]
fn revoking_works_while_the_server_is_down_and_with_nothing_announced() {
    let home = Home::with("jwks_max_age = \"10m\"");
    home.serve().terminate();
    let revoke_stage = |stage: &str| {
        let kid = home.kids("EdDSA", stage).remove(0);
        let revoked = home.run(&[
            "keys",
            "revoke",
            &kid,
            "--reason",
            "stolen",
            "--json",
            "--admin",
            "127.0.0.1:1",
        ]);
        assert_eq!(revoked.code, 0, "{}", revoked.stderr);
        let revoked: Value = serde_json::from_str(&revoked.stdout).unwrap();
        assert_eq!(revoked["servers"][0]["outcome"], "no_answer");
        kid
    };
    let announced = revoke_stage("announced");
    let signing = revoke_stage("signing");
    let signing_again = revoke_stage("signing");
    assert_ne!(signing, signing_again);
    // The announced key cannot be used: one is made first.
    let next = home.kids("EdDSA", "announced").remove(0);
    std::fs::remove_file(home.keys().join(format!("{next}.pem"))).unwrap();
    let last = revoke_stage("signing");
    assert_ne!(home.kids("EdDSA", "signing"), [next]);
    let service = home.serve();
    let published = get(service.public, JWKS).body;
    for gone in [announced, signing, signing_again, last] {
        assert!(!published.contains(&gone));
    }
    assert_eq!(get(service.admin, "/readyz").status, 200);
    assert_eq!(home.run(&["token", "--sub", "u", "--aud", "api"]).code, 0);
}

#[test]
fn what_cannot_be_revoked_is_refused_by_name_and_nothing_changes() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let service = home.serve();
    let first = home.kids("EdDSA", "signing").remove(0);
    assert_eq!(revoke(&home, &service, &[]).code, 0);
    until("the server has nothing left to write", || {
        let keys = home.list();
        keys.iter()
            .all(|key| key["first_published"].is_number())
            .then_some(())
    });
    let ring = || std::fs::read_to_string(home.keys().join("ring.json")).unwrap();
    let before = ring();
    for (args, words) in [
        (
            &["keys", "revoke", "nobody", "--reason", "x"][..],
            "the ring has no key `nobody`",
        ),
        (
            &["keys", "revoke", &first, "--reason", "x"],
            "is revoked since",
        ),
        (&["keys", "revoke", &first], "--reason"),
        (&["keys", "revoke", &first, "--reason", " "], "say why"),
        (&["keys", "rotate", "--force"], "--reason"),
        (
            &["keys", "rotate", "--to", "PS256"],
            "keys.algorithms has EdDSA, RS256",
        ),
        (
            &["keys", "export", "--private", &first],
            "has been destroyed",
        ),
        (
            &["keys", "export", "--private", "nobody"],
            "the ring has no key `nobody`",
        ),
        (&["keys", "plan", "--at", "yesterday"], "write a time like"),
        (
            &["keys", "plan", "--at", "2001-01-01T00:00:00Z"],
            "that moment is past",
        ),
    ] {
        let refused = home.run(args);
        assert_eq!(refused.code, 2, "{args:?}: {refused:?}");
        assert!(
            refused.stderr.contains(words),
            "{args:?}: {}",
            refused.stderr
        );
        assert!(ring() == before, "{args:?}");
    }
}

#[test]
fn the_line_tells_how_many_poll_and_until_when() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let service = home.serve();
    for _ in 0..3 {
        get(service.public, JWKS);
    }
    let etag = get(service.public, JWKS).header("etag").unwrap().to_owned();
    let address = service.public;
    let watching = std::thread::spawn(move || {
        let mut etag = etag;
        // Held until the key is revoked, and back with what it was given.
        for _ in 0..2 {
            let headers = [("If-None-Match", &*etag), ("Prefer", "wait=2")];
            let answer = request(address, "GET", JWKS, &headers);
            etag = answer.header("etag").unwrap().to_owned();
        }
    });
    until("it watches", || {
        (watchers(&service)["current"] == 1).then_some(())
    });
    let revoked = revoke(&home, &service, &[]);
    let line = revoked.stdout.lines().last().unwrap();
    assert!(
        line.starts_with("1 of 1 verifiers have the new set, "),
        "{line}"
    );
    let polls = line.split("; ").nth(1).unwrap();
    assert!(
        polls.starts_with("3 clients polled in the last ") && polls.contains(": at the latest in "),
        "{line}"
    );
    watching.join().unwrap();
}
