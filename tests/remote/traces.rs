//! How the sets of well-known issuers really changed over months, replayed at their own pace: no token is refused whose key
//! is in the set.

use std::collections::BTreeMap;
use std::sync::Arc;

use keywheel::Clock as _;
use keywheel::jose::SigningKey;
use serde::Deserialize;

use super::*;
use crate::support::corpus;

#[derive(Deserialize)]
struct Trace {
    /// The published keys by name; only which of them are the same matters, since nobody else can sign by them.
    pool: BTreeMap<String, serde_json::Value>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    t: String,
    keys: Vec<String>,
}

// === impl Trace ===

impl Trace {
    /// A key of our own for each of theirs, under the same kid.
    fn keys(&self) -> BTreeMap<&str, Arc<SigningKey>> {
        let own = |(name, jwk): (&'_ String, &serde_json::Value)| {
            let kid = jwk["kid"].as_str().unwrap();
            (name.clone(), key(kid))
        };
        let made: BTreeMap<String, _> = self.pool.iter().map(own).collect();
        self.pool
            .keys()
            .map(|name| (name.as_str(), made[name].clone()))
            .collect()
    }
}

impl Step {
    fn time(&self) -> Duration {
        let time = humantime::parse_rfc3339(&self.t).unwrap();
        time.duration_since(std::time::UNIX_EPOCH).unwrap()
    }
}

/// The traces go on for months, and a token does not.
fn fresh_token(key: &SigningKey, clock: &ManualClock) -> String {
    let mut claims = tokens::claims();
    claims["exp"] = json!(clock.now().seconds() + 900);
    tokens::sign(key, &tokens::header(key), &claims)
}

async fn replay(name: &str) {
    let Some(text) = corpus::text("traces", &format!("rotation_traces/{name}.json")) else {
        return;
    };
    let trace: Trace = serde_json::from_str(&text).unwrap();
    let keys = trace.keys();
    let clock = ManualClock::new(NOW);
    let headers = [("Cache-Control", "public, max-age=3600")];
    let set = |step: &Step| {
        let keys: Vec<_> = step.keys.iter().map(|name| &keys[name.as_str()]).collect();
        Reply::with(200, &headers, jwks(&keys))
    };
    let server = JwksServer::start(set(&trace.steps[0])).await;
    let verifier = verifier(&server, &clock);
    let (mut checked, mut refused) = (0, 0usize);
    for (index, step) in trace.steps.iter().enumerate() {
        server.reply(set(step));
        let until = trace
            .steps
            .get(index + 1)
            .map_or(step.time() + HOUR, Step::time);
        let mut left = until - step.time();
        while !left.is_zero() {
            // The moment of the change, before any poll of ours; and then after every poll.
            for name in &step.keys {
                let token = fresh_token(&keys[name.as_str()], &clock);
                checked += 1;
                refused += usize::from(reason(&verifier, &token).await.is_err());
            }
            let next = status(&verifier)
                .next_refresh
                .unwrap()
                .max(COOL_DOWN)
                .min(left);
            let before = fetches(&verifier);
            let due = status(&verifier).next_refresh.unwrap() <= next;
            clock.advance(next);
            left -= next;
            if due {
                eventually("the poll", || fetches(&verifier) > before).await;
            }
        }
    }
    println!(
        "{name}: {} steps, {checked} tokens, {refused} refused, {} fetches",
        trace.steps.len(),
        server.count()
    );
    assert_eq!(refused, 0, "of {checked}");
    assert!(checked > trace.steps.len());
}

#[tokio::test]
async fn apples_trace_refuses_0_tokens() {
    replay("apple").await;
}

#[tokio::test]
async fn googles_trace_refuses_0_tokens() {
    replay("google").await;
}

#[tokio::test]
async fn spotifys_trace_refuses_0_tokens() {
    replay("spotify").await;
}
