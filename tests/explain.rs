//! `explain`: the failed check is the verifier's own, what is said helps, and nothing unverified is called true.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use keywheel::verify::{CheckName, Explanation, Outcome};
use keywheel::{Algorithm, Claims, JwkSet, ManualClock, Verifier};
use serde_json::{Value, json};
use support::process::{Outcome as Ended, keywheel};
use support::tokens::{self, AUDIENCE, ISSUER, NOW, key};

struct Bench {
    key: std::sync::Arc<keywheel::jose::SigningKey>,
    verifier: Verifier,
}

fn bench() -> Bench {
    let key = key("a");
    let set = JwkSet::parse(tokens::jwks(&[&key]).as_bytes()).unwrap();
    let verifier = Verifier::builder()
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .algorithms([Algorithm::EdDSA])
        .static_keys(set)
        .clock(ManualClock::new(NOW))
        .build()
        .unwrap();
    Bench { key, verifier }
}

impl Bench {
    fn with(&self, name: &str, value: Value) -> String {
        let mut claims = tokens::claims();
        claims[name] = value;
        tokens::sign(&self.key, &tokens::header(&self.key), &claims)
    }

    fn with_header(&self, header: &Value) -> String {
        tokens::sign(&self.key, header, &tokens::claims())
    }

    async fn explain(&self, token: &str) -> Explanation {
        let explanation = self.verifier.explain(token).await;
        let verdict = self.verifier.try_verify::<Claims>(token);
        assert_eq!(explanation.ok, verdict.is_ok());
        assert_eq!(
            explanation.reason,
            verdict.err().map(|reject| reject.code())
        );
        explanation
    }
}

#[tokio::test]
async fn a_good_token_passes_every_check() {
    let bench = bench();
    let explanation = bench.explain(&tokens::token(&bench.key)).await;
    assert!(
        explanation
            .checks
            .iter()
            .all(|check| check.outcome == Outcome::Passed)
    );
    assert!(
        explanation
            .checks
            .iter()
            .all(|check| check.advice.is_none())
    );
    assert_eq!(explanation.checks.len(), 17);
    assert!(explanation.to_string().ends_with("accepted"));
}

#[tokio::test]
async fn the_failed_check_is_named_with_what_to_do() {
    let bench = bench();
    let good = tokens::token(&bench.key);
    let stranger = key("stranger");
    for (token, check, words) in [
        (
            "x".repeat(20_000),
            CheckName::Size,
            "20000 bytes; wanted at most 16384 bytes",
        ),
        (
            format!("Bearer {good}"),
            CheckName::Framing,
            "without `Bearer `",
        ),
        (good[..good.len() - 1].to_owned(), CheckName::Framing, "cut"),
        (
            bench.with_header(&json!({"alg":"EdDSA","crit":["x"]})),
            CheckName::CriticalHeader,
            "have the issuer leave it out",
        ),
        (
            bench.with_header(&json!({"alg":"HS256","kid":"a"})),
            CheckName::Algorithm,
            "shared secret",
        ),
        (
            bench.with_header(&json!({"alg":"none"})),
            CheckName::Algorithm,
            "not signed at all",
        ),
        (
            bench.with_header(&json!({"alg":"RS256","kid":"a"})),
            CheckName::AllowedAlgorithm,
            "add RS256 to the verifier's algorithms",
        ),
        (
            bench.with_header(&json!({"alg":"EdDSA","kid":"a","typ":"logout+jwt"})),
            CheckName::Type,
            "is this an access token?",
        ),
        (
            bench.with("exp", json!("soon")),
            CheckName::Payload,
            "`exp`",
        ),
        (
            bench.with("iss", json!("https://issuer.example/")),
            CheckName::Issuer,
            "letter by letter",
        ),
        (tokens::token(&stranger), CheckName::Key, "the set has `a`"),
        (
            tokens::forged(&good),
            CheckName::Signature,
            "changed after it was signed",
        ),
        (
            bench.with("exp", json!(NOW.seconds() - 312)),
            CheckName::Expiry,
            "expired 312 s ago; get a new one, and if that surprises, compare clocks: this machine says 1790000000",
        ),
        (
            bench.with("nbf", json!(NOW.seconds() + 60)),
            CheckName::NotBefore,
            "valid in 60 s",
        ),
        (
            bench.with("aud", json!("web")),
            CheckName::Audience,
            "`web`; wanted `orders-api`",
        ),
        (
            bench.with("aud", json!("web")),
            CheckName::Audience,
            "?audience=orders-api",
        ),
    ] {
        let explanation = bench.explain(&token).await;
        let shown = explanation.to_string();
        let failed: Vec<_> = explanation
            .checks
            .iter()
            .filter(|check| check.outcome == Outcome::Failed)
            .map(|check| check.name)
            .collect();
        assert_eq!(failed, [check], "{shown}");
        assert!(shown.contains(words), "{words}: {shown}");
        for later in explanation.checks.iter().filter(|later| later.name > check) {
            assert_eq!(later.outcome, Outcome::NotReached);
            assert_eq!((&later.seen, &later.advice), (&None, &None));
        }
        assert_eq!(
            explanation.authentic,
            check > CheckName::Signature,
            "{shown}"
        );
        let warns = shown.contains("Nothing that the token says is verified");
        assert_eq!(warns, !explanation.authentic, "{shown}");
    }
    assert!(
        bench
            .verifier
            .metrics()
            .render()
            .contains("outcome=\"accepted\"} 0")
    );
}

#[tokio::test]
async fn what_a_stranger_wrote_is_escaped_and_cut() {
    let bench = bench();
    let hostile = format!("\u{1b}[31m\n{}", "x".repeat(5000));
    let token = bench.with("iss", json!(hostile));
    let shown = bench.explain(&token).await.to_string();
    assert!(!shown.contains('\u{1b}'), "{shown}");
    assert!(shown.len() < 2000, "{}", shown.len());
}

#[test]
fn the_command_explains_with_keys_and_without() {
    let folder = tempfile::TempDir::new().unwrap();
    let key = key("a");
    let set = folder.path().join("jwks.json");
    std::fs::write(&set, tokens::jwks(&[&key])).unwrap();
    let token = tokens::token(&key);
    let now = NOW.seconds().to_string();
    let run = |args: &[&str]| {
        let args = [&["explain", "--now", &now], args].concat();
        Ended::from(keywheel(&args).output().unwrap())
    };
    let with_keys = run(&[
        "--jwks",
        set.to_str().unwrap(),
        "--audience",
        AUDIENCE,
        &token,
    ]);
    assert_eq!(with_keys.code, 0, "{with_keys:?}");
    assert!(
        with_keys.stdout.contains("✓ signature"),
        "{}",
        with_keys.stdout
    );
    let without = run(&[&token]);
    assert_eq!(without.code, 1);
    assert!(
        without
            .stdout
            .contains("✗ one key has the kid: `a`\n    name the issuer with --issuer URL"),
        "{}",
        without.stdout
    );
    assert!(
        without.stdout.contains("– signature\n"),
        "{}",
        without.stdout
    );
    let json = run(&["--json", &token]);
    let explained: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(explained["reason"], "unknown_key");
    assert_eq!(explained["authentic"], false);
}
