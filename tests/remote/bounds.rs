//! Answers that are wrong, endless, slow, or from elsewhere.

use super::*;
use tokio::io::AsyncReadExt as _;

/// Fetches that failed, as the metrics tell.
fn failures(verifier: &Verifier) -> u64 {
    let good = |result| {
        metric(
            verifier,
            &format!("keywheel_jwks_fetches_total{{issuer=\"{ISSUER}\",result=\"{result}\"}}"),
        )
    };
    fetches(verifier) - good("modified") - good("not_modified")
}

#[tokio::test]
async fn bad_documents_leave_the_snapshot_unchanged() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    let good = tokens::lasting_token(&key);
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    let many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 101].join(","));
    for (reply, error) in [
        (
            Reply::with(302, &[("Location", "/")], ""),
            "redirects are not followed",
        ),
        (Reply::with(404, &[], "not here"), "status 404"),
        (Reply::with(500, &[], jwks(&[&key])), "status 500"),
        (Reply::with(204, &[], ""), "status 204"),
        (Reply::with(304, &[], ""), "status 304"),
        (Reply::ok("<html>maintenance</html>"), "not a JWK Set"),
        (Reply::ok(""), "not a JWK Set"),
        (Reply::ok(r#"{"keys":[]}"#), "no usable key among 0"),
        (
            Reply::ok(r#"{"keys":[{"kty":"oct","k":"AA"}]}"#),
            "no usable key among 1",
        ),
        (Reply::ok(r#"{"keys":[],"keys":[]}"#), "duplicate"),
        (Reply::ok(b"{\"keys\":[]}\xff".to_vec()), "not UTF-8"),
        (Reply::ok(many), "more than 100 keys"),
        (Reply::Reset, "GET http://127.0.0.1"),
    ] {
        let failed = failures(&verifier);
        server.reply(reply.clone());
        advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
        assert_eq!(failures(&verifier), failed + 1, "{reply:?}");
        let status = status(&verifier);
        let shown = status.last_error.unwrap_or_default();
        assert!(shown.contains(error), "{reply:?}: {shown}");
        assert_eq!(status.kids, ["a"], "{reply:?}");
        assert_eq!(reason(&verifier, &good).await, Ok(()), "{reply:?}");
        // Back to good, so that neither back-off nor staleness grows from case to case.
        server.reply(Reply::ok(jwks(&[&key])));
        advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    }
}

/// A gzip member (RFC 1952) with one stored block: as good as any to a reader that inflates.
pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let crc = !content.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            crc >> 1 ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    });
    let length = u16::try_from(content.len()).unwrap();
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(content);
    out.extend(crc.to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

#[tokio::test]
async fn compressed_answers_are_never_inflated() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    // A good set, but compressed: whoever inflated it would accept it, and would inflate a bomb too.
    let compressed = gzip(jwks(&[&key]).as_bytes());
    let reply = Reply::with(200, &[("Content-Encoding", "gzip")], compressed);
    let server = JwksServer::start(reply).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(
        reason(&verifier, &token(&key)).await,
        Err("keys_unavailable")
    );
    let error = status(&verifier).last_error.unwrap();
    assert!(error.contains("not a JWK Set"), "{error}");
    assert!(server.heads()[0].contains("accept-encoding: identity"));
}

#[tokio::test]
async fn one_unusable_key_among_10_leaves_9() {
    let clock = ManualClock::new(NOW);
    let keys: Vec<_> = (0..9).map(|n| key(&format!("k{n}"))).collect();
    let good: Vec<String> = keys
        .iter()
        .map(|key| key.verifying_key().to_jwk())
        .collect();
    let document = format!(
        r#"{{"keys":[{{"kty":"EC","kid":"broken"}},{}]}}"#,
        good.join(",")
    );
    let server = JwksServer::start(Reply::ok(document)).await;
    let verifier = verifier(&server, &clock);
    for key in &keys {
        assert_eq!(reason(&verifier, &token(key)).await, Ok(()));
    }
    assert_eq!(status(&verifier).skipped, 1);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let target = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let server = JwksServer::start(Reply::ok("")).await;
    for (status, location) in [
        (301, target.url("/jwks.json")),
        (302, target.url("/jwks.json")),
        (303, target.url("/jwks.json")),
        (307, target.url("/jwks.json")),
        (308, server.url("/jwks.json")),
        (302, "file:///etc/passwd".into()),
    ] {
        server.reply(Reply::with(status, &[("Location", &location)], ""));
        let asked = server.count();
        let verifier = verifier(&server, &clock);
        assert_eq!(
            reason(&verifier, &token(&key)).await,
            Err("keys_unavailable")
        );
        let error = self::status(&verifier).last_error.unwrap();
        assert!(error.contains("redirects are not followed"), "{error}");
        assert_eq!(server.count(), asked + 1, "{status} {location}");
    }
    assert_eq!(target.count(), 0);
}

#[tokio::test]
async fn slow_answers_end_at_the_deadline() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::Silence).await;
    let verifier = verifier(&server, &clock);
    server.asked(1).await;
    let waiting = tokio::spawn({
        let (verifier, token) = (verifier.clone(), token(&key));
        async move { reason(&verifier, &token).await }
    });
    clock.advance(Duration::from_secs(5));
    assert_eq!(waiting.await.unwrap(), Err("keys_unavailable"));
    let error = status(&verifier).last_error.unwrap();
    assert!(error.contains("no answer within 5000 ms"), "{error}");
}

