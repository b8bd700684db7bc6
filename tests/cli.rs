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
fn a_dry_run_is_offered_where_it_has_an_effect() {
    for (command, is_offered) in [
        ("list", false),
        ("plan", false),
        ("export", true),
        ("import", true),
        ("revoke", true),
        ("rewrap", true),
        ("rotate", true),
    ] {
        let help = run(&["keys", command, "--help"]);
        assert_eq!(help.code, 0, "{}", help.stderr);
        let offered = help.stdout.contains("--dry-run");
        assert_eq!(offered, is_offered, "keys {command}: {}", help.stdout);
    }
    assert_eq!(run(&["keys", "list", "--dry-run"]).code, 2);
}

#[test]
fn the_usage_of_verify_shows_what_it_cannot_do_without() {
    let help = run(&["verify", "--help"]).stdout;
    let usage = help.split("Usage: ").nth(1).unwrap();
    let usage = usage.lines().next().unwrap();
    assert!(usage.contains(" --audience <AUD> <TOKEN>"), "{usage}");
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

fn checked(config: &str, args: &[&str]) -> Outcome {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("keywheel.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = keywheel(args);
    Outcome::from(command.arg("--config").arg(&file).output().unwrap())
}

#[test]
fn a_log_level_that_is_none_is_exit_2_and_named() {
    let issuer = "[[issuer]]\nname = \"https://a.test\"\naudience = [\"api\"]\n";
    for level in [
        "loud",
        "wran",
        "keywheel",
        "keywheel=loud",
        "",
        "keywheel::audit=off",
    ] {
        let log = format!("[log]\nlevel = \"{level}\"\n");
        for (args, config) in [
            (&["serve", "--check"], log.clone()),
            (&["gate", "--check"], format!("{issuer}{log}")),
        ] {
            let outcome = checked(&config, args);
            assert_eq!(outcome.code, 2, "{level}: {outcome:?}");
            let words = format!("log.level has `{level}`");
            assert!(outcome.stderr.contains(&words), "{}", outcome.stderr);
        }
    }
    for level in ["warn", "info,keywheel::http=debug", "off"] {
        let outcome = checked(
            &format!("[log]\nlevel = \"{level}\""),
            &["serve", "--check"],
        );
        assert_eq!(outcome.code, 0, "{level}: {outcome:?}");
    }
}

#[test]
fn check_lists_what_is_unsafe_with_what_to_write_and_a_start_says_it() {
    let good = checked("", &["serve", "--check"]);
    assert_eq!(good.code, 0, "{good:?}");
    assert!(
        good.stdout.contains("the configuration is good\n"),
        "{good:?}"
    );
    let unsafe_one = "issuer = \"https://a.test\"\ntrusted_proxies = [\"0.0.0.0/0\"]\n\
        admin_listen = \"0.0.0.0:9301\"\ntrusted_origins = [\"http://b.test\"]\n\
        [accounts]\nmin_password = 1\nargon2 = { memory_kib = 8, iterations = 1, lanes = 1 }\n\
        rate_limit = { window = \"1s\", attempts = 0 }\n";
    let outcome = checked(unsafe_one, &["serve", "--check"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stdout.contains("good, with 6 warnings:\n"),
        "{}",
        outcome.stdout
    );
    for line in [
        "warning: trusted_origins: has `http://b.test`",
        "write \"https://b.test\"",
        "warning: trusted_proxies: has 0.0.0.0/0",
        "warning: admin_listen: ",
        "warning: accounts.min_password: ",
        "warning: accounts.argon2: ",
        "warning: accounts.rate_limit: ",
    ] {
        assert!(outcome.stdout.contains(line), "{line}: {}", outcome.stdout);
    }
    let json = checked(unsafe_one, &["serve", "--check", "--json"]);
    let found: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(found["ok"], true);
    let warnings = found["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 6, "{found}");
    for warning in warnings {
        for member in ["setting", "why", "hint"] {
            assert!(warning[member].is_string(), "{warning}");
        }
    }

    let home = Home::new();
    let config = std::fs::read_to_string(home.config()).unwrap();
    let config = format!("trusted_proxies = [\"0.0.0.0/0\"]\n{config}[log]\nlevel = \"off\"\n");
    std::fs::write(home.config(), config).unwrap();
    let service = home.serve();
    let said = "keywheel: warning: trusted_proxies: has 0.0.0.0/0";
    assert!(service.started.contains(said), "{}", service.started);
}

#[test]
fn what_can_never_work_is_an_error_of_the_check() {
    for (config, setting) in [
        (
            "trusted_origins = [\"https://*.example.com\"]",
            "trusted_origins has `https://*.example.com`",
        ),
        (
            "[sessions]\ncookie_prefix = \"__Host-x\"",
            "sessions.cookie_prefix may begin with `__Host-`",
        ),
        (
            "[sessions]\ncookie_prefix = \"__Secure-x\"",
            "sessions.cookie_prefix may begin with `__Secure-`",
        ),
        (
            "admin_listen = \"127.0.0.1:3001\"",
            "admin_listen must not be",
        ),
        ("[log]\naudit_rate = 0", "log.audit_rate must be at least 1"),
    ] {
        let outcome = checked(config, &["serve", "--check"]);
        assert_eq!(outcome.code, 2, "{config}: {outcome:?}");
        assert!(
            outcome.stderr.contains(setting),
            "{config}: {}",
            outcome.stderr
        );
    }
    let https = "issuer = \"https://a.test\"\n[sessions]\ncookie_prefix = \"__Host-x\"";
    assert_eq!(checked(https, &["serve", "--check"]).code, 0);
}

#[test]
fn nothing_in_the_environment_makes_a_panic() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let issuer = "[[issuer]]\nname = \"https://a.test\"\naudience = [\"api\"]\n";
    let home = Home::new();
    let gate = home.path().join("gate.toml");
    std::fs::write(&gate, issuer).unwrap();
    let gate = gate.to_str().unwrap().to_owned();
    for (name, value, named) in [
        (&b"X"[..], &b"\xff"[..], false),
        (b"\xff", b"\xff", false),
        (b"HOME", b"\xff", false),
        (b"USER", b"\xff", false),
        (b"LANG", b"\xff\xfe", false),
        (b"TZ", b":/nowhere\xff", false),
        (b"RUST_LOG", b"loud=loud\xff", false),
        (b"RUST_BACKTRACE", b"\xff", false),
        (b"NO_COLOR", b"\xff", false),
        (b"COLUMNS", b"-1", false),
        (b"COLUMNS", b"0", false),
        (b"SSL_CERT_FILE", b"/nowhere\xff", false),
        (b"PGPORT", b"x", false),
        (b"KEYWHEEL_BIN", b"/home/j\xfcrgen/keywheel", false),
        (b"KEYWHEEL_LISTEN", b"\xff", true),
        (b"KEYWHEEL_WRAPPING_KEYS", b"\xff", true),
        (b"TOKIO_WORKER_THREADS", b"abc", true),
        (b"TOKIO_WORKER_THREADS", b"0", true),
        (b"TOKIO_WORKER_THREADS", b"99999999", true),
        (b"TOKIO_WORKER_THREADS", b"\xff", true),
        (b"TOKIO_WORKER_THREADS", b"2", false),
    ] {
        let (name, value) = (OsStr::from_bytes(name), OsStr::from_bytes(value));
        let in_words = name.to_string_lossy().into_owned();
        for mut command in [
            home.command(&["serve", "--check"]),
            home.command(&["users", "list"]),
            keywheel(&["gate", "--check", "--config", &gate]),
            keywheel(&["explain", "x"]),
            keywheel(&["--help"]),
        ] {
            let outcome = Outcome::from(command.env(name, value).output().unwrap());
            let shown = format!("{name:?}={value:?}: {command:?}: {outcome:?}");
            assert!((0..=3).contains(&outcome.code), "{shown}");
            assert!(!outcome.stderr.contains("panicked"), "{shown}");
            // What is none of ours changes nothing; what is, is named.
            if outcome.code == 2 {
                assert!(named && outcome.stderr.contains(&in_words), "{shown}");
            }
        }
        if named && in_words.starts_with("KEYWHEEL_") {
            let mut command = home.command(&["serve", "--check"]);
            let outcome = Outcome::from(command.env(name, value).output().unwrap());
            assert_eq!(outcome.code, 2, "{in_words}: {outcome:?}");
        }
    }
}

#[test]
fn arguments_folders_and_streams_of_any_kind_make_no_panic() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let home = Home::new();
    let not_utf8 = OsStr::from_bytes(b"\xff");
    let sh = |script: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script]).env_clear();
        command
            .env("KW", env!("CARGO_BIN_EXE_keywheel"))
            .env("CONFIG", home.config());
        command.stdin(Stdio::null()).output().unwrap()
    };
    let mut outputs = vec![
        sh("\"$KW\" \"$(printf '\\377')\""),
        sh("\"$KW\" serve --check --config \"$CONFIG\" <&-"),
        sh("\"$KW\" serve --check --config \"$CONFIG\" >&-"),
        sh("\"$KW\" serve --check --config \"$CONFIG\" 2>&-"),
        sh("\"$KW\" explain x 2>&1 >/dev/full"),
        sh("\"$KW\" users list 2>/dev/full"),
        sh(
            "mkdir \"$CONFIG.d\" && cd \"$CONFIG.d\" && rmdir \"$CONFIG.d\" && \"$KW\" serve --check",
        ),
        sh(
            "mkdir \"$CONFIG.d\" && cd \"$CONFIG.d\" && rmdir \"$CONFIG.d\" && \"$KW\" serve --check --config \"$CONFIG\"",
        ),
    ];
    for command in [
        &["serve", "--check", "--config"][..],
        &["verify", "--audience", "a", "--jwks"],
    ] {
        outputs.push(keywheel(command).arg(not_utf8).output().unwrap());
    }
    // A reader that goes away after the first line, of what goes to stdout and to stderr.
    home.serve().terminate();
    for script in [
        "\"$KW\" keys list --all --config \"$CONFIG\" | head -1",
        "\"$KW\" keys rotate --force --reason x --config \"$CONFIG\" 2>&1 >/dev/null | head -c 1",
        "\"$KW\" --help | head -1",
    ] {
        outputs.push(sh(script));
    }
    for output in outputs {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(101), "{output:?}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn relative_paths_go_by_the_folder_of_the_file() {
    let home = tempfile::TempDir::new().unwrap();
    let work = home.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let config = home.path().join("keywheel.toml");
    std::fs::write(
        &config,
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    let run = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = keywheel(args);
        command.current_dir(&work).envs(env.iter().copied());
        command
    };
    let args = ["serve", "--config", "../keywheel.toml"];
    let service = support::process::Service::start(run(&args, &[]));
    for path in ["keys", "data/keywheel.db"] {
        let path = home.path().canonicalize().unwrap().join(path);
        let shown = format!(" in {}", path.display());
        assert!(service.started.contains(&shown), "{}", service.started);
    }
    service.terminate();
    assert!(home.path().join("keys/ring.json").exists());
    assert!(home.path().join("data/keywheel.db").exists());
    assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0);
    // Every command finds the same, and what the environment says goes by the working directory.
    for args in [
        &["keys", "list", "--config", "../keywheel.toml"][..],
        &["users", "list", "--config", "../keywheel.toml"],
    ] {
        let outcome = Outcome::from(run(args, &[]).output().unwrap());
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    let args = ["keys", "list", "--config", "../keywheel.toml"];
    let elsewhere = [("KEYWHEEL_KEYS__STORE", "keys")];
    assert_eq!(
        Outcome::from(run(&args, &elsewhere).output().unwrap()).code,
        3
    );
    let there = [("KEYWHEEL_KEYS__STORE", "../keys")];
    assert_eq!(Outcome::from(run(&args, &there).output().unwrap()).code, 0);
}

