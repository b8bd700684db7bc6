//! Private keys sealed at rest, from outside: what is on the disk, what a lost or changed wrapping key costs, and what an edited
//! ring is worth.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::fs;

use serde_json::Value;
use support::process::{Home, Outcome, Service, get, until};

const JWKS: &str = "/.well-known/jwks.json";
const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const TWO: &str = "f0e0d0c0b0a090807060504030201000f0e0d0c0b0a090807060504030201000";

fn run(home: &Home, wrapping: &str, args: &[&str]) -> Outcome {
    let mut command = home.command(args);
    command.env("KEYWHEEL_WRAPPING_KEYS", wrapping);
    Outcome::from(command.output().unwrap())
}

fn serve(home: &Home, wrapping: &str) -> Service {
    let mut command = home.command(&["serve"]);
    command.env("KEYWHEEL_WRAPPING_KEYS", wrapping);
    Service::start(command)
}

fn ring(home: &Home) -> String {
    fs::read_to_string(home.keys().join("ring.json")).unwrap()
}

fn key_files(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.keys())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

fn problems(service: &Service) -> (u16, String) {
    let ready = get(service.admin, "/readyz");
    (ready.status, ready.json()["problems"].to_string())
}

#[test]
fn with_a_wrapping_key_no_private_key_is_ever_on_the_disk_in_the_open() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let service = serve(&home, ONE);
    assert!(!service.started.contains("unsealed"), "{}", service.started);
    let rotate = ["keys", "rotate", "--force", "--reason", "drill"];
    assert_eq!(run(&home, ONE, &rotate).code, 0);
    let files = key_files(&home);
    // And more, once the service has seen to the next ones.
    assert!(files.len() >= 4, "{}", files.len());
    for file in files {
        assert!(
            file.starts_with("-----BEGIN KEYWHEEL SEALED KEY-----"),
            "{file}"
        );
    }
    assert_eq!(get(service.admin, "/readyz").status, 200);
    assert_eq!(
        run(&home, ONE, &["token", "--sub", "u", "--aud", "api"]).code,
        0
    );
    let signing = home.kids("EdDSA", "signing").remove(0);
    let exported = run(&home, ONE, &["keys", "export", "--private", &signing]);
    assert!(
        exported.stdout.starts_with("-----BEGIN PRIVATE KEY-----"),
        "{exported:?}"
    );
    assert!(
        exported
            .stderr
            .contains("\"event\":\"keys_exported\",\"reason\":\"private\"")
    );
    until("what is exported to be what is published", || {
        let public = run(&home, ONE, &["keys", "export"]);
        (public.stdout.trim_end() == get(service.public, JWKS).body).then_some(())
    });
}

#[test]
fn without_a_wrapping_key_one_warning_says_so() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let service = home.serve();
    assert_eq!(
        service.started.matches("unsealed").count(),
        1,
        "{}",
        service.started
    );
    assert!(ring(&home).starts_with("{\n  \"version\": 1,\n"));
}

