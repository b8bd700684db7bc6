//! `claims/cases.jsonl`: 209 whole tokens in 21 classes, by the library and by `keywheel verify --cases`.

use crate::corpus;
use crate::tally::{Stand, Tally};
use crate::whole_token::{Case, ask_command_line};

const fn stand(id: &'static str, ours: &'static str, why: &'static str) -> Stand {
    Stand { id, ours, why }
}

/// Every case that the set calls debatable. docs/decisions/strictness.md has the reasons at length.
#[rustfmt::skip]
const STANDS: &[Stand] = &[
    stand("dev/baseline/kid-absent-one-candidate", "accept", "RFC 7515 §4.1.4: kid is optional; exactly one key may be left"),
    stand("dev/ecdsa/high-s-accepted", "accept", "RFC 7518 §3.4 has no low-S rule, and no cache here is keyed by a signature"),
    stand("dev/rsa/n-leading-zero-octet", "accept", "well-known issuers publish it; the number is the same"),
    stand("dev/rsa/n-padded-b64", "accept", "some issuers pad the values of a JWK; a token's segments are never padded"),
    stand("dev/limits/deep-payload-signed", "too_large", "42 KB; under a higher limit the nesting is refused"),
    stand("dev/limits/big-number", "accept", "an unknown claim that is a JSON number, however long, is passed on as signed"),
    stand("dev/json/payload-dup-exp", "malformed", "two parsers that keep different ones disagree about what was signed"),
    stand("dev/json/payload-dup-escaped-name", "malformed", "an escape is only another spelling of the same name"),
    stand("dev/crit/b64-false-without-crit", "critical_header", "RFC 7797 §7: not in a JWT; an unlisted b64 is a trap for those who miss it"),
    stand("dev/embedded-key/valid-token-with-jku-ignored", "accept", "jku is never read, so it cannot matter"),
    stand("dev/kid/4", "malformed", "a kid that is there and no string is not an absent one"),
    stand("dev/zip/zip-DEF-in-jws", "accept", "zip belongs to JWE; in a JWS it is an unknown parameter, never acted on"),
    stand("dev/cross-jwt/typ-case", "accept", "RFC 7515 §4.1.9: media types compare without case"),
    stand("dev/jwks/dup-kid-different-keys", "ambiguous_key", "no key is ever tried: one must be left"),
    stand("dev/jwks/dup-kid-different-kty", "accept", "alg tells the two apart, as the key type owns the algorithm"),
    stand("dev/jwks/private-members-present", "accept", "d is passed over unread; refusing would take the issuer down, not the leak"),
    stand("dev/jwks/doc-dup-keys-member", "keys_unavailable", "two `keys`: nobody can say which was meant"),
    stand("dev/jwks/doc-bom", "keys_unavailable", "RFC 8259 §8.1: a sender must not add one"),
    stand("dev/time/exp-missing", "missing_claim", "exp is required unless the configuration says otherwise"),
    stand("dev/time/exp-frac", "accept", "RFC 7519 §2: non-integer dates are dates"),
    stand("dev/time/exp-2e53p1", "accept", "an integer up to 64 bits is read exactly"),
    stand("dev/time/exp-i64max", "accept", "the last date there is; arithmetic saturates"),
    stand("dev/time/exp-1e400", "bad_claim", "no date that 64-bit seconds hold"),
    stand("dev/time/exp-1e308", "bad_claim", "no date that 64-bit seconds hold"),
    stand("dev/time/exp-exponent-form", "accept", "a JSON number like any other"),
    stand("dev/time/leeway-edge", "expired", "RFC 7519 §4.1.4: on or after exp, also with leeway"),
    stand("dev/time/nbf-null", "bad_claim", "null is no date, and not the absence of one"),
    stand("dev/time/nbf-neg", "accept", "before 1970 is a date"),
    stand("dev/time/iat-future", "accept", "RFC 7519 §4.1.6 gives iat no such meaning; nbf is what says so"),
    stand("dev/time/iat-string", "bad_claim", "checked by type wherever it is there"),
    stand("dev/aud/mixed-types", "bad_claim", "RFC 7519 §4.1.3: an array of strings"),
    stand("dev/aud/many-10k", "too_large", "21 KB; under a higher limit all ten thousand are read"),
];

#[test]
fn every_whole_token_gets_its_verdict_from_the_library_and_the_command_line() {
    let Some(path) = corpus::path("corpora claims", "claims/cases.jsonl") else {
        return;
    };
    let cases = corpus::lines::<Case>(&corpus::read(&path));
    assert_eq!(cases.len(), 209);
    let answers = ask_command_line(&path, &cases);
    let mut tally = Tally::new("corpora claims", STANDS);
    for case in &cases {
        let ours = case.by_library();
        assert_eq!(case.by_command_line(&answers), ours, "{}", case.id);
        tally.case(&case.id, &case.expect, &ours, case.policy.is_some());
    }
    tally.finish(&[]);
}
