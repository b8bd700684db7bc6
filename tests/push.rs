//! The push: requests for the key set that are held until it changes, and what is counted of those who watch.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use keywheel::issue::{How, Issuer, RotationPolicy, TokenSettings, WatcherStatus, apply_rotation};
use keywheel::store::FileKeyStore;
use keywheel::{Algorithm, Clock as _, ManualClock, Metrics, NumericDate};
use support::process::{Home, get, request, until};
use support::{eventually, meanwhile};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

const JWKS: &str = "/.well-known/jwks.json";
const NOW: NumericDate = NumericDate::from_seconds(1_790_000_000);

/// An issuer and its routes in this process, with time at the test's command.
struct Ground {
    folder: TempDir,
    clock: ManualClock,
    issuer: Issuer,
    router: Router,
    metrics: Metrics,
}

// === impl Ground ===

impl Ground {
    fn new() -> Self {
        let (folder, clock) = (TempDir::new().unwrap(), ManualClock::new(NOW));
        let store = FileKeyStore::open(folder.path().join("keys")).unwrap();
        let settings = TokenSettings::new("https://issuer.example");
        let metrics = Metrics::new().unwrap();
        let issuer = Issuer::open(store, policy(), settings, clock.clone(), &metrics).unwrap();
        Ground {
            router: keywheel::http::public_router(issuer.clone(), &metrics),
            folder,
            clock,
            issuer,
            metrics,
        }
    }

    fn etag(&self) -> String {
        self.issuer.published().etag.clone()
    }

    /// Sends a request; its answer comes when it comes.
    fn send(&self, etag: Option<&str>, prefer: Option<&str>) -> JoinHandle<Response<Body>> {
        let mut request = Request::get(JWKS);
        for (name, value) in [("if-none-match", etag), ("prefer", prefer)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let answer = self
            .router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap());
        tokio::spawn(async { answer.await.unwrap() })
    }

    /// A watcher of the set in force, from when it is held on.
    async fn watch(&self, etag: &str) -> JoinHandle<Response<Body>> {
        let held = self.status().current;
        let watcher = self.send(Some(etag), Some("wait=60"));
        eventually("it is held", || self.status().current == held + 1).await;
        watcher
    }

    fn status(&self) -> WatcherStatus {
        self.issuer.watchers().status()
    }

    /// The set changes, and the server follows.
    fn change(&self) {
        let store = FileKeyStore::existing(self.folder.path().join("keys")).unwrap();
        let policy = policy();
        let now = self.clock.now();
        let how = How {
            force: true,
            ..How::default()
        };
        apply_rotation(&store, &policy, &policy.algorithms, now, how).unwrap();
        self.issuer.tick().unwrap();
    }
}

fn policy() -> RotationPolicy {
    RotationPolicy {
        algorithms: vec![Algorithm::EdDSA],
        ..RotationPolicy::default()
    }
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    Some(response.headers().get(name)?.to_str().unwrap())
}

#[tokio::test]
async fn a_held_request_is_answered_when_the_set_changes() {
    let ground = Ground::new();
    let before = ground.etag();
    let watcher = ground.watch(&before).await;
    ground.change();
    let answer = watcher.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_ne!(header(&answer, "etag"), Some(&*before));
    assert_eq!(header(&answer, "etag"), Some(&*ground.etag()));
    assert_eq!(header(&answer, "preference-applied"), Some("wait=60"));
    assert!(header(&answer, "cache-control").is_some());
}

#[tokio::test]
async fn a_held_request_is_told_that_nothing_changed_when_its_time_is_up() {
    let ground = Ground::new();
    let etag = ground.etag();
    for (prefer, limit) in [("wait=7", 7), ("wait=3600", 60)] {
        let watcher = ground.send(Some(&etag), Some(prefer));
        eventually("it is held", || ground.status().current == 1).await;
        ground.clock.advance(Duration::from_secs(limit - 1));
        meanwhile().await;
        assert!(!watcher.is_finished());
        ground.clock.advance(Duration::from_secs(1));
        let answer = watcher.await.unwrap();
        assert_eq!(answer.status(), 304);
        assert_eq!(header(&answer, "etag"), Some(&*etag));
        let applied = format!("wait={limit}");
        assert_eq!(header(&answer, "preference-applied"), Some(&*applied));
    }
}

#[tokio::test]
async fn nobody_is_held_who_does_not_ask_for_it_or_has_another_set() {
    let ground = Ground::new();
    let etag = ground.etag();
    for (holds, prefer, status) in [
        (Some(&*etag), None, 304),
        (Some(&*etag), Some("wait=soon"), 304),
        (Some(&*etag), Some("wait=0"), 304),
        (Some("\"another\""), Some("wait=60"), 200),
        (None, Some("wait=60"), 200),
        (Some("*"), Some("wait=60"), 304),
        (None, None, 200),
    ] {
        let answer = ground.send(holds, prefer).await.unwrap();
        assert_eq!(answer.status(), status, "{holds:?} {prefer:?}");
    }
    assert_eq!(ground.status().current, 0);
}

