//! `identity_model_validation.json`: claim checks with canonical error codes, times given as offsets from now.

use std::time::Duration;

use keywheel::jose::SigningKey;
use keywheel::{Algorithm, Claims, JwkSet, ManualClock, NumericDate, TrustedIssuer, Verifier};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::tally::{LeftOut, Tally};
use crate::{corpus, mint};

#[derive(Deserialize)]
struct Document {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    id: String,
    title: String,
    #[serde(default)]
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    token: Token,
    options: Options,
    expect: Expect,
}

#[derive(Deserialize)]
struct Token {
    /// `fixture`: the published key. `ephemeral`: another one, under the published kid.
    #[serde(default)]
    signing_key: String,
    #[serde(default)]
    claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct Options {
    now: String,
    expected_issuer: Option<String>,
    expected_audience: Option<String>,
    expected_nonce: Option<String>,
    clock_skew: Option<String>,
    #[serde(default)]
    required_claims: Vec<String>,
}

#[derive(Deserialize)]
struct Expect {
    outcome: String,
    error: Option<String>,
    claim: Option<String>,
    #[serde(default)]
    claims: Map<String, Value>,
}

const KID: &str = "test-key-1";

#[test]
fn claims_are_checked_as_the_identity_model_vectors_ask() {
    let set = "corpora identity_model";
    let Some(text) = corpus::text(set, "identity_model_validation.json") else {
        return;
    };
    let document: Document = serde_json::from_str(&text).unwrap();
    let fixture = mint::key(Algorithm::RS256, KID);
    let ephemeral = mint::key(Algorithm::RS256, KID);
    let mut tally = Tally::new(set, &[]);
    let mut left_out = Vec::new();
    for test in &document.tests {
        if test.vectors.is_empty() {
            let why = "needs a live key set: an_unannounced_key_is_found_by_one_refetch in tests/remote.rs";
            left_out.push(LeftOut {
                id: format!("{} {}", test.id, test.title),
                why,
            });
        }
        for vector in &test.vectors {
            if vector.options.expected_nonce.is_some() {
                let why = "not applicable: a nonce binds an ID token to a sign-in, and no access token has one";
                left_out.push(LeftOut {
                    id: format!("{} {}", test.id, test.title),
                    why,
                });
                continue;
            }
            let key = match vector.token.signing_key.as_str() {
                "ephemeral" => Some(&ephemeral),
                "fixture" => Some(&fixture),
                _ => None,
            };
            let ours = judge(vector, key, &fixture);
            tally.case(&test.id, expected(&vector.expect), &ours, false);
        }
    }
    assert_eq!(left_out.len(), 3);
    tally.finish(&left_out);
}

/// The canonical code as one of ours.
fn expected(expect: &Expect) -> &'static str {
    match (
        expect.outcome.as_str(),
        expect.error.as_deref(),
        expect.claim.as_deref(),
    ) {
        ("accept", None, None) => "accept",
        (_, Some("alg_none"), None) => "alg_not_allowed",
        (_, Some("signature"), None) => "bad_signature",
        (_, Some("claim_validation"), Some("exp")) => "expired",
        (_, Some("claim_validation"), Some("nbf")) => "not_yet_valid",
        (_, Some("claim_validation"), Some("iss")) => "unknown_issuer",
        (_, Some("claim_validation"), Some("aud")) => "wrong_audience",
        (_, Some("claim_validation"), Some("iat" | "email")) => "missing_claim",
        other => panic!("a code without a counterpart: {other:?}"),
    }
}

fn judge(vector: &Vector, key: Option<&SigningKey>, published: &SigningKey) -> String {
    let options = &vector.options;
    let since_epoch = humantime::parse_rfc3339(&options.now)
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = NumericDate::from_duration(since_epoch);
    let header = format!(r#"{{"alg":"RS256","kid":"{KID}"}}"#);
    let token = match key {
        Some(key) => mint::token(key, &header, payload(&vector.token.claims, now)),
        // The one vector that is a file of its own, and the file is not there: a token with `none` and no signature.
        None => mint::compact(r#"{"alg":"none"}"#, "{}", ""),
    };
    let or = |option: &Option<String>, default: &str| option.clone().unwrap_or(default.to_owned());
    // Keywheel must be told an issuer and an audience; where the vector tells none, what its tokens say by default.
    let issuer = TrustedIssuer::new(or(&options.expected_issuer, "https://issuer.example.com"))
        .audience(or(&options.expected_audience, "test-client"))
        .algorithms([Algorithm::RS256])
        .static_keys(JwkSet::parse(mint::jwks(&[published]).as_bytes()).unwrap());
    let skew = options.clock_skew.as_deref().unwrap_or("0s");
    // Its reference always asks for `iat`; Keywheel does when it is told to.
    let required = ["exp", "iat"].map(String::from).into_iter();
    let verifier = Verifier::builder()
        .trust(issuer)
        .require(required.chain(options.required_claims.iter().cloned()))
        .leeway(humantime::parse_duration(skew).unwrap())
        .clock(ManualClock::new(now))
        .build()
        .unwrap();
    match verifier.try_verify::<Claims>(&token) {
        Err(reject) => reject.code().to_owned(),
        Ok(token) => {
            for (name, value) in &vector.expect.claims {
                let ours = token.claim::<Value>(name).unwrap();
                assert_eq!(ours.as_ref(), Some(value), "{name}");
            }
            "accept".to_owned()
        }
    }
}

/// The claims with their offsets made dates.
fn payload(claims: &Map<String, Value>, now: NumericDate) -> String {
    let mut claims = claims.clone();
    for name in ["exp", "nbf", "iat"] {
        let Some(offset) = claims.get(name).and_then(Value::as_str) else {
            continue;
        };
        let parse = |offset: &str| -> Duration { humantime::parse_duration(offset).unwrap() };
        let date = match offset.strip_prefix('-') {
            Some(before) => now.minus(parse(before)),
            None => now.plus(parse(offset)),
        };
        claims.insert(name.to_owned(), date.seconds().into());
    }
    Value::Object(claims).to_string()
}