#[test]
fn a_wrapping_key_is_changed_without_a_pause() {
    let home = Home::with("jwks_max_age = \"10m\"");
    serve(&home, ONE).terminate();
    let both = format!("{TWO},{ONE}");
    let service = serve(&home, &both);
    assert_eq!(problems(&service).0, 200);
    let dry = run(&home, &both, &["keys", "rewrap", "--dry-run"]);
    assert_eq!(dry.stdout.matches("would seal").count(), 5, "{dry:?}");
    let before = key_files(&home);
    assert_eq!(before, key_files(&home));
    let rewrapped = run(&home, &both, &["keys", "rewrap"]);
    assert_eq!(rewrapped.code, 0, "{}", rewrapped.stderr);
    assert!(rewrapped.stderr.contains("\"event\":\"keys_rewrapped\""));
    assert_eq!(rewrapped.stdout.matches("sealed ").count(), 5);
    assert_eq!(problems(&service).0, 200);
    let again = run(&home, &both, &["keys", "rewrap", "--json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&again.stdout).unwrap()["keys"],
        Value::Array(vec![])
    );
    // The old one is needed no more.
    drop(service);
    let service = serve(&home, TWO);
    assert_eq!(problems(&service), (200, "[]".into()));
    assert_eq!(
        run(&home, TWO, &["token", "--sub", "u", "--aud", "api"]).code,
        0
    );
}

#[test]
fn a_key_that_cannot_be_opened_is_set_aside_and_everything_else_works() {
    let home = Home::with("jwks_max_age = \"1s\"\nclock_skew = \"1s\"");
    serve(&home, ONE).terminate();
    let both = format!("{TWO},{ONE}");
    {
        // The ring and one new key are sealed by the new wrapping key, the rest by the old.
        let _service = serve(&home, &both);
        let rotate = [
            "keys", "rotate", "--alg", "EdDSA", "--force", "--reason", "drill",
        ];
        assert_eq!(run(&home, &both, &rotate).code, 0);
    }
    let lost = home.kids("EdDSA", "signing").remove(0);
    let service = serve(&home, TWO);
    let published = get(service.public, JWKS).body;
    assert!(published.contains(&lost), "its public half serves on");
    assert!(
        service.started.contains(&lost),
        "named: {}",
        service.started
    );
    assert!(
        service.started.contains("not among the configured ones"),
        "{}",
        service.started
    );
    until("another signs", || {
        (get(service.admin, "/readyz").status == 200).then_some(())
    });
    assert_eq!(
        run(&home, TWO, &["token", "--sub", "u", "--aud", "api"]).code,
        0
    );
    assert_eq!(
        run(&home, TWO, &["token", "--sub", "u", "--aud", "legacy"]).code,
        0
    );
    assert!(
        get(service.public, JWKS).body.contains(&lost),
        "its tokens live on"
    );
}

#[test]
fn a_ring_that_was_edited_without_the_wrapping_key_is_refused_whole() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let service = serve(&home, ONE);
    until("nothing is left to write", || {
        let first = home
            .list()
            .iter()
            .all(|key| key["first_published"].is_number());
        first.then_some(())
    });
    let (good, published) = (ring(&home), get(service.public, JWKS).body);
    let path = home.keys().join("ring.json");
    for edited in [
        good.replacen("\"stage\": \"announced\"", "\"stage\": \"retired\"", 1),
        good.replacen("\"serial\": ", "\"serial\": 9", 1),
        good.replacen("\"created_at\": 1", "\"created_at\": 2", 1),
    ] {
        assert_ne!(edited, good);
        fs::write(&path, &edited).unwrap();
        for command in [&["serve"][..], &["keys", "list"], &["keys", "rotate"]] {
            let refused = run(&home, ONE, command);
            assert_eq!(refused.code, 3, "{command:?} {refused:?}");
            assert!(
                refused.stderr.contains("its seal does not fit"),
                "{}",
                refused.stderr
            );
        }
        until("the probe tells", || {
            problems(&service)
                .1
                .contains("its seal does not fit")
                .then_some(())
        });
        assert_eq!(get(service.public, JWKS).body, published);
        assert_eq!(ring(&home), edited, "left as it is");
    }
    // Taking the seal off is noticed too, and not followed.
    let mut stripped: Value = serde_json::from_str(&good).unwrap();
    stripped.as_object_mut().unwrap().remove("seal").unwrap();
    let keys = stripped["keys"].as_array_mut().unwrap();
    keys.retain(|key| key["stage"] != "announced");
    fs::write(&path, stripped.to_string()).unwrap();
    until("the probe tells", || {
        problems(&service)
            .1
            .contains("without a seal")
            .then_some(())
    });
    assert_eq!(get(service.public, JWKS).body, published);
    fs::write(&path, good).unwrap();
    until("ready again", || {
        (problems(&service).0 == 200).then_some(())
    });
}

