//! The promises with a number in them, each in its test's name. Those that are kept elsewhere in this folder:
//! `an_issuer_down_for_59_min_…`, `an_issuer_that_is_down_at_start_…`, `one_unusable_key_among_10_…`,
//! `headers_that_point_elsewhere_…`, `bad_documents_leave_the_snapshot_unchanged`.

use std::sync::Arc;

use keywheel::jose::SigningKey;
use keywheel::{Clock as _, SystemClock};

use super::*;
use crate::support::real_time::{Machine, raise_file_limit, refusals};

#[tokio::test]
async fn first_tokens_1000_at_once_cost_exactly_1_request() {
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::Tagged {
        etag: "\"1\"".into(),
        body: jwks(&[&key]).into(),
    })
    .await;
    let verifier = verifier(&server, &clock);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (verifier, token) = (verifier.clone(), token(&key));
        tasks.spawn(async move { reason(&verifier, &token).await });
    }
    while let Some(verdict) = tasks.join_next().await {
        assert_eq!(verdict.unwrap(), Ok(()));
    }
    assert_eq!(server.count(), 1);
}

/// Tokens of the right shape under a signature of nobody's, each with a kid of its own.
struct Flood {
    tail: String,
    sent: u64,
}

impl Flood {
    fn new(key: &SigningKey) -> Self {
        let forged = tokens::forged(&token(key));
        let (_, tail) = forged.split_once('.').unwrap();
        Flood {
            tail: tail.to_owned(),
            sent: 0,
        }
    }

