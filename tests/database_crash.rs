//! A service killed by SIGKILL while another process uses its SQLite file: nothing that was answered is lost.
//!
//! The other process is this test program itself with a SQLite of its own, or the command line. What it must not do is take
//! itself for the last one who has the file open, and remove the write-ahead log under the server: it would if the server's
//! POSIX locks were gone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed; the child is told what to do by its environment"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};
use support::process::{Answer, Home, Service, request_with};

const PASSWORD: &str = "correct horse";

/// What the other process does to the file.
const DEEDS: [&str; 4] = ["read", "write", "back up", "update them all"];

/// A home with cheap passwords and no limits, its keys in a folder or in the database.
fn home(keys_in_database: bool) -> Home {
    let home = Home::with("jwks_max_age = \"10m\"");
    let mut config = std::fs::read_to_string(home.config()).unwrap();
    if keys_in_database {
        let folder = format!("store = \"{}\"", home.keys().display());
        config = config.replace(&folder, "store = \"database\"");
    }
    config.push_str(
        "[accounts]\nargon2 = { memory_kib = 8, iterations = 1, lanes = 1 }\n\
         rate_limit = { window = \"1s\", attempts = 100000 }\naccount_rate_limit = { window = \"1s\", attempts = 100000 }\n",
    );
    std::fs::write(home.config(), config).unwrap();
    home
}

fn database(home: &Home) -> PathBuf {
    home.path().join("data/keywheel.db")
}

fn post(service: &Service, path: &str, cookie: Option<&str>, body: &Value) -> Answer {
    let mut headers = vec![
        ("Content-Type", "application/json"),
        ("Origin", "http://issuer.test"),
    ];
    headers.extend(cookie.map(|cookie| ("Cookie", cookie)));
    let path = format!("/api/auth{path}");
    request_with(service.public, "POST", &path, &headers, &body.to_string())
}

/// Signs somebody up; gives their cookie.
fn sign_up(service: &Service, email: &str) -> String {
    let body = json!({ "email": email, "password": PASSWORD, "name": "Ada" });
    let answer = post(service, "/sign-up/email", None, &body);
    assert_eq!(answer.status, 200, "{email}: {}", answer.body);
    let set = answer.header("set-cookie").expect("a cookie");
    set.split(';').next().expect("a pair").to_owned()
}

