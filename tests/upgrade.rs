//! What 9d3de38 left on the disk and in browsers is taken over: nobody is signed out, no token is refused before its end, and what
//! was revoked stays so. The data is [described where it lies](fixtures/9d3de38/README.md).
//!
//! On SQLite; on PostgreSQL too, with a server: `./test postgres`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed; which database to use is in the environment"
)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keywheel::config::Config;
use keywheel::jose::JwkSet;
use keywheel::store::{DatabaseKeyStore, FileKeyStore, KeyStore, WrappingKeys};
use keywheel::{Claims, Clock as _, ManualClock, NumericDate, Reject, Verifier};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};
use support::auth::{Auth, ISSUER, PASSWORD, Somebody, claims};
use support::process::{Service, get, keywheel, request, request_with};
use tempfile::TempDir;

/// As the fixture's maker has it: made for it, and protecting nothing.
const WRAPPING: &str = "Zml4dHVyZSBvZiA5ZDNkZTM4OiBub3QgYSBzZWNyZXQ=";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/9d3de38")
}

/// Each promise on both engines, each with keys in the open and sealed.
macro_rules! on_both {
    ($($promise:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")] async fn $promise() {
                super::$promise(&super::Old::copy("sqlite-plain").await).await;
                super::$promise(&super::Old::copy("sqlite-sealed").await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs a server: ./test postgres"]
            async fn $promise() {
                super::$promise(&super::Old::copy("postgres-plain").await).await;
                super::$promise(&super::Old::copy("postgres-sealed").await).await;
            })*
        }
    };
}

on_both! {
    those_who_were_signed_in_stay_so_and_get_tokens,
    an_old_token_is_accepted_until_its_end_and_no_longer,
    old_passwords_sign_in_and_a_disabled_user_stays_out,
    what_was_revoked_stays_so_and_new_sessions_take_new_places,
    the_program_starts_on_it_and_its_keys_go_on_rotating,
}

/// A copy of what the old program left, and what others have kept of it.
struct Old {
    folder: TempDir,
    database: String,
    facts: Value,
}

// === impl Old ===

impl Old {
    async fn copy(name: &str) -> Self {
        let from = fixture().join(name);
        let folder = TempDir::new().unwrap();
        for part in ["", "keys", "data"] {
            if from.join(part).is_dir() {
                copy_files(&from.join(part), &folder.path().join(part));
            }
        }
        let facts = std::fs::read(from.join("facts.json")).unwrap();
        let dump = std::fs::read_to_string(from.join("database.sql")).ok();
        let database = match dump {
            Some(dump) => postgres(dump).await,
            None => {
                let file = folder.path().join("data/keywheel.sqlite");
                format!("sqlite://{}", file.display())
            }
        };
        Old {
            folder,
            database,
            facts: serde_json::from_slice(&facts).unwrap(),
        }
    }

    fn user(&self, name: &str) -> &Value {
        &self.facts["users"][name]
    }

    /// What this person's browser or API has kept.
    fn kept(&self, name: &str, what: &str) -> &str {
        self.user(name)[what].as_str().unwrap()
    }

    fn is_sealed(&self) -> bool {
        self.facts["sealed"] == true
    }

    /// When it was made, a minute later.
    fn now(&self) -> NumericDate {
        NumericDate::from_seconds(self.facts["made_at"].as_i64().unwrap() + 60)
    }

    /// Today's service on it, inside the process, by a clock that stands.
    async fn service(&self) -> Auth {
        let text = std::fs::read_to_string(self.folder.path().join("keywheel.toml")).unwrap();
        let mut config = Config::parse(&text, "keywheel.toml", []).unwrap();
        config.database.url.0 = self.database.clone();
        let wrapping = match self.is_sealed() {
            true => WrappingKeys::parse(WRAPPING).unwrap(),
            false => WrappingKeys::default(),
        };
        let keys: Box<dyn KeyStore> = match config.keys.is_database() {
            true => Box::new(DatabaseKeyStore::open(&self.database, wrapping, true).unwrap()),
            false => {
                let folder = self.folder.path().join(&config.keys.store);
                let store = FileKeyStore::open(folder).unwrap();
                Box::new(store.sealed_by(wrapping))
            }
        };
        let clock = ManualClock::new(self.now());
        Auth::open(config, keys, clock, TempDir::new().unwrap()).await
    }

    /// The program itself, started where the old one was.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = keywheel(args);
        command.current_dir(self.folder.path());
        command.env("KEYWHEEL_DATABASE__URL", &self.database);
        if self.is_sealed() {
            command.env("KEYWHEEL_WRAPPING_KEYS", WRAPPING);
        }
        command
    }

    async fn sql(&self, statement: String) {
        run_sql(&self.database, statement).await;
    }
}