    fn next(&mut self) -> String {
        self.sent += 1;
        // Spread over the whole space, as random ones would be, and the same in every run.
        let kid = self.sent.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let header = format!(r#"{{"alg":"EdDSA","kid":"{kid:016x}"}}"#);
        format!("{}.{}", tokens::encode(&header), self.tail)
    }
}

/// `future` must be over at its first poll: it has waited for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[tokio::test]
async fn unknown_kids_10000_a_second_for_60_s_cost_at_most_1_fetch_per_cool_down_and_refuse_0_valid_tokens()
 {
    const SECONDS: u64 = 60;
    const STEPS: u64 = 100;
    let (clock, key) = (ManualClock::new(NOW), key("a"));
    let server = JwksServer::start(Reply::ok(jwks(&[&key]))).await;
    let verifier = verifier(&server, &clock);
    let good = token(&key);
    assert_eq!(reason(&verifier, &good).await, Ok(()));
    let mut flood = Flood::new(&key);
    let mut joined = 0;
    for step in 0..SECONDS * STEPS {
        // The first of a cool-down joins its fetch; every other answer comes without waiting.
        if step % (5 * STEPS) == 0 {
            assert_eq!(reason(&verifier, &flood.next()).await, Err("unknown_key"));
            joined += 1;
        }
        for _ in 0..10_000 / STEPS {
            let verdict = at_once(reason(&verifier, &flood.next()));
            assert_eq!(verdict, Err("unknown_key"));
        }
        // One in ten milliseconds, and it waits for nothing either.
        assert_eq!(at_once(reason(&verifier, &good)), Ok(()));
        clock.advance(Duration::from_millis(10));
    }
    assert!(flood.sent >= 10_000 * SECONDS);
    assert_eq!(joined, 12);
    let most = 1 + usize::try_from(SECONDS / COOL_DOWN.as_secs()).unwrap();
    assert!(
        (2..=most).contains(&server.count()),
        "{} fetches",
        server.count()
    );
}

#[tokio::test]
async fn an_unannounced_key_is_accepted_within_1_cool_down_even_under_the_flood() {
    let (clock, old, new) = (ManualClock::new(NOW), key("old"), key("new"));
    let server = JwksServer::start(Reply::ok(jwks(&[&old]))).await;
    let verifier = verifier(&server, &clock);
    assert_eq!(reason(&verifier, &token(&old)).await, Ok(()));
    let mut flood = Flood::new(&old);
    clock.advance(COOL_DOWN);
    // The flood takes the fetch, a moment before the key is there.
    assert_eq!(reason(&verifier, &flood.next()).await, Err("unknown_key"));
    server.reply(Reply::ok(jwks(&[&old, &new])));
    let good = token(&new);
    let mut waited = Duration::ZERO;
    while reason(&verifier, &good).await != Ok(()) {
        for _ in 0..100 {
            assert_ne!(reason(&verifier, &flood.next()).await, Ok(()));
        }
        clock.advance(Duration::from_millis(100));
        waited += Duration::from_millis(100);
        assert!(waited <= COOL_DOWN, "not within the cool-down");
    }
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn rotations_100_announced_ahead_refuse_0_tokens() {
    const MAX_AGE: u64 = 600;
    let headers = [("Cache-Control", "max-age=600")];
    let clock = ManualClock::new(NOW);
    let name = |n: usize| format!("k{n}");
    let (mut retired, mut signing, mut announced) = (key("k0"), key("k1"), key("k2"));
    let server = JwksServer::start(Reply::with(
        200,
        &headers,
        jwks(&[&retired, &signing, &announced]),
    ))
    .await;
    let verifier = verifier(&server, &clock);
    let mut verified = 0;
    for rotation in 0..100 {
        // As long as a cache may hold a set, and the skew; checked all along.
        for _ in 0..(MAX_AGE + 60) / 60 {
            for key in [&retired, &signing] {
                let token = tokens::lasting_token(key);
                assert_eq!(reason(&verifier, &token).await, Ok(()), "{rotation}");
                verified += 1;
            }
            let due = status(&verifier).next_refresh.unwrap() <= Duration::from_secs(60);
            match due {
                true => {
                    advance_and_fetch(&clock, &verifier, &server, Duration::from_secs(60)).await;
                }
                false => clock.advance(Duration::from_secs(60)),
            }
        }
        retired = signing;
        signing = announced;
        announced = key(&name(rotation + 3));
        let set = jwks(&[&retired, &signing, &announced]);
        server.reply(Reply::with(200, &headers, set));
        // The new signer signs at once.
        let token = tokens::lasting_token(&signing);
        assert_eq!(reason(&verifier, &token).await, Ok(()), "{rotation}");
    }
    assert!(verified > 2000, "{verified}");
    // No token has had to ask for a key: the set was always there first.
    let due = 100 * (MAX_AGE + 60) / (MAX_AGE * 8 / 10);
    assert!(server.count() as u64 <= due + 1, "{}", server.count());
}

/// So many that the cache is full to the last slot, whatever its hash makes of them.
const CACHED: usize = 1_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_key_has_0_acceptances_over_1000000_cached_tokens() {
    let (clock, gone, kept) = (ManualClock::new(NOW), key("gone"), key("kept"));
    let server = JwksServer::start(Reply::ok(jwks(&[&gone, &kept]))).await;
    let verifier = builder(&clock)
        .jwks_url(server.url("/jwks.json"))
        .token_cache(CACHED)
        .build()
        .unwrap();
    assert_eq!(reason(&verifier, &token(&kept)).await, Ok(()));
    let sign = |n: usize| {
        let mut claims = tokens::claims();
        claims["jti"] = json!(n.to_string());
        tokens::sign(&gone, &tokens::header(&gone), &claims)
    };
    // Two threads, each its half: signing and verifying a million takes a while.
    let tokens: Vec<String> = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let (sign, verifier) = (&sign, &verifier);
            scope.spawn(move || {
                let numbers = (0..CACHED).filter(|n| n % 2 == half);
                let mut tokens = Vec::with_capacity(CACHED / 2);
                for number in numbers {
                    let token = sign(number);
                    assert!(verifier.try_verify::<Claims>(&token).is_ok());
                    tokens.push(token);
                }
                tokens
            })
        });
        halves
            .into_iter()
            .flat_map(|half| half.join().unwrap())
            .collect()
    });
    let accepted = |tokens: &[String]| {
        let verdicts = tokens
            .iter()
            .map(|token| verifier.try_verify::<Claims>(token));
        verdicts.filter(Result::is_ok).count()
    };
    assert_eq!(accepted(&tokens[..1000]), 1000);
    server.reply(Reply::ok(jwks(&[&kept])));
    advance_and_fetch(&clock, &verifier, &server, HOUR / 6).await;
    assert_eq!(accepted(&tokens), 0);
    assert_eq!(reason(&verifier, &token(&kept)).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_removed_by_push_is_refused_by_1000_verifiers_within_1_s() {
    const VERIFIERS: usize = 1000;
    raise_file_limit();
    let (stolen, kept) = (key("stolen"), key("kept"));
    let push = |etag: &str, keys: &[&Arc<SigningKey>]| Reply::Push {
        etag: etag.into(),
        body: jwks(keys).into(),
    };
    let server = JwksServer::start(push("\"1\"", &[&stolen, &kept])).await;
    let clock = ManualClock::new(NOW);
    let client = keywheel_client();
    let verifiers: Vec<Verifier> = (0..VERIFIERS)
        .map(|_| {
            builder(&clock)
                .jwks_url(server.url("/jwks.json"))
                .http_client(client.clone())
                // A thousand caches of the usual size would be most of what this test does.
                .token_cache(64)
                .build()
                .unwrap()
        })
        .collect();
    let (forged, good) = (token(&stolen), token(&kept));
    for verifier in &verifiers {
        assert_eq!(reason(verifier, &forged).await, Ok(()));
    }
    // Whatever else the machine is doing is in it too, so the best of three counts.
    let machine = Machine::measured().await;
    let mut best = Duration::MAX;
    for round in 1..=3 {
        server.holds(VERIFIERS).await;
        let removed = SystemClock.monotonic();
        server.reply(push(&format!("\"{round} without\""), &[&kept]));
        let waits = refusals(&verifiers, &forged, removed).await;
        best = best.min(waits[VERIFIERS - 1]);
        server.holds(VERIFIERS).await;
        server.reply(push(&format!("\"{round} with\""), &[&stolen, &kept]));
        let is_back = |verifier: &Verifier| verifier.try_verify::<Claims>(&forged).is_ok();
        eventually("the key is back", || verifiers.iter().all(is_back)).await;
    }
    machine.holds(Duration::from_secs(1), best).await;
    for verifier in &verifiers {
        assert_eq!(reason(verifier, &good).await, Ok(()));
    }
}

/// One client for many verifiers: a thousand trust stores would be a gigabyte.
fn keywheel_client() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}