#[test]
fn what_an_earlier_version_kept_by_the_working_directory_is_not_left_behind() {
    let home = tempfile::TempDir::new().unwrap();
    let work = home.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let listen = "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n";
    std::fs::write(work.join("keywheel.toml"), listen).unwrap();
    let mut first = keywheel(&["serve"]);
    first.current_dir(&work);
    support::process::Service::start(first).terminate();
    std::fs::remove_file(work.join("keywheel.toml")).unwrap();
    let config = home.path().join("keywheel.toml");
    std::fs::write(&config, format!("{listen}[keys]\nstore = \"keys\"\n")).unwrap();
    let run = |args: &[&str]| {
        let mut command = keywheel(args);
        command
            .args(["--config", "../keywheel.toml"])
            .current_dir(&work);
        Outcome::from(command.output().unwrap())
    };
    let kept = work.canonicalize().unwrap().join("keys");
    let line = format!("store = \"{}\" in [keys]", kept.display());
    for args in [
        &["serve"][..],
        &["serve", "--check"],
        &["keys", "list"],
        &["users", "list"],
        &["token", "--sub", "u", "--aud", "a"],
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, 2, "{args:?}: {outcome:?}");
        assert!(
            outcome.stderr.contains("../keywheel.toml:4: keys.store "),
            "{}",
            outcome.stderr
        );
        assert!(outcome.stderr.contains(&line), "{}", outcome.stderr);
    }
    assert!(!home.path().join("keys").exists() && !home.path().join("data").exists());
    // With the line that it says to write, the database is the next.
    std::fs::write(
        &config,
        format!("{listen}[keys]\nstore = \"{}\"\n", kept.display()),
    )
    .unwrap();
    let outcome = run(&["serve", "--check"]);
    let database = work.canonicalize().unwrap().join("data/keywheel.db");
    let line = format!("url = \"sqlite://{}\" in [database]", database.display());
    assert!(
        outcome.code == 2 && outcome.stderr.contains(&line),
        "{outcome:?}"
    );
    let text = format!(
        "{listen}[keys]\nstore = \"{}\"\n[database]\nurl = \"sqlite://{}\"\n",
        kept.display(),
        database.display()
    );
    std::fs::write(&config, text).unwrap();
    assert_eq!(run(&["serve", "--check"]).code, 0);
    assert_eq!(run(&["users", "list"]).code, 0);
}

