//! Attacks by way of the key set (82 to 90). How a set is fetched is tests/remote.rs.

use std::sync::Arc;

use keywheel::jose::SetError;
use keywheel::verify::KeySet;
use keywheel::{Algorithm, JwkSet, VerifyingKey};
use serde_json::{Value, json};

use crate::ground::{
    ED, ED_2, RSA, builder, check_sets, decode, good_token, header, jwks, payload, verdict,
};
use crate::mint;

/// `ED`'s JWK with other members.
fn ed_with(change: impl FnOnce(&mut Value)) -> String {
    let mut jwk = serde_json::from_str(&ED.verifying_key().to_jwk()).unwrap();
    change(&mut jwk);
    jwk.to_string()
}

fn set(keys: &[&str]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

#[test]
fn a_bad_key_spoils_no_other_and_is_counted() {
    let good = ED.verifying_key().to_jwk();
    let bad = [
        "null",
        "7",
        "[]",
        "{}",
        r#"{"kty":"XYZ","kid":"odd"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"small"}"#,
        r#"{"kty":"EC","crv":"P-256"}"#,
    ];
    for bad in bad {
        let sets = [set(&[bad, &good]), set(&[&good, bad])];
        check_sets(&good_token(), &sets.map(|set| (set, "accept")));
    }
    let keys: Vec<&str> = bad.iter().copied().chain([good.as_str()]).collect();
    let verifier = builder(&set(&keys)).build().unwrap();
    let status = &verifier.status()[0];
    assert_eq!(
        (status.kids.as_slice(), status.skipped),
        (&["ed".to_owned()][..], bad.len())
    );
}

#[test]
fn a_key_without_alg_use_and_kid_serves_by_its_type() {
    let bare = ed_with(|jwk| {
        for name in ["alg", "use", "kid"] {
            jwk.as_object_mut().unwrap().remove(name);
        }
    });
    let rsa = RSA.verifying_key().to_jwk();
    let verifier = builder(&set(&[&bare, &rsa])).build().unwrap();
    for (header, expected) in [
        (r#"{"alg":"EdDSA"}"#, "accept"),
        // A kid that nobody published is no kid at all, and no key is guessed.
        (r#"{"alg":"EdDSA","kid":"ed"}"#, "unknown_key"),
        (r#"{"alg":"ES256"}"#, "unknown_key"),
    ] {
        let token = mint::token(&ED, header, payload(""));
        assert_eq!(verdict(&verifier, &token), expected, "{header}");
    }
}

#[test]
fn a_key_for_another_purpose_is_no_candidate() {
    for (name, value) in [
        ("use", json!("enc")),
        ("use", json!("SIG")),
        ("use", json!("")),
        ("use", json!(null)),
        ("key_ops", json!([])),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!(["encrypt", "wrapKey"])),
        ("key_ops", json!("verify")),
        ("key_ops", json!(["verify", 1])),
        ("alg", json!("ECDH-ES")),
        ("alg", json!("RS256")),
        ("alg", json!(null)),
        ("crv", json!("X25519")),
        ("crv", json!("Ed448")),
        ("kty", json!("AKP")),
        ("kty", json!("okp")),
        ("kty", json!(null)),
        ("kid", json!(7)),
    ] {
        let jwk = ed_with(|jwk| jwk[name] = value);
        let error = VerifyingKey::from_jwk(&jwk).unwrap_err();
        // A key that says what it is for, and that it is not for this; or no key at all.
        let reason = match error.is_contradiction() && !jwk.contains(r#""kid":7"#) {
            true => "key_mismatch",
            false => "unknown_key",
        };
        check_sets(&good_token(), &[(set(&[&jwk]), reason)]);
    }
    let both = ed_with(|jwk| jwk["key_ops"] = json!(["sign", "verify"]));
    check_sets(&good_token(), &[(set(&[&both]), "accept")]);
}

#[test]
fn two_keys_under_one_kid_are_ambiguous_unless_alg_tells_them_apart() {
    let ed = ED.verifying_key().to_jwk();
    let other = ED_2.verifying_key().to_jwk().replace("ed-2", "ed");
    let rsa = RSA.verifying_key().to_jwk().replace(r#""rsa""#, r#""ed""#);
    check_sets(
        &good_token(),
        &[
            (set(&[&ed, &other]), "ambiguous_key"),
            (set(&[&other, &ed]), "ambiguous_key"),
            (set(&[&other]), "bad_signature"),
            (set(&[&ed, &rsa]), "accept"),
            (set(&[&rsa, &ed]), "accept"),
            (set(&[&rsa]), "key_mismatch"),
            (set(&[&ed, &ed]), "accept"),
        ],
    );
}

#[test]
fn private_members_in_a_set_are_neither_used_nor_shown() {
    let secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I";
    let leaked = ed_with(|jwk| {
        for name in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            jwk[name] = json!(secret);
        }
    });
    check_sets(&good_token(), &[(set(&[&leaked]), "accept")]);
    let parsed = JwkSet::parse(set(&[&leaked]).as_bytes()).unwrap();
    let shown = format!("{parsed:?} {}", parsed.keys[0].to_jwk());
    assert!(!shown.contains(secret), "{shown}");
    // Nor where the key is refused, and the refusal is told.
    let refused = ed_with(|jwk| {
        jwk["d"] = json!(secret);
        jwk["use"] = json!("enc");
    });
    let parsed = JwkSet::parse(set(&[&refused]).as_bytes()).unwrap();
    let shown = format!("{parsed:?} {}", parsed.skipped[0].error);
    assert!(!shown.contains(secret), "{shown}");
}

#[test]
fn what_is_no_key_set_is_an_error() {
    let good = jwks();
    for document in [
        "".to_owned(),
        " ".into(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        format!("[{good}]"),
        good.replace("\"keys\":[", "\"keys\":{"),
        good.replace("keys", "Keys"),
        r#"{"keys":null}"#.into(),
        r#"{"keys":"[]"}"#.into(),
        r#"{"keys":[],"keys":[]}"#.into(),
        format!("\u{feff}{good}"),
        format!("{good},"),
        format!("{good}{good}"),
        good.replace("]}", ",]}"),
        good.replace("]}", "]"),
        "<!doctype html><title>502</title>".into(),
        "-----BEGIN PUBLIC KEY-----".into(),
        ED.verifying_key().to_jwk(),
        // A member twice, in one key of two: nobody can say what the document says.
        good.replacen("\"kty\"", "\"kty\":\"OKP\",\"kty\"", 1),
    ] {
        assert!(JwkSet::parse(document.as_bytes()).is_err(), "{document}");
    }
    assert!(JwkSet::parse(&[good.as_bytes(), &[0xff]].concat()).is_err());
    // An empty set is a set: its issuer has no keys at the moment.
    assert!(JwkSet::parse(br#"{"keys":[]}"#).unwrap().keys.is_empty());
    check_sets(
        &good_token(),
        &[(r#"{"keys":[]}"#.to_owned(), "unknown_key")],
    );
}

#[test]
fn padding_and_leading_zeros_of_a_jwks_numbers_do_not_matter() {
    let token = mint::token(&RSA, &header(&RSA), payload(""));
    let jwk = RSA.verifying_key().to_jwk();
    let public: Value = serde_json::from_str(&jwk).unwrap();
    let n = public["n"].as_str().unwrap();
    let with_n = |n: &str| {
        let mut public = public.clone();
        public["n"] = json!(n);
        set(&[&public.to_string()])
    };
    let zero_before = mint::base64url([&[0], &decode(n)[..]].concat());
    let zeros_before = mint::base64url([&[0; 100], &decode(n)[..]].concat());
    check_sets(
        &token,
        &[
            (with_n(n), "accept"),
            (with_n(&format!("{n}==")), "accept"),
            (with_n(&zero_before), "accept"),
            (with_n(&zeros_before), "accept"),
            (with_n(&format!("{n}=")), "accept"),
            // Too much of it, another alphabet, white space: no base64url of any kind.
            (with_n(&format!("{n}===")), "unknown_key"),
            (with_n(&format!("{n}\n")), "unknown_key"),
            (with_n(&format!(" {n}")), "unknown_key"),
            (with_n(&format!("{n}+/")), "unknown_key"),
            // Unused bits that are set: another spelling of the same number.
            (with_n(&with_unused_bit(n)), "unknown_key"),
        ],
    );
    // However it is spelt, the key has one name.
    let thumbprint = |set: &str| *JwkSet::parse(set.as_bytes()).unwrap().keys[0].thumbprint();
    assert_eq!(thumbprint(&with_n(n)), thumbprint(&with_n(&zero_before)));
    assert_eq!(
        thumbprint(&with_n(n)),
        thumbprint(&with_n(&format!("{n}==")))
    );
}

/// 2048 bits are 342 characters, the last of which has four bits to spare.
fn with_unused_bit(n: &str) -> String {
    let (rest, last) = n.split_at(n.len() - 1);
    let set = match last {
        "A" => "B",
        "Q" => "R",
        "g" => "h",
        "w" => "x",
        other => panic!("{other} has bits set already"),
    };
    format!("{rest}{set}")
}

#[test]
fn a_set_of_more_keys_than_the_limit_is_refused() {
    let key = ED.verifying_key().to_jwk();
    let keys = |count: usize| set(&vec![key.as_str(); count]);
    assert_eq!(
        JwkSet::parse_bounded(keys(100).as_bytes(), 100)
            .unwrap()
            .keys
            .len(),
        100
    );
    let error = JwkSet::parse_bounded(keys(101).as_bytes(), 100).unwrap_err();
    assert_eq!(error, SetError::TooManyKeys { limit: 100 });
    // Skipped keys count too: it is the work that is bounded.
    let junk = set(&vec!["{}"; 100_000]);
    let error = JwkSet::parse_bounded(junk.as_bytes(), 100).unwrap_err();
    assert_eq!(error, SetError::TooManyKeys { limit: 100 });
}

#[test]
fn a_kid_with_new_material_is_another_key() {
    let key = ED.verifying_key().to_jwk();
    let changed = ED_2.verifying_key().to_jwk().replace("ed-2", "ed");
    let snapshot = |jwk: &str, previous: Option<&KeySet>| {
        KeySet::new(JwkSet::parse(set(&[jwk]).as_bytes()).unwrap(), previous)
    };
    let first = snapshot(&key, None);
    let select = |snapshot: &KeySet| {
        let key = snapshot.select(Some("ed"), Algorithm::EdDSA);
        Arc::clone(key.unwrap())
    };
    let (old, same) = (select(&first), snapshot(&key, Some(&first)));
    assert!(
        same.contains(&old),
        "what has not changed stays the very same key"
    );
    let second = snapshot(&changed, Some(&first));
    let new = select(&second);
    assert!(!second.contains(&old));
    let signature = ED.sign(b"message").unwrap();
    assert!(old.verify(Algorithm::EdDSA, b"message", &signature));
    assert!(!new.verify(Algorithm::EdDSA, b"message", &signature));
}

#[test]
fn kids_are_opaque() {
    for kid in [
        "HNrUXlvlmuQ3WzP8/AnvM+==",
        "sig-1729494102",
        "1",
        "",
        " ",
        "ключ",
        "🔑",
        "a\"b\\c\n",
        "../x",
    ] {
        let jwk = ed_with(|jwk| jwk["kid"] = json!(kid));
        let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
        let token = mint::token(&ED, &header, payload(""));
        check_sets(&token, &[(set(&[&jwk]), "accept"), (jwks(), "unknown_key")]);
    }
}
