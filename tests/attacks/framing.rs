//! Attacks on the framing of a token (37 to 43).

use keywheel::jose::{Compact, CompactError};

use crate::ground::{ED, builder, good_token, header, jwks, payload, verdict, verifier};
use crate::mint::{self, base64url};

/// Checks that each token is malformed, and that the one they were made of is not.
fn check_malformed(tokens: impl IntoIterator<Item = String>) {
    let verifier = verifier();
    assert_eq!(verdict(&verifier, &good_token()), "accept");
    for token in tokens {
        assert_eq!(verdict(&verifier, &token), "malformed", "{token:?}");
    }
}

#[test]
fn framing_has_one_spelling() {
    let good = good_token();
    let (first, rest) = good.split_once('.').unwrap();
    let (second, third) = rest.split_once('.').unwrap();
    let junk = [
        "=", "==", " ", "\t", "\r\n", "\n", "\0", "\u{a0}", "%3D", "+", "/", "~", "é",
    ];
    let around = junk.iter().flat_map(|junk| {
        [
            format!("{junk}{good}"),
            format!("{good}{junk}"),
            format!("{first}{junk}.{second}.{third}"),
            format!("{first}.{junk}{second}.{third}"),
            format!("{first}.{second}{junk}.{third}"),
            format!("{first}.{second}.{junk}{third}"),
            format!("{first}.{}{junk}{}.{third}", &second[..4], &second[4..]),
        ]
    });
    let prefixes = ["Bearer ", "bearer ", "JWT ", "\"", "\u{feff}"];
    let prefixed = prefixes.iter().map(|prefix| format!("{prefix}{good}"));
    check_malformed(around.chain(prefixed));
    // The other alphabet of RFC 4648, in a signature that has both of its characters.
    let with_both = (0..u32::MAX)
        .map(|n| mint::token(&ED, &header(&ED), payload(&format!(",\"n\":{n}"))))
        .find(|token| token.contains('-') && token.contains('_'))
        .unwrap();
    check_malformed([with_both.replace('-', "+"), with_both.replace('_', "/")]);
}

/// The same bytes by another last character, where that has bits to spare.
fn respelt(segment: &str) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = segment.split_at(segment.len() - 1);
    let value = ALPHABET.iter().position(|&c| c == last.as_bytes()[0])?;
    let has_spare_bits = !segment.len().is_multiple_of(4);
    has_spare_bits.then(|| format!("{rest}{}", char::from(ALPHABET[value | 1])))
}

#[test]
fn unused_bits_in_a_last_character_are_refused() {
    let mut respellings = 0;
    // Claims of each length, so that each segment ends in each way.
    for length in 0..4 {
        let token = mint::token(
            &ED,
            &format!("{}{}", header(&ED), " ".repeat(length)),
            payload(&" ".repeat(length)),
        );
        let segments: Vec<&str> = token.split('.').collect();
        for (at, segment) in segments.iter().enumerate() {
            let Some(respelt) = respelt(segment) else {
                continue;
            };
            assert_ne!(respelt, *segment);
            let mut segments = segments.clone();
            segments[at] = &respelt;
            check_malformed([segments.join(".")]);
            respellings += 1;
        }
    }
    assert!(respellings > 6, "{respellings}");
}

#[test]
fn a_segment_of_one_character_beyond_whole_groups_is_refused() {
    let padded = format!(
        "{}{}",
        header(&ED),
        " ".repeat((3 - header(&ED).len() % 3) % 3)
    );
    let token = mint::token(&ED, &padded, payload(""));
    let (first, rest) = token.split_once('.').unwrap();
    assert!(first.len().is_multiple_of(4));
    check_malformed([
        format!("{first}A.{rest}"),
        "A.A.A".to_owned(),
        format!("{first}.A.{rest}"),
    ]);
}

#[test]
fn a_token_has_three_segments_and_not_one_dot_more() {
    let good = good_token();
    check_malformed([
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{good}"),
        good.replacen('.', "..", 1),
        good.replace('.', ""),
        ".".repeat(16 * 1024),
    ]);
    // Counted, and at the fourth counting ends: no segment is looked at.
    let many = ".".repeat(1 << 22);
    for text in ["a.b.c.d", "?.?", many.as_str()] {
        let mut decoded = Vec::new();
        let parsed = Compact::parse(text, usize::MAX, &mut decoded).map(|_| ());
        assert_eq!(parsed, Err(CompactError::Segments));
    }
}

#[test]
fn json_serializations_and_polyglots_are_no_tokens() {
    let good = good_token();
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    check_malformed([
        format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#),
        format!(
            r#"{{"payload":"{payload}","signatures":[{{"protected":"{header}","signature":"{signature}"}}]}}"#
        ),
        // Two dots, and a compact token inside for a parser that looks for one.
        format!(r#"{{"a":"{header}.{payload}.{signature}"}}"#),
        format!(r#"{good}{{"payload":"{payload}"}}"#),
    ]);
}

#[test]
fn an_encrypted_token_is_no_token() {
    let jwe = format!(
        "{}.AAAA.AAAA.AAAA.AAAA",
        base64url(r#"{"alg":"RSA-OAEP","enc":"A128GCM"}"#)
    );
    let nested = mint::token(
        &ED,
        r#"{"alg":"EdDSA","kid":"ed","cty":"JWT"}"#,
        good_token(),
    );
    check_malformed([jwe.clone(), jwe.replacen(".AAAA", ".", 1), nested]);
}

#[test]
fn a_token_over_the_limit_is_refused_before_it_is_decoded() {
    let limit = 16 * 1024;
    let verifier = verifier();
    // Not a character of it is base64url: nobody has looked.
    assert_eq!(verdict(&verifier, &"?".repeat(limit + 1)), "too_large");
    assert_eq!(verdict(&verifier, &"?".repeat(limit)), "malformed");
    let padding = ",\"padding\":\"".to_owned() + &"x".repeat(limit) + "\"";
    let large = mint::token(&ED, &header(&ED), payload(&padding));
    assert_eq!(verdict(&verifier, &large), "too_large");
    let larger = builder(&jwks())
        .max_token_bytes(large.len())
        .build()
        .unwrap();
    assert_eq!(verdict(&larger, &large), "accept");
    let tight = builder(&jwks())
        .max_token_bytes(good_token().len() - 1)
        .build()
        .unwrap();
    assert_eq!(verdict(&tight, &good_token()), "too_large");
}
