//! `keywheel keys` where something is wrong with the world: each time a clear refusal, and the ring as it was.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::process::{Home, Outcome, get};

/// Every command that changes keys, with what it needs.
fn changes(home: &Home) -> Vec<Vec<String>> {
    let kid = home.kids("EdDSA", "signing").remove(0);
    let file = home.path().join("key.jwk");
    // RFC 8037 appendix A.1.
    let key = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    fs::write(&file, key).unwrap();
    let words = |line: &str| line.split(' ').map(Into::into).collect();
    vec![
        words("keys rotate --force --reason x"),
        words(&format!("keys revoke {kid} --reason x")),
        words(&format!("keys import {}", file.display())),
    ]
}

/// The folder's content, and that every key in it can be used.
fn content(home: &Home) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(home.keys())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn prepared() -> Home {
    let home = Home::with("jwks_max_age = \"10m\"");
    home.serve().terminate();
    home
}

fn refused(home: &Home, args: &[String], words: &str, run: impl Fn(&[&str]) -> Outcome) {
    let before = content(home);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = run(&args);
    assert!(matches!(outcome.code, 2 | 3), "{args:?}: {outcome:?}");
    assert!(
        outcome.stderr.contains(words),
        "{args:?}: {}",
        outcome.stderr
    );
    assert!(
        !outcome.stderr.contains("\"event\""),
        "nothing happened: {}",
        outcome.stderr
    );
    assert!(content(home) == before, "{args:?} changed something");
    assert!(home.list().iter().all(|key| key["usable"] == true));
}

#[test]
fn a_disk_that_is_full() {
    let home = prepared();
    for args in changes(&home) {
        refused(&home, &args, "cannot write", |args| {
            // No file may grow: what a full disk says, without filling one.
            let script = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
            let output = Command::new("sh")
                .args(["-c", script, "sh", env!("CARGO_BIN_EXE_keywheel")])
                .args(args)
                .arg("--config")
                .arg(home.config())
                .env_clear()
                .stdin(Stdio::null())
                .output()
                .unwrap();
            Outcome::from(output)
        });
    }
    // And when there is room again, it goes on.
    assert_eq!(
        home.run(&["keys", "rotate", "--force", "--reason", "x"])
            .code,
        0
    );
}

#[test]
fn a_folder_that_may_only_be_read() {
    let home = prepared();
    let set = |mode| fs::set_permissions(home.keys(), fs::Permissions::from_mode(mode)).unwrap();
    set(0o500);
    let is_root = File::create(home.keys().join("probe")).is_ok();
    if is_root {
        println!("root may write anywhere: not shown here");
        set(0o700);
        fs::remove_file(home.keys().join("probe")).unwrap();
        return;
    }
    for args in changes(&home) {
        refused(&home, &args, "cannot ", |args| home.run(args));
    }
    set(0o700);
}

#[test]
fn a_lock_that_cannot_be_opened() {
    let home = prepared();
    let lock = home.keys().join(".lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    for args in changes(&home) {
        refused(&home, &args, "cannot open the lock", |args| home.run(args));
    }
}

#[test]
fn another_that_holds_the_keys_for_too_long() {
    let home = prepared();
    let lock = File::create(home.keys().join(".lock")).unwrap();
    lock.lock().unwrap();
    let args: Vec<String> = ["keys", "rotate", "--force", "--reason", "x"]
        .map(Into::into)
        .into();
    refused(
        &home,
        &args,
        "another keywheel process is changing the keys",
        |args| home.run(args),
    );
}

#[test]
fn several_at_once_take_turns() {
    let home = prepared();
    let running: Vec<_> = (0..6)
        .map(|_| {
            let mut command = home.command(&[
                "keys", "rotate", "--alg", "EdDSA", "--force", "--reason", "x",
            ]);
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in running {
        let outcome = Outcome::from(child.wait_with_output().unwrap());
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    assert_eq!(home.kids("EdDSA", "signing").len(), 1);
    assert_eq!(home.kids("EdDSA", "announced").len(), 1);
    assert_eq!(home.kids("EdDSA", "retired").len(), 6);
}

/// The ring as it would be if the clock had been off by so many seconds when it was written.
fn shift_times(home: &Home, by: i64) {
    let path = home.keys().join("ring.json");
    let mut ring: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for key in ring["keys"].as_array_mut().unwrap() {
        for (name, value) in key.as_object_mut().unwrap() {
            if let Some(time) = value.as_f64()
                && name != "serial"
            {
                *value = Value::from(time.floor() + by as f64);
            }
        }
    }
    fs::write(&path, ring.to_string()).unwrap();
}

#[test]
fn a_clock_that_is_years_off() {
    const YEAR: i64 = 366 * 24 * 3600;
    for (by, words) in [
        (3 * YEAR, "the clock is behind"),
        (-3 * YEAR, "the clock is ahead"),
    ] {
        let home = prepared();
        shift_times(&home, by);
        for args in [
            &["keys", "rotate"][..],
            &["keys", "rotate", "--to", "RS256"],
            &["keys", "plan"],
        ] {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            refused(&home, &args, words, |args| home.run(args));
        }
        assert!(home.run(&["keys", "list"]).stderr.contains(words));
        // A server serves what it has, says so, and plans nothing.
        let before = content(&home);
        let service = home.serve();
        assert_eq!(
            get(service.public, "/.well-known/jwks.json").json()["keys"]
                .as_array()
                .unwrap()
                .len(),
            4
        );
        let ready = get(service.admin, "/readyz");
        assert_eq!(ready.status, 503);
        assert!(ready.body.contains(words), "{}", ready.body);
        assert_eq!(service.terminate(), Some(0));
        assert!(content(&home) == before, "a wrong clock changed the ring");
        // A stolen key is revoked whatever the clock says, and an operator who knows better may insist.
        let stolen = home.kids("EdDSA", "signing").remove(0);
        let revoked = home.run(&[
            "keys",
            "revoke",
            &stolen,
            "--reason",
            "x",
            "--admin",
            "127.0.0.1:1",
        ]);
        assert_eq!(revoked.code, 0, "{}", revoked.stderr);
        let forced = home.run(&["keys", "rotate", "--force", "--reason", "x"]);
        assert_eq!(forced.code, 0, "{}", forced.stderr);
        assert_eq!(
            home.run(&["keys", "plan"]).code,
            0,
            "and then the ring goes by the clock"
        );
        let service = home.serve();
        assert_eq!(get(service.admin, "/readyz").status, 200);
    }
}
