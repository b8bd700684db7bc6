//! Several places of one key set: the first that answers is believed, and the first of all is preferred.

use super::*;

fn tagged(keys: &[&std::sync::Arc<keywheel::jose::SigningKey>], etag: &str) -> Reply {
    Reply::Tagged {
        etag: etag.into(),
        body: jwks(keys).into(),
    }
}

#[tokio::test]
async fn another_place_helps_out_while_the_first_is_down() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let first = JwksServer::start(Reply::with(503, &[], "")).await;
    let second = JwksServer::start(tagged(&[&key], "\"same\"")).await;
    let verifier = builder(&clock)
        .jwks_url(first.url("/keys"))
        .jwks_url(second.url("/keys"))
        .build()
        .unwrap();
    let good = tokens::lasting_token(&key);
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    let shown = status(&verifier);
    assert_eq!(shown.source, Some(second.url("/keys")));
    // The set is good, and yet people should know.
    assert!(shown.last_error.unwrap().contains("status 503"));
    // Who asks because of a token asks where the answer came from.
    clock.advance(COOL_DOWN);
    assert_eq!(
        reason(&verifier, &token(&support::tokens::key("b"))).await,
        Err("unknown_key")
    );
    assert_eq!((first.count(), second.count()), (1, 2));
    // In its time the first place is tried first, and once it answers it is the one.
    first.reply(tagged(&[&key], "\"same\""));
    advance_and_fetch(&clock, &verifier, &first, HOUR / 6).await;
    let shown = status(&verifier);
    assert_eq!(shown.source, Some(first.url("/keys")));
    assert_eq!(shown.last_error, None);
    assert_eq!(second.count(), 2);
    // An entity tag means nothing to a server that did not give it.
    assert!(!first.heads()[1].contains("if-none-match"));
    assert_eq!(reason(&verifier, &good).await, Ok(()));
}

#[tokio::test]
async fn without_any_place_there_are_no_keys_and_each_is_tried_once() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let first = JwksServer::start(Reply::with(503, &[], "")).await;
    let second = JwksServer::start(Reply::ok("<html>")).await;
    let verifier = builder(&clock)
        .jwks_url(first.url("/keys"))
        .jwks_url(second.url("/keys"))
        .build()
        .unwrap();
    assert_eq!(
        reason(&verifier, &token(&key)).await,
        Err("keys_unavailable")
    );
    assert_eq!((first.count(), second.count()), (1, 1));
    second.reply(Reply::ok(jwks(&[&key])));
    clock.advance(Duration::from_secs(2));
    eventually("the second is found", || verifier.is_ready()).await;
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
}

#[tokio::test]
async fn a_place_that_is_silent_costs_its_deadline_and_no_more() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let first = JwksServer::start(Reply::Silence).await;
    let second = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = builder(&clock)
        .jwks_url(first.url("/keys"))
        .jwks_url(second.url("/keys"))
        .build()
        .unwrap();
    first.asked(1).await;
    let waiting = tokio::spawn({
        let (verifier, token) = (verifier.clone(), token(&key));
        async move { reason(&verifier, &token).await }
    });
    clock.advance(Duration::from_secs(5));
    assert_eq!(waiting.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn discovery_can_be_one_of_the_places() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let mirror = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let issuer = JwksServer::start(Reply::with(500, &[], "")).await;
    let verifier = Verifier::builder()
        .issuer(issuer.url(""))
        .audience(AUDIENCE)
        .discover()
        .jwks_url(mirror.url("/keys"))
        .clock(clock.clone())
        .build()
        .unwrap();
    let mut claims = tokens::claims();
    claims["iss"] = json!(issuer.url(""));
    let token = tokens::sign(&key, &tokens::header(&key), &claims);
    assert_eq!(reason(&verifier, &token).await, Ok(()));
    assert_eq!((issuer.count(), mirror.count()), (1, 1));
}
