//! Kids that no key has: what they may cost, and who waits.

use super::*;

#[tokio::test]
async fn unknown_kid_flood_costs_one_fetch_per_cool_down() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    let good = token(&key);
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    const SECONDS: usize = 60;
    for second in 0..SECONDS {
        for n in 0..100 {
            let header = json!({ "alg": "EdDSA", "kid": format!("invented-{second}-{n}") });
            let flood = tokens::forged(&tokens::sign(&key, &header, &tokens::claims()));
            assert_eq!(reason(&verifier, &flood).await, Err("unknown_key"));
        }
        assert_eq!(reason(&verifier, &good).await, Ok(()));
        clock.advance(Duration::from_secs(1));
    }
    let most = 1 + SECONDS / 5;
    assert!(
        (2..=most).contains(&server.count()),
        "{} fetches",
        server.count()
    );
    let suppressed = metric(&verifier, "keywheel_jwks_refreshes_suppressed_total");
    assert!(suppressed > 5900, "{suppressed}");
}

#[tokio::test]
async fn a_kid_that_stays_unknown_asks_ever_more_rarely() {
    let (clock, known, unknown) = (ManualClock::new(NOW), key("a"), key("b"));
    let server = JwksServer::start(Reply::ok(jwks(&[&known]))).await;
    let verifier = verifier(&server, &clock);
    let stale = token(&unknown);
    for _ in 0..100 {
        assert_eq!(reason(&verifier, &stale).await, Err("unknown_key"));
        clock.advance(COOL_DOWN);
    }
    // 500 s: without the memory there would be 100 fetches.
    assert!(server.count() < 18, "{} fetches", server.count());
}

#[tokio::test]
async fn a_kid_that_was_published_meanwhile_starts_anew() {
    let (clock, kept, other) = (ManualClock::new(NOW), key("a"), key("b"));
    let server = JwksServer::start(Reply::ok(jwks(&[&kept]))).await;
    let verifier = verifier(&server, &clock);
    let asked_for = tokens::lasting_token(&other);
    // Unknown for so long that it may ask but once in eight cool-downs.
    for _ in 0..40 {
        assert_eq!(reason(&verifier, &asked_for).await, Err("unknown_key"));
        clock.advance(COOL_DOWN);
    }
    server.reply(Reply::ok(jwks(&[&kept, &other])));
    advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    assert_eq!(reason(&verifier, &asked_for).await, Ok(()));
    server.reply(Reply::ok(jwks(&[&kept])));
    advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    // Gone, as everybody knows; and asked for again as any kid that has just become unknown.
    let fetched = server.count();
    assert_eq!(reason(&verifier, &asked_for).await, Err("unknown_key"));
    assert_eq!(server.count(), fetched);
    clock.advance(COOL_DOWN);
    assert_eq!(reason(&verifier, &asked_for).await, Err("unknown_key"));
    assert_eq!(server.count(), fetched + 1);
}

#[tokio::test]
async fn cool_down_counts_failed_attempts() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::with(500, &[], "")).await;
    let verifier = verifier(&server, &clock);
    for _ in 0..1000 {
        let verdict = verifier.verify::<Claims>(&token(&key)).await;
        assert!(
            matches!(verdict, Err(Reject::KeysUnavailable { retry_after }) if retry_after >= Duration::from_secs(1)),
            "{verdict:?}"
        );
    }
    assert_eq!(server.count(), 1);
    assert!(!verifier.is_ready());
}

