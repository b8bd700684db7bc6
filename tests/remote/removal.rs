//! A key that a good answer lacks is gone.

use super::*;

#[tokio::test]
async fn a_removed_key_is_refused_at_once() {
    let (clock, a, b) = (ManualClock::new(NOW), key("a"), key("b"));
    let server = JwksServer::start(Reply::ok(jwks(&[&a, &b]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&a)).await, Ok(()));
    server.reply(Reply::ok(jwks(&[&b])));
    advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    assert_eq!(
        verifier.try_verify::<Claims>(&token(&a)).unwrap_err(),
        Reject::UnknownKey
    );
    assert_eq!(reason(&verifier, &token(&b)).await, Ok(()));
    assert_eq!(status(&verifier).kids, ["b"]);
}

#[tokio::test]
async fn a_kid_with_new_material_replaces_the_key() {
    let (clock, first, second) = (ManualClock::new(NOW), key("same"), key("same"));
    let server = JwksServer::start(Reply::ok(jwks(&[&first]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&first)).await, Ok(()));
    assert_eq!(
        reason(&verifier, &token(&second)).await,
        Err("bad_signature")
    );
    server.reply(Reply::ok(jwks(&[&second])));
    advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    assert_eq!(
        reason(&verifier, &token(&first)).await,
        Err("bad_signature")
    );
    assert_eq!(reason(&verifier, &token(&second)).await, Ok(()));
}
