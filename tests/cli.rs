//! The command line: exit codes, what goes to stdout and what to stderr, and the demo.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};
use support::process::{Home, Outcome, keywheel};
use support::tokens::{self, AUDIENCE, ISSUER, NOW};

fn run(args: &[&str]) -> Outcome {
    Outcome::from(keywheel(args).output().unwrap())
}

fn run_with_input(args: &[&str], input: &str) -> Outcome {
    let mut command = keywheel(args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    Outcome::from(child.wait_with_output().unwrap())
}

#[test]
fn the_demo_walks_through_every_step_and_leaves_nothing() {
    let any = "127.0.0.1:0";
    let folder = tempfile::TempDir::new().unwrap();
    let args = [
        "demo",
        "--once",
        "--listen",
        any,
        "--api-listen",
        any,
        "--admin-listen",
        any,
    ];
    let mut command = keywheel(&args);
    let outcome = Outcome::from(command.env("TMPDIR", folder.path()).output().unwrap());
    assert_eq!(outcome.code, 0, "{}\n{}", outcome.stdout, outcome.stderr);
    for step in 1..=15 {
        assert!(
            outcome.stdout.contains(&format!("\n{step}. ")),
            "step {step}\n{}",
            outcome.stdout
        );
    }
    assert!(!outcome.stdout.contains('✗'), "{}", outcome.stdout);
    for reason in [
        "missing_token",
        "bad_signature",
        "alg_not_allowed",
        "insufficient_scope",
        "revoked",
    ] {
        let logged = format!("\"event\":\"verification_failed\",\"reason\":\"{reason}\"");
        assert!(
            outcome.stderr.contains(&logged),
            "{reason}\n{}",
            outcome.stderr
        );
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_demo_says_which_port_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (any, address_shown) = ("127.0.0.1:0", address.to_string());
    let outcome = run(&[
        "demo",
        "--once",
        "--listen",
        any,
        "--api-listen",
        &address_shown,
        "--admin-listen",
        any,
    ]);
    assert_eq!(outcome.code, 3);
    assert!(
        outcome.stderr.contains(&format!("port {}", address.port())),
        "{}",
        outcome.stderr
    );
}

#[test]
fn verify_answers_by_exit_code() {
    let folder = tempfile::TempDir::new().unwrap();
    let key = tokens::key("a");
    let set = folder.path().join("jwks.json");
    std::fs::write(&set, tokens::jwks(&[&key])).unwrap();
    let set = set.to_str().unwrap();
    let now = NOW.seconds().to_string();
    let good = tokens::token(&key);
    let forged = tokens::forged(&good);
    let base = ["verify", "--jwks", set, "--issuer", ISSUER, "--now", &now];
    let with = |more: &[&str]| run(&[&base[..], more].concat());

    let accepted = with(&["--audience", AUDIENCE, &good]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    let claims: Value = serde_json::from_str(&accepted.stdout).unwrap();
    assert_eq!(claims["sub"], "user-1");
    let piped = run_with_input(
        &[&base[..], &["--audience", AUDIENCE, "-"]].concat(),
        &format!("{good}\n"),
    );
    assert_eq!(piped.code, 0, "{}", piped.stderr);
    let any_issuer = run(&[
        "verify",
        "--jwks",
        set,
        "--now",
        &now,
        "--audience",
        AUDIENCE,
        &good,
    ]);
    assert_eq!(any_issuer.code, 0, "{}", any_issuer.stderr);

    let late = (NOW.seconds() + 3600).to_string();
    for (args, reason) in [
        (&["--audience", AUDIENCE, &forged][..], "bad_signature"),
        (&["--audience", "other", &good], "wrong_audience"),
        (
            &["--audience", AUDIENCE, "--algorithms", "RS256", &good],
            "alg_not_allowed",
        ),
        (
            &["--audience", AUDIENCE, "--typ", "JWT", &good],
            "type_not_allowed",
        ),
        (&["--audience", AUDIENCE, "nonsense"], "malformed"),
    ] {
        let refused = with(args);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{reason}");
        assert!(
            refused
                .stderr
                .starts_with(&format!("keywheel: refused: {reason}: ")),
            "{}",
            refused.stderr
        );
        let json = with(&[args, &["--json"]].concat());
        assert_eq!(json.code, 1);
        let verdict: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(
            (&verdict["ok"], &verdict["reason"]),
            (&json!(false), &json!(reason))
        );
    }
    let expired = [
        "verify",
        "--jwks",
        set,
        "--now",
        &late,
        "--audience",
        AUDIENCE,
        &good,
    ];
    assert!(
        run(&expired)
            .stderr
            .contains("expired at 1790003600, now is 1790003600")
    );
    let leeway = [&expired[..], &["--leeway", "5"]].concat();
    assert_eq!(run(&leeway).code, 0);
}

#[test]
fn wrong_usage_is_exit_2_and_names_what_is_wrong() {
    for (args, words) in [
        (&["verify", "x", "--audience", "a"][..], "--issuer URL"),
        (
            &[
                "verify",
                "x",
                "--issuer",
                "http://auth.example",
                "--audience",
                "a",
            ],
            "plain http",
        ),
        (
            &["verify", "x", "--jwks", "/nowhere.json", "--audience", "a"],
            "--jwks /nowhere.json",
        ),
        (
            &["verify", "x", "--issuer", "https://a.example"],
            "--audience",
        ),
        (&["verify", "--audience", "a"], "TOKEN"),
        (
            &[
                "verify",
                "x",
                "--jwks",
                "x",
                "--audience",
                "a",
                "--algorithms",
                "HS256",
            ],
            "`HS256` is no signature algorithm",
        ),
        (&["verify", "--cases", "/nowhere.jsonl"], "/nowhere.jsonl"),
        (
            &["keys", "rotate", "--alg", "none"],
            "`none` is no signature algorithm",
        ),
        (&["token", "--sub", "u"], "--aud"),
        (
            &["token", "--sub", "u", "--aud", "a", "--ttl", "soon"],
            "--ttl",
        ),
        (&["serve", "--port", "1"], "--port"),
        (&["frobnicate"], "frobnicate"),
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, 2, "{args:?}: {outcome:?}");
        assert_eq!(outcome.stdout, "", "{args:?}");
        assert!(
            outcome.stderr.contains(words),
            "{args:?}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn an_issuer_that_cannot_be_reached_is_exit_3() {
    let (_nobody, gone) = support::ports::refusing();
    let url = format!("http://{gone}/jwks.json");
    let token = tokens::token(&tokens::key("a"));
    let outcome = run(&["verify", "--jwks", &url, "--audience", AUDIENCE, &token]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.stderr.contains(&url), "{}", outcome.stderr);
}

#[test]
fn every_help_has_an_example() {
    for command in [
        &["--help"][..],
        &["demo", "--help"],
        &["serve", "--help"],
        &["keys", "list", "--help"],
        &["keys", "rotate", "--help"],
        &["keys", "import", "--help"],
        &["keys", "plan", "--help"],
        &["keys", "revoke", "--help"],
        &["keys", "export", "--help"],
        &["token", "--help"],
        &["verify", "--help"],
        &["explain", "--help"],
    ] {
        let outcome = run(command);
        assert_eq!(outcome.code, 0);
        assert!(outcome.stdout.contains("keywheel "), "{}", outcome.stdout);
        if command.len() > 1 {
            assert!(
                outcome.stdout.contains("Examples:\n"),
                "{command:?}\n{}",
                outcome.stdout
            );
        }
    }
}

#[test]
fn a_token_says_what_was_asked_and_lives_no_longer_than_allowed() {
    let home = Home::with("jwks_max_age = \"10m\"");
    assert_eq!(
        home.run(&["token", "--sub", "u", "--aud", "a"]).code,
        3,
        "no key folder yet"
    );
    assert!(!home.keys().exists());
    home.serve().terminate();
    let minted = home.run(&[
        "token", "--sub", "u", "--aud", "a", "--scope", "x y", "--role", "admin", "--ttl", "90s",
        "--json",
    ]);
    assert_eq!(minted.code, 0, "{}", minted.stderr);
    let minted_json: Value = serde_json::from_str(&minted.stdout).unwrap();
    let token = minted_json["token"].as_str().unwrap();
    assert!(minted.stderr.contains("\"event\":\"token_minted\""));
    assert!(!minted.stderr.contains(token), "a token in the log");
    let jwks: Vec<String> = {
        let service = home.serve();
        vec![support::process::get(service.public, "/.well-known/jwks.json").body]
    };
    let set = home.path().join("jwks.json");
    std::fs::write(&set, &jwks[0]).unwrap();
    let verified = run(&[
        "verify",
        "--jwks",
        set.to_str().unwrap(),
        "--issuer",
        "http://issuer.test",
        "--audience",
        "a",
        "--typ",
        "at+jwt",
        token,
    ]);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    let claims: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(claims["scope"], "x y");
    assert_eq!(claims["roles"], json!(["admin"]));
    assert_eq!(claims["client_id"], "a");
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        90
    );
    assert_eq!(claims["jti"], minted_json["jti"]);

    let too_long = home.run(&["token", "--sub", "u", "--aud", "a", "--ttl", "25h"]);
    assert_eq!(too_long.code, 2);
    assert!(
        too_long.stderr.contains("limit of 1day"),
        "{}",
        too_long.stderr
    );
    assert_eq!(home.run(&["token", "--sub", "", "--aud", "a"]).code, 2);
}

#[test]
fn keys_list_is_a_table_or_json() {
    let home = Home::with("jwks_max_age = \"10m\"");
    home.serve().terminate();
    let table = home.run(&["keys", "list"]).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert!(lines[0].starts_with("STAGE\tALG\tKID"), "{table}");
    // Thirty days, less what has passed since.
    let retires = ["\tretires in 30days", "\tretires in 29days 23h"];
    assert!(retires.iter().any(|words| table.contains(words)), "{table}");
    for key in home.list() {
        assert!(key["first_published"].is_number(), "{key}");
        assert!(key["next_step_at"].is_number(), "{key}");
    }
}