#[tokio::test]
async fn an_unannounced_key_is_found_by_one_refetch() {
    let (clock, old, new) = (ManualClock::new(NOW), key("old"), key("new"));
    let server = JwksServer::start(Reply::ok(jwks(&[&old]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&old)).await, Ok(()));
    let newer = key("newer");
    server.reply(Reply::ok(jwks(&[&old, &new])));
    assert_eq!(reason(&verifier, &token(&new)).await, Ok(()));
    assert_eq!(reason(&verifier, &token(&old)).await, Ok(()));
    assert_eq!(server.count(), 2);
    // Within the cool-down of that fetch the answer is immediate.
    server.reply(Reply::ok(jwks(&[&old, &new, &newer])));
    assert_eq!(reason(&verifier, &token(&newer)).await, Err("unknown_key"));
    assert_eq!(server.count(), 2);
    clock.advance(COOL_DOWN);
    assert_eq!(reason(&verifier, &token(&newer)).await, Ok(()));
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_poll_does_not_take_the_turn_of_an_unknown_kid() {
    let (clock, old, new) = (ManualClock::new(NOW), key("old"), key("new"));
    let server = JwksServer::start(Reply::ok(jwks(&[&old]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&old)).await, Ok(()));
    // The set changes at the worst moment: a second after it was looked at.
    let poll = status(&verifier).next_refresh.unwrap();
    advance_and_fetch(&clock, &verifier, &server, poll).await;
    clock.advance(Duration::from_secs(1));
    server.reply(Reply::ok(jwks(&[&new])));
    assert_eq!(reason(&verifier, &token(&new)).await, Ok(()));
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn an_answer_older_than_the_key_is_followed_by_a_fetch_of_ones_own() {
    let (clock, old, new) = (ManualClock::new(NOW), key("old"), key("new"));
    let server = JwksServer::start(Reply::ok(jwks(&[&old]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&old)).await, Ok(()));
    // A poll is answered before the change, and its answer takes its time.
    server.reply(Reply::Delayed {
        then: Box::new(Reply::ok(jwks(&[&old]))),
    });
    clock.advance(status(&verifier).next_refresh.unwrap());
    server.asked(2).await;
    let waiting = tokio::spawn({
        let (verifier, token) = (verifier.clone(), token(&new));
        async move { reason(&verifier, &token).await }
    });
    // It has joined the poll; the change lets that go.
    tokio::task::yield_now().await;
    server.reply(Reply::ok(jwks(&[&new])));
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_poll_that_falls_due_with_the_question_answers_it() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(
        reason(&verifier, &tokens::lasting_token(&key)).await,
        Ok(())
    );
    // Which of the two wakes the task is chance, hence so often.
    for round in 1..=40 {
        let poll = status(&verifier).next_refresh.unwrap();
        clock.advance(poll);
        let header = json!({ "alg": "EdDSA", "kid": format!("invented-{round}") });
        let forged = tokens::forged(&tokens::sign(&key, &header, &tokens::claims()));
        assert_eq!(reason(&verifier, &forged).await, Err("unknown_key"));
        meanwhile().await;
        assert_eq!(server.count(), 1 + round);
    }
}

#[tokio::test]
async fn a_flood_that_joins_a_poll_costs_one_fetch_more() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let delayed = Reply::Delayed {
        then: Box::new(Reply::ok(jwks(&[&key]))),
    };
    let server = JwksServer::start(delayed).await;
    let verifier = verifier(&server, &clock);
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let header = json!({ "alg": "EdDSA", "kid": format!("invented-{n}") });
        let forged = tokens::forged(&tokens::sign(&key, &header, &tokens::claims()));
        let verifier = verifier.clone();
        flood.spawn(async move { reason(&verifier, &forged).await });
    }
    server.asked(1).await;
    server.reply(Reply::ok(jwks(&[&key])));
    while let Some(verdict) = flood.join_next().await {
        assert_eq!(verdict.unwrap(), Err("unknown_key"));
    }
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn try_verify_never_waits_and_asks_in_the_background() {
    let (clock, old, new) = (ManualClock::new(NOW), key("old"), key("new"));
    let server = JwksServer::start(Reply::ok(jwks(&[&old]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&old)).await, Ok(()));
    server.reply(Reply::ok(jwks(&[&old, &new])));
    clock.advance(COOL_DOWN);
    let verdict = verifier.try_verify::<Claims>(&token(&new));
    assert_eq!(verdict.unwrap_err(), Reject::UnknownKey);
    eventually("the key comes", || {
        verifier.try_verify::<Claims>(&token(&new)).is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_ends_between_two_looks_is_not_missed() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let token = token(&key);
    // The very first look races with the very first fetch; which of them wins is chance, hence so many.
    for round in 0..40 {
        let verifier = verifier(&server, &clock);
        assert_eq!(reason(&verifier, &token).await, Ok(()), "round {round}");
    }
}
