//! The examples of RFC 7515, 7517, 7520, 7638, 7797 and 8037, as the IETF's cookbook and the `jose` tool carry them.

use std::path::Path;

use keywheel::{JwkSet, VerifyingKey};
use serde_json::Value;

use crate::tally::{LeftOut, Stand, Tally};
use crate::{corpus, signature_layer};

const fn hmac(id: &'static str) -> Stand {
    Stand {
        id,
        ours: "alg_not_allowed",
        why: "an HMAC: whoever could verify it could also sign it, so there is none here",
    }
}

const COOKBOOK: &[Stand] = &[
    hmac("4_4.hmac-sha2_integrity_protection.json compact"),
    Stand {
        id: "4_5.signature_with_detached_content.json compact",
        ours: "alg_not_allowed",
        why: "an HMAC; and detached content is not asked about: a token carries its claims",
    },
    Stand {
        id: "hmac-sha2_b64_false.json compact",
        ours: "malformed",
        why: "RFC 7797 §7: unencoded payloads are not for JWTs; this one is no base64url",
    },
];

/// The one key of an example, or its several, as a set without members beyond their own.
fn jwks(key: &Value) -> String {
    let keys = match key {
        Value::Array(keys) => keys.clone(),
        key => vec![key.clone()],
    };
    serde_json::json!({ "keys": keys }).to_string()
}

#[test]
fn the_compact_examples_of_the_cookbook_verify_and_no_other_serialization_does() {
    let Some(folder) = corpus::path("corpora ietf cookbook", "ietf/cookbook") else {
        return;
    };
    let mut tally = Tally::new("corpora ietf cookbook", COOKBOOK);
    let mut left_out = Vec::new();
    for part in ["jws", "curve25519", "rfc7797"] {
        for path in corpus::files(&folder.join(part)) {
            let name = file_name(&path);
            if !name.ends_with(".json") {
                continue;
            }
            if name.starts_with("4.2.") {
                let why = "its own intermediate values contradict each other";
                left_out.push(LeftOut { id: name, why });
                continue;
            }
            let example: Value = serde_json::from_str(&corpus::read(&path)).unwrap();
            let jwks = jwks(&example["input"]["key"]);
            if let Some(compact) = example["output"]["compact"].as_str() {
                let verified = signature_layer::verify(compact, &jwks);
                let ours = match verified {
                    Ok(payload) if payload == payload_of(&example) => "accept",
                    Ok(_) => "accept, with another payload",
                    Err(reason) => reason,
                };
                tally.case(&format!("{name} compact"), "accept", ours, false);
            }
            for form in ["json", "json_flat"] {
                let Some(serialized) = example["output"].get(form) else {
                    continue;
                };
                // RFC 7519 §3: a JWT is in compact form.
                let ours = signature_layer::verdict(&serialized.to_string(), &jwks);
                tally.case(&format!("{name} {form}"), "malformed", ours, false);
            }
        }
    }
    for path in corpus::files(&folder.join("jwk")) {
        let name = file_name(&path);
        let expected = if name.contains("symmetric") {
            "refused"
        } else {
            "usable"
        };
        let ours = usable(&corpus::read(&path));
        tally.case(&name, expected, ours, false);
    }
    tally.finish(&left_out);
}

fn payload_of(example: &Value) -> &[u8] {
    example["input"]["payload"].as_str().unwrap().as_bytes()
}