#[test]
fn what_kubernetes_says_about_a_service_stops_nothing_and_is_named() {
    let links = [
        ("KEYWHEEL_PORT", "tcp://10.0.0.7:3001"),
        ("KEYWHEEL_SERVICE_HOST", "10.0.0.7"),
        ("KEYWHEEL_SERVICE_PORT_HTTP", "3001"),
        ("KEYWHEEL_PORT_3001_TCP_ADDR", "10.0.0.7"),
        ("KEYWHEEL_GATE_PORT", "tcp://10.0.0.8:4180"),
    ];
    let home = Home::new();
    let mut command = home.command(&["serve", "--check"]);
    let outcome = Outcome::from(command.envs(links).output().unwrap());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let mut command = home.command(&["serve"]);
    command.envs(links);
    let service = support::process::Service::start(command);
    let lines: Vec<&str> = service
        .started
        .lines()
        .filter(|line| line.contains("passed over"))
        .collect();
    assert_eq!(lines.len(), 1, "{}", service.started);
    for (name, _) in links {
        assert!(lines[0].contains(name), "{}", lines[0]);
    }
    // A setting whose name ends like one of them is a setting.
    let mut command = home.command(&["serve", "--check"]);
    let outcome = Outcome::from(command.env("KEYWHEEL_MAYL__PORT", "587").output().unwrap());
    assert_eq!(outcome.code, 2, "{outcome:?}");
}