#[test]
fn a_lost_wrapping_key_costs_the_private_keys_and_nothing_else() {
    let home = Home::with("jwks_max_age = \"1s\"\nclock_skew = \"1s\"");
    let service = serve(&home, ONE);
    // With a session there is a status list to be signed, also at the next start.
    let body = r#"{"email":"ada@example.com","password":"correct horse","name":"Ada"}"#;
    let headers = [("Content-Type", "application/json")];
    let path = "/api/auth/sign-up/email";
    let signed_up = support::process::request_with(service.public, "POST", path, &headers, body);
    assert_eq!(signed_up.status, 200, "{}", signed_up.body);
    service.terminate();
    let before = home.list();
    // Forgotten, not lost: nothing is written, and nothing lost.
    let ring_before = ring(&home);
    let forgotten = home.run(&["keys", "rotate", "--force", "--reason", "x"]);
    assert_ne!(forgotten.code, 0, "{forgotten:?}");
    let start = home.run(&["serve"]);
    assert_eq!(start.code, 3, "{start:?}");
    assert!(
        start.stderr.contains("no wrapping key is configured"),
        "{}",
        start.stderr
    );
    assert_eq!(ring(&home), ring_before);

    let service = serve(&home, TWO);
    let published = get(service.public, JWKS).body;
    for key in before.iter().filter(|key| key["stage"] == "signing") {
        assert!(published.contains(key["kid"].as_str().unwrap()));
    }
    until("there are signers again", || {
        let signing = home.kids("EdDSA", "signing");
        (!signing.is_empty() && run(&home, TWO, &["token", "--sub", "u", "--aud", "api"]).code == 0)
            .then_some(())
    });
    // Until somebody has looked at the ring, the probe says that nobody vouches for it.
    assert!(problems(&service).1.contains("nobody vouches for it"));
    let refused = run(&home, TWO, &["keys", "rewrap"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(
        refused.stderr.contains("--force --reason"),
        "{}",
        refused.stderr
    );
    let vouched = run(
        &home,
        TWO,
        &["keys", "rewrap", "--force", "--reason", "the vault burned"],
    );
    assert_eq!(vouched.code, 0, "{}", vouched.stderr);
    assert!(vouched.stderr.contains("\"event\":\"forced\""));
    until("ready again", || {
        (problems(&service).0 == 200).then_some(())
    });
}

#[test]
fn wrapping_keys_that_are_none_are_refused_at_start_and_never_shown() {
    let home = Home::with("wrapping_keys_file = \"/nowhere\"");
    let missing = home.run(&["serve", "--check"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(
        missing.stderr.contains("keys.wrapping_keys_file: /nowhere"),
        "{}",
        missing.stderr
    );
    for (wrapping, words) in [
        ("c2hvcnQ=", "wrapping key 1 is not 32 bytes"),
        (&*format!("{ONE} {ONE}"), "wrapping key 2 is there twice"),
        (" ", "has no key"),
    ] {
        for command in [&["serve"][..], &["serve", "--check"], &["keys", "list"]] {
            let refused = run(&home, wrapping, command);
            assert_eq!(refused.code, 2, "{refused:?}");
            assert!(
                refused
                    .stderr
                    .contains("environment variable KEYWHEEL_WRAPPING_KEYS")
            );
            assert!(refused.stderr.contains(words), "{}", refused.stderr);
            assert!(!refused.stderr.contains("c2hvcnQ") && !refused.stderr.contains(&ONE[..8]));
        }
    }
    assert!(!home.keys().exists());
}

#[test]
fn an_older_ring_is_not_followed_by_a_running_server() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let service = home.serve();
    until("nothing is left to write", || {
        let first = home
            .list()
            .iter()
            .all(|key| key["first_published"].is_number());
        first.then_some(())
    });
    let old = ring(&home);
    let rotate = ["keys", "rotate", "--force", "--reason", "drill"];
    assert_eq!(home.run(&rotate).code, 0);
    until("it follows, and nothing is left to write", || {
        let first = home
            .list()
            .iter()
            .all(|key| key["first_published"].is_number());
        first.then_some(())
    });
    let new = (get(service.public, JWKS).body, ring(&home));
    fs::write(home.keys().join("ring.json"), old).unwrap();
    until("the probe tells", || {
        problems(&service)
            .1
            .contains("a restored backup?")
            .then_some(())
    });
    assert_eq!(get(service.public, JWKS).body, new.0);
    fs::write(home.keys().join("ring.json"), new.1).unwrap();
    until("ready again", || {
        (problems(&service).0 == 200).then_some(())
    });
}
