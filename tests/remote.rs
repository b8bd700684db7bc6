//! Keys that are fetched: every way in which an issuer can be slow, wrong or gone, over real HTTP, with time at the test's
//! command.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and what was measured belongs in its output"
)]

mod support;

#[path = "remote/bounds.rs"]
mod bounds;
#[path = "remote/issuers.rs"]
mod issuers;
#[path = "remote/places.rs"]
mod places;
#[path = "remote/promises.rs"]
mod promises;
#[path = "remote/push.rs"]
mod push;
#[path = "remote/refresh.rs"]
mod refresh;
#[path = "remote/removal.rs"]
mod removal;
#[path = "remote/scenarios.rs"]
mod scenarios;
#[path = "remote/traces.rs"]
mod traces;
#[path = "remote/unknown_kids.rs"]
mod unknown_kids;

use std::time::Duration;

use keywheel::verify::{IssuerStatus, RefreshPolicy, VerifierBuilder};
use keywheel::{Claims, ManualClock, Reject, Verifier};
use serde_json::json;
use support::jwks_server::{JwksServer, Reply};
use support::tokens::{self, AUDIENCE, ISSUER, NOW, jwks, key, token};
use support::{eventually, meanwhile};

const COOL_DOWN: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3600);

fn builder(clock: &ManualClock) -> VerifierBuilder {
    Verifier::builder()
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .clock(clock.clone())
}

fn verifier(server: &JwksServer, clock: &ManualClock) -> Verifier {
    builder(clock)
        .jwks_url(server.url("/jwks.json"))
        .build()
        .unwrap()
}

async fn reason(verifier: &Verifier, token: &str) -> Result<(), &'static str> {
    let verdict = verifier.verify::<Claims>(token).await;
    verdict.map(|_| ()).map_err(|reject| reject.code())
}

fn status(verifier: &Verifier) -> IssuerStatus {
    verifier.status().remove(0)
}

/// Lets `by` pass and waits until the fetch that this makes due has ended.
async fn advance_and_fetch(
    clock: &ManualClock,
    verifier: &Verifier,
    server: &JwksServer,
    by: Duration,
) {
    let before = fetches(verifier);
    let asked = server.count();
    clock.advance(by);
    server.asked(asked + 1).await;
    eventually("the fetch ends", || fetches(verifier) > before).await;
}

/// Fetches that have ended, whatever came of them.
fn fetches(verifier: &Verifier) -> u64 {
    metric(verifier, "keywheel_jwks_fetches_total")
}

fn metric(verifier: &Verifier, name: &str) -> u64 {
    let rendered = verifier.metrics().render();
    let series = rendered.lines().filter(|line| line.starts_with(name));
    series
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}
