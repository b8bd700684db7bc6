//! The key folder under several hands, and the issuer's rules on it, with time at the test's command.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keywheel::issue::{
    Grant, How, Issuer, RotationError, RotationPolicy, Stage, TokenSettings, apply_revocation,
    apply_rotation,
};
use keywheel::store::{FileKeyStore, KeyStore as _};
use keywheel::{Algorithm, Clock as _, ManualClock, Metrics, NumericDate};
use tempfile::TempDir;

const NOW: NumericDate = NumericDate::from_seconds(1_790_000_000);

fn eddsa_only() -> RotationPolicy {
    RotationPolicy {
        algorithms: vec![Algorithm::EdDSA],
        ..RotationPolicy::default()
    }
}

fn open(folder: &TempDir, clock: &ManualClock) -> Issuer {
    let store = FileKeyStore::open(folder.path().join("keys")).unwrap();
    let settings = TokenSettings::new("https://issuer.example");
    let metrics = Metrics::new().unwrap();
    Issuer::open(store, eddsa_only(), settings, clock.clone(), &metrics).unwrap()
}

fn rotate(folder: &TempDir, now: NumericDate, force: bool) -> Result<(), RotationError> {
    let policy = eddsa_only();
    apply_rotation(
        &store(folder),
        &policy,
        &policy.algorithms,
        now,
        How {
            force,
            ..How::default()
        },
    )
    .map(|_| ())
}

fn store(folder: &TempDir) -> FileKeyStore {
    FileKeyStore::existing(folder.path().join("keys")).unwrap()
}

#[test]
fn a_reader_never_sees_a_rotation_half_done() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new(NOW));
    open(&folder, &clock);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut loads = 0;
            while !done.load(Ordering::Relaxed) {
                let stored = store(&folder).load().unwrap();
                assert_eq!(stored.problems, []);
                assert!(
                    stored
                        .ring
                        .signing(Algorithm::EdDSA)
                        .is_some_and(|key| key.usable)
                );
                loads += 1;
            }
            loads
        });
        for _ in 0..100 {
            rotate(&folder, NOW, true).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(reading.join().unwrap() > 10);
    });
}

#[test]
fn two_that_start_on_a_missing_folder_both_open_it() {
    for _ in 0..50 {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("keys");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| FileKeyStore::open(&path).unwrap());
            }
        });
    }
}

#[test]
fn writers_take_turns() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new(NOW));
    open(&folder, &clock);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    rotate(&folder, NOW, true).unwrap();
                }
            });
        }
    });
    let ring = store(&folder).load().unwrap().ring;
    let count = |stage| ring.keys.iter().filter(|key| key.stage == stage).count();
    assert_eq!(
        (
            count(Stage::Signing),
            count(Stage::Announced),
            count(Stage::Retired)
        ),
        (1, 1, 20)
    );
}

#[test]
fn a_scheduled_rotation_happens_when_it_is_due_and_not_before() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new(NOW));
    let issuer = open(&folder, &clock);
    let signing = |issuer: &Issuer| {
        issuer
            .published()
            .ring
            .signing(Algorithm::EdDSA)
            .unwrap()
            .kid
            .clone()
    };
    let first = signing(&issuer);
    let next = issuer
        .published()
        .ring
        .announced(Algorithm::EdDSA)
        .unwrap()
        .kid
        .clone();
    clock.advance(Duration::from_secs(30 * 24 * 3600 - 1));
    issuer.tick().unwrap();
    assert_eq!(signing(&issuer), first);
    // Its last token.
    let day = Duration::from_secs(24 * 3600);
    let minted = issuer.mint(&Grant::new("u", "a").ttl(day)).unwrap();
    assert_eq!(minted.kid, first);
    clock.advance(Duration::from_secs(1));
    issuer.tick().unwrap();
    assert_eq!(signing(&issuer), next);
    assert_eq!(
        issuer.published().ring.get(&first).unwrap().stage,
        Stage::Retired
    );
    // It lives for a day, clocks may be a minute apart, and its end was written down at most an hour ahead.
    let stage = |issuer: &Issuer| issuer.published().ring.get(&first).unwrap().stage;
    clock.advance(day + Duration::from_secs(58));
    issuer.tick().unwrap();
    assert_eq!(stage(&issuer), Stage::Retired);
    clock.advance(Duration::from_secs(3601));
    issuer.tick().unwrap();
    assert_eq!(stage(&issuer), Stage::Gone);
    let published = issuer.published();
    assert!(!String::from_utf8_lossy(&published.jwks).contains(&first));
    // It stays in the ring for the record: what is gone cannot be revoked, and says since when.
    let now = clock.now();
    let refused = apply_revocation(&store(&folder), &eddsa_only(), &first, now, How::default());
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains(&format!("key {first} is gone since 20")),
        "{refused}"
    );
    assert_eq!(store(&folder).load().unwrap().ring, published.ring);
}

