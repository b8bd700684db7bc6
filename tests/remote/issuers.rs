//! Which issuer, by which keys, found where.

use super::*;

/// A server whose metadata names `issuer` and its own key set; `issuer` is its own address unless given.
async fn discoverable(key: &std::sync::Arc<keywheel::jose::SigningKey>) -> JwksServer {
    let server = JwksServer::start(Reply::ok("")).await;
    let metadata = json!({ "issuer": server.url(""), "jwks_uri": server.url("/keys") });
    // One body for both paths: each parser takes its own members.
    let mut body = metadata;
    let set: serde_json::Value = serde_json::from_str(&jwks(&[key])).unwrap();
    body["keys"] = set["keys"].clone();
    server.reply(Reply::ok(body.to_string()));
    server
}

#[tokio::test]
async fn discovery_leads_to_the_keys() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = discoverable(&key).await;
    let verifier = Verifier::builder()
        .issuer(server.url(""))
        .audience(AUDIENCE)
        .clock(clock.clone())
        .build()
        .unwrap();
    let mut claims = tokens::claims();
    claims["iss"] = json!(server.url(""));
    let token = tokens::sign(&key, &tokens::header(&key), &claims);
    assert_eq!(reason(&verifier, &token).await, Ok(()));
    let paths: Vec<String> = server
        .heads()
        .iter()
        .map(|head| head.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(paths, ["/.well-known/openid-configuration", "/keys"]);
}

#[tokio::test]
async fn metadata_of_another_issuer_is_refused() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok("")).await;
    let keys = server.url("/keys");
    for (metadata, error) in [
        (
            json!({ "issuer": "https://evil.example", "jwks_uri": keys }),
            "names issuer",
        ),
        (
            json!({ "issuer": format!("{}/", server.url("")), "jwks_uri": keys }),
            "names issuer",
        ),
        (json!({ "jwks_uri": keys }), "names issuer"),
        (json!({ "issuer": server.url("") }), "no jwks_uri"),
        (
            json!({ "issuer": server.url(""), "jwks_uri": "http://auth.example.com/keys" }),
            "plain http",
        ),
        (
            json!({ "issuer": server.url(""), "jwks_uri": "file:///etc/passwd" }),
            "scheme file",
        ),
        (json!([]), "not strict JSON"),
    ] {
        server.reply(Reply::ok(metadata.to_string()));
        let asked = server.count();
        let verifier = Verifier::builder()
            .issuer(server.url(""))
            .audience(AUDIENCE)
            .clock(clock.clone())
            .build()
            .unwrap();
        eventually("the fetch fails", || status(&verifier).last_error.is_some()).await;
        let shown = status(&verifier).last_error.unwrap();
        assert!(shown.contains(error), "{metadata}: {shown}");
        let mut claims = tokens::claims();
        claims["iss"] = json!(server.url(""));
        let token = tokens::sign(&key, &tokens::header(&key), &claims);
        assert_eq!(reason(&verifier, &token).await, Err("keys_unavailable"));
        assert_eq!(server.count(), asked + 1, "{metadata}");
    }
}

