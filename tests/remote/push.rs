//! Push: the issuer holds a request and answers it when the set changes; whoever does not is polled.

use super::*;
use keywheel::verify::Updates;
use std::sync::Arc;

use keywheel::jose::SigningKey;

fn push(etag: &str, keys: &[&Arc<SigningKey>]) -> Reply {
    Reply::Push {
        etag: format!("\"{etag}\""),
        body: jwks(keys).into(),
    }
}

fn updates(verifier: &Verifier) -> Updates {
    status(verifier).updates
}

fn try_reason(verifier: &Verifier, token: &str) -> Result<(), &'static str> {
    let verdict = verifier.try_verify::<Claims>(token);
    verdict.map(|_| ()).map_err(|reject| reject.code())
}

#[tokio::test]
async fn a_changed_set_is_in_force_on_arrival() {
    let (clock, a, b) = (ManualClock::new(NOW), key("a"), key("b"));
    let server = JwksServer::start(push("1", &[&a, &b])).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&a)).await, Ok(()));
    server.holds(1).await;
    assert_eq!(updates(&verifier), Updates::Push);
    server.reply(push("2", &[&b]));
    // The clock has not moved: nothing but the push can have brought it.
    eventually("the set changes", || status(&verifier).kids == ["b"]).await;
    assert_eq!(try_reason(&verifier, &token(&a)), Err("unknown_key"));
    assert_eq!(try_reason(&verifier, &token(&b)), Ok(()));
    server.holds(1).await;
    let heads = server.heads();
    assert_eq!(heads.len(), 3);
    assert!(heads[0].contains("prefer: wait=0") && !heads[0].contains("if-none-match"));
    assert!(heads[1].contains("prefer: wait=50") && heads[1].contains("if-none-match: \"1\""));
    assert!(heads[2].contains("prefer: wait=50") && heads[2].contains("if-none-match: \"2\""));
    let rendered = verifier.metrics().render();
    assert!(rendered.contains("result=\"pushed\"} 1"), "{rendered}");
}

#[tokio::test]
async fn whoever_holds_nothing_is_polled() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::Tagged {
        etag: "\"1\"".into(),
        body: jwks(&[&key]).into(),
    })
    .await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    assert_eq!(updates(&verifier), Updates::Poll);
    assert_eq!(server.count(), 2);
    // Should it learn to hold requests, the next poll finds out.
    server.reply(push("1", &[&key]));
    advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    server.holds(1).await;
    assert_eq!(updates(&verifier), Updates::Push);
}

#[tokio::test]
async fn a_held_request_that_brings_nothing_confirms_the_set() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(push("1", &[&key])).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    for round in 1..=100 {
        server.holds(1).await;
        clock.advance(Duration::from_secs(50));
        assert_eq!(status(&verifier).age, Some(Duration::from_secs(50)));
        server.release();
        eventually("the set is confirmed", || {
            status(&verifier).age == Some(Duration::ZERO)
        })
        .await;
        // No poll in between: the set has been confirmed all along, for longer than it may be stale.
        eventually("the next one", || server.count() == 2 + round).await;
    }
    assert_eq!(status(&verifier).last_error, None);
}

#[tokio::test]
async fn a_dropped_connection_falls_back_to_polling_and_reconnects() {
    let (clock, a, b) = (ManualClock::new(NOW), key("a"), key("b"));
    let server = JwksServer::start(push("1", &[&a])).await;
    let verifier = verifier(&server, &clock);
    let good = tokens::lasting_token(&a);
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    server.holds(1).await;
    server.reply(Reply::Reset);
    eventually("it is noticed", || updates(&verifier) == Updates::Poll).await;
    assert!(status(&verifier).last_error.is_some());
    assert_eq!(try_reason(&verifier, &good), Ok(()));
    // Tried again ever more slowly, and not at all without time.
    let asked = server.count();
    for _ in 0..5 {
        let before = fetches(&verifier);
        clock.advance(Duration::from_secs(70));
        eventually("another try", || fetches(&verifier) > before).await;
    }
    assert_eq!(server.count(), asked + 5);
    // What changed meanwhile comes with the reconnection.
    server.reply(push("2", &[&a, &b]));
    clock.advance(Duration::from_secs(70));
    server.holds(1).await;
    assert_eq!(status(&verifier).kids, ["a", "b"]);
    assert_eq!(updates(&verifier), Updates::Push);
    assert_eq!(status(&verifier).last_error, None);
}

