//! Keys in a database: the same promises as in a folder, and a database that refuses a second signer.
//!
//! On SQLite; on PostgreSQL too, with a server: `./test postgres`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed; which database to use is in the environment"
)]

mod support;

use std::time::Duration;

use keywheel::issue::{
    Grant, How, Issuer, RotationPolicy, Stage, TokenSettings, apply_revocation, apply_rotation,
};
use keywheel::store::{DatabaseKeyStore, KeyStore, WrappingKeys};
use keywheel::{Algorithm, Clock as _, ManualClock, Metrics, NumericDate};
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, Row as _};
use support::process::{Home, Outcome, Service, get, until};

const NOW: NumericDate = NumericDate::from_seconds(1_790_000_000);
const WRAPPING: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn policy() -> RotationPolicy {
    RotationPolicy {
        algorithms: vec![Algorithm::EdDSA],
        ..RotationPolicy::default()
    }
}

/// An empty database of a test's own on the server that the test part has started.
fn postgres() -> String {
    let server = std::env::var("TEST_POSTGRES_URL").expect("TEST_POSTGRES_URL");
    let mut bytes = [0; 12];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let create = format!("create database keys_{name}");
    sql(&format!("{server}/postgres"), create.leak()).unwrap();
    format!("{server}/keys_{name}")
}

/// The promises, each on both engines.
macro_rules! on_both {
    ($($promise:ident),* $(,)?) => {
        mod sqlite {
            $(#[test] fn $promise() {
                let folder = tempfile::TempDir::new().unwrap();
                super::$promise(format!("sqlite://{}", folder.path().join("k.db").display()));
            })*
        }
        mod postgres {
            $(#[test] #[ignore = "needs a server: ./test postgres"] fn $promise() {
                super::$promise(super::postgres());
            })*
        }
    };
}

on_both! {
    keys_in_a_database_rotate_mint_and_are_revoked_as_in_a_folder,
    the_database_itself_refuses_a_second_signer,
    writers_on_a_database_take_turns_and_none_is_lost,
}

fn store(url: &str) -> DatabaseKeyStore {
    let wrapping = WrappingKeys::parse(WRAPPING).unwrap();
    DatabaseKeyStore::open(url, wrapping, true).unwrap()
}

fn issuer(url: &str, clock: &ManualClock) -> Issuer {
    let (settings, metrics) = (
        TokenSettings::new("https://issuer.example"),
        Metrics::new().unwrap(),
    );
    Issuer::open(store(url), policy(), settings, clock.clone(), &metrics).unwrap()
}

fn sql(url: &str, statement: &'static str) -> Result<u64, sqlx::Error> {
    sqlx::any::install_default_drivers();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(url).await?;
        Ok(connection.execute(statement).await?.rows_affected())
    })
}

fn text(url: &str, query: &'static str) -> Vec<String> {
    sqlx::any::install_default_drivers();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(url).await.unwrap();
        let rows = sqlx::query(query).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| row.try_get(0).unwrap()).collect()
    })
}

fn keys_in_a_database_rotate_mint_and_are_revoked_as_in_a_folder(url: String) {
    let clock = ManualClock::new(NOW);
    let (one, two) = (issuer(&url, &clock), issuer(&url, &clock));
    assert_eq!(
        one.published().jwks,
        two.published().jwks,
        "one ring for two servers"
    );
    clock.advance(Duration::from_secs(700));
    let old = one.mint(&Grant::new("u", "a")).unwrap();
    apply_rotation(
        &store(&url),
        &policy(),
        &[Algorithm::EdDSA],
        clock.now(),
        How::default(),
    )
    .unwrap();
    for server in [&one, &two] {
        server.tick().unwrap();
        let new = server.mint(&Grant::new("u", "a")).unwrap();
        assert_ne!(new.kid, old.kid);
        assert!(String::from_utf8_lossy(&server.published().jwks).contains(&old.kid));
    }
    let how = How {
        reason: Some("stolen"),
        ..How::default()
    };
    apply_revocation(&store(&url), &policy(), &old.kid, clock.now(), how).unwrap();
    two.tick().unwrap();
    assert!(!String::from_utf8_lossy(&two.published().jwks).contains(&old.kid));
    // Only what signs, or will, has a private half, and none of them in the open.
    let halves = text(&url, "select pem from private_keys");
    assert_eq!(halves.len(), 2);
    assert!(halves.iter().all(|pem| pem.contains("KEYWHEEL SEALED KEY")));
    // And from inside a runtime, where nothing may wait.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        clock.advance(Duration::from_secs(7200));
        one.mint(&Grant::new("u", "a")).unwrap();
    });
}

