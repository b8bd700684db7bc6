//! Accounts and sessions as they live: ended sessions in the published lists, disabled users, busy and broken stores, restarts,
//! and `keywheel users`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use keywheel::issue::{Argon2Settings, StatusLists};
use keywheel::store::{AccountStore, SessionStore};
use serde_json::{Value, json};
use support::auth::{Auth, ISSUER, PASSWORD, Somebody, claims};
use support::process::{Home, get, request_with, until};

async fn token_of(auth: &Auth, somebody: &Somebody) -> String {
    let reply = auth.get("/token", Some(&somebody.cookie)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_way_of_ending_a_session_sets_its_bit_and_no_other() {
    let auth = Auth::new().await;
    let bystander = auth.sign_up("bob@example.com").await;
    let untouched = token_of(&auth, &bystander).await;
    let ada = auth.sign_up("ada@example.com").await;
    for way in [
        "sign-out",
        "revoke-session",
        "revoke-sessions",
        "revoke-other-sessions",
        "change-password",
        "disable",
    ] {
        let victim = auth.sign_in("ada@example.com").await;
        let token = token_of(&auth, &victim).await;
        assert!(!auth.bit(&token).await, "{way}");
        let actor = auth.sign_in("ada@example.com").await;
        let (cookie, body) = match way {
            "sign-out" => (&victim.cookie, json!({})),
            "revoke-session" => (&actor.cookie, json!({ "token": victim.token })),
            "change-password" => (
                &actor.cookie,
                json!({ "currentPassword": PASSWORD, "newPassword": PASSWORD }),
            ),
            _ => (&actor.cookie, json!({})),
        };
        if way == "disable" {
            let ended = auth
                .store
                .disable(&ada.id, support::auth::START)
                .await
                .unwrap();
            assert!(ended.unwrap() >= 2);
        } else {
            let reply = auth.post(&format!("/{way}"), Some(cookie), body).await;
            assert_eq!(reply.status, 200, "{way}: {}", reply.text);
        }
        assert!(auth.bit(&token).await, "{way}");
        assert_eq!(
            auth.get("/token", Some(&victim.cookie)).await.status,
            401,
            "{way}"
        );
    }
    assert!(!auth.bit(&untouched).await);
}

#[tokio::test]
async fn a_list_is_a_signed_statement_of_the_draft() {
    let auth = Auth::new().await;
    auth.sign_up("ada@example.com").await;
    for (path, alg) in [("/status/1", "EdDSA"), ("/status/1/RS256", "RS256")] {
        let reply = auth.send("GET", path, &[], Body::empty()).await;
        assert_eq!(
            reply.header("content-type"),
            Some("application/statuslist+jwt")
        );
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        assert_eq!(reply.header("cache-control"), Some("no-cache"));
        use base64::Engine as _;
        let header = reply.text.split('.').next().unwrap();
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(header)
            .unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(
            (&header["alg"], &header["typ"]),
            (&json!(alg), &json!("statuslist+jwt"))
        );
        let said = claims(&reply.text);
        assert_eq!(said["iss"], ISSUER);
        assert_eq!(said["sub"], format!("{ISSUER}{path}"));
        let (iat, exp) = (said["iat"].as_i64().unwrap(), said["exp"].as_i64().unwrap());
        let now = support::auth::START.seconds();
        assert!(iat <= now && now < exp && said["ttl"].as_u64().unwrap() > 0);
        assert_eq!(said["status_list"]["bits"], 1);
        let etag = reply.header("etag").unwrap().to_owned();
        let again = auth
            .send("GET", path, &[("if-none-match", &etag)], Body::empty())
            .await;
        assert_eq!((again.status, again.text.as_str()), (304, ""));
    }
}

/// So that whoever sets up a proxy can see whether it lets the lists through.
#[tokio::test]
async fn the_first_list_is_there_before_its_first_session() {
    let auth = Auth::new().await;
    let fetch = async |path: &str| auth.send("GET", path, &[], Body::empty()).await;
    let before = fetch("/status/1").await;
    assert_eq!(before.status, 200);
    assert_eq!(claims(&before.text)["sub"], format!("{ISSUER}/status/1"));
    for never in ["/status/0", "/status/2"] {
        assert_eq!(fetch(never).await.status, 404, "{never}");
    }
    // The first session makes it another only by ending.
    let ada = auth.sign_up("ada@example.com").await;
    auth.lists.refresh().await.unwrap();
    assert_eq!(fetch("/status/1").await.text, before.text);
    let reply = auth.post("/sign-out", Some(&ada.cookie), json!({})).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    auth.lists.refresh().await.unwrap();
    assert_ne!(fetch("/status/1").await.text, before.text);
}

#[tokio::test]
async fn a_list_is_signed_anew_before_it_expires_and_when_the_key_changes() {
    let auth = Auth::new().await;
    auth.sign_up("ada@example.com").await;
    let fetch = async || {
        auth.lists.refresh().await.unwrap();
        auth.send("GET", "/status/1", &[], Body::empty()).await.text
    };
    let first = fetch().await;
    assert_eq!(fetch().await, first);
    for _ in 0..10 {
        auth.clock.advance(Duration::from_secs(60));
        let left = claims(&fetch().await)["exp"].as_i64().unwrap()
            - keywheel::Clock::now(&auth.clock).seconds();
        assert!(left >= 10 * 60, "{left}");
    }
    let before = fetch().await;
    let store = keywheel::store::FileKeyStore::existing(&auth.config.keys.store).unwrap();
    let policy = auth.config.rotation_policy();
    let now = keywheel::Clock::now(&auth.clock);
    keywheel::issue::apply_rotation(
        &store,
        &policy,
        &policy.algorithms,
        now,
        keywheel::issue::How {
            force: true,
            ..Default::default()
        },
    )
    .unwrap();
    auth.issuer.tick().unwrap();
    let after = fetch().await;
    assert_ne!(before.split('.').next(), after.split('.').next());
    assert_eq!(
        claims(&before)["status_list"],
        claims(&after)["status_list"]
    );
}

#[tokio::test]
async fn two_servers_on_one_store_publish_the_same_bytes() {
    let auth = Auth::new().await;
    let ada = auth.sign_up("ada@example.com").await;
    let other = StatusLists::open(Arc::new(auth.store.clone()), auth.issuer.clone())
        .await
        .unwrap();
    auth.clock.advance(Duration::from_secs(7));
    auth.post("/sign-out", Some(&ada.cookie), json!({})).await;
    auth.lists.refresh().await.unwrap();
    auth.clock.advance(Duration::from_secs(2));
    other.refresh().await.unwrap();
    for algorithm in [keywheel::Algorithm::EdDSA, keywheel::Algorithm::RS256] {
        let (one, two) = (
            auth.lists.get(1, algorithm).await.unwrap().unwrap(),
            other.get(1, algorithm).await.unwrap().unwrap(),
        );
        assert_eq!(one.body, two.body);
        assert_eq!(one.etag, two.etag);
    }
}

#[tokio::test]
async fn whoever_waits_for_a_list_hears_of_a_sign_out() {
    let auth = Arc::new(Auth::new().await);
    let ada = auth.sign_up("ada@example.com").await;
    let token = token_of(&auth, &ada).await;
    let etag = auth
        .send("GET", "/status/1", &[], Body::empty())
        .await
        .header("etag")
        .unwrap()
        .to_owned();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(auth.lists.clone().run(stopped));
    let waiting = tokio::spawn({
        let (auth, etag) = (auth.clone(), etag.clone());
        async move {
            let headers = [("if-none-match", etag.as_str()), ("prefer", "wait=60")];
            auth.send("GET", "/status/1", &headers, Body::empty()).await
        }
    });
    support::meanwhile().await;
    assert!(!waiting.is_finished());
    auth.post("/sign-out", Some(&ada.cookie), json!({})).await;
    // The clock stands still: nothing but the sign-out can have woken it.
    let reply = waiting.await.unwrap();
    assert_eq!(
        (reply.status, reply.header("preference-applied")),
        (200, Some("wait=60"))
    );
    assert_ne!(reply.header("etag"), Some(etag.as_str()));
    assert!(auth.bit(&token).await);
    stop.send(true).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn a_place_is_free_again_only_when_no_token_can_carry_it() {
    let auth = Auth::new().await;
    let ada = auth.sign_up("ada@example.com").await;
    let token = token_of(&auth, &ada).await;
    auth.post("/sign-out", Some(&ada.cookie), json!({})).await;
    let max_ttl = auth.issuer.policy().max_token_ttl;
    auth.clock.advance(max_ttl + Duration::from_secs(60));
    assert!(
        auth.bit(&token).await,
        "a token of the longest life may have expired only now"
    );
    // Then the bit goes, and an hour later the place.
    auth.clock.advance(Duration::from_secs(3600 + 300));
    assert!(!auth.bit(&token).await);
    assert_eq!(
        auth.store
            .ended_places(1, keywheel::NumericDate::EPOCH)
            .await
            .unwrap()
            .len(),
        1
    );
    let (stop, stopped) = tokio::sync::watch::channel(false);
    auth.clock.advance(Duration::from_secs(3600));
    let running = tokio::spawn(auth.lists.clone().run(stopped));
    auth.lists.changed();
    support::waiting::eventually_async("the place is free", async || {
        let ended = auth.store.ended_places(1, keywheel::NumericDate::EPOCH);
        ended.await.unwrap().is_empty()
    })
    .await;
    stop.send(true).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn a_disabled_user_is_told_only_with_the_right_password() {
    let auth = Auth::new().await;
    let ada = auth.sign_up("ada@example.com").await;
    auth.store
        .disable(&ada.id, support::auth::START)
        .await
        .unwrap();
    let sign_in = async |password: &str| {
        let body = json!({ "email": "ada@example.com", "password": password });
        let reply = auth.post("/sign-in/email", None, body).await;
        (reply.status, reply.code())
    };
    assert_eq!(
        sign_in("wrong password").await,
        (401, "INVALID_EMAIL_OR_PASSWORD".into())
    );
    assert_eq!(sign_in(PASSWORD).await, (403, "BANNED_USER".into()));
    assert_eq!(
        auth.get("/get-session", Some(&ada.cookie)).await.text,
        "null"
    );
    auth.store
        .enable(&ada.id, support::auth::START)
        .await
        .unwrap();
    assert_eq!(sign_in(PASSWORD).await.0, 200);
    assert_eq!(auth.get("/token", Some(&ada.cookie)).await.status, 401);
}

#[tokio::test]
async fn roles_and_scopes_enter_the_next_token_as_far_as_its_audience_knows_them() {
    let auth = Auth::new().await;
    let ada = auth.sign_up("ada@example.com").await;
    let said = async || {
        let reply = auth.get("/token?audience=orders", Some(&ada.cookie)).await;
        claims(reply.json()["token"].as_str().unwrap())
    };
    let before = said().await;
    assert_eq!(
        (&before["scope"], before.get("roles")),
        (&json!("orders:read"), None)
    );
    let now = support::auth::START;
    let text = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    auth.store
        .set_roles(&ada.id, &text(&["editor", "admin"]), now)
        .await
        .unwrap();
    auth.store
        .set_scopes(&ada.id, Some(&text(&["orders:write", "other:read"])), now)
        .await
        .unwrap();
    let after = said().await;
    assert_eq!(
        (&after["scope"], &after["roles"]),
        (&json!("orders:write"), &json!(["editor", "admin"]))
    );
    auth.store
        .set_scopes(&ada.id, Some(&[]), now)
        .await
        .unwrap();
    assert_eq!(said().await.get("scope"), None);
}

#[tokio::test]
async fn a_password_hash_follows_the_settings_at_the_next_sign_in() {
    let auth = Auth::new().await;
    auth.sign_up("ada@example.com").await;
    let hash = async || {
        auth.store
            .user_by_email("ada@example.com")
            .await
            .unwrap()
            .unwrap()
            .1
            .0
    };
    let before = hash().await;
    assert!(
        before.starts_with("$argon2id$v=19$m=8,t=1,p=1$"),
        "{before}"
    );
    let url = auth.config.database.url.clone();
    let stricter = Auth::with(|config| {
        config.database.url = url;
        config.accounts.argon2 = Argon2Settings {
            memory_kib: 16,
            iterations: 2,
            lanes: 1,
        };
    })
    .await;
    let wrong = json!({ "email": "ada@example.com", "password": "wrong password" });
    assert_eq!(
        stricter.post("/sign-in/email", None, wrong).await.status,
        401
    );
    assert_eq!(hash().await, before);
    stricter.sign_in("ada@example.com").await;
    assert!(hash().await.contains("m=16,t=2,p=1"));
    auth.sign_in("ada@example.com").await;
}

#[tokio::test]
async fn a_store_that_is_gone_is_said_to_be_unavailable_and_nothing_of_it_shows() {
    let auth = Auth::new().await;
    let ada = auth.sign_up("ada@example.com").await;
    sqlx::any::install_default_drivers();
    let url = auth.config.database.url.0.replace("sqlite://", "sqlite:");
    let pool = sqlx::AnyPool::connect(&url).await.unwrap();
    sqlx::raw_sql("alter table users rename to gone")
        .execute(&pool)
        .await
        .unwrap();
    for reply in [
        auth.get("/token", Some(&ada.cookie)).await,
        auth.get("/get-session", Some(&ada.cookie)).await,
        auth.post(
            "/sign-in/email",
            None,
            json!({ "email": "ada@example.com", "password": PASSWORD }),
        )
        .await,
        auth.post(
            "/sign-up/email",
            None,
            json!({ "name": "B", "email": "bob@example.com", "password": PASSWORD }),
        )
        .await,
        auth.post("/sign-out", Some(&ada.cookie), json!({})).await,
    ] {
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (503, "SERVICE_UNAVAILABLE"),
            "{}",
            reply.text
        );
        assert!(reply.header("retry-after").is_some());
        for secret in ["users", "sql", "kw.db", PASSWORD] {
            assert!(
                !reply.text.to_lowercase().contains(secret),
                "{}",
                reply.text
            );
        }
        assert!(
            reply.cookies().is_empty(),
            "a session that may live keeps its cookie"
        );
    }
    sqlx::raw_sql("alter table gone rename to users")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(auth.get("/token", Some(&ada.cookie)).await.status, 200);
}

#[tokio::test]
async fn a_locked_database_is_waited_for_and_then_given_up() {
    let auth = Auth::new().await;
    let ada = auth.sign_up("ada@example.com").await;
    sqlx::any::install_default_drivers();
    let url = auth.config.database.url.0.replace("sqlite://", "sqlite:");
    let pool = sqlx::AnyPool::connect(&url).await.unwrap();
    let locked = pool.begin_with("begin exclusive").await.unwrap();
    // Whoever only reads goes on, whoever writes is told to come back.
    assert_eq!(auth.get("/token", Some(&ada.cookie)).await.status, 200);
    let reply = auth.post("/sign-out", Some(&ada.cookie), json!({})).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (503, "SERVICE_UNAVAILABLE")
    );
    locked.rollback().await.unwrap();
    assert_eq!(
        auth.post("/sign-out", Some(&ada.cookie), json!({}))
            .await
            .status,
        200
    );
    assert_eq!(auth.get("/token", Some(&ada.cookie)).await.status, 401);
}

#[tokio::test]
async fn a_full_disk_refuses_a_sign_up_whole() {
    let auth = Auth::new().await;
    let ada = auth.sign_up("ada@example.com").await;
    // A trigger that fails the session's row: what a disk that fills up in mid-transaction looks like from above.
    sqlx::any::install_default_drivers();
    let url = auth.config.database.url.0.replace("sqlite://", "sqlite:");
    let pool = sqlx::AnyPool::connect(&url).await.unwrap();
    let full = "create trigger full before insert on sessions begin select raise(abort, 'database or disk is full'); end";
    sqlx::raw_sql(full).execute(&pool).await.unwrap();
    let body = json!({ "name": "B", "email": "bob@example.com", "password": PASSWORD });
    let reply = auth.post("/sign-up/email", None, body.clone()).await;
    assert_eq!(reply.status, 503);
    assert!(
        auth.store
            .user_by_email("bob@example.com")
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(auth.get("/token", Some(&ada.cookie)).await.status, 200);
    sqlx::raw_sql("drop trigger full")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(auth.post("/sign-up/email", None, body).await.status, 200);
}

#[tokio::test]
async fn html_and_sql_in_every_string_come_back_as_they_were() {
    let auth = Auth::new().await;
    let hostile = "<script>alert('x')</script>'; drop table users; --\u{202e}\u{0}";
    let body = json!({ "name": hostile, "email": "ada@example.com", "password": format!("{hostile}{hostile}"), "softwareBackground": hostile, "image": hostile });
    let ada = auth.post("/sign-up/email", None, body).await;
    let agent = "<script>'\"; --";
    let headers = [("content-type", "application/json"), ("user-agent", agent)];
    let body = json!({ "email": "ada@example.com", "password": format!("{hostile}{hostile}") })
        .to_string();
    let reply = auth
        .send("POST", "/api/auth/sign-in/email", &headers, body)
        .await;
    let user = reply.json()["user"].clone();
    assert_eq!(ada.json()["user"], user);
    for field in ["name", "softwareBackground", "image"] {
        assert_eq!(user[field], hostile);
    }
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let session = auth.get("/get-session", Some(&reply.cookie())).await.json();
    assert_eq!(session["session"]["userAgent"], agent);
}

#[tokio::test]
async fn metrics_count_sign_ins_by_outcome() {
    let auth = Auth::with(|config| config.accounts.rate_limit.attempts = 3).await;
    auth.sign_up("ada@example.com").await;
    let wrong = "wrong password";
    // What was right uses nothing up.
    for password in [PASSWORD, wrong, wrong, wrong, PASSWORD] {
        auth.post(
            "/sign-in/email",
            None,
            json!({ "email": "ada@example.com", "password": password }),
        )
        .await;
    }
    let metrics = auth.metrics.render();
    for series in [
        "keywheel_sign_ins_total{outcome=\"signed_in\"} 1",
        "keywheel_sign_ins_total{outcome=\"invalid_credentials\"} 3",
        "keywheel_sign_ins_total{outcome=\"rate_limited\"} 1",
    ] {
        assert!(metrics.contains(series), "{series}\n{metrics}");
    }
}

mod postgres {
    use super::*;

    /// PostgreSQL that goes away in mid-flight and comes back, under a service that does not restart.
    #[tokio::test]
    #[ignore = "needs a server: ./test postgres"]
    #[expect(
        clippy::disallowed_methods,
        reason = "the test part says where its server is"
    )]
    async fn a_server_that_goes_away_is_unavailable_and_nothing_is_half_written() {
        let server = std::env::var("TEST_POSTGRES_URL").unwrap();
        sqlx::any::install_default_drivers();
        let admin = sqlx::AnyPool::connect(&format!("{server}/postgres"))
            .await
            .unwrap();
        let run =
            async |sql: &'static str| sqlx::raw_sql(sql).execute(&admin).await.map(drop).unwrap();
        run("drop database if exists kw_gone with (force)").await;
        run("create database kw_gone").await;
        let auth = Auth::with(|config| config.database.url.0 = format!("{server}/kw_gone")).await;
        let ada = auth.sign_up("ada@example.com").await;
        let token = token_of(&auth, &ada).await;
        let hang_up =
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'kw_gone'";

        run("alter database kw_gone allow_connections false").await;
        run(hang_up).await;
        let bob = json!({ "name": "B", "email": "bob@example.com", "password": PASSWORD });
        for reply in [
            auth.get("/token", Some(&ada.cookie)).await,
            auth.post("/sign-out", Some(&ada.cookie), json!({})).await,
            auth.post("/sign-up/email", None, bob.clone()).await,
        ] {
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (503, "SERVICE_UNAVAILABLE")
            );
            assert!(!reply.text.contains("kw_gone"), "{}", reply.text);
        }
        // What was published goes on being published.
        assert_eq!(
            auth.send("GET", "/status/1", &[], Body::empty())
                .await
                .status,
            200
        );

        run("alter database kw_gone allow_connections true").await;
        assert_eq!(auth.get("/token", Some(&ada.cookie)).await.status, 200);
        assert!(
            !auth.bit(&token).await,
            "the sign-out that failed has not half happened"
        );
        assert_eq!(auth.post("/sign-up/email", None, bob).await.status, 200);
        // Connections that were cut without notice are replaced.
        run(hang_up).await;
        let reply = auth.post("/sign-out", Some(&ada.cookie), json!({})).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(auth.bit(&token).await);
    }
}