#[tokio::test]
async fn a_key_of_one_issuer_never_verifies_another() {
    let (clock, a, b) = (ManualClock::new(NOW), key("same"), key("same"));
    let server_a = JwksServer::start(Reply::ok(jwks(&[&a]))).await;
    let server_b = JwksServer::start(Reply::ok(jwks(&[&b]))).await;
    let trusted = |issuer: &str, server: &JwksServer| {
        keywheel::TrustedIssuer::new(issuer)
            .audience(AUDIENCE)
            .jwks_url(server.url("/jwks.json"))
    };
    let verifier = Verifier::builder()
        .trust(trusted("https://a.example", &server_a))
        .trust(trusted("https://b.example", &server_b))
        .clock(clock.clone())
        .build()
        .unwrap();
    for (issuer, key, expected) in [
        ("https://a.example", &a, Ok(())),
        ("https://b.example", &b, Ok(())),
        ("https://a.example", &b, Err("bad_signature")),
        ("https://b.example", &a, Err("bad_signature")),
        ("https://c.example", &a, Err("unknown_issuer")),
        ("https://a.example/", &a, Err("unknown_issuer")),
    ] {
        let mut claims = tokens::claims();
        claims["iss"] = json!(issuer);
        let token = tokens::sign(key, &tokens::header(key), &claims);
        assert_eq!(reason(&verifier, &token).await, expected, "{issuer}");
    }
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_at_once() {
    let build = |builder: VerifierBuilder| builder.build().err().map(|error| error.to_string());
    let fetched = Verifier::builder().issuer(ISSUER).audience(AUDIENCE);
    let mut slow = RefreshPolicy::default();
    slow.cool_down = Duration::from_secs(30);
    assert_eq!(build(fetched.refresh(slow)), None);
    let refreshed = |change: fn(&mut RefreshPolicy)| {
        let mut policy = RefreshPolicy::default();
        change(&mut policy);
        Verifier::builder()
            .issuer(ISSUER)
            .audience("a")
            .refresh(policy)
    };
    for (builder, error) in [
        (Verifier::builder(), "issuer: name at least one"),
        (
            Verifier::builder().audience(AUDIENCE),
            "issuer: name at least one",
        ),
        (
            Verifier::builder().issuer(ISSUER),
            "audience: name the audience",
        ),
        (
            Verifier::builder().issuer(ISSUER).audience(""),
            "audience: name the audience",
        ),
        (
            Verifier::builder()
                .issuer(ISSUER)
                .audience("a")
                .algorithms([]),
            "algorithms: the list",
        ),
        (
            Verifier::builder().issuer("x").audience("a"),
            "issuer: `x` is not a URL",
        ),
        (
            Verifier::builder().issuer("http://a.example").audience("a"),
            "issuer: `http://a.example` is plain http",
        ),
        (
            Verifier::builder()
                .issuer(ISSUER)
                .audience("a")
                .leeway(HOUR),
            "leeway: ",
        ),
        (
            Verifier::builder().trust(
                keywheel::TrustedIssuer::new(ISSUER)
                    .audience("a")
                    .leeway(HOUR),
            ),
            "leeway: ",
        ),
        (
            Verifier::builder()
                .issuer(ISSUER)
                .audience("a")
                .jwks_url("https://a.example/keys")
                .static_keys(keywheel::JwkSet::parse(jwks(&[&key("a")]).as_bytes()).unwrap()),
            "static_keys: ",
        ),
        (
            refreshed(|policy| policy.deadline = Duration::ZERO),
            "refresh: ",
        ),
        (
            refreshed(|policy| policy.min_interval = Duration::ZERO),
            "refresh: ",
        ),
        (
            refreshed(|policy| policy.max_interval = Duration::from_secs(9)),
            "refresh: ",
        ),
        (
            refreshed(|policy| policy.max_stale = Duration::from_secs(60)),
            "refresh: ",
        ),
        (refreshed(|policy| policy.push_wait = HOUR), "refresh: "),
        (
            Verifier::builder()
                .issuer(ISSUER)
                .audience("a")
                .issuer(ISSUER)
                .audience("a"),
            "issuer: `https://issuer.example` is there twice",
        ),
    ] {
        let shown = build(builder).unwrap_or_default();
        assert!(shown.starts_with(error), "{error}: {shown}");
    }
}

#[tokio::test]
async fn each_issuer_has_its_own_leeway() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let set = keywheel::JwkSet::parse(jwks(&[&key]).as_bytes()).unwrap();
    let trusted = |issuer: &str| {
        keywheel::TrustedIssuer::new(issuer)
            .audience(AUDIENCE)
            .static_keys(set.clone())
    };
    let verifier = Verifier::builder()
        .trust(trusted("https://exact.example").leeway(Duration::ZERO))
        .trust(trusted("https://lenient.example").leeway(Duration::from_secs(30)))
        .trust(trusted("https://default.example"))
        .leeway(Duration::from_secs(10))
        .clock(clock.clone())
        .build()
        .unwrap();
    for (issuer, late, expected) in [
        ("https://exact.example", 0, Err("expired")),
        ("https://lenient.example", 29, Ok(())),
        ("https://lenient.example", 30, Err("expired")),
        ("https://default.example", 9, Ok(())),
        ("https://default.example", 10, Err("expired")),
    ] {
        let mut claims = tokens::claims();
        claims["iss"] = json!(issuer);
        claims["exp"] = json!(NOW.seconds() - late);
        let token = tokens::sign(&key, &tokens::header(&key), &claims);
        assert_eq!(reason(&verifier, &token).await, expected, "{issuer} {late}");
    }
}
