//! The pages of the admin listeners: what they show, that nothing hostile is markup in them, and what they remember.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keywheel::audit::{AuditLog, Event, Fields, LINES, Recent};
use keywheel::verify::Reason;
use keywheel::{Clock as _, ManualClock, NumericDate};
use serde_json::json;
use support::process::{Answer, Home, Service, get, keywheel, request, request_with, until};

const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

fn page(service: &Service) -> Answer {
    let answer = get(service.admin, "/");
    assert_eq!(answer.status, 200);
    answer
}

/// No script, no style that the policy would forbid, and the headers that say so.
fn is_safe(answer: &Answer) {
    let lower = answer.body.to_ascii_lowercase();
    for forbidden in [
        "<script",
        "<img",
        "<iframe",
        "<form",
        " style=",
        "javascript:",
        "<style",
    ] {
        assert!(!lower.contains(forbidden), "{forbidden}");
    }
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'self';"),
        "{policy}"
    );
    for directive in [
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(
        !policy.contains("unsafe") && !policy.contains("script-src"),
        "{policy}"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    // Every element that opens also closes, in order.
    let mut open: Vec<&str> = Vec::new();
    for tag in answer.body.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap();
        match tag {
            _ if tag.ends_with('/') || tag.starts_with('!') || ["meta", "link"].contains(&name) => {
            }
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{tag}"),
            _ => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// The row of the table that is about this key.
fn row<'a>(page: &'a Answer, kid: &str) -> &'a str {
    let cell = format!("<tr><th scope=\"row\"><code>{kid}</code>");
    let start = page
        .body
        .find(&cell)
        .unwrap_or_else(|| panic!("no row for {kid}"));
    page.body[start..].split("</tr>").next().unwrap()
}

#[test]
fn the_page_shows_each_key_with_its_stage_and_what_comes_next() {
    let home = Home::with(
        "jwks_max_age = \"1s\"\nclock_skew = \"1s\"\nalgorithms = [\"EdDSA\", \"RS256\"]",
    );
    let service = home.serve();
    let first = home.kids("EdDSA", "signing").remove(0);
    until("a rotation is allowed", || {
        (home.run(&["keys", "rotate"]).code == 0).then_some(())
    });
    let revoked = home.run(&["keys", "revoke", &first, "--reason", "stolen <b>"]);
    assert_eq!(revoked.code, 0, "{revoked:?}");
    let page = until("the page shows the revocation", || {
        let page = page(&service);
        row(&page, &first).contains(">revoked<").then_some(page)
    });
    is_safe(&page);
    assert!(row(&page, &first).contains("revocation: stolen &lt;b&gt;"));
    for key in home.list() {
        let row = row(&page, key["kid"].as_str().unwrap());
        let stage = format!(
            "<span class=\"stage {0}\">{0}</span>",
            key["stage"].as_str().unwrap()
        );
        assert!(row.contains(&stage), "{row}");
    }
    for expected in [
        "<html lang=\"en\">",
        ">Ready</p>",
        "<h2>Next steps</h2>",
        "signs no more; its tokens live on",
        "<h2>Verifiers</h2>",
        "Poll, at most",
        "<title id=\"t-EdDSA-wide\">Timeline of the EdDSA keys</title>",
        "<title id=\"t-RS256-narrow\">Timeline of the RS256 keys</title>",
        "class=\"revoked\"",
        "<caption>Keys, the newest first; times in UTC</caption>",
        "key_signing",
    ] {
        assert!(page.body.contains(expected), "{expected}");
    }
    let style = get(service.admin, "/page.css");
    assert_eq!(
        style.header("content-type"),
        Some("text/css; charset=utf-8")
    );
    assert_eq!(request(service.admin, "POST", "/", &[]).status, 405);
}

#[test]
fn the_page_tells_who_has_a_revocation_and_which_sign_ins_failed() {
    let home = Home::new();
    let service = home.serve();
    let body = json!({ "email": "nobody@example.com", "password": "wrong <script>" }).to_string();
    let headers = [("content-type", "application/json")];
    for _ in 0..2 {
        request_with(
            service.public,
            "POST",
            "/api/auth/sign-in/email",
            &headers,
            &body,
        );
    }
    get(service.public, "/.well-known/jwks.json");
    let page = page(&service);
    is_safe(&page);
    assert!(page.body.contains("<code>invalid_credentials</code>"));
    assert!(page.body.contains("<td class=\"number\">2</td>"));
    assert!(page.body.contains("sign_in_failed"));
    assert!(
        page.body.contains("Poll, at most</th><td>1"),
        "the one fetch"
    );
}

#[test]
fn only_a_page_that_is_asked_to_loads_itself_anew() {
    let home = Home::new();
    let service = home.serve();
    assert!(!page(&service).body.contains("http-equiv"));
    let live = get(service.admin, "/?live");
    assert!(
        live.body
            .contains("<meta http-equiv=\"refresh\" content=\"15\">")
    );
    is_safe(&live);
    for other in ["/?live=1", "/?refresh=0", "/?<script>"] {
        assert!(
            !get(service.admin, other).body.contains("http-equiv"),
            "{other}"
        );
    }
}

#[test]
fn what_is_wrong_comes_first_and_the_page_is_there_all_the_same() {
    let home = Home::new();
    let service = home.serve();
    std::fs::write(home.keys().join("ring.json"), "{ not json <script>").unwrap();
    let page = until("the page tells of it", || {
        let page = page(&service);
        page.body
            .contains("<h2 id=\"problems\">Problems</h2>")
            .then_some(page)
    });
    is_safe(&page);
    assert!(page.body.contains("<title>(1) Keys"));
    assert_eq!(get(service.admin, "/readyz").status, 503);
}

#[test]
fn the_gates_page_shows_its_issuers_and_escapes_what_strangers_send() {
    let home = Home::new();
    let auth = home.serve();
    let gate = Service::start(keywheel(&[
        "gate",
        "--issuer",
        "http://issuer.test",
        "--audience",
        "api",
        "--algorithms",
        "EdDSA,RS256",
        "--jwks-url",
        &format!("http://{}/.well-known/jwks.json", auth.public),
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]));
    let encoded = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encoded(json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": HOSTILE }));
    let claims = encoded(json!({
        "iss": "http://issuer.test", "aud": "api", "sub": HOSTILE, "exp": 4_000_000_000_u32, "iat": 1, "jti": "1",
        "client_id": "c",
    }));
    let token = format!("{header}.{claims}.{}", "A".repeat(86));
    let bearer = format!("Bearer {token}");
    for _ in 0..3 {
        let answer = request(gate.public, "GET", "/verify", &[("authorization", &bearer)]);
        assert_eq!(answer.status, 401);
    }
    let page = page(&gate);
    is_safe(&page);
    assert!(
        page.body.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "the whole kid"
    );
    assert!(page.body.contains("<code>unknown_key</code>"));
    for kid in home.kids("EdDSA", "signing") {
        assert!(
            page.body.contains(&format!("<code title=\"{kid}\">")),
            "{kid}"
        );
    }
    assert!(page.body.contains("http://issuer.test"));
    // What was there before is there still.
    assert_eq!(get(gate.admin, "/readyz").status, 200);
    assert_eq!(get(gate.admin, "/healthz").body, "ok\n");
    assert!(
        get(gate.admin, "/metrics")
            .body
            .contains("verifications_total")
    );
    assert_eq!(get(gate.admin, "/nothing").status, 404);
}

#[test]
fn the_gate_says_whose_keys_it_does_not_have() {
    let gate = Service::start(keywheel(&[
        "gate",
        "--issuer",
        "http://issuer.test",
        "--audience",
        "api",
        "--jwks-url",
        "http://127.0.0.1:9/keys",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]));
    let page = page(&gate);
    is_safe(&page);
    assert!(
        page.body
            .contains("no keys of http://issuer.test are in force")
    );
    assert!(!page.body.contains(">Ready</p>"));
}

#[test]
fn a_flood_is_counted_whole_and_remembered_in_bounds_without_allocating() {
    let clock = ManualClock::new(NumericDate::from_seconds(1_790_000_000));
    let recent = Arc::new(Recent::default());
    let audit = AuditLog::new(Arc::new(clock.clone()), 100).remembering(recent.clone());
    let attack = || {
        if audit.admits(Reason::BadSignature) {
            let fields = Fields {
                reason: Some(Reason::BadSignature.code()),
                kid: Some(HOSTILE),
                ..Fields::default()
            };
            audit.write(Event::VerificationFailed, &fields);
        }
    };
    let failed = Fields {
        reason: Some("invalid_credentials"),
        ..Fields::default()
    };
    for _ in 0..100 {
        attack();
        audit.write_limited(Event::SignInFailed, &failed);
    }
    let cost = allocation_counter::measure(|| {
        for _ in 0..50_000 {
            attack();
            audit.write_limited(Event::SignInFailed, &failed);
        }
    });
    assert_eq!(cost.count_total, 0, "of those that are too many");
    let failures = recent.failures(clock.monotonic());
    let told: Vec<_> = failures.iter().map(|f| (f.reason, f.total())).collect();
    assert_eq!(
        told,
        [("bad_signature", 50_100), ("invalid_credentials", 50_100)]
    );
    assert_eq!(recent.lines().len(), LINES);
    // However long it goes on.
    let before = std::mem::size_of_val(&*recent);
    for _ in 0..300 {
        clock.advance(Duration::from_secs(20));
        for _ in 0..500 {
            attack();
        }
    }
    assert_eq!(recent.lines().len(), LINES);
    assert!(before < 32 * 1024 && recent.lines().iter().all(|line| line.len() < 4096));
    assert_eq!(
        recent.failures(clock.monotonic())[0].total(),
        59 * 1_500 + 500
    );
}

#[test]
fn an_hour_later_nothing_is_shown_of_it_and_a_clock_that_leaps_changes_nothing() {
    let clock = ManualClock::new(NumericDate::from_seconds(1_790_000_000));
    let recent = Arc::new(Recent::default());
    let audit = AuditLog::new(Arc::new(clock.clone()), 1).remembering(recent.clone());
    for _ in 0..7 {
        audit.admits(Reason::Expired);
    }
    clock.set_wall(NumericDate::from_seconds(2_000_000_000));
    let total = || {
        recent
            .failures(clock.monotonic())
            .iter()
            .map(|f| f.total())
            .sum::<u64>()
    };
    assert_eq!(total(), 7);
    clock.advance(Duration::from_secs(59 * 60));
    assert_eq!(total(), 7);
    clock.advance(Duration::from_secs(60));
    assert_eq!(total(), 0);
}