#[tokio::test]
async fn it_is_known_how_many_watchers_have_come_back_with_a_change() {
    let ground = Ground::new();
    let before = ground.etag();
    let watchers = [ground.watch(&before).await, ground.watch(&before).await];
    let status = ground.status();
    assert_eq!((status.current, status.behind), (2, 0));

    ground.change();
    let after = ground.etag();
    for watcher in watchers {
        assert_eq!(watcher.await.unwrap().status(), 200);
    }
    let status = ground.status();
    assert_eq!((status.current, status.behind), (0, 2));
    assert_eq!(
        (status.told, status.back, status.last_back_ms),
        (2, 0, None)
    );

    ground.clock.advance(Duration::from_millis(40));
    let first = ground.watch(&after).await;
    let status = ground.status();
    assert_eq!((status.current, status.behind), (1, 1));
    assert_eq!((status.told, status.back), (2, 1));
    assert_eq!(status.last_back_ms, Some(40));

    // One who waited to the end and comes again makes up for nobody.
    ground.clock.advance(Duration::from_secs(60));
    assert_eq!(first.await.unwrap().status(), 304);
    let _first = ground.watch(&after).await;
    assert_eq!((ground.status().told, ground.status().back), (2, 1));
    // One who was on the way during the change has the older set: it is told, and comes back too.
    assert_eq!(
        ground
            .send(Some(&before), Some("wait=60"))
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!((ground.status().told, ground.status().back), (3, 1));
    let _third = ground.watch(&after).await;
    let _second = ground.watch(&after).await;
    let status = ground.status();
    assert_eq!((status.told, status.back, status.behind), (3, 3, 0));
    let rendered = ground.metrics.render();
    for series in [
        "keywheel_jwks_watchers{set=\"current\"} 3",
        "keywheel_jwks_watchers{set=\"behind\"} 0",
    ] {
        assert!(rendered.contains(series), "{rendered}");
    }
}

#[tokio::test]
async fn a_watcher_that_goes_away_is_not_waited_for() {
    let ground = Ground::new();
    let etag = ground.etag();
    let watcher = ground.watch(&etag).await;
    watcher.abort();
    eventually("its place is free", || ground.status().current == 0).await;
    ground.change();
    assert_eq!((ground.status().told, ground.status().behind), (0, 0));
    // And one that was told and never came back is forgotten when it could hold no older set.
    let watcher = ground.watch(&ground.etag()).await;
    ground.change();
    watcher.await.unwrap();
    assert_eq!(ground.status().behind, 1);
    ground
        .clock
        .advance(policy().jwks_max_age + Duration::from_secs(1));
    assert_eq!(ground.status().behind, 0);
}

#[tokio::test]
async fn whoever_polls_is_counted_until_an_older_set_can_no_longer_be_held() {
    let ground = Ground::new();
    let etag = ground.etag();
    for _ in 0..3 {
        ground.send(None, None).await.unwrap();
    }
    // Fetched once and then watched: no poll.
    ground.send(None, None).await.unwrap();
    let watcher = ground.watch(&etag).await;
    assert_eq!(ground.status().polls, 3);
    assert_eq!(ground.status().polls_current_in_ms, 0);
    ground.clock.advance(Duration::from_secs(100));
    ground.change();
    watcher.await.unwrap();
    let status = ground.status();
    assert_eq!((status.polls, status.polls_current_in_ms), (3, 500_000));
    ground.clock.advance(Duration::from_secs(520));
    let status = ground.status();
    assert_eq!((status.polls, status.polls_current_in_ms), (0, 0));
}

#[test]
fn a_service_that_stops_answers_everyone_who_waits() {
    let home = Home::with("jwks_max_age = \"10m\"");
    let service = home.serve();
    let etag = get(service.public, JWKS).header("etag").unwrap().to_owned();
    let held: Vec<_> = (0..5)
        .map(|_| {
            let (address, etag) = (service.public, etag.clone());
            std::thread::spawn(move || {
                let headers = [("If-None-Match", &*etag), ("Prefer", "wait=60")];
                request(address, "GET", "/api/auth/jwks", &headers)
            })
        })
        .collect();
    until("five are held", || {
        let watchers = get(service.admin, "/watchers").json();
        (watchers["current"] == 5).then_some(())
    });
    assert_eq!(service.terminate(), Some(0));
    for held in held {
        let answer = held.join().unwrap();
        assert_eq!(answer.status, 304);
        assert_eq!(answer.header("preference-applied"), Some("wait=60"));
    }
}