fn usable(jwk: &str) -> &'static str {
    match VerifyingKey::from_jwk(jwk) {
        Ok(_) => "usable",
        Err(_) => "refused",
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn thumbprints_are_those_of_the_rfcs() {
    let Some(text) = corpus::text("corpora ietf thumbprints", "ietf/thumbprints.json") else {
        return;
    };
    let mut tally = Tally::new("corpora ietf thumbprints", &[]);
    let examples: Vec<Value> = serde_json::from_str(&text).unwrap();
    for example in &examples {
        let key = VerifyingKey::from_jwk(&example["jwk"].to_string()).unwrap();
        let (id, expected) = (example["id"].as_str(), example["sha256"].as_str());
        tally.case(
            id.unwrap(),
            expected.unwrap(),
            &key.thumbprint().to_string(),
            false,
        );
    }
    tally.finish(&[]);
}

const JOSE_TOOL: &[Stand] = &[
    hmac("rfc7515_A.1.jwsc"),
    Stand {
        id: "rfc7515_A.5.jwsc",
        ours: "alg_not_allowed",
        why: "`none`: an unsecured JWS is an example of the RFC and never a token",
    },
    hmac("rfc7520_4.4.jwsc"),
    Stand {
        id: "rfc7520_4.5.jwsc",
        ours: "alg_not_allowed",
        why: "an HMAC; and detached content is not asked about: a token carries its claims",
    },
];

/// Keys for signatures, by key type and purpose; the rest of the folder's keys are for encryption or symmetric.
const JOSE_TOOL_KEYS: &[&str] = &[
    "rfc7515_A.2.jwk",
    "rfc7515_A.3.jwk",
    "rfc7515_A.4.jwk",
    "rfc7515_A.6.1.jwk",
    "rfc7515_A.6.2.jwk",
    "rfc7515_A.7.jwk",
    "rfc7517_B.jwk",
    "rfc7520_3.1.jwk",
    "rfc7520_3.2.jwk",
    "rfc7520_3.3.jwk",
    "rfc7520_3.4.jwk",
    "rfc7520_4.1.jwk",
    "rfc7520_4.2.jwk",
    "rfc7520_4.3.jwk",
    "rfc7520_4.8.1.jwk",
    "rfc7520_4.8.2.jwk",
    "rfc7638_3.1.jwk",
];

const JOSE_TOOL_SETS: &[(&str, usize)] = &[
    ("rfc7515_A.6.jwkset", 2),
    ("rfc7517_A.1.jwkset", 1),
    ("rfc7517_A.2.jwkset", 1),
    ("rfc7517_A.3.jwkset", 0),
    ("rfc7520_4.8.jwkset", 2),
];

#[test]
fn the_jose_tools_vectors_are_judged_by_what_they_are() {
    let Some(folder) = corpus::path("corpora latchset_jose", "latchset_jose/tests") else {
        return;
    };
    let mut tally = Tally::new("corpora latchset_jose", JOSE_TOOL);
    let mut left_out = Vec::new();
    let mut files = corpus::files(&folder.join("vectors"));
    files.extend(corpus::files(&folder.join("cve-2023-50967")));
    files.extend(corpus::files(&folder.join("issue-75")));
    for path in &files {
        let name = file_name(path);
        let (stem, kind) = name.rsplit_once('.').unwrap();
        let read = || corpus::read(path).trim().to_owned();
        let (expected, ours) = match kind {
            "jwsc" => {
                let jwk = std::fs::read_to_string(path.with_file_name(format!("{stem}.jwk")));
                let jwks = format!(r#"{{"keys":[{}]}}"#, jwk.unwrap_or_default());
                (
                    "accept",
                    signature_layer::verdict(&read(), &jwks).to_owned(),
                )
            }
            // JSON serializations, and JWE in all of its forms: whole, they are no compact JWS.
            "jwsf" | "jwsg" | "jwec" | "jwef" | "jweg" | "jwe" => {
                let nothing = r#"{"keys":[]}"#;
                (
                    "malformed",
                    signature_layer::verdict(&read(), nothing).to_owned(),
                )
            }
            "jwk" => {
                let listed = JOSE_TOOL_KEYS.contains(&name.as_str());
                let expected = if listed { "usable" } else { "refused" };
                (expected, usable(&read()).to_owned())
            }
            "jwkset" => {
                let (_, expected) = JOSE_TOOL_SETS.iter().find(|(set, _)| *set == name).unwrap();
                let usable = JwkSet::parse(read().as_bytes()).unwrap().keys.len();
                assert_eq!(usable, *expected, "{name}");
                ("usable keys as listed", "usable keys as listed".to_owned())
            }
            "thp" => {
                let key = corpus::read(&path.with_extension("jwk"));
                let key = VerifyingKey::from_jwk(key.trim()).unwrap();
                let same = key.thumbprint().to_string() == read();
                ("true", same.to_string())
            }
            _ => {
                let why = match kind {
                    "payl" => "detached payload",
                    "pt" | "pwd" => "JWE plaintext or password: nothing is decrypted here",
                    "pem" => "not covered yet: there is no import of PEM",
                    _ => "no vector",
                };
                left_out.push(LeftOut { id: name, why });
                continue;
            }
        };
        tally.case(&name, expected, &ours, false);
    }
    tally.finish(&left_out);
}
