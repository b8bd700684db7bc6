//! A process that is killed, by SIGKILL, at each step of each write of each change of the keys: the next start has a ring that
//! makes sense, no key is lost, and nothing was published that is not saved.
//!
//! The child is this test program itself, which observes its own store's steps; nothing in the product can be told to die.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed; the child is told what to do by its environment"
)]

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keywheel::issue::{
    Grant, How, Issuer, KeyRing, RotationPolicy, Stage, TokenSettings, apply_revocation,
    apply_rotation, import_key,
};
use keywheel::jose::{SigningKey, read_private_key};
use keywheel::store::{FileKeyStore, KeyStore as _, WrappingKeys};
use keywheel::{Algorithm, JwkSet, ManualClock, Metrics, NumericDate};
use support::process::Home;
use tempfile::TempDir;

const NOW: NumericDate = NumericDate::from_seconds(1_790_000_000);
const WRAPPING: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ALGORITHMS: [Algorithm; 2] = [Algorithm::EdDSA, Algorithm::Ed25519];
/// When the change happens: a rotation is due.
const THEN: Duration = Duration::from_secs(31 * 24 * 3600);

/// What the child does to the keys.
const SCENES: [&str; 8] = [
    "first_start",
    "planned_rotation",
    "operator_rotation",
    "revocation",
    "import",
    "removal",
    "lease",
    "rewrap",
];

fn policy() -> RotationPolicy {
    RotationPolicy {
        algorithms: ALGORITHMS.to_vec(),
        ..RotationPolicy::default()
    }
}

fn store(folder: &Path) -> FileKeyStore {
    let wrapping = WrappingKeys::parse(WRAPPING).unwrap();
    FileKeyStore::open(folder).unwrap().sealed_by(wrapping)
}

fn issuer(store: FileKeyStore, now: NumericDate) -> Issuer {
    let (settings, metrics) = (
        TokenSettings::new("https://issuer.example"),
        Metrics::new().unwrap(),
    );
    Issuer::open_existing(store, policy(), settings, ManualClock::new(now), &metrics).unwrap()
}

/// What is there before the scene.
fn prepare(scene: &str, folder: &Path) {
    let unsealed = FileKeyStore::open(folder).unwrap();
    match scene {
        "first_start" => {}
        "rewrap" => drop(issuer(unsealed, NOW).tick().unwrap()),
        "removal" => {
            issuer(store(folder), NOW).tick().unwrap();
            issuer(store(folder), NOW.plus(THEN)).tick().unwrap();
        }
        _ => drop(issuer(store(folder), NOW).tick().unwrap()),
    }
}

fn act(scene: &str, store: FileKeyStore, published: &OnceLock<Issuer>) {
    let then = NOW.plus(THEN);
    match scene {
        "rewrap" => drop(store.rewrap(true, false).unwrap()),
        "operator_rotation" => {
            apply_rotation(&store, &policy(), &ALGORITHMS, then, How::default()).unwrap();
        }
        "revocation" => {
            let kid = store
                .load()
                .unwrap()
                .ring
                .signing(ALGORITHMS[0])
                .unwrap()
                .kid
                .clone();
            let how = How {
                reason: Some("stolen"),
                ..How::default()
            };
            apply_revocation(&store, &policy(), &kid, then, how).unwrap();
        }
        "import" => {
            let (_, pkcs8) = SigningKey::generate(ALGORITHMS[0]).unwrap();
            let imported = read_private_key(&pkcs8, None, Some("imported")).unwrap();
            import_key(&store, &policy(), &imported, then, false).unwrap();
        }
        // What a server does by itself.
        _ => {
            let now = match scene {
                "first_start" => NOW,
                "removal" => then.plus(Duration::from_secs(7200)),
                _ => then,
            };
            let issuer = published.get_or_init(|| issuer(store, now));
            if scene == "lease" {
                let long = Duration::from_secs(24 * 3600);
                issuer.mint(&Grant::new("u", "a").ttl(long)).unwrap();
            }
            issuer.tick().unwrap();
        }
    }
}

/// Not a test: what the tests below start, and kill.
#[test]
#[ignore = "the child of the test that kills it"]
fn the_child() {
    let Ok(scene) = std::env::var("CRASH_SCENE") else {
        return;
    };
    let folder = std::env::var("CRASH_FOLDER").unwrap();
    let at: usize = std::env::var("CRASH_AT").unwrap().parse().unwrap();
    let (steps, published) = (AtomicUsize::new(0), Arc::new(OnceLock::<Issuer>::new()));
    let (seen, shown) = (published.clone(), format!("{folder}.published"));
    let dying = store(Path::new(&folder)).on_step(move |_| {
        if steps.fetch_add(1, Ordering::SeqCst) != at {
            return;
        }
        if let Some(issuer) = seen.get() {
            fs::write(&shown, &issuer.published().jwks).unwrap();
        }
        let (own, kill) = (rustix::process::getpid(), rustix::process::Signal::KILL);
        rustix::process::kill_process(own, kill).unwrap();
        loop {
            std::thread::park();
        }
    });
    act(&scene, dying, &published);
}