#[tokio::test]
async fn a_held_request_without_an_answer_ends_at_its_deadline() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(push("1", &[&key])).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    server.holds(1).await;
    clock.advance(Duration::from_secs(54));
    assert_eq!(updates(&verifier), Updates::Push);
    clock.advance(Duration::from_secs(1));
    eventually("the deadline", || updates(&verifier) == Updates::Poll).await;
    let error = status(&verifier).last_error.unwrap();
    assert!(error.contains("no answer within 55000 ms"), "{error}");
    clock.advance(Duration::from_secs(2));
    eventually("it holds again", || updates(&verifier) == Updates::Push).await;
    server.holds(1).await;
}

#[tokio::test]
async fn a_server_that_boasts_of_holding_is_not_asked_in_circles() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::Boast {
        etag: "\"1\"".into(),
        body: jwks(&[&key]).into(),
    })
    .await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    eventually("it is seen through", || {
        server.count() == 2 && updates(&verifier) == Updates::Poll
    })
    .await;
    for polls in 1..=10 {
        clock.advance(HOUR / 6);
        eventually("a poll and one more try", || {
            server.count() == 2 + 2 * polls && updates(&verifier) == Updates::Poll
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_changes_without_end_is_paced() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(push("0", &[&key])).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    let mut seen = 0;
    for change in 1..=8 {
        server.holds(1).await;
        server.reply(push(&change.to_string(), &[&key]));
        eventually("it is seen at once", || {
            status(&verifier).etag == Some(format!("\"{change}\""))
        })
        .await;
        seen = server.count();
    }
    server.reply(push("9", &[&key]));
    meanwhile().await;
    assert_eq!(server.count(), seen, "the ninth has to wait");
    clock.advance(Duration::from_millis(1100));
    eventually("and comes after a pause", || {
        status(&verifier).etag.as_deref() == Some("\"9\"")
    })
    .await;
}

#[tokio::test]
async fn an_unusable_push_leaves_the_snapshot_unchanged() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(push("1", &[&key])).await;
    let verifier = verifier(&server, &clock);
    let good = tokens::lasting_token(&key);
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    for (reply, error) in [
        (Reply::ok("<html>"), "not a JWK Set"),
        (Reply::ok(r#"{"keys":[]}"#), "no usable key"),
        (Reply::with(500, &[], ""), "status 500"),
        (Reply::with(302, &[("Location", "/")], ""), "redirects"),
        (Reply::Endless, "more than 262144 bytes"),
    ] {
        server.holds(1).await;
        server.reply(reply.clone());
        eventually("the failure shows", || {
            status(&verifier)
                .last_error
                .is_some_and(|shown| shown.contains(error))
        })
        .await;
        assert_eq!(status(&verifier).kids, ["a"], "{reply:?}");
        assert_eq!(try_reason(&verifier, &good), Ok(()), "{reply:?}");
        server.reply(push("1", &[&key]));
        clock.advance(HOUR / 6);
    }
}

#[tokio::test]
async fn an_unknown_kid_is_asked_for_while_a_request_is_held() {
    let (clock, a, b) = (ManualClock::new(NOW), key("a"), key("b"));
    let server = JwksServer::start(push("1", &[&a])).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&a)).await, Ok(()));
    server.holds(1).await;
    clock.advance(COOL_DOWN);
    assert_eq!(reason(&verifier, &token(&b)).await, Err("unknown_key"));
    // The first, the held one, the one for the unknown kid, and the held one again.
    server.holds(1).await;
    eventually("four requests", || server.count() == 4).await;
    assert_eq!(updates(&verifier), Updates::Push);
}

#[tokio::test]
async fn push_can_be_turned_off() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(push("1", &[&key])).await;
    let mut policy = RefreshPolicy::default();
    policy.push_wait = Duration::ZERO;
    let verifier = builder(&clock)
        .jwks_url(server.url("/jwks.json"))
        .refresh(policy)
        .build()
        .unwrap();
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    assert_eq!(updates(&verifier), Updates::Poll);
    assert!(server.heads().iter().all(|head| !head.contains("prefer")));
}

#[tokio::test]
async fn a_held_request_ends_with_the_verifier() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(push("1", &[&key])).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    server.holds(1).await;
    drop(verifier);
    server.holds(0).await;
}
