//! `jws/cases.jsonl`: 279 signatures from Wycheproof and the RFCs. Their payloads are not claims.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::tally::{Stand, Tally};
use crate::{corpus, signature_layer};

#[derive(Deserialize)]
struct Case {
    id: String,
    token: String,
    jwks: Box<RawValue>,
    expect: String,
    /// Where the upstream label is wrong or a matter of policy.
    disputed: Option<String>,
}

const fn hmac(id: &'static str) -> Stand {
    Stand {
        id,
        ours: "alg_not_allowed",
        why: "an HMAC: whoever could verify it could also sign it, so there is none here",
    }
}

const fn stand(id: &'static str, ours: &'static str, why: &'static str) -> Stand {
    Stand { id, ours, why }
}

#[rustfmt::skip]
const STANDS: &[Stand] = &[
    hmac("wycheproof/json_web_signature_test/1"),
    stand("wycheproof/json_web_signature_test/346", "key_mismatch", "RFC 8725 §3.1: a JWK for PS256 is for PS256, and the header says PS384"),
    stand("wycheproof/json_web_signature_test/347", "key_mismatch", "`ES521` is no registered alg: its key is for something else"),
    stand("wycheproof/json_web_signature_test/350", "key_mismatch", "as 346"),
    hmac("wycheproof/json_web_signature_test/352"),
    hmac("wycheproof/json_web_signature_test/358"),
    hmac("wycheproof/json_web_signature_test/359"),
    hmac("wycheproof/json_web_signature_test/367"),
    hmac("wycheproof/json_web_signature_test/370"),
    stand("wycheproof/json_web_signature_test/373", "malformed", "`?` is no character of base64url, whatever the HMAC over it says"),
    hmac("wycheproof/json_web_signature_test/376"),
    hmac("wycheproof/json_web_signature_test/377"),
    hmac("rfc7515/A.1"),
    hmac("rfc7520/4.4"),
];

#[test]
fn every_signature_gets_its_verdict_whatever_its_payload() {
    let Some(text) = corpus::text("corpora jws", "jws/cases.jsonl") else {
        return;
    };
    let cases = corpus::lines::<Case>(&text);
    assert_eq!(cases.len(), 279);
    let mut tally = Tally::new("corpora jws", STANDS);
    let mut symmetric = 0;
    for case in cases {
        let ours = signature_layer::verdict(&case.token, case.jwks.get());
        tally.case(&case.id, &case.expect, ours, case.disputed.is_some());
        if case.jwks.get().contains(r#""kty": "oct""#) {
            symmetric += 1;
            assert_ne!(ours, "accept", "{}: a symmetric key verified", case.id);
        }
    }
    assert!(
        symmetric > 20,
        "{symmetric} symmetric keys: are they read at all?"
    );
    tally.finish(&[]);
}
