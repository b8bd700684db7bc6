//! When a set is fetched again, and how long it lasts.

use super::*;

#[tokio::test]
async fn an_issuer_that_is_down_at_start_is_found_2_s_after_it_returns() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let (socket, address) = support::ports::refusing();
    let verifier = builder(&clock)
        .jwks_url(format!("http://{address}/jwks.json"))
        .build()
        .unwrap();
    assert_eq!(
        reason(&verifier, &token(&key)).await,
        Err("keys_unavailable")
    );
    for _ in 0..20 {
        let before = fetches(&verifier);
        clock.advance(Duration::from_secs(2));
        eventually("another try", || fetches(&verifier) > before).await;
    }
    assert!(status(&verifier).last_error.unwrap().contains("refused"));
    let listener = socket.listen(128).unwrap();
    let server = JwksServer::on(listener, Reply::ok(jwks(&[&key])));
    clock.advance(Duration::from_secs(2));
    server.asked(1).await;
    eventually("keys are there", || verifier.is_ready()).await;
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    assert_eq!(status(&verifier).last_error, None);
}

#[tokio::test]
async fn flapping_sets_are_followed_at_their_own_pace() {
    let (clock, a, b) = (ManualClock::new(NOW), key("a"), key("b"));
    let server = JwksServer::start(Reply::ok(jwks(&[&a, &b]))).await;
    let verifier = verifier(&server, &clock);
    let (token_a, token_b) = (tokens::lasting_token(&a), tokens::lasting_token(&b));
    assert_eq!(reason(&verifier, &token_a).await, Ok(()));
    const STEPS: usize = 20;
    for step in 0..STEPS {
        let (set, there, gone) = match step % 2 {
            0 => (jwks(&[&a]), &token_a, &token_b),
            _ => (jwks(&[&b]), &token_b, &token_a),
        };
        server.reply(Reply::ok(set));
        advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
        for _ in 0..50 {
            assert_eq!(reason(&verifier, there).await, Ok(()), "step {step}");
            assert_eq!(
                reason(&verifier, gone).await,
                Err("unknown_key"),
                "step {step}"
            );
        }
    }
    assert_eq!(server.count(), 1 + STEPS);
}

#[tokio::test]
async fn an_issuer_down_for_59_min_fails_0_tokens_and_past_60_min_all() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    let long_lived = tokens::lasting_token(&key);
    assert_eq!(reason(&verifier, &long_lived).await, Ok(()));
    server.reply(Reply::with(500, &[], ""));
    for _ in 0..59 {
        clock.advance(Duration::from_secs(60));
        meanwhile().await;
        assert_eq!(reason(&verifier, &long_lived).await, Ok(()));
    }
    clock.advance(Duration::from_secs(61));
    eventually("the set is withdrawn", || !verifier.is_ready()).await;
    assert_eq!(
        reason(&verifier, &long_lived).await,
        Err("keys_unavailable")
    );
    // And back, without its old entity tag: a 304 would be no use.
    server.reply(Reply::ok(jwks(&[&key])));
    // One that is under way may still bring the failure, and how often another is begun is for time to say.
    for seconds in 0.. {
        if verifier.is_ready() {
            break;
        }
        assert!(seconds < 60, "the keys are not back");
        clock.advance(Duration::from_secs(1));
        meanwhile().await;
    }
    assert_eq!(reason(&verifier, &long_lived).await, Ok(()));
}

#[tokio::test]
async fn not_modified_keeps_the_set() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let etag = "\"v1\"";
    let server = JwksServer::start(Reply::Tagged {
        etag: etag.into(),
        body: jwks(&[&key]).into(),
    })
    .await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    for _ in 0..3 {
        advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
        assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    }
    let status = status(&verifier);
    assert_eq!(
        (status.etag.as_deref(), status.last_error),
        (Some(etag), None)
    );
    assert!(!server.heads()[0].contains("if-none-match"));
    assert!(server.heads()[3].contains("if-none-match: \"v1\""));
    assert!(server.heads()[0].contains("accept-encoding: identity"));
}

#[tokio::test]
async fn freshness_is_clamped() {
    let key = key("a");
    for (cache_control, at_least, at_most) in [
        ("max-age=0", 8, 10),
        ("no-store", 8, 10),
        ("max-age=-5", 480, 600),
        ("public", 480, 600),
        ("max-age=300", 240, 300),
        ("max-age=1000000000000", 2900, 3600),
        ("max-age=99999999999999999999999", 480, 600),
    ] {
        let clock = ManualClock::new(NOW);
        let headers = [("Cache-Control", cache_control)];
        let server = JwksServer::start(Reply::with(200, &headers, jwks(&[&key]))).await;
        let verifier = verifier(&server, &clock);
        assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
        let next = status(&verifier).next_refresh.unwrap().as_secs();
        assert!(
            (at_least..=at_most).contains(&next),
            "{cache_control}: {next} s"
        );
    }
}

#[tokio::test]
async fn fetching_ends_with_the_verifier() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    drop(verifier);
    clock.advance(HOUR);
    meanwhile().await;
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn readyz_tells_the_state_of_every_issuer() {
    use tower::ServiceExt as _;
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::with(500, &[], "")).await;
    let verifier = verifier(&server, &clock);
    let ask = async |path: &str| {
        let routes = keywheel::verify::health_routes(&verifier);
        let request = http::Request::get(path).body(axum::body::Body::empty());
        let answer = routes.oneshot(request.unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await;
        (status, String::from_utf8(body.unwrap().to_vec()).unwrap())
    };
    eventually("the fetch fails", || status(&verifier).last_error.is_some()).await;
    let (code, body) = ask("/readyz").await;
    assert_eq!(code, 503);
    let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(shown[0]["issuer"], ISSUER);
    assert_eq!(shown[0]["ready"], false);
    assert!(
        shown[0]["last_error"]
            .as_str()
            .unwrap()
            .contains("status 500")
    );
    assert_eq!(ask("/healthz").await.0, 200);
    server.reply(Reply::Push {
        etag: "\"7\"".into(),
        body: jwks(&[&key]).into(),
    });
    clock.advance(Duration::from_secs(2));
    server.holds(1).await;
    clock.advance(Duration::from_secs(3));
    let (code, body) = ask("/readyz").await;
    assert_eq!(code, 200);
    let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(shown[0]["kids"], json!(["a"]));
    assert_eq!(shown[0]["etag"], "\"7\"");
    assert_eq!(shown[0]["age"], 3.0);
    assert_eq!(shown[0]["updates"], "push");
    assert_eq!(shown[0]["source"], server.url("/jwks.json"));
    assert_eq!(shown[0]["last_error"], serde_json::Value::Null);
    assert!(shown[0]["next_refresh"].as_f64().unwrap() > 400.0);
    let (code, body) = ask("/metrics").await;
    assert_eq!(code, 200);
    assert!(body.contains("keywheel_jwks_age_seconds"), "{body}");
}

#[tokio::test]
async fn a_start_can_wait_for_the_keys() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::with(500, &[], "")).await;
    let verifier = verifier(&server, &clock);
    let waiting = tokio::spawn({
        let verifier = verifier.clone();
        async move { verifier.ready().await }
    });
    for _ in 0..3 {
        advance_and_fetch(&clock, &verifier, &server, Duration::from_secs(2)).await;
        assert!(!waiting.is_finished());
    }
    server.reply(Reply::ok(jwks(&[&key])));
    clock.advance(Duration::from_secs(2));
    waiting.await.unwrap();
    assert!(verifier.is_ready());
    verifier.ready().await;
}