#[test]
fn a_retired_key_without_living_tokens_goes_at_once() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new(NOW));
    let issuer = open(&folder, &clock);
    let first = issuer.mint(&Grant::new("u", "a")).unwrap().kid;
    clock.advance(Duration::from_secs(7 * 24 * 3600));
    rotate(&folder, clock.now(), false).unwrap();
    clock.advance(Duration::from_secs(60));
    issuer.tick().unwrap();
    assert_eq!(
        issuer.published().ring.get(&first).unwrap().stage,
        Stage::Gone
    );
}

#[test]
fn what_tokens_live_is_written_down_before_they_are_given_and_not_for_each() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new(NOW));
    let issuer = open(&folder, &clock);
    let until = || {
        let ring = store(&folder).load().unwrap().ring;
        ring.signing(Algorithm::EdDSA)
            .unwrap()
            .tokens_until
            .unwrap()
    };
    let serial = || store(&folder).load().unwrap().ring.serial;
    let before = serial();
    for _ in 0..4000 {
        clock.advance(Duration::from_secs(1));
        let minted = issuer.mint(&Grant::new("u", "a")).unwrap();
        assert!(
            minted.expires_at <= until(),
            "{} > {}",
            minted.expires_at,
            until()
        );
    }
    assert!(serial() - before <= 3, "{} writes", serial() - before);
    // And in a running service no caller waits for a write.
    let before = serial();
    issuer.tick().unwrap();
    clock.advance(Duration::from_secs(1700));
    issuer.mint(&Grant::new("u", "a")).unwrap();
    issuer.tick().unwrap();
    assert!(serial() > before);
}

#[test]
fn no_token_is_given_whose_end_cannot_be_written_down() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new(NOW));
    let issuer = open(&folder, &clock);
    let keys = folder.path().join("keys");
    // Full, read-only, gone: all the same to whoever writes.
    std::fs::rename(&keys, folder.path().join("elsewhere")).unwrap();
    issuer.mint(&Grant::new("u", "a")).unwrap();
    clock.advance(Duration::from_secs(3600));
    let refused = issuer.mint(&Grant::new("u", "a")).unwrap_err().to_string();
    assert!(
        refused.contains("the key store cannot be written"),
        "{refused}"
    );
    std::fs::rename(folder.path().join("elsewhere"), &keys).unwrap();
    issuer.mint(&Grant::new("u", "a")).unwrap();
}

#[test]
fn a_key_counts_as_published_from_when_a_server_had_it_in_its_set() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new(NOW));
    let issuer = open(&folder, &clock);
    clock.advance(Duration::from_secs(3600));
    let rotated = rotate(&folder, clock.now(), false);
    rotated.unwrap();
    // The new announced key is on disk; no server has shown it to anyone.
    let announced = store(&folder)
        .load()
        .unwrap()
        .ring
        .announced(Algorithm::EdDSA)
        .unwrap()
        .clone();
    assert_eq!(announced.first_published, None);
    clock.advance(Duration::from_secs(24 * 3600));
    let refused = rotate(&folder, clock.now(), false);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("has not been published yet")
    );
    issuer.tick().unwrap();
    let published = issuer
        .published()
        .ring
        .get(&announced.kid)
        .unwrap()
        .first_published;
    assert_eq!(published, Some(clock.now()));
    let refused = rotate(&folder, clock.now(), false);
    assert!(refused.unwrap_err().to_string().contains("allowed in 11m"));
    clock.advance(Duration::from_secs(660));
    rotate(&folder, clock.now(), false).unwrap();
}

#[test]
fn the_key_set_promises_no_longer_than_until_the_next_planned_change() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new(NOW));
    let issuer = open(&folder, &clock);
    assert_eq!(issuer.jwks_max_age(), Duration::from_secs(600));
    clock.advance(Duration::from_secs(30 * 24 * 3600 - 100));
    assert_eq!(issuer.jwks_max_age(), Duration::from_secs(100));
    clock.advance(Duration::from_secs(100));
    assert!(issuer.jwks_max_age() >= Duration::from_secs(1));
}

#[test]
fn nothing_is_minted_that_outlives_its_keys_publication() {
    let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new(NOW));
    let issuer = open(&folder, &clock);
    let mint = |ttl| issuer.mint(&Grant::new("u", "a").ttl(Duration::from_secs(ttl)));
    assert!(mint(24 * 3600).is_ok());
    assert!(
        mint(24 * 3600 + 1)
            .unwrap_err()
            .to_string()
            .contains("limit of 1day")
    );
    assert!(mint(0).is_err());
    let minted = mint(60).unwrap();
    assert!(!format!("{minted:?}").contains(&minted.token));
}
