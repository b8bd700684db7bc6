//! What a stranger's input may cost: memory in proportion to its length at most, and next to none for what is refused at once.
//!
//! Bytes and calls are counted, never timed: a loop within a loop that copies or keeps anything shows in them, on any machine.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made ends the test"
)]

use std::convert::Infallible;
use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::{AllocationInfo, measure};
use axum::body::Body;
use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::StatusCode;
use keywheel::jose::{Compact, MAX_TOKEN_BYTES, Policy, RegisteredClaims, SigningKey};
use keywheel::{Algorithm, Claims, JwkSet, ManualClock, NumericDate, Verifier, VerifyingKey};
use tower::{Layer as _, Service as _};

const KEY: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}"#;

/// Bytes that one piece of input may cost on top of its length, tables and growth by doubling included.
const BYTES_PER_PIECE: u64 = 512;
/// Calls of the allocator for each piece: a name, a value, an error with its kid.
const CALLS_PER_PIECE: u64 = 8;
/// What a call costs whatever its input is.
const BASE: u64 = 8 * 1024;

/// Holds `run` to the bounds on inputs of several sizes, and to twice the cost for twice the input.
fn check_linear(what: &str, input: impl Fn(usize) -> String, run: impl Fn(&str)) {
    let cost = |pieces: usize| {
        let input = input(pieces);
        let info = measure(|| run(&input));
        let length = input.len() as u64;
        let limit = BASE + 4 * length + BYTES_PER_PIECE * pieces as u64;
        assert!(
            info.bytes_total <= limit,
            "{what}: {info:?} for {pieces} pieces, {length} bytes"
        );
        assert!(
            info.bytes_max <= limit,
            "{what}: {info:?} for {pieces} pieces"
        );
        let calls = 64 + CALLS_PER_PIECE * pieces as u64;
        assert!(
            info.count_total <= calls,
            "{what}: {info:?} for {pieces} pieces"
        );
        info
    };
    // Powers of two, so that tables which grow by doubling are as full each time.
    let mut before: Option<AllocationInfo> = None;
    for pieces in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000] {
        let after = cost(pieces);
        if let Some(before) = before {
            assert!(
                after.bytes_total <= before.bytes_total * 9 / 4 + BASE,
                "{what}: {before:?} doubled is {after:?}, at {pieces} pieces"
            );
        }
        before = Some(after);
    }
}

fn token(header: &str, payload: &str) -> String {
    format!(
        "{}.{}.AAAA",
        BASE64URL.encode(header),
        BASE64URL.encode(payload)
    )
}

fn join(pieces: usize, piece: impl Fn(usize) -> String) -> String {
    (0..pieces).map(piece).collect::<Vec<_>>().join(",")
}