/// Whether the child was killed; otherwise it has done it all.
fn is_killed(scene: &str, folder: &Path, at: usize) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child", "--ignored"])
        .env("CRASH_SCENE", scene)
        .env("CRASH_FOLDER", folder)
        .env("CRASH_AT", at.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(
        status.success() || status.signal() == Some(9),
        "{scene} at {at}: {status}"
    );
    !status.success()
}

fn kids(ring: &KeyRing, stage: Stage) -> Vec<String> {
    let keys = ring.keys.iter().filter(|key| key.stage == stage);
    keys.map(|key| key.kid.clone()).collect()
}

fn check(scene: &str, at: usize, before: &KeyRing, folder: &Path) {
    let whence = format!("{scene}, killed at step {at}");
    let found = store(folder).load().unwrap();
    let unsealed_still = scene == "rewrap";
    assert!(
        found.problems.is_empty() || unsealed_still,
        "{whence}: {:?}",
        found.problems
    );
    found.ring.check().unwrap();
    let needed = found
        .ring
        .keys
        .iter()
        .filter(|key| key.stage.needs_private_half());
    assert_eq!(
        needed.count(),
        found.signers.len(),
        "{whence}: a key is lost"
    );
    // All or nothing: every key that was there still is.
    for key in &before.keys {
        assert!(
            found.ring.get(&key.kid).is_some(),
            "{whence}: {} is lost",
            key.kid
        );
    }
    if let Ok(published) = fs::read(format!("{}.published", folder.display())) {
        let published = JwkSet::parse(&published).unwrap();
        for key in &published.keys {
            let kid = key.kid().unwrap();
            assert!(
                found.ring.get(kid).is_some(),
                "{whence}: {kid} was published and is not saved"
            );
        }
    }
    // The next start.
    let next = issuer(store(folder), NOW.plus(THEN + Duration::from_secs(10_000)));
    next.tick().unwrap();
    let ring = &next.published().ring;
    assert_eq!(kids(ring, Stage::Signing).len(), 2, "{whence}");
    assert_eq!(kids(ring, Stage::Announced).len(), 2, "{whence}");
    let minted = next.mint(&Grant::new("u", "a")).unwrap();
    assert!(String::from_utf8_lossy(&next.published().jwks).contains(&minted.kid));
    let saved = store(folder).load().unwrap().ring;
    let until = saved.get(&minted.kid).unwrap().tokens_until.unwrap();
    assert!(until >= minted.expires_at, "{whence}");
    assert!(!unsealed_still || store(folder).rewrap(true, false).is_ok());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn killed_at_each_step_of_each_write_the_next_start_has_every_key() {
    let root = TempDir::new().unwrap();
    let mut killed = 0;
    for scene in SCENES {
        let prepared = root.path().join(scene);
        prepare(scene, &prepared);
        let before = store(&prepared).load().unwrap().ring;
        let mut steps = 0;
        loop {
            let folder = root.path().join(format!("{scene}-{steps}"));
            copy(&prepared, &folder);
            let is_killed = is_killed(scene, &folder, steps);
            check(scene, steps, &before, &folder);
            if !is_killed {
                break;
            }
            steps += 1;
        }
        println!("{scene}: killed at each of {steps} steps");
        assert!(steps >= 7, "{scene}: {steps} steps are not even one write");
        killed += steps;
    }
    println!("{killed} kills, no key lost");
}

#[test]
fn a_token_signed_before_the_kill_never_outlives_what_is_written_down() {
    let root = TempDir::new().unwrap();
    prepare("lease", root.path());
    // The lease is written before the token is given: killed in between, there is a lease too many and no token.
    for at in 0..7 {
        let folder = root.path().with_extension(format!("lease-{at}"));
        copy(root.path(), &folder);
        assert!(is_killed("lease", &folder, at));
        let ring = store(&folder).load().unwrap().ring;
        assert!(ring.signing(ALGORITHMS[0]).unwrap().tokens_until.is_some());
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn the_program_killed_at_any_moment_leaves_keys_that_start() {
    let home = Home::with("jwks_max_age = \"10m\"");
    home.serve().terminate();
    let rotate = [
        "keys", "rotate", "--alg", "EdDSA", "--force", "--reason", "drill",
    ];
    let started = std::time::Instant::now();
    assert_eq!(home.run(&rotate).code, 0);
    let whole = started.elapsed();
    let mut killed = 0;
    for round in 0..60_u32 {
        let mut child = home
            .command(&rotate)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Spread over the time that the command takes; what it is doing at that moment is chance.
        let until = std::time::Instant::now() + whole * round / 20;
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().signal() == Some(9));
        for stage in ["signing", "announced"] {
            let listed = home.list();
            let mut keys = listed
                .iter()
                .filter(|key| key["alg"] == "EdDSA" && key["stage"] == stage);
            let key = keys.next().expect("a key in this stage");
            assert_eq!(key["usable"], true, "{key}");
            assert!(keys.next().is_none());
        }
    }
    println!("killed {killed} of 60 times before its end");
    for _ in 0..5 {
        let service = home.serve();
        // Dropped, that is killed, at once: in the middle of its first tick as like as not.
        drop(service);
    }
    let service = home.serve();
    assert_eq!(support::process::get(service.admin, "/readyz").status, 200);
}