#[test]
fn a_gate_says_which_variables_it_does_not_read() {
    let args = [
        "gate",
        "--issuer",
        "https://a.test",
        "--audience",
        "api",
        "--check",
    ];
    let mut command = keywheel(&args);
    command
        .env("KEYWHEEL_LISTEN", "127.0.0.1:1")
        .env("KEYWHEEL_PORT", "tcp://10.0.0.7:1");
    let outcome = Outcome::from(command.output().unwrap());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stdout.contains("ignored: KEYWHEEL_LISTEN\n"),
        "{outcome:?}"
    );
    assert!(
        !keywheel(&args)
            .output()
            .unwrap()
            .stdout
            .starts_with(b"note: a gate")
    );
}

/// Whether a terminal shows a text and does nothing else.
fn is_plain(text: &str) -> bool {
    let hidden = ['\u{200b}', '\u{202e}', '\u{2028}', '\u{feff}'];
    text.chars()
        .all(|c| c == '\n' || c == '\t' || !(c.is_control() || hidden.contains(&c)))
}

#[test]
fn nothing_from_outside_moves_a_terminal_or_forges_a_row() {
    let home = Home::new();
    let service = home.serve();
    let name = "Eve\u{202e}\u{2028}\u{200b}\u{9b}2J\u{7f} a\tb";
    let headers = [("Content-Type", "application/json"), ("User-Agent", "curl")];
    for (email, name) in [
        ("eve@example.com", name),
        ("jo@example.com", "Jürgen 李 🦀"),
    ] {
        let body = json!({ "email": email, "password": "correct horse", "name": name });
        let path = "/api/auth/sign-up/email";
        let answer = support::process::request_with(
            service.public,
            "POST",
            path,
            &headers,
            &body.to_string(),
        );
        // A service that refuses such names leaves none to show.
        assert!(
            answer.status == 200 || email.starts_with("eve"),
            "{}",
            answer.body
        );
    }
    let listed = home.run(&["users", "list"]);
    assert!(is_plain(&listed.stdout), "{:?}", listed.stdout);
    assert!(
        listed.stdout.contains("\tJürgen 李 🦀\t"),
        "{}",
        listed.stdout
    );
    let columns = |line: &str| line.matches('\t').count();
    for line in listed.stdout.lines() {
        assert_eq!(columns(line), 5, "{line:?}");
    }
    let json = home.run(&["users", "list", "--json"]);
    assert!(is_plain(&json.stdout), "{:?}", json.stdout);
    let users: Value = serde_json::from_str(&json.stdout).unwrap();
    let names: Vec<&Value> = users["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|u| &u["name"])
        .collect();
    assert!(names.contains(&&json!("Jürgen 李 🦀")), "{names:?}");

    // What a configuration, a name of a file, an argument and a token say.
    for (config, shown) in [
        ("\"\u{9b}31m\\u001b\" = 1", "\\u{9b}31m\\u{1b}"),
        ("[log]\nlevel = \"\\u001b[2J\"", "\\u{1b}[2J"),
        (
            "trusted_origins = [\"\\u001b\u{202e}\"]",
            "\\u{1b}\\u{202e}",
        ),
    ] {
        let outcome = checked(config, &["serve", "--check"]);
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(is_plain(&outcome.stderr), "{outcome:?}");
        assert!(outcome.stderr.contains(shown), "{shown}: {outcome:?}");
    }
    for args in [
        &[
            "serve",
            "--check",
            "--config",
            "/nowhere/\u{1b}[2J\nx\u{202e}",
        ][..],
        &["verify", "x", "--audience", "a", "--jwks", "\u{1b}[2J"],
        &["\u{1b}[2J\u{202e}"],
        &["keys", "rotate", "--alg", "\u{1b}[2J"],
        &["doctor", "--auth", "http://\u{1b}", "--api", "\u{1b}"],
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(is_plain(&outcome.stderr), "{outcome:?}");
    }
    let key = tokens::key("a");
    let set = home.path().join("jwks.json");
    std::fs::write(&set, tokens::jwks(&[&key])).unwrap();
    let now = NOW.seconds().to_string();
    let claims = format!(
        r#"{{"iss":"{ISSUER}","sub":"a\u202e{}","aud":"{AUDIENCE}","exp":{}}}"#,
        "\u{202e}\u{9b}2J\u{7f}",
        NOW.seconds() + 60
    );
    let token = tokens::sign_text(&key, &tokens::header(&key), &claims);
    let args = [
        "--jwks",
        set.to_str().unwrap(),
        "--now",
        &now,
        "--audience",
        AUDIENCE,
        &token,
    ];
    for command in ["verify", "explain"] {
        let outcome = run(&[&[command], &args[..]].concat());
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(is_plain(&outcome.stdout), "{outcome:?}");
    }
}