fn sign_out(service: &Service, cookie: &str) {
    let answer = post(service, "/sign-out", Some(cookie), &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn is_signed_in(service: &Service, cookie: &str) -> bool {
    let headers = [("Cookie", cookie)];
    let path = "/api/auth/get-session";
    let answer = support::process::request(service.public, "GET", path, &headers);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["user"].is_object()
}

/// The addresses of all accounts.
fn emails(home: &Home) -> Vec<String> {
    let listed = home.run(&["users", "list", "--json"]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let users = listed["users"].as_array().unwrap().iter();
    users
        .map(|user| user["email"].as_str().unwrap().to_owned())
        .collect()
}

/// Not a test: the other process.
#[test]
#[ignore = "the child of the tests that start it"]
fn the_other_process() {
    let Ok(deed) = std::env::var("DATABASE_DEED") else {
        return;
    };
    let file = std::env::var("DATABASE_FILE").unwrap();
    sqlx::any::install_default_drivers();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut connection = sqlx::AnyConnection::connect(&format!("sqlite:{file}"))
            .await
            .unwrap();
        let backup = format!("vacuum into '{file}.copy'");
        let statements: &[&'static str] = match &*deed {
            "read" => &["select count(*) from users"],
            "write" => &[
                "create table if not exists elsewhere (n bigint)",
                "insert into elsewhere (n) values (1)",
            ],
            "back up" => &[backup.leak()],
            "update them all" => &["update users set updated_at = updated_at + 1"],
            deed => panic!("{deed}"),
        };
        for statement in statements {
            connection.execute(*statement).await.unwrap();
        }
        // In order: the last one who closes removes the log.
        connection.close().await.unwrap();
    });
}

fn let_another_process(deed: &str, file: &Path) {
    let _ = std::fs::remove_file(format!("{}.copy", file.display()));
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_process", "--ignored"])
        .env("DATABASE_DEED", deed)
        .env("DATABASE_FILE", file)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(done.success(), "{deed}: {done}");
}

#[test]
fn no_answered_write_is_lost_to_a_kill_after_another_process_used_the_file() {
    for keys_in_database in [true, false] {
        for deed in DEEDS {
            let what = format!("{deed}, keys in the database: {keys_in_database}");
            let home = home(keys_in_database);
            let service = home.serve();
            let gone = sign_up(&service, "gone@example.com");
            let mut answered: Vec<String> = vec!["gone@example.com".into()];
            let mut sign_up_more = |service: &Service| {
                for _ in 0..10 {
                    let email = format!("{}@example.com", answered.len());
                    sign_up(service, &email);
                    answered.push(email);
                }
            };
            sign_up_more(&service);
            let_another_process(deed, &database(&home));
            sign_up_more(&service);
            sign_out(&service, &gone);
            drop(service);
            let service = home.serve();
            let found = emails(&home);
            let lost: Vec<_> = answered
                .iter()
                .filter(|&one| !found.contains(one))
                .collect();
            assert!(lost.is_empty(), "{what}: {} lost", lost.len());
            assert!(!is_signed_in(&service, &gone), "{what}: back from the dead");
        }
    }
}

#[test]
fn no_answered_write_is_lost_to_a_kill_beside_commands() {
    let home = home(true);
    let service = home.serve();
    sign_up(&service, "ada@example.com");
    let commands: [&[&str]; 4] = [
        &["users", "list"],
        &["users", "roles", "ada@example.com", "admin"],
        &["keys", "list"],
        &["token", "--sub", "u", "--aud", "api"],
    ];
    for (at, command) in commands.into_iter().enumerate() {
        let done = home.run(command);
        assert_eq!(done.code, 0, "{command:?}: {}", done.stderr);
        sign_up(&service, &format!("{at}@example.com"));
    }
    drop(service);
    assert_eq!(emails(&home).len(), 5);
}

#[test]
fn no_answered_write_is_lost_to_a_kill_in_the_middle_of_others_writes() {
    for keys_in_database in [true, false] {
        let home = home(keys_in_database);
        let service = home.serve();
        let (answered, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let at = answered.load(Ordering::SeqCst);
                    sign_up(&service, &format!("{at}@example.com"));
                    answered.store(at + 1, Ordering::SeqCst);
                }
            });
            for deed in DEEDS {
                let_another_process(deed, &database(&home));
            }
            over.store(true, Ordering::SeqCst);
        });
        drop(service);
        let (answered, found) = (answered.into_inner(), emails(&home).len());
        assert!(found >= answered, "{answered} answered, {found} found");
    }
}

#[test]
fn after_a_clean_stop_the_database_file_alone_is_whole() {
    for keys_in_database in [true, false] {
        let home = home(keys_in_database);
        let service = home.serve();
        for at in 0..20 {
            sign_up(&service, &format!("{at}@example.com"));
        }
        assert_eq!(service.terminate(), Some(0));
        let other = self::home(keys_in_database);
        std::fs::create_dir(other.path().join("data")).unwrap();
        std::fs::copy(database(&home), database(&other)).unwrap();
        assert_eq!(emails(&other).len(), 20);
        for suffix in ["-wal", "-shm"] {
            let left = format!("{}{suffix}", database(&home).display());
            assert!(!Path::new(&left).exists(), "{left}");
        }
    }
}

#[test]
fn a_database_is_made_where_a_symbolic_link_points_and_with_nobody_else_let_in() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = home(true);
    let elsewhere = home.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::create_dir(home.path().join("data")).unwrap();
    let target = elsewhere.join("real.db");
    std::os::unix::fs::symlink("../elsewhere/real.db", database(&home)).unwrap();
    let service = home.serve();
    sign_up(&service, "ada@example.com");
    let mode = std::fs::metadata(&target).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert_eq!(emails(&home).len(), 1);
}
