//! What the auth service says on the wire, row by row as a Better Auth server says it: status, body, headers, cookies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use http::StatusCode;
use serde_json::{Value, json};
use support::auth::{APP, Auth, ISSUER, PASSWORD, Reply, claims};

const DAY: Duration = Duration::from_secs(24 * 3600);
const JSON: (&str, &str) = ("content-type", "application/json");

fn keys(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str, message: &str) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(reply.json(), json!({ "code": code, "message": message }));
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

/// That time stamps are as JavaScript writes them.
fn is_timestamp(value: &Value) -> bool {
    let text = value.as_str().unwrap();
    text.len() == "2026-11-21T20:46:33.521Z".len() && text.ends_with('Z') && text.contains('T')
}

#[tokio::test]
async fn sign_up_gives_a_token_a_user_a_cookie_and_a_header() {
    let auth = Auth::new().await;
    let body = json!({ "name": "Ada", "email": "Ada@Example.com", "password": PASSWORD, "softwareBackground": "C", "years": 7, "role": "admin", "emailVerified": true, "id": "x" });
    let reply = auth.post("/sign-up/email", None, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let body = reply.json();
    assert_eq!(keys(&body), ["token", "user"].into());
    let user = &body["user"];
    let fields = [
        "name",
        "email",
        "emailVerified",
        "createdAt",
        "updatedAt",
        "id",
        "softwareBackground",
        "years",
    ];
    assert_eq!(keys(user), fields.into());
    assert_eq!(user["email"], "ada@example.com");
    assert_eq!(user["emailVerified"], false);
    assert_eq!(
        (&user["softwareBackground"], &user["years"]),
        (&json!("C"), &json!(7))
    );
    assert!(is_timestamp(&user["createdAt"]) && is_timestamp(&user["updatedAt"]));
    assert_ne!(user["id"], "x");
    // What the session is called. What proves it is in the cookie alone.
    let name = body["token"].as_str().unwrap();
    let cookies = reply.cookies();
    let attributes = "; Max-Age=604800; Path=/; HttpOnly; SameSite=Lax";
    let end = support::auth::START.seconds() + 604_800;
    assert_eq!(
        cookies[1],
        format!("better-auth.session_expires={end}{attributes}")
    );
    // And the one by which this device is known for its account.
    assert!(cookies[2].starts_with("better-auth.known_device="));
    assert_eq!(cookies.len(), 3);
    let pair = cookies[0].strip_suffix(attributes).unwrap();
    let signed = pair.strip_prefix("better-auth.session_token=").unwrap();
    let (token, tag) = signed.split_once('.').unwrap();
    assert!(token.len() >= 43, "256 bits: {token}");
    assert!(tag.ends_with("%3D") && !signed.contains(name), "{signed}");
    assert!(reply.header("set-auth-token").is_none());
    let exposed = reply.header("access-control-expose-headers").unwrap();
    // `date`, so that a client can tell how far its clock is off.
    assert!(exposed.contains("set-auth-jwt") && exposed.contains("date"));
    assert!(!exposed.contains("set-auth-token"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn sign_up_refuses_what_it_cannot_use_and_writes_nothing() {
    let auth = Auth::with(|config| {
        config.accounts.fields.get_mut("years").unwrap().required = true;
    })
    .await;
    let good =
        json!({ "name": "Ada", "email": "ada@example.com", "password": PASSWORD, "years": 1 });
    let long = "x".repeat(129);
    for (field, value, status, code, message) in [
        (
            "password",
            json!("short12"),
            400,
            "PASSWORD_TOO_SHORT",
            "Password too short",
        ),
        (
            "password",
            json!(long),
            400,
            "PASSWORD_TOO_LONG",
            "Password too long",
        ),
        (
            "email",
            json!("nonsense"),
            400,
            "INVALID_EMAIL",
            "Invalid email",
        ),
        (
            "email",
            json!("<script>@example.com"),
            400,
            "INVALID_EMAIL",
            "Invalid email",
        ),
        (
            "name",
            json!(5),
            400,
            "VALIDATION_ERROR",
            "[body.name] Invalid input: expected string, received number",
        ),
        (
            "name",
            Value::Null,
            400,
            "VALIDATION_ERROR",
            "[body.name] Invalid input: expected string, received null",
        ),
        (
            "years",
            json!("seven"),
            400,
            "VALIDATION_ERROR",
            "[body.years] Invalid input: expected number",
        ),
        (
            "years",
            Value::Null,
            400,
            "MISSING_FIELD",
            "years is required",
        ),
        (
            "rememberMe",
            json!("yes"),
            400,
            "VALIDATION_ERROR",
            "[body.rememberMe] Invalid input: expected boolean, received string",
        ),
        (
            "softwareBackground",
            json!("x".repeat(1025)),
            400,
            "VALIDATION_ERROR",
            "[body.softwareBackground] Too big: expected at most 1024 bytes",
        ),
        (
            "name",
            json!("x".repeat(257)),
            400,
            "VALIDATION_ERROR",
            "[body.name] Too big: expected at most 256 bytes",
        ),
    ] {
        let mut body = good.clone();
        body[field] = value;
        refused(
            &auth.post("/sign-up/email", None, body).await,
            status,
            code,
            message,
        );
    }
    assert!(
        keywheel::store::AccountStore::users(&auth.store)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        auth.post("/sign-up/email", None, good.clone()).await.status,
        200
    );
    let mut again = good;
    again["email"] = json!("ADA@example.com");
    again["password"] = json!("another password");
    let reply = auth.post("/sign-up/email", None, again).await;
    refused(
        &reply,
        422,
        "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL",
        "User already exists. Use another email.",
    );
    assert_eq!(auth.sign_in("ada@example.com").await.token.len(), 32);
}

#[tokio::test]
async fn sign_up_can_be_closed() {
    let auth = Auth::with(|config| config.accounts.sign_up = false).await;
    let body = json!({ "name": "Ada", "email": "ada@example.com", "password": PASSWORD });
    let reply = auth.post("/sign-up/email", None, body).await;
    refused(
        &reply,
        400,
        "EMAIL_PASSWORD_SIGN_UP_DISABLED",
        "Email and password sign up is not enabled",
    );
}

#[tokio::test]
async fn sign_in_gives_a_session_of_its_own() {
    let auth = Auth::new().await;
    let first = auth.sign_up("ada@example.com").await;
    let body = json!({ "email": "ADA@example.com", "password": PASSWORD });
    let reply = auth.post("/sign-in/email", None, body).await;
    let body = reply.json();
    assert_eq!(keys(&body), ["redirect", "token", "user"].into());
    assert_eq!(body["redirect"], false);
    assert_eq!(body["user"]["id"], first.id.as_str());
    assert_ne!(body["token"], first.token.as_str());
    assert!(reply.cookies()[0].contains("Max-Age=604800"));
}

#[tokio::test]
async fn sign_in_says_the_same_of_a_wrong_password_and_of_nobody() {
    let auth = Auth::new().await;
    auth.sign_up("ada@example.com").await;
    let mut answers = BTreeSet::new();
    for (email, password) in [
        ("ada@example.com", "wrong password"),
        ("nobody@example.com", PASSWORD),
        ("ada@example.com", ""),
        ("ada@example.com", &"x".repeat(10_000)),
    ] {
        let reply = auth
            .post(
                "/sign-in/email",
                None,
                json!({ "email": email, "password": password }),
            )
            .await;
        refused(
            &reply,
            401,
            "INVALID_EMAIL_OR_PASSWORD",
            "Invalid email or password",
        );
        assert!(reply.cookies().is_empty());
        // Each request has a name of its own, at random.
        let mut headers = reply.headers.clone();
        assert!(headers.remove("x-request-id").is_some());
        answers.insert(format!("{headers:?} {}", reply.text));
    }
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn sign_in_names_every_field_that_is_wrong() {
    let auth = Auth::new().await;
    for (body, code, message) in [
        (
            json!({ "email": "a@example.com" }),
            "VALIDATION_ERROR",
            "[body.password] Invalid input: expected string, received undefined",
        ),
        (
            json!({}),
            "VALIDATION_ERROR",
            "[body.email] Invalid input: expected string, received undefined; [body.password] Invalid input: expected string, received undefined",
        ),
        (
            json!([]),
            "VALIDATION_ERROR",
            "[body] Invalid input: expected object, received array",
        ),
        (
            Value::Null,
            "VALIDATION_ERROR",
            "[body] Invalid input: expected object, received null",
        ),
        (
            json!({ "email": {"$ne": ""}, "password": PASSWORD }),
            "VALIDATION_ERROR",
            "[body.email] Invalid input: expected string, received object",
        ),
        (
            json!({ "email": "' or 1=1 --", "password": PASSWORD }),
            "INVALID_EMAIL",
            "Invalid email",
        ),
    ] {
        refused(
            &auth.post("/sign-in/email", None, body).await,
            400,
            code,
            message,
        );
    }
}

#[tokio::test]
async fn a_session_that_is_not_to_be_remembered_goes_with_the_browser_and_within_a_day() {
    let auth = Auth::new().await;
    auth.sign_up("ada@example.com").await;
    let body = json!({ "email": "ada@example.com", "password": PASSWORD, "rememberMe": false });
    let reply = auth.post("/sign-in/email", None, body).await;
    assert!(
        reply.cookies()[0].ends_with("; Path=/; HttpOnly; SameSite=Lax")
            && !reply.cookies()[0].contains("Max-Age")
    );
    let cookie = reply.cookie();
    auth.clock.advance(DAY - Duration::from_secs(1));
    let session = auth.get("/get-session", Some(&cookie)).await;
    assert_ne!(session.json(), Value::Null);
    assert!(session.cookies().is_empty(), "not renewed");
    auth.clock.advance(Duration::from_secs(1));
    assert_eq!(
        auth.get("/get-session", Some(&cookie)).await.json(),
        Value::Null
    );
}

#[tokio::test]
async fn get_session_gives_the_session_the_user_and_a_jwt() {
    let auth = Auth::new().await;
    let ada = auth.sign_up("ada@example.com").await;
    let headers = [("cookie", ada.cookie.as_str()), ("user-agent", "node")];
    let reply = auth
        .send("GET", "/api/auth/get-session", &headers, Body::empty())
        .await;
    assert_eq!(reply.status, 200);
    let body = reply.json();
    assert_eq!(keys(&body), ["session", "user"].into());
    let session = &body["session"];
    assert_eq!(
        keys(session),
        [
            "expiresAt",
            "token",
            "createdAt",
            "updatedAt",
            "ipAddress",
            "userAgent",
            "userId",
            "id"
        ]
        .into()
    );
    assert_eq!(session["token"], ada.token.as_str());
    assert_eq!(session["token"], session["id"]);
    assert_eq!(session["userId"], ada.id.as_str());
    assert_eq!(session["ipAddress"], "192.0.2.1");
    for field in ["expiresAt", "createdAt", "updatedAt"] {
        assert!(is_timestamp(&session[field]));
    }
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert!(
        reply
            .header("access-control-expose-headers")
            .unwrap()
            .contains("set-auth-jwt")
    );
    let jwt = claims(reply.header("set-auth-jwt").unwrap());
    assert_eq!(jwt["sub"], ada.id.as_str());
    assert_eq!(jwt["sid"], session["id"]);
    let none = auth.get("/get-session", None).await;
    assert_eq!((none.status, none.text.as_str()), (200, "null"));
    assert!(none.header("set-auth-jwt").is_none());
}

#[tokio::test]
async fn a_token_says_what_the_contract_says() {
    let auth = Auth::new().await;
    let ada = auth.sign_up("ada@example.com").await;
    for path in ["/token", "/jwt"] {
        let reply = auth.get(path, Some(&ada.cookie)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(keys(&reply.json()), ["token"].into());
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    let token = auth.get("/token", Some(&ada.cookie)).await.json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let said = claims(&token);
    let expected = [
        "iss",
        "sub",
        "aud",
        "iat",
        "exp",
        "jti",
        "sid",
        "client_id",
        "email",
        "softwareBackground",
        "status",
    ];
    assert_eq!(keys(&said), expected.into());
    assert_eq!(
        (&said["iss"], &said["aud"], &said["email"]),
        (&json!(ISSUER), &json!("api"), &json!("ada@example.com"))
    );
    assert_eq!(
        said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(),
        900
    );
    assert_eq!(keys(&said["status"]["status_list"]), ["idx", "uri"].into());
    assert_eq!(
        said["status"]["status_list"]["uri"],
        format!("{ISSUER}/status/1")
    );
    refused(
        &auth.get("/token", None).await,
        401,
        "UNAUTHORIZED",
        "Unauthorized",
    );

    for (audience, ttl, scope, alg) in [
        ("orders", 300, Some("orders:read"), "EdDSA"),
        ("legacy", 900, None, "RS256"),
    ] {
        let reply = auth
            .get(&format!("/token?audience={audience}"), Some(&ada.cookie))
            .await;
        let token = reply.json()["token"].as_str().unwrap().to_owned();
        let said = claims(&token);
        assert_eq!(said["aud"], audience);
        assert_eq!(
            said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(),
            ttl
        );
        assert_eq!(said.get("scope").and_then(Value::as_str), scope);
        let path = if alg == "EdDSA" {
            "/status/1"
        } else {
            "/status/1/RS256"
        };
        assert_eq!(
            said["status"]["status_list"]["uri"],
            format!("{ISSUER}{path}")
        );
    }
    let reply = auth
        .get("/token?audience=elsewhere", Some(&ada.cookie))
        .await;
    refused(&reply, 400, "UNKNOWN_AUDIENCE", "Unknown audience");
}

#[tokio::test]
async fn the_key_set_is_where_clients_look_for_it() {
    let auth = Auth::new().await;
    let reply = auth.send("GET", "/api/auth/jwks", &[], Body::empty()).await;
    assert_eq!(reply.status, 200);
    let keys = reply.json()["keys"].clone();
    let eddsa = keys
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["alg"] == "EdDSA")
        .unwrap();
    for field in ["alg", "crv", "x", "kty", "kid"] {
        assert!(eddsa[field].is_string(), "{field}");
    }
}

#[tokio::test]
async fn a_session_is_renewed_once_a_day_and_ends_a_week_after() {
    for path in ["/get-session", "/token"] {
        let auth = Auth::new().await;
        let body = json!({ "name": "Ada", "email": "ada@example.com", "password": PASSWORD });
        let jar = auth.post("/sign-up/email", None, body).await.jar();
        auth.clock.advance(DAY - Duration::from_secs(1));
        assert!(auth.get(path, Some(&jar)).await.cookies().is_empty());
        auth.clock.advance(Duration::from_secs(1));
        let unchanged = format!("{path}?disableRefresh=true");
        let kept = auth.get(&unchanged, Some(&jar)).await;
        assert!(kept.cookies().is_empty());
        let renewed = auth.get(path, Some(&jar)).await;
        assert!(jar.starts_with(&renewed.cookie()));
        assert!(renewed.cookies()[0].contains("Max-Age=604800"));
        let jar = renewed.jar();
        assert!(auth.get(path, Some(&jar)).await.cookies().is_empty());
        auth.clock.advance(7 * DAY - Duration::from_millis(1));
        let last = auth.get("/token?disableRefresh=true", Some(&jar)).await;
        assert_eq!(last.status, 200);
        auth.clock.advance(Duration::from_millis(1));
        refused(
            &auth.get("/token", Some(&jar)).await,
            401,
            "UNAUTHORIZED",
            "Unauthorized",
        );
        let gone = auth.get("/get-session", Some(&jar)).await;
        assert_eq!((gone.text.as_str(), gone.jar().as_str()), ("null", ""));
        assert!(gone.cookies().len() > 3);
    }
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one_others_and_all() {
    let auth = Auth::new().await;
    let first = auth.sign_up("ada@example.com").await;
    let (second, third) = (
        auth.sign_in("ada@example.com").await,
        auth.sign_in("ada@example.com").await,
    );
    let stranger = auth.sign_up("bob@example.com").await;
    refused(
        &auth.get("/list-sessions", None).await,
        401,
        "UNAUTHORIZED",
        "Unauthorized",
    );
    let listed = auth.get("/list-sessions", Some(&first.cookie)).await.json();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!(
        keys(&listed[0]),
        [
            "expiresAt",
            "token",
            "createdAt",
            "updatedAt",
            "ipAddress",
            "userAgent",
            "userId",
            "id"
        ]
        .into()
    );
    // Each goes by its identifier, one's own by the one that signing in gave.
    let own: Vec<_> = listed
        .iter()
        .filter(|session| session["token"] == first.token.as_str())
        .collect();
    assert_eq!(own.len(), 1);
    for session in listed {
        assert_eq!(session["token"], session["id"]);
    }
    // A name is no token.
    let name = &first.token;
    let bearer = format!("Bearer {name}");
    let reply = auth
        .send(
            "GET",
            "/api/auth/token",
            &[("authorization", &bearer)],
            Body::empty(),
        )
        .await;
    assert_eq!(reply.status, 401);

    // Somebody else's session is not one's own to end, and saying so would tell that it exists.
    let reply = auth
        .post(
            "/revoke-session",
            Some(&first.cookie),
            json!({ "token": stranger.token }),
        )
        .await;
    assert_eq!(
        (reply.status, reply.json()),
        (200, json!({ "status": true }))
    );
    assert_eq!(auth.get("/token", Some(&stranger.cookie)).await.status, 200);
    let reply = auth
        .post("/revoke-session", Some(&first.cookie), json!({}))
        .await;
    refused(
        &reply,
        400,
        "VALIDATION_ERROR",
        "[body.token] Invalid input: expected string, received undefined",
    );
    refused(
        &auth
            .post("/revoke-session", None, json!({ "token": "x" }))
            .await,
        401,
        "UNAUTHORIZED",
        "Unauthorized",
    );

    // By the name that signing in gave, and by the one in the list.
    let reply = auth
        .post(
            "/revoke-session",
            Some(&first.cookie),
            json!({ "token": second.token }),
        )
        .await;
    assert_eq!(reply.json(), json!({ "status": true }));
    assert_eq!(auth.get("/token", Some(&second.cookie)).await.status, 401);
    let listed = auth.get("/list-sessions", Some(&first.cookie)).await.json();
    let other = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["token"] != first.token.as_str())
        .unwrap();
    auth.post(
        "/revoke-session",
        Some(&first.cookie),
        json!({ "token": other["token"] }),
    )
    .await;
    assert_eq!(auth.get("/token", Some(&third.cookie)).await.status, 401);

    let fourth = auth.sign_in("ada@example.com").await;
    let reply = auth
        .post("/revoke-other-sessions", Some(&first.cookie), json!({}))
        .await;
    assert_eq!(
        (reply.status, reply.json()),
        (200, json!({ "status": true }))
    );
    assert_eq!(auth.get("/token", Some(&fourth.cookie)).await.status, 401);
    assert_eq!(auth.get("/token", Some(&first.cookie)).await.status, 200);
    let reply = auth
        .post("/revoke-sessions", Some(&first.cookie), json!({}))
        .await;
    assert_eq!(
        (reply.status, reply.json()),
        (200, json!({ "status": true }))
    );
    assert_eq!(auth.get("/token", Some(&first.cookie)).await.status, 401);
    assert_eq!(auth.get("/token", Some(&stranger.cookie)).await.status, 200);
    for path in ["/revoke-sessions", "/revoke-other-sessions"] {
        refused(
            &auth.post(path, None, json!({})).await,
            401,
            "UNAUTHORIZED",
            "Unauthorized",
        );
    }
}

#[tokio::test]
async fn sign_out_ends_the_session_and_takes_the_cookies() {
    let auth = Auth::new().await;
    let ada = auth.sign_up("ada@example.com").await;
    for cookie in [Some(ada.cookie.as_str()), Some(ada.cookie.as_str()), None] {
        let reply = auth.post("/sign-out", cookie, json!({})).await;
        assert_eq!(
            (reply.status, reply.json()),
            (200, json!({ "success": true }))
        );
        let all = [
            "session_token",
            "session_data",
            "dont_remember",
            "session_expires",
        ];
        let cleared = all
            .map(|name| format!("better-auth.{name}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"));
        assert_eq!(reply.cookies()[..4], cleared);
        assert_eq!(reply.jar(), "");
    }
    assert_eq!(auth.get("/token", Some(&ada.cookie)).await.status, 401);
    // Without a body and without a content type, as a plain form or a beacon sends it.
    let reply = auth
        .send(
            "POST",
            "/api/auth/sign-out",
            &[("origin", ISSUER)],
            Body::empty(),
        )
        .await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn on_https_the_cookie_is_secure() {
    let auth = Auth::with(|config| config.issuer = "https://issuer.test".into()).await;
    let body =
        json!({ "name": "Ada", "email": "ada@example.com", "password": PASSWORD }).to_string();
    let reply = auth
        .send("POST", "/api/auth/sign-up/email", &[JSON], body)
        .await;
    let cookie = &reply.cookies()[0];
    assert!(
        cookie.starts_with("__Secure-better-auth.session_token=") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    assert!(reply.header("strict-transport-security").is_some());
    assert_ne!(
        auth.get("/get-session", Some(&reply.cookie())).await.text,
        "null"
    );
    let plain = reply.cookie().replace("__Secure-", "");
    assert_eq!(auth.get("/get-session", Some(&plain)).await.text, "null");
}

#[tokio::test]
async fn a_foreign_page_may_not_act_for_its_visitor() {
    let auth = Auth::new().await;
    let ada = auth.sign_up("ada@example.com").await;
    let cookie = ("cookie", ada.cookie.as_str());
    let invalid = Some(("INVALID_ORIGIN", "Invalid origin"));
    let missing = Some(("MISSING_OR_NULL_ORIGIN", "Missing or null Origin"));
    for (headers, refusal) in [
        (vec![cookie, ("origin", "http://evil.test")], invalid),
        (
            vec![cookie, ("origin", "http://issuer.test.evil.test")],
            invalid,
        ),
        (vec![cookie, ("origin", "https://issuer.test")], invalid),
        (vec![cookie, ("origin", "http://issuer.test:8080")], invalid),
        (vec![cookie, ("origin", "null")], missing),
        (vec![cookie], missing),
        (
            vec![cookie, ("referer", "http://evil.test/issuer.test")],
            invalid,
        ),
        (vec![("origin", "http://evil.test")], invalid),
        (vec![cookie, ("referer", "http://app.test/page")], None),
        (vec![cookie, ("origin", APP)], None),
        (vec![cookie, ("origin", ISSUER)], None),
        // No browser: nothing to forge with.
        (vec![], None),
    ] {
        let reply = auth
            .send(
                "POST",
                "/api/auth/revoke-other-sessions",
                &headers,
                Body::empty(),
            )
            .await;
        match refusal {
            Some((code, message)) => refused(&reply, 403, code, message),
            None => assert_ne!(reply.status, 403, "{headers:?}"),
        }
    }
    assert_eq!(auth.get("/token", Some(&ada.cookie)).await.status, 200);
}

#[tokio::test]
async fn configured_origins_may_use_it_with_credentials_and_no_others() {
    let auth = Auth::new().await;
    let preflight = |origin: &'static str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "content-type,authorization",
            ),
        ];
        let auth = &auth;
        async move {
            auth.send(
                "OPTIONS",
                "/api/auth/sign-in/email",
                &headers,
                Body::empty(),
            )
            .await
        }
    };
    let allowed = preflight(APP).await;
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), Some(APP));
    assert_eq!(
        allowed.header("access-control-allow-credentials"),
        Some("true")
    );
    for (header, words) in [
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "content-type"),
    ] {
        assert!(allowed.header(header).unwrap().contains(words));
    }
    assert!(
        preflight("http://evil.test")
            .await
            .header("access-control-allow-origin")
            .is_none()
    );
    // Also on what is refused, so that a page can read why.
    let reply = auth
        .send("GET", "/api/auth/token", &[("origin", APP)], Body::empty())
        .await;
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("access-control-allow-origin"), Some(APP));
    assert!(reply.header("vary").unwrap().contains("origin"));
    // The public documents are anybody's, without credentials.
    let reply = auth
        .send(
            "GET",
            "/status/1",
            &[("origin", "http://evil.test")],
            Body::empty(),
        )
        .await;
    assert!(reply.header("access-control-allow-credentials").is_none());
}

#[tokio::test]
async fn too_many_attempts_are_told_when_to_come_back() {
    let auth = Auth::with(|config| config.accounts.rate_limit.attempts = 3).await;
    let body = json!({ "email": "ada@example.com", "password": "wrong password" });
    for _ in 0..3 {
        assert_eq!(
            auth.post("/sign-in/email", None, body.clone()).await.status,
            401
        );
    }
    auth.clock.advance(Duration::from_secs(4));
    let reply = auth.post("/sign-in/email", None, body.clone()).await;
    assert_eq!(reply.status, 429);
    assert_eq!(keys(&reply.json()), ["code", "message"].into());
    assert_eq!(
        (reply.header("retry-after"), reply.header("x-retry-after")),
        (Some("6"), Some("6"))
    );
    // A forwarded address from nobody in particular changes nothing.
    let headers = [JSON, ("x-forwarded-for", "198.51.100.7")];
    assert_eq!(
        auth.send(
            "POST",
            "/api/auth/sign-in/email",
            &headers,
            body.to_string()
        )
        .await
        .status,
        429
    );
    assert_ne!(auth.get("/get-session", None).await.status, 429);
    auth.clock.advance(Duration::from_secs(6));
    assert_eq!(auth.post("/sign-in/email", None, body).await.status, 401);
}

#[tokio::test]
async fn an_account_is_guarded_wherever_the_attempts_come_from() {
    let auth = Auth::with(|config| {
        config.accounts.account_rate_limit.attempts = 4;
        config.trusted_proxies = vec![serde_json::from_value("192.0.2.1".into()).unwrap()];
        config.accounts.rate_limit.attempts = 2;
    })
    .await;
    let attempt = async |email: &str, from: &str| {
        let body = json!({ "email": email, "password": "wrong password" }).to_string();
        auth.send(
            "POST",
            "/api/auth/sign-in/email",
            &[JSON, ("x-forwarded-for", from)],
            body,
        )
        .await
        .status
    };
    for n in 0..4 {
        assert_eq!(
            attempt("ada@example.com", &format!("198.51.100.{n}")).await,
            401
        );
    }
    assert_eq!(attempt("ADA@example.com", "198.51.100.9").await, 429);
    // What was refused took nothing from the address: it may try two others.
    assert_eq!(attempt("bob@example.com", "198.51.100.9").await, 401);
    assert_eq!(attempt("bob@example.com", "198.51.100.9").await, 401);
    assert_eq!(attempt("bob@example.com", "198.51.100.9").await, 429);
}

#[tokio::test]
async fn change_password_ends_every_session_and_begins_another() {
    let auth = Auth::new().await;
    let ada = auth.sign_up("ada@example.com").await;
    let other = auth.sign_in("ada@example.com").await;
    let change = async |cookie: Option<&str>, current: Value, new: Value| {
        let body =
            json!({ "currentPassword": current, "newPassword": new, "revokeOtherSessions": true });
        auth.post("/change-password", cookie, body).await
    };
    let cookie = Some(ada.cookie.as_str());
    refused(
        &change(None, json!(PASSWORD), json!("a new password")).await,
        401,
        "UNAUTHORIZED",
        "Unauthorized",
    );
    refused(
        &change(cookie, json!("wrong"), json!("a new password")).await,
        400,
        "INVALID_PASSWORD",
        "Invalid password",
    );
    refused(
        &change(cookie, json!(PASSWORD), json!("short")).await,
        400,
        "PASSWORD_TOO_SHORT",
        "Password too short",
    );
    refused(
        &change(cookie, json!(PASSWORD), json!("x".repeat(129))).await,
        400,
        "PASSWORD_TOO_LONG",
        "Password too long",
    );
    let missing = "[body.newPassword] Invalid input: expected string, received null";
    refused(
        &change(cookie, json!(PASSWORD), Value::Null).await,
        400,
        "VALIDATION_ERROR",
        missing,
    );
    assert_eq!(auth.get("/token", Some(&other.cookie)).await.status, 200);
    let old_token = auth.get("/token", cookie).await.json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(!auth.bit(&old_token).await);

    let reply = change(cookie, json!(PASSWORD), json!("a new password")).await;
    let new = reply.somebody();
    assert_eq!(keys(&reply.json()), ["token", "user"].into());
    assert!(reply.header("set-auth-token").is_none());
    assert_eq!(auth.get("/token", Some(&new.cookie)).await.status, 200);
    for old in [&ada, &other] {
        assert_eq!(auth.get("/token", Some(&old.cookie)).await.status, 401);
    }
    assert!(auth.bit(&old_token).await);
    let sign_in = async |password: &str| {
        auth.post(
            "/sign-in/email",
            None,
            json!({ "email": "ada@example.com", "password": password }),
        )
        .await
        .status
    };
    assert_eq!(
        (sign_in(PASSWORD).await, sign_in("a new password").await),
        (401, 200)
    );
}

#[tokio::test]
async fn other_paths_and_methods_are_not_there() {
    let auth = Auth::new().await;
    for (method, path, status) in [
        ("GET", "/api/auth/nothing", 404),
        ("GET", "/api/auth/sign-in/email", 405),
        ("POST", "/api/auth/token", 405),
        ("GET", "/api/auth/ok", 200),
        ("GET", "/status/2", 404),
        ("GET", "/status/999999", 404),
        ("GET", "/status/x", 400),
        ("GET", "/status/1/none", 400),
        ("GET", "/", 200),
    ] {
        let reply = auth
            .send(method, path, &[("origin", ISSUER)], Body::empty())
            .await;
        assert_eq!(reply.status, status, "{method} {path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert!(
            reply
                .header("content-security-policy")
                .unwrap()
                .contains("default-src 'none'")
        );
    }
}

#[tokio::test]
async fn malformed_requests_get_the_documented_answer() {
    let auth = Auth::new().await;
    let path = "/api/auth/sign-in/email";
    for (headers, body, status, code) in [
        (vec![JSON], "{".to_owned(), 400, "BAD_REQUEST"),
        (vec![JSON], "\u{0}".into(), 400, "BAD_REQUEST"),
        (vec![JSON], "[".repeat(5000), 400, "BAD_REQUEST"),
        (vec![JSON], String::new(), 400, "BAD_REQUEST"),
        (vec![], "{}".into(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (
            vec![("content-type", "text/plain")],
            "{}".into(),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (
            vec![("content-type", "application/x-www-form-urlencoded")],
            "email=a".into(),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (
            vec![JSON],
            format!("{{\"email\":\"{}\"}}", "x".repeat(40_000)),
            413,
            "PAYLOAD_TOO_LARGE",
        ),
    ] {
        let reply = auth.send("POST", path, &headers, body).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code));
    }
    let huge = "x".repeat(40_000);
    let reply = auth
        .send(
            "GET",
            "/api/auth/get-session",
            &[("cookie", &huge)],
            Body::empty(),
        )
        .await;
    assert_eq!(
        reply.status,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.as_u16()
    );
}

/// A body of which nothing ever comes; it tells when somebody waits for it.
struct Never(std::sync::Arc<tokio::sync::Notify>);

impl axum::body::HttpBody for Never {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        self.0.notify_one();
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn a_body_that_never_comes_is_not_waited_for() {
    let auth = Auth::new().await;
    let awaited = std::sync::Arc::new(tokio::sync::Notify::new());
    let body = Body::new(Never(awaited.clone()));
    let sent = auth.send("POST", "/api/auth/sign-in/email", &[JSON], body);
    let clock = auth.clock.clone();
    let later = async {
        // Only once the request waits for its body.
        awaited.notified().await;
        clock.advance(Duration::from_secs(10));
    };
    let (reply, ()) = tokio::join!(sent, later);
    refused(&reply, 408, "REQUEST_TIMEOUT", "Request body took too long");
}

#[tokio::test]
async fn forged_and_truncated_cookies_are_no_session() {
    let auth = Auth::new().await;
    let ada = auth.sign_up("ada@example.com").await;
    let cookie = &ada.cookie;
    let flipped = format!("{}AAAAAAAA", &cookie[..cookie.len() - 8]);
    let unsigned = cookie.split('.').take(2).collect::<Vec<_>>().join(".");
    for bad in [
        &cookie[..cookie.len() - 1],
        &cookie[..40],
        &flipped,
        &unsigned,
        "better-auth.session_token=",
        "better-auth.session_token=%00%ff",
    ] {
        assert_eq!(
            auth.get("/get-session", Some(bad)).await.text,
            "null",
            "{bad}"
        );
        assert_eq!(auth.get("/token", Some(bad)).await.status, 401, "{bad}");
    }
    assert_eq!(
        auth.get("/token", Some(&format!("a=1; {cookie}; b=2")))
            .await
            .status,
        200
    );
}