#[tokio::test]
async fn oversize_answers_leave_the_snapshot_unchanged() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    let padded = format!("{}{}", jwks(&[&key]), " ".repeat(256 * 1024));
    for reply in [Reply::ok(padded), Reply::Endless] {
        server.reply(reply);
        advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
        let error = status(&verifier).last_error.unwrap();
        assert!(
            error.contains("a body of more than 262144 bytes"),
            "{error}"
        );
        assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    }
}

#[tokio::test]
async fn headers_that_point_elsewhere_cause_0_connections_and_0_acceptances() {
    let (clock, ours, theirs) = (ManualClock::new(NOW), key("a"), key("attacker"));
    let trap = JwksServer::start(Reply::ok(jwks(&[&theirs]))).await;
    let server = JwksServer::start(Reply::ok(jwks(&[&ours]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&ours)).await, Ok(()));
    let jwk: serde_json::Value = serde_json::from_str(&theirs.verifying_key().to_jwk()).unwrap();
    for kid in ["attacker", "a"] {
        for (name, value) in [
            ("jku", json!(trap.url("/jwks.json"))),
            ("x5u", json!(trap.url("/chain.pem"))),
            ("jwk", jwk.clone()),
        ] {
            let mut header = json!({ "alg": "EdDSA", "kid": kid });
            header[name] = value;
            let token = tokens::sign(&theirs, &header, &tokens::claims());
            let expected = if kid == "a" {
                "bad_signature"
            } else {
                "unknown_key"
            };
            assert_eq!(reason(&verifier, &token).await, Err(expected), "{header}");
        }
    }
    assert_eq!(trap.count(), 0);
}

#[tokio::test]
async fn a_failing_tls_handshake_is_no_reason_for_plain_http() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = builder(&clock)
        .jwks_url(server.url("/jwks.json").replace("http:", "https:"))
        .build()
        .unwrap();
    eventually("the fetch fails", || status(&verifier).last_error.is_some()).await;
    assert_eq!(
        reason(&verifier, &token(&key)).await,
        Err("keys_unavailable")
    );
    assert_eq!(server.count(), 0);
}