fn copy_files(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            let copy = to.join(entry.file_name());
            std::fs::copy(entry.path(), &copy).unwrap();
            // As the old program left it; a checkout knows no such modes.
            std::fs::set_permissions(copy, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

/// A database of the test's own with this dump in it, on the server that the test part has started.
async fn postgres(dump: String) -> String {
    let server = std::env::var("TEST_POSTGRES_URL").expect("TEST_POSTGRES_URL");
    let mut bytes = [0; 12];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let create = format!("create database old_{name}");
    run_sql(&format!("{server}/postgres"), create).await;
    let database = format!("{server}/old_{name}");
    // Of newer servers alone.
    let lines = dump.lines();
    let known: Vec<&str> = lines
        .filter(|line| !line.contains("transaction_timeout") || line.contains("idle_in"))
        .collect();
    run_sql(&database, known.join("\n")).await;
    database
}

async fn run_sql(url: &str, statements: String) {
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(url).await.unwrap();
    let statements: &'static str = statements.leak();
    connection.execute(statements).await.unwrap();
    connection.close().await.unwrap();
}

/// Today's verifier, with the keys that the service publishes at this moment.
fn verify(auth: &Auth, audience: &str, token: &str) -> Result<Claims, Reject> {
    let set = JwkSet::parse(&auth.issuer.published().jwks).unwrap();
    let verifier = Verifier::builder()
        .issuer(ISSUER)
        .static_keys(set)
        .audience(audience)
        .clock(auth.clock.clone())
        .build()
        .unwrap();
    verifier
        .try_verify::<Claims>(token)
        .map(|good| *good.claims())
}

fn place(token: &str) -> u64 {
    let list = &claims(token)["status"]["status_list"];
    assert!(list["uri"].as_str().unwrap().starts_with(ISSUER));
    list["idx"].as_u64().unwrap()
}

async fn those_who_were_signed_in_stay_so_and_get_tokens(old: &Old) {
    let auth = old.service().await;
    for name in ["ada", "grace", "barbara"] {
        let cookie = Some(old.kept(name, "cookie"));
        let session = auth.get("/get-session", cookie).await.json();
        assert_eq!(session["user"]["id"], old.user(name)["id"], "{session}");
        assert_eq!(session["user"]["softwareBackground"], "compilers");
        for (audience, query) in [("api", ""), ("orders-api", "?audience=orders-api")] {
            let reply = auth.get(&format!("/token{query}"), cookie).await;
            assert_eq!(reply.status, 200, "{name}: {}", reply.text);
            let token = reply.json()["token"].as_str().unwrap().to_owned();
            verify(&auth, audience, &token).unwrap();
            let said = claims(&token);
            assert_eq!(said["sub"], old.user(name)["id"]);
            assert_eq!(place(&token), place(old.kept(name, "token")));
            if name == "ada" {
                assert_eq!(said["roles"], json!(["editor", "admin"]));
            }
            if audience == "orders-api" {
                let scopes = match name {
                    "ada" => "orders:read orders:write",
                    _ => "orders:read",
                };
                assert_eq!(said["scope"], scopes);
            }
        }
    }
    for name in ["linus", "mallory"] {
        let cookie = Some(old.kept(name, "cookie"));
        assert_eq!(auth.get("/get-session", cookie).await.text, "null");
        assert_eq!(auth.get("/token", cookie).await.status, 401, "{name}");
    }
}

async fn an_old_token_is_accepted_until_its_end_and_no_longer(old: &Old) {
    let auth = old.service().await;
    let kept = [
        ("api", old.kept("grace", "token")),
        ("orders-api", old.kept("grace", "rs256")),
        ("api", old.kept("grace", "token_after_rotation")),
    ];
    for (audience, token) in kept {
        verify(&auth, audience, token).unwrap();
    }
    // In the order in which they end; two may end in the same second.
    let mut end = auth.clock.now().seconds();
    for (audience, token) in kept {
        end = claims(token)["exp"].as_i64().unwrap();
        advance_to(&auth, end - 1);
        verify(&auth, audience, token).unwrap();
    }
    advance_to(&auth, end);
    for (audience, token) in kept {
        assert!(verify(&auth, audience, token).is_err(), "past its end");
    }
}

/// The keys are seen to on the way, as the service does.
fn advance_to(auth: &Auth, moment: i64) {
    let ahead = moment - auth.clock.now().seconds();
    auth.clock
        .advance(Duration::from_secs(ahead.try_into().unwrap()));
    auth.issuer.tick().unwrap();
}

async fn old_passwords_sign_in_and_a_disabled_user_stays_out(old: &Old) {
    let auth = old.service().await;
    for (name, password, status) in [
        ("ada", PASSWORD, 200),
        ("grace", PASSWORD, 200),
        ("barbara", PASSWORD, 200),
        // Signed out is not locked out.
        ("linus", PASSWORD, 200),
        ("ada", "wrong horse", 401),
    ] {
        let body = json!({ "email": format!("{name}@example.com"), "password": password });
        let reply = auth.post("/sign-in/email", None, body).await;
        assert_eq!(reply.status, status, "{name}: {}", reply.text);
    }
    let body = json!({ "email": "mallory@example.com", "password": PASSWORD });
    let reply = auth.post("/sign-in/email", None, body).await;
    assert!([401, 403].contains(&reply.status), "{}", reply.text);
    assert!(
        reply
            .cookies()
            .iter()
            .all(|set| !set.contains("session_token=") || set.contains("=;"))
    );
}

async fn what_was_revoked_stays_so_and_new_sessions_take_new_places(old: &Old) {
    const NEW: usize = 20;
    let auth = old.service().await;
    let everybody = ["ada", "grace", "linus", "mallory", "barbara"];
    let ended = |name: &str| ["linus", "mallory"].contains(&name);
    let mut places: BTreeSet<u64> = everybody
        .iter()
        .map(|name| place(old.kept(name, "token")))
        .collect();
    let mut newcomers: Vec<Somebody> = Vec::new();
    for _ in 0..NEW {
        let new = auth.sign_in("ada@example.com").await;
        let reply = auth.get("/token", Some(&new.cookie)).await;
        let token = reply.json()["token"].as_str().unwrap().to_owned();
        assert!(places.insert(place(&token)), "a place was given out twice");
        assert!(!auth.bit(&token).await);
        newcomers.push(new);
    }
    for new in &newcomers {
        let reply = auth.post("/sign-out", Some(&new.cookie), json!({})).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    for name in everybody {
        for token in ["token", "rs256"] {
            let bit = auth.bit(old.kept(name, token)).await;
            assert_eq!(bit, ended(name), "{name}'s {token}");
        }
    }
}

async fn the_program_starts_on_it_and_its_keys_go_on_rotating(old: &Old) {
    // The program goes by the real clock: the sessions become as old as they were, whenever this runs.
    let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let aged = i64::try_from(real.as_millis()).unwrap() - old.now().seconds() * 1000;
    old.sql(format!(
        "update sessions set created_at = created_at + {aged}, updated_at = updated_at + {aged}, \
         expires_at = expires_at + {aged}"
    ))
    .await;

    let check = old.command(&["serve", "--check"]).output().unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert_eq!(check.status.code(), Some(0), "{said}");

    let service = Service::start(old.command(&["serve"]));
    let cookie = [("Cookie", old.kept("grace", "cookie"))];
    let session = request(service.public, "GET", "/api/auth/get-session", &cookie);
    assert_eq!(session.status, 200);
    assert_eq!(session.json()["user"]["email"], "grace@example.com");
    let token = || {
        let answer = request(service.public, "GET", "/api/auth/token", &cookie);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        let set = JwkSet::parse(
            get(service.public, "/.well-known/jwks.json")
                .body
                .as_bytes(),
        );
        let verifier = Verifier::builder()
            .issuer(ISSUER)
            .static_keys(set.unwrap())
            .audience("api")
            .build()
            .unwrap();
        verifier.try_verify::<Claims>(&token).unwrap();
        kid(&token)
    };
    let before = token();
    let rotated = old
        .command(&["keys", "rotate", "--force", "--reason", "the test goes on"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&rotated.stderr).into_owned();
    assert_eq!(rotated.status.code(), Some(0), "{said}");
    support::process::until("the announced key signs", || {
        (token() != before).then_some(())
    });

    let password = json!({ "email": "ada@example.com", "password": PASSWORD }).to_string();
    let headers = [("Content-Type", "application/json"), ("Origin", ISSUER)];
    let path = "/api/auth/sign-in/email";
    let signed_in = request_with(service.public, "POST", path, &headers, &password);
    assert_eq!(signed_in.status, 200, "{}", signed_in.body);
    assert_eq!(service.terminate(), Some(0));
}

fn kid(token: &str) -> String {
    use base64::Engine as _;
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(token.split('.').next().unwrap())
        .unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// 9d3de38 took each of these; its maker has seen it.
#[test]
fn a_setting_that_has_become_stricter_is_named_with_what_to_write() {
    let text = std::fs::read_to_string(fixture().join("stricter.json")).unwrap();
    let configurations: Vec<String> = serde_json::from_str(&text).unwrap();
    let expected = [
        (
            "trusted_origins has `https://*.app.test`",
            "name each origin whole, like",
        ),
        ("admin_listen", "the address of `listen`"),
        (
            "sessions.cookie_prefix",
            "only where issuer is an https URL",
        ),
        (
            "log.level has `wran`",
            "write one of off, error, warn, info, debug, trace",
        ),
        ("log.audit_rate must be at least 1", "audit = false"),
    ];
    assert_eq!(configurations.len(), expected.len());
    for (text, (what, how)) in configurations.iter().zip(expected) {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("keywheel.toml"), text).unwrap();
        let mut command = keywheel(&["serve", "--check"]);
        let output = command.current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("keywheel.toml:"), "no line is named: {said}");
        assert!(said.contains(what) && said.contains(how), "{said}");
    }
}