// From here on: the program itself.

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn sign_up(service: &support::process::Service, email: &str) -> (String, String) {
    let body = json!({ "name": "Ada", "email": email, "password": PASSWORD }).to_string();
    let reply = request_with(
        service.public,
        "POST",
        "/api/auth/sign-up/email",
        &[JSON],
        &body,
    );
    assert_eq!(reply.status, 200, "{}", reply.body);
    let cookie = reply
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    (cookie, reply.json()["token"].as_str().unwrap().to_owned())
}

fn token_status(service: &support::process::Service, cookie: &str) -> u16 {
    let headers = [("Cookie", cookie)];
    support::process::request(service.public, "GET", "/api/auth/token", &headers).status
}

#[test]
fn sessions_and_cookies_outlive_a_restart() {
    let home = Home::new();
    let service = home.serve();
    let (cookie, _) = sign_up(&service, "ada@example.com");
    assert_eq!(service.terminate(), Some(0));
    let service = home.serve();
    assert_eq!(token_status(&service, &cookie), 200);
    assert!(home.path().join("data/keywheel.db").exists());
}

#[test]
fn users_are_listed_changed_and_signed_out_while_the_server_runs() {
    let home = Home::new();
    let missing = home.run(&["users", "list"]);
    assert_eq!(missing.code, 3, "{missing:?}");
    assert!(missing.stderr.contains("keywheel serve"), "{missing:?}");
    let service = home.serve();
    let (cookie, _) = sign_up(&service, "ada@example.com");
    let (other, _) = sign_up(&service, "bob@example.com");
    let listed = home.run(&["users", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let emails: Vec<_> = listed["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["email"].clone())
        .collect();
    assert_eq!(emails, ["ada@example.com", "bob@example.com"]);
    let plain = home.run(&["users", "list"]);
    assert!(
        plain.stdout.starts_with("EMAIL\t") && plain.stdout.contains("bob@example.com"),
        "{plain:?}"
    );

    let roles = home.run(&["users", "roles", "ADA@example.com", "editor", "admin"]);
    assert_eq!(roles.code, 0, "{roles:?}");
    let audited = roles
        .stderr
        .lines()
        .any(|line| line.contains("\"event\":\"user_changed\""));
    assert!(audited, "{roles:?}");
    let reply = support::process::request(
        service.public,
        "GET",
        "/api/auth/token",
        &[("Cookie", &cookie)],
    );
    let said = claims(reply.json()["token"].as_str().unwrap());
    assert_eq!(said["roles"], json!(["editor", "admin"]));

    let sessions = home.run(&["users", "sessions", "ada@example.com", "--json"]);
    let sessions: Value = serde_json::from_str(&sessions.stdout).unwrap();
    assert_eq!(sessions["sessions"][0]["id"], said["sid"]);
    let sid = said["sid"].as_str().unwrap();
    let out = home.run(&["users", "sign-out", "ada@example.com", "--session", sid]);
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(token_status(&service, &cookie), 401);
    assert_eq!(token_status(&service, &other), 200);
    let again = home.run(&["users", "sign-out", "ada@example.com", "--session", sid]);
    assert_eq!(again.code, 1, "{again:?}");

    // The running server publishes what the command has done.
    let before = get(service.public, "/status/1").body;
    let disabled = home.run(&["users", "disable", "bob@example.com"]);
    assert_eq!(
        (disabled.code, disabled.stdout.as_str()),
        (0, "bob@example.com: disabled; 1 sessions ended\n")
    );
    assert_eq!(token_status(&service, &other), 401);
    until("the list follows", || {
        (get(service.public, "/status/1").body != before).then_some(())
    });
    assert_eq!(home.run(&["users", "enable", "bob@example.com"]).code, 0);
    assert_eq!(token_status(&service, &other), 401);

    for (args, code, words) in [
        (
            &["users", "disable", "nobody@example.com"][..],
            1,
            "users list",
        ),
        (&["users", "roles", "ada@example.com"], 2, "<ROLE>"),
        (
            &["users", "roles", "ada@example.com", "a b"],
            2,
            "no spaces",
        ),
        (
            &["users", "scopes", "ada@example.com", "unknown:scope"],
            2,
            "unknown:scope",
        ),
    ] {
        let outcome = home.run(args);
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(outcome.stderr.contains(words), "{outcome:?}");
    }
    assert_eq!(
        home.run(&["users", "scopes", "ada@example.com", "--none"])
            .code,
        0
    );
    assert_eq!(
        home.run(&["users", "scopes", "ada@example.com", "--default"])
            .code,
        0
    );
}

#[test]
fn the_probe_knows_the_database() {
    let home = Home::new();
    let service = home.serve();
    assert_eq!(get(service.admin, "/readyz").status, 200);
    let file = home.path().join("data/keywheel.db");
    let (cookie, _) = sign_up(&service, "ada@example.com");
    // What an accident would do to the file, the schema stands for: a table is gone.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let run = |sql: &'static str| {
        runtime.block_on(async {
            sqlx::any::install_default_drivers();
            let pool = sqlx::AnyPool::connect(&format!("sqlite:{}", file.display()))
                .await
                .unwrap();
            sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        });
    };
    run("alter table status_lists rename to gone");
    let ready = get(service.admin, "/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("keywheel.db"), "{}", ready.body);
    run("alter table gone rename to status_lists");
    until("ready again", || {
        (get(service.admin, "/readyz").status == 200).then_some(())
    });
    assert_eq!(token_status(&service, &cookie), 200);
}

#[test]
fn a_database_that_cannot_be_opened_ends_the_start_with_its_name() {
    let home = Home::new();
    std::fs::create_dir(home.path().join("data")).unwrap();
    std::fs::write(
        home.path().join("data/keywheel.db"),
        "this is no database, whatever it is called",
    )
    .unwrap();
    let outcome = home.run(&["serve"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(
        outcome.stderr.contains("keywheel.db") && outcome.stderr.contains("not a database"),
        "{outcome:?}"
    );
}

#[test]
fn nothing_secret_is_written_down() {
    let home = Home::new();
    let mut command = home.command(&["serve"]);
    command.env("KEYWHEEL_LOG__LEVEL", "trace");
    let mut child = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    let public: SocketAddr = loop {
        let mut line = String::new();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "{text}");
        text.push_str(&line);
        if line.starts_with("keywheel serves ") {
            let addresses = line.split(" on http://").nth(1).unwrap();
            break addresses.split(',').next().unwrap().parse().unwrap();
        }
    };
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).map(|_| rest)
    });
    let body =
        json!({ "name": "Ada", "email": "ada@example.com", "password": PASSWORD }).to_string();
    let reply = request_with(public, "POST", "/api/auth/sign-up/email", &[JSON], &body);
    let signed = reply.header("set-auth-token").unwrap().to_owned();
    let session = signed.split('.').next().unwrap().to_owned();
    let bearer = format!("Bearer {signed}");
    let reply = support::process::request(
        public,
        "GET",
        "/api/auth/token",
        &[("Authorization", &bearer)],
    );
    let jwt = reply.json()["token"].as_str().unwrap().to_owned();
    child.kill().unwrap();
    child.wait().unwrap();
    text.push_str(&rest.join().unwrap().unwrap());
    assert!(text.contains("\"event\":\"signed_up\""), "{text}");
    for secret in [PASSWORD, &session, &jwt, "$argon2id"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let stored = std::fs::read(home.path().join("data/keywheel.db-wal")).unwrap();
    let stored = String::from_utf8_lossy(&stored);
    assert!(
        stored.contains("ada@example.com")
            && !stored.contains(&session)
            && !stored.contains(PASSWORD)
    );
}