/// Real time: a connection has three seconds for its handshakes by the machine's clock, whatever the test's says.
#[tokio::test]
async fn a_tls_handshake_that_nobody_answers_is_given_up_in_3_s_of_real_time() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let verifier = builder(&clock)
        .jwks_url(format!("https://{address}/jwks.json"))
        .build()
        .unwrap();
    let (mut connection, _) = silent.accept().await.unwrap();
    eventually("the fetch fails", || status(&verifier).last_error.is_some()).await;
    let error = status(&verifier).last_error.unwrap();
    assert!(error.contains("GET https://"), "{error}");
    assert_eq!(
        reason(&verifier, &token(&key)).await,
        Err("keys_unavailable")
    );
    // All that came was the handshake's beginning, and no other connection has been tried.
    let mut sent = Vec::new();
    connection.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent.first(), Some(&0x16));
    meanwhile().await;
    let another = tokio::select! {
        biased;
        _ = silent.accept() => true,
        () = std::future::ready(()) => false,
    };
    assert!(!another);
}

#[tokio::test]
async fn redirects_within_the_origin_are_followed_if_asked_for() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let elsewhere = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let server = JwksServer::start(Reply::ok("")).await;
    let ask = async |reply: Reply| {
        server.reply(reply);
        let asked = server.count();
        let verifier = builder(&clock)
            .jwks_url(server.url("/jwks.json"))
            .follow_same_origin_redirects(true)
            .build()
            .unwrap();
        let verdict = reason(&verifier, &token(&key)).await;
        (
            verdict,
            status(&verifier).last_error,
            server.count() - asked,
        )
    };
    let moved = Reply::Moved {
        from: "/jwks.json".into(),
        to: "/moved.json".into(),
        body: jwks(&[&key]).into(),
    };
    assert_eq!(ask(moved).await, (Ok(()), None, 2));
    for (location, requests) in [
        (elsewhere.url("/jwks.json"), 1),
        (server.url("/jwks.json").replace("http:", "https:"), 1),
        ("file:///etc/passwd".into(), 1),
        // A loop ends after the first request and three hops.
        ("/jwks.json".into(), 4),
    ] {
        let reply = Reply::with(302, &[("Location", &location)], "");
        let (verdict, error, asked) = ask(reply).await;
        assert_eq!(verdict, Err("keys_unavailable"), "{location}");
        let error = error.unwrap();
        assert!(error.contains("which is not allowed"), "{error}");
        assert_eq!(asked, requests, "{location}");
    }
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn a_client_that_follows_redirects_is_seen_through() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let target = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let location = target.url("/jwks.json");
    let server = JwksServer::start(Reply::with(302, &[("Location", &location)], "")).await;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .build()
        .unwrap();
    let verifier = builder(&clock)
        .jwks_url(server.url("/jwks.json"))
        .http_client(client)
        .build()
        .unwrap();
    assert_eq!(
        reason(&verifier, &token(&key)).await,
        Err("keys_unavailable")
    );
    let error = status(&verifier).last_error.unwrap();
    assert!(error.contains("which is not allowed"), "{error}");
}

#[tokio::test]
async fn private_addresses_are_refused_where_the_connection_is_made() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    // A name that resolves to this machine.
    let url = server.url("/jwks.json").replace("127.0.0.1", "localhost");
    let verifier = builder(&clock)
        .jwks_url(&url)
        .refuse_private_addresses(true)
        .build()
        .unwrap();
    assert_eq!(
        reason(&verifier, &token(&key)).await,
        Err("keys_unavailable")
    );
    let error = status(&verifier).last_error.unwrap();
    assert!(error.contains("no public address"), "{error}");
    assert_eq!(server.count(), 0);
    // The same name does lead there when nothing is refused.
    let verifier = builder(&clock).jwks_url(url).build().unwrap();
    assert_eq!(reason(&verifier, &token(&key)).await, Ok(()));
    let by_number = builder(&clock)
        .jwks_url(server.url("/jwks.json"))
        .refuse_private_addresses(true)
        .build();
    let error = by_number.err().unwrap().to_string();
    assert!(error.contains("is a private address"), "{error}");
}