fn verifier(max_token_bytes: usize) -> Verifier {
    let keys = JwkSet::parse(format!(r#"{{"keys":[{KEY}]}}"#).as_bytes());
    Verifier::builder()
        .issuer("https://issuer.example")
        .static_keys(keys.unwrap())
        .audience("api")
        .algorithms([Algorithm::EdDSA])
        .clock(ManualClock::new(NumericDate::from_seconds(1_790_000_000)))
        .max_token_bytes(max_token_bytes)
        // Every refusal goes into the audit trail, so that reading it once more for that is counted too.
        .audit_rate(u32::MAX)
        .build()
        .unwrap()
}

#[test]
fn a_token_costs_its_length() {
    let parse = |token: &str| drop(Compact::parse(token, usize::MAX, &mut Vec::new()));
    let verifier = verifier(usize::MAX);
    let verify = |token: &str| drop(verifier.try_verify::<Claims>(token));
    for (what, input) in [
        ("dots", (|n| ".".repeat(n)) as fn(usize) -> String),
        ("one segment", |n| "a".repeat(n)),
        ("a long header", |n| token(&"x".repeat(n), "")),
        ("a long payload", |n| {
            token(r#"{"alg":"EdDSA"}"#, &"x".repeat(n))
        }),
        ("many parameters", |n| {
            token(
                &format!("{{{}}}", join(n, |i| format!(r#""{i}":{i}"#))),
                "{}",
            )
        }),
        ("deep brackets", |n| {
            token(&format!(r#"{{"x":{}"#, "[".repeat(n)), "{}")
        }),
        ("a kid of escapes", |n| {
            token(
                &format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, r"\u0061".repeat(n)),
                "{}",
            )
        }),
        ("a long kid", |n| {
            let claims = r#"{"iss":"https://issuer.example"}"#;
            token(
                &format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, "k".repeat(n)),
                claims,
            )
        }),
        ("many claims", |n| {
            let claims = join(n, |i| format!(r#""{i}":"{i}""#));
            token(r#"{"alg":"EdDSA"}"#, &format!("{{{claims}}}"))
        }),
    ] {
        check_linear(what, input, parse);
        check_linear(what, input, verify);
    }
}

#[test]
fn claims_cost_their_length() {
    let mut policy = Policy::new(["api", "api2"]);
    policy.required.push("sub".into());
    let read = |payload: &str| {
        if let Ok(claims) = RegisteredClaims::parse(payload.as_bytes(), &policy) {
            let _ = policy.check(&claims, NumericDate::EPOCH);
            let _ = (claims.audiences(), claims.scopes(), claims.roles());
        }
    };
    for (what, input) in [
        (
            "members",
            (|n| format!("{{{}}}", join(n, |i| format!(r#""{i}":[{i}]"#)))) as fn(usize) -> String,
        ),
        ("escaped names", |n| {
            format!("{{{}}}", join(n, |i| format!(r#""\u0061{i}":null"#)))
        }),
        ("objects", |n| {
            format!(r#"{{"x":[{}]}}"#, join(n, |i| format!(r#"{{"a":{i}}}"#)))
        }),
        ("audiences", |n| {
            format!(
                r#"{{"exp":1,"sub":"s","aud":[{}]}}"#,
                join(n, |i| format!(r#""{i}""#))
            )
        }),
        ("escaped audiences", |n| {
            format!(
                r#"{{"exp":1,"sub":"s","aud":[{}]}}"#,
                join(n, |i| format!(r#""\n{i}""#))
            )
        }),
        ("scopes", |n| format!(r#"{{"scope":"{}"}}"#, "a ".repeat(n))),
        ("roles", |n| {
            format!(r#"{{"roles":[{}]}}"#, join(n, |_| r#""""#.to_owned()))
        }),
        ("digits", |n| format!(r#"{{"exp":{}}}"#, "1".repeat(n))),
        ("digits of a fraction", |n| {
            format!(r#"{{"exp":1.{}}}"#, "1".repeat(n))
        }),
    ] {
        check_linear(what, input, read);
    }
}

#[test]
fn a_key_set_costs_its_length() {
    let read = |document: &str| {
        let _ = JwkSet::parse(document.as_bytes());
        let _ = VerifyingKey::from_jwk(document);
    };
    for (what, input) in [
        (
            "empty keys",
            (|n| format!(r#"{{"keys":[{}]}}"#, join(n, |_| "{}".to_owned())))
                as fn(usize) -> String,
        ),
        ("keys that are none", |n| {
            format!(r#"{{"keys":[{}]}}"#, join(n, |i| i.to_string()))
        }),
        ("keys with a kid", |n| {
            format!(
                r#"{{"keys":[{}]}}"#,
                join(n, |i| format!(r#"{{"kid":"{i}","kty":"{i}"}}"#))
            )
        }),
        ("members of the set", |n| {
            format!(r#"{{"keys":[],{}}}"#, join(n, |i| format!(r#""{i}":0"#)))
        }),
        ("a modulus", |n| {
            format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, "A".repeat(n))
        }),
        ("key operations", |n| {
            format!(
                r#"{{"kty":"OKP","key_ops":[{}]}}"#,
                join(n, |i| format!(r#""{i}""#))
            )
        }),
    ] {
        check_linear(what, input, read);
    }
}

/// Once a thread has what it keeps for itself, that is from the second time on.
fn allocations(run: impl Fn() -> bool) -> u64 {
    assert!(run());
    let info = measure(|| assert!(run()));
    info.count_total
}

#[test]
fn an_accepted_token_costs_two_allocations_and_a_cached_one_none() {
    for algorithm in [Algorithm::EdDSA, Algorithm::RS256] {
        let (_, pkcs8) = SigningKey::generate(algorithm).unwrap();
        let key = SigningKey::from_pkcs8(algorithm, &pkcs8, Some("a")).unwrap();
        let verifier = |cache| {
            let set = format!(r#"{{"keys":[{}]}}"#, key.verifying_key().to_jwk());
            Verifier::builder()
                .issuer("https://issuer.example")
                .static_keys(JwkSet::parse(set.as_bytes()).unwrap())
                .audience("api")
                .clock(ManualClock::new(NumericDate::from_seconds(1_790_000_000)))
                .token_cache(cache)
                .audit_rate(0)
                .build()
                .unwrap()
        };
        let input = token(
            &format!(r#"{{"alg":"{algorithm}","kid":"a","typ":"at+jwt"}}"#),
            r#"{"iss":"https://issuer.example","aud":["api","b"],"sub":"user-1","scope":"orders:read","roles":["a"],"exp":1790000900}"#,
        );
        let input = input.rsplit_once('.').unwrap().0.to_owned();
        let signature = BASE64URL.encode(key.sign(input.as_bytes()).unwrap());
        let good = format!("{input}.{signature}");
        let bad = format!(
            "{input}.{}",
            BASE64URL.encode(vec![1; BASE64URL.decode(&signature).unwrap().len()])
        );
        let (off, on) = (verifier(0), verifier(64));
        let reads = |verifier: &Verifier, token: &str| {
            verifier.try_verify::<Claims>(token).is_ok_and(|token| {
                token.subject() == "user-1"
                    && token.kid() == Some("a")
                    && token.has_scope("orders:read")
                    && token.has_role("a")
            })
        };
        // What the signature alone costs is its library's; ring has a few numbers of RSA's size made for it.
        let raw = BASE64URL.decode(&signature).unwrap();
        let public = VerifyingKey::from_jwk(&key.verifying_key().to_jwk()).unwrap();
        let raw = allocations(|| public.verify(algorithm, input.as_bytes(), &raw));
        // The decoded token, and the entry that owns it; the cache shares both.
        assert_eq!(allocations(|| reads(&off, &good)) - raw, 2, "{algorithm}");
        let first = measure(|| assert!(reads(&on, &good))).count_total;
        assert_eq!(first - raw, 2, "{algorithm}");
        assert_eq!(allocations(|| reads(&on, &good)), 0, "{algorithm}");
        // One is the decoded token; dalek boxes its error.
        assert!(allocations(|| !reads(&on, &bad)) - raw <= 2, "{algorithm}");
    }
}

/// Behind the layer: what keeps the token with the request, and nothing for the layer itself.
#[test]
fn a_guarded_request_is_boxed_nowhere() {
    let (_, pkcs8) = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let key = SigningKey::from_pkcs8(Algorithm::EdDSA, &pkcs8, Some("a")).unwrap();
    let set = format!(r#"{{"keys":[{}]}}"#, key.verifying_key().to_jwk());
    let verifier = Verifier::builder()
        .issuer("https://issuer.example")
        .static_keys(JwkSet::parse(set.as_bytes()).unwrap())
        .audience("api")
        .clock(ManualClock::new(NumericDate::from_seconds(1_790_000_000)))
        .build()
        .unwrap();
    let input = token(
        r#"{"alg":"EdDSA","kid":"a"}"#,
        r#"{"iss":"https://issuer.example","aud":"api","scope":"orders:read","exp":1790000900}"#,
    );
    let input = input.rsplit_once('.').unwrap().0.to_owned();
    let signature = BASE64URL.encode(key.sign(input.as_bytes()).unwrap());
    let authorization = format!("Bearer {input}.{signature}");
    let answer = tower::service_fn(|request: Request| async move {
        let verified = request.extensions().get::<keywheel::verify::Token>();
        Ok::<_, Infallible>(match verified.is_some() {
            true => StatusCode::OK,
            false => StatusCode::IM_A_TEAPOT,
        })
    });
    let mut guarded = verifier.layer().require_scope("orders:read").layer(answer);
    let mut allocations = || {
        let request = Request::builder().header("authorization", &authorization);
        let request = request.body(Body::empty()).unwrap();
        let mut status = None;
        let info = measure(|| {
            let mut answer = pin!(guarded.call(request));
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(Ok(response)) = answer.as_mut().poll(&mut context) {
                status = Some(response.status());
            }
        });
        assert_eq!(status, Some(StatusCode::OK));
        info.count_total
    };
    let (first, second) = (allocations(), allocations());
    // The request's extensions, their table, and the token's box in it.
    assert!(second <= 3, "{first}, then {second}");
}

#[test]
fn a_set_is_given_up_at_its_limit() {
    let keys = |n| format!(r#"{{"keys":[{}]}}"#, join(n, |_| KEY.to_owned()));
    let cost = |n| {
        let document = keys(n);
        measure(|| drop(JwkSet::parse_bounded(document.as_bytes(), 10))).bytes_total
    };
    assert_eq!(
        cost(11),
        cost(2_000),
        "the keys past the limit cost something"
    );
}

#[test]
fn what_is_refused_at_once_costs_next_to_nothing() {
    let verifier = verifier(MAX_TOKEN_BYTES);
    let cost = |token: &str| {
        let info = measure(|| drop(verifier.try_verify::<Claims>(token)));
        assert!(
            info.bytes_total <= 1_024,
            "{info:?} for {} bytes",
            token.len()
        );
        info.bytes_total
    };
    let megabytes = "a".repeat(50 << 20);
    assert_eq!(cost(&megabytes[..MAX_TOKEN_BYTES + 1]), cost(&megabytes));
    assert_eq!(cost(&megabytes[..100]), cost(&megabytes[..MAX_TOKEN_BYTES]));
    assert_eq!(cost("...."), cost(&".".repeat(MAX_TOKEN_BYTES)));
}