fn the_database_itself_refuses_a_second_signer(url: String) {
    let clock = ManualClock::new(NOW);
    let issuer = issuer(&url, &clock);
    for stage in [
        "update key_stages set stage = 'signing'",
        "update key_stages set stage = 'announced'",
        "update key_stages set stage = 'nonsense'",
        "insert into key_ring (id, serial, document) values (2, 1, '')",
    ] {
        let refused = sql(&url, stage).unwrap_err();
        assert!(refused.as_database_error().is_some(), "{refused}");
    }
    issuer.tick().unwrap();
}

fn writers_on_a_database_take_turns_and_none_is_lost(url: String) {
    let clock = ManualClock::new(NOW);
    issuer(&url, &clock);
    let shared = store(&url);
    std::thread::scope(|scope| {
        for index in 0..4 {
            let (url, shared) = (&url, &shared);
            scope.spawn(move || {
                let own = store(url);
                // Two by one store and two by stores of their own: as threads, and as processes.
                let store: &dyn KeyStore = if index % 2 == 0 { shared } else { &own };
                for _ in 0..3 {
                    let how = How {
                        force: true,
                        ..How::default()
                    };
                    apply_rotation(store, &policy(), &[Algorithm::EdDSA], NOW, how).unwrap();
                }
            });
        }
    });
    let ring = shared.load().unwrap().ring;
    let count = |stage| ring.keys.iter().filter(|key| key.stage == stage).count();
    assert_eq!(
        (
            count(Stage::Signing),
            count(Stage::Announced),
            count(Stage::Retired)
        ),
        (1, 1, 12)
    );
}

fn home() -> Home {
    let home = Home::with("jwks_max_age = \"10m\"");
    let config = std::fs::read_to_string(home.config()).unwrap();
    let store = format!("store = \"{}\"", home.keys().display());
    std::fs::write(
        home.config(),
        config.replace(&store, "store = \"database\""),
    )
    .unwrap();
    home
}

#[test]
fn the_program_keeps_its_keys_in_the_database_when_told_to() {
    let home = home();
    let missing = home.run(&["keys", "list"]);
    assert_eq!(missing.code, 3, "{missing:?}");
    assert!(
        missing.stderr.contains("`keywheel serve` makes it"),
        "{}",
        missing.stderr
    );
    let service = home.serve();
    assert!(!home.keys().exists());
    let signing = home.kids("EdDSA", "signing").remove(0);
    assert_eq!(home.run(&["token", "--sub", "u", "--aud", "api"]).code, 0);
    let admin = service.admin.to_string();
    let revoked = home.run(&[
        "keys", "revoke", &signing, "--reason", "stolen", "--admin", &admin,
    ]);
    assert_eq!(revoked.code, 0, "{}", revoked.stderr);
    assert!(
        revoked.stdout.contains("no verifier watches"),
        "{}",
        revoked.stdout
    );
    assert!(
        !get(service.public, "/.well-known/jwks.json")
            .body
            .contains(&signing)
    );
    assert_eq!(service.terminate(), Some(0));

    // Sealed afterwards.
    let run = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("KEYWHEEL_WRAPPING_KEYS", WRAPPING);
        Outcome::from(command.output().unwrap())
    };
    assert_eq!(run(&["keys", "rewrap"]).code, 3);
    let sealed = run(&[
        "keys",
        "rewrap",
        "--force",
        "--reason",
        "sealed for the first time",
    ]);
    assert_eq!(sealed.code, 0, "{}", sealed.stderr);
    assert_eq!(
        sealed.stdout.matches("sealed ").count(),
        5,
        "{}",
        sealed.stdout
    );
    let listed = run(&["keys", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed["problems"], Value::Array(vec![]));
    let mut command = home.command(&["serve"]);
    command.env("KEYWHEEL_WRAPPING_KEYS", WRAPPING);
    let service = Service::start(command);
    until("ready", || {
        (get(service.admin, "/readyz").status == 200).then_some(())
    });
}
