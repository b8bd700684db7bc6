//! Key set documents: Envoy's test cases, the sets that well-known issuers published, and how real sets changed over months.

use std::collections::BTreeMap;
use std::path::Path;

use keywheel::verify::KeySet;
use keywheel::{Algorithm, JwkSet};
use serde::Deserialize;
use serde_json::Value;

use crate::corpus;
use crate::tally::{LeftOut, Stand, Tally};

#[derive(Deserialize)]
struct Document {
    id: String,
    kind: String,
    document: String,
    expect: String,
    usable_keys: Option<usize>,
}

const fn stand(id: &'static str, ours: &'static str, why: &'static str) -> Stand {
    Stand { id, ours, why }
}

#[rustfmt::skip]
const ENVOY: &[Stand] = &[
    stand("jwt_verify_lib/jwks_test/GoodEC", "3 keys", "RFC 7518 §6.2.1.2: the fourth has a P-521 coordinate of 65 bytes, its leading zero stripped"),
    stand("jwt_verify_lib/jwks_test/GoodOKP", "no key", "32 bytes, yet no point of edwards25519: nothing could ever verify under it"),
    stand("jwt_verify_lib/jwks_test/JwksIgnoreUnsupportedKey", "no key", "the same x that is no point; the X25519 key next to it is skipped by both"),
    stand("jwt_verify_lib/jwks_test/JwksIgnoreUnsupportedKeyInMiddle", "1 keys", "the same x that is no point; the two others are judged alike"),
    stand("jwt_verify_lib/jwks_test/JwksECMatchAlgES512CrvP521", "no key", "RFC 7518 §6.2.1.2: a coordinate of 65 bytes"),
    stand("jwt_verify_lib/jwks_test/JwksECMissingBothAlgCrvES256", "no key", "RFC 7518 §6.2.1: crv MUST be present; guessing P-256 is a guess"),
    stand("jwt_verify_lib/jwks_test/JwkECMissingCrv", "no key", "RFC 7518 §6.2.1: crv MUST be present"),
    stand("jwt_verify_lib/jwks_test/JwksECUnspecifiedCrv", "no key", "RFC 7518 §6.2.1: crv MUST be present"),
    stand("jwt_verify_lib/jwks_test/JwksGoodX509", "no key", "a map of kid to certificate is no JWK Set (RFC 7517 §5)"),
    stand("jwt_verify_lib/jwks_test/RealJwksX509", "no key", "a map of kid to certificate is no JWK Set (RFC 7517 §5)"),
];

fn count(usable: usize) -> String {
    match usable {
        0 => "no key".to_owned(),
        usable => format!("{usable} keys"),
    }
}

#[test]
fn documents_yield_their_usable_keys() {
    let Some(text) = corpus::text("corpora envoy", "jwks_documents/envoy.jsonl") else {
        return;
    };
    let mut tally = Tally::new("corpora envoy", ENVOY);
    let mut left_out = Vec::new();
    for case in corpus::lines::<Document>(&text) {
        if case.kind == "pem_document" {
            let why = "not covered yet: there is no import of PEM";
            left_out.push(LeftOut { id: case.id, why });
            continue;
        }
        let set = JwkSet::parse(case.document.as_bytes()).unwrap_or_default();
        let ours = count(set.keys.len());
        let expected = match (case.expect.as_str(), case.usable_keys) {
            ("error", _) => count(0),
            (_, Some(usable)) => count(usable),
            // Some key, says the set, and not how many.
            (_, None) => count(set.keys.len().max(1)),
        };
        tally.case(&case.id, &expected, &ours, false);
    }
    assert_eq!(left_out.len(), 7);
    tally.finish(&left_out);
}

/// Each published set, and how many keys of it are usable: all, so far.
const WILD: &[(&str, usize)] = &[
    ("apple.jwks.json", 3),
    ("discord.jwks.json", 1),
    ("docker.jwks.json", 2),
    ("dropbox.jwks.json", 1),
    ("entra-common.jwks.json", 7),
    ("entra-organizations.jwks.json", 6),
    ("facebook.jwks.json", 2),
    ("gitlab.jwks.json", 2),
    ("google.jwks.json", 2),
    ("klarna.jwks.json", 4),
    ("lego.jwks.json", 5),
    ("mojeid.jwks.json", 1),
    ("slack.jwks.json", 1),
    ("spotify.jwks.json", 3),
    ("twitch.jwks.json", 1),
    ("verimi.jwks.json", 2),
];

#[test]
fn sets_as_well_known_issuers_publish_them_are_usable_whole() {
    let Some(folder) = corpus::path("corpora jwks_wild", "jwks_wild") else {
        return;
    };
    let mut tally = Tally::new("corpora jwks_wild", &[]);
    let files = corpus::files(&folder);
    let names: Vec<_> = files.iter().map(|path| file_name(path)).collect();
    let listed: Vec<_> = WILD.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, listed);
    for (path, (name, usable)) in files.iter().zip(WILD) {
        let text = corpus::read(path);
        let ours = match JwkSet::parse_bounded(text.as_bytes(), 100) {
            Ok(set) if set.skipped.is_empty() => {
                assert_eq!(kids(&set), published_kids(&text), "{name}");
                count(set.keys.len())
            }
            Ok(set) => format!("{:?}", set.skipped),
            Err(error) => error.to_string(),
        };
        tally.case(name, &count(*usable), &ours, false);
    }
    tally.finish(&[]);
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn kids(set: &JwkSet) -> Vec<String> {
    let kids = set.keys.iter().map(|key| key.kid().unwrap().to_owned());
    kids.collect()
}

fn published_kids(text: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(text).unwrap();
    let keys = document["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

#[derive(Deserialize)]
struct Trace {
    issuer: String,
    /// The keys by name; a name with `~vN` is a kid of before with other members.
    pool: BTreeMap<String, Value>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    t: String,
    keys: Vec<String>,
}

#[test]
fn through_every_published_rotation_kept_keys_stay_themselves_and_removed_ones_are_unknown() {
    let Some(folder) = corpus::path("corpora rotation_traces", "rotation_traces") else {
        return;
    };
    let mut tally = Tally::new("corpora rotation_traces", &[]);
    for path in corpus::files(&folder) {
        let trace: Trace = serde_json::from_str(&corpus::read(&path)).unwrap();
        let mut previous = KeySet::default();
        let mut names_before: Vec<String> = Vec::new();
        for step in trace.steps {
            let id = format!("{} {}", trace.issuer, step.t);
            let keys: Vec<&Value> = step.keys.iter().map(|name| &trace.pool[name]).collect();
            let document = serde_json::json!({ "keys": keys }).to_string();
            let set = JwkSet::parse_bounded(document.as_bytes(), 100).unwrap();
            let ours = count(set.keys.len());
            tally.case(&id, &count(step.keys.len()), &ours, false);

            let current = KeySet::new(set, Some(&previous));
            for name in &step.keys {
                let kid = trace.pool[name]["kid"].as_str();
                let key = current.select(kid, Algorithm::RS256).unwrap();
                let kept = names_before.contains(name);
                assert_eq!(
                    previous.contains(key),
                    kept,
                    "{id}: {name} kept its identity"
                );
            }
            for name in &names_before {
                let kid = trace.pool[name]["kid"].as_str();
                if !keys.iter().any(|key| key["kid"].as_str() == kid) {
                    let gone = current.select(kid, Algorithm::RS256);
                    assert_eq!(gone.unwrap_err().code(), "unknown_key", "{id}: {name}");
                }
            }
            previous = current;
            names_before = step.keys;
        }
    }
    tally.finish(&[]);
}
