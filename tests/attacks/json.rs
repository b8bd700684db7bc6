//! Attacks by way of JSON, and of what is read before the signature (44 to 52).

use keywheel::Claims;

use crate::ground::{
    AUDIENCE, ED, ISSUER, NOW, builder, check_headers, check_payloads, header, jwks, payload,
    verdict, verifier,
};
use crate::mint::{self, base64url};

#[test]
fn nesting_is_bounded_at_32() {
    let unlimited = builder(&jwks())
        .max_token_bytes(usize::MAX)
        .build()
        .unwrap();
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        for (depth, expected) in [(31, "accept"), (32, "malformed"), (1 << 17, "malformed")] {
            let inner = if open == "[" { "" } else { "1" };
            let nested = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
            let more = format!(",\"x\":{nested}");
            let deep_payload = mint::token(&ED, &header(&ED), payload(&more));
            assert_eq!(
                verdict(&unlimited, &deep_payload),
                expected,
                "{depth} of {open} in claims"
            );
            let header = format!(r#"{{"alg":"EdDSA","kid":"ed"{more}}}"#);
            let deep_header = mint::token(&ED, &header, payload(""));
            assert_eq!(
                verdict(&unlimited, &deep_header),
                expected,
                "{depth} of {open} in a header"
            );
        }
    }
}

#[test]
fn huge_numbers_and_lists_are_read_in_one_pass() {
    let unlimited = builder(&jwks())
        .max_token_bytes(usize::MAX)
        .build()
        .unwrap();
    let digits = "9".repeat(1 << 18);
    let audiences = vec!["\"x\""; 100_000].join(",");
    let members: Vec<String> = (0..100_000).map(|n| format!(",\"m{n}\":{n}")).collect();
    let (exp, members) = (NOW.seconds() + 1, members.concat());
    for (claims, expected) in [
        (payload(&format!(r#","n":{digits}"#)), "accept"),
        (payload(&format!(r#","n":1e{digits}"#)), "accept"),
        (payload(&format!(r#","nbf":{digits}"#)), "bad_claim"),
        (payload(&format!(r#","nbf":-0.{digits}"#)), "accept"),
        (payload(&members), "accept"),
        (payload(&format!(r#"{members},"m7":7"#)), "malformed"),
        (
            format!(r#"{{"iss":"{ISSUER}","exp":{exp},"aud":[{audiences},"{AUDIENCE}"]}}"#),
            "accept",
        ),
        (
            format!(r#"{{"iss":"{ISSUER}","exp":{exp},"aud":[{audiences}]}}"#),
            "wrong_audience",
        ),
    ] {
        let token = mint::token(&ED, &header(&ED), claims);
        assert_eq!(verdict(&unlimited, &token), expected);
    }
}

#[test]
fn a_header_parameter_twice_is_refused() {
    check_headers(&[
        (r#"{"alg":"EdDSA","alg":"EdDSA","kid":"ed"}"#, "malformed"),
        (r#"{"alg":"none","alg":"EdDSA","kid":"ed"}"#, "malformed"),
        (r#"{"alg":"EdDSA","kid":"ed","alg":"none"}"#, "malformed"),
        (r#"{"alg":"EdDSA","kid":"ed","kid":"ed-2"}"#, "malformed"),
        (
            r#"{"alg":"EdDSA","kid":"ed","k\u0069d":"ed-2"}"#,
            "malformed",
        ),
        (r#"{"alg":"EdDSA","kid":"ed","x":1,"x":1}"#, "malformed"),
        (
            r#"{"alg":"EdDSA","kid":"ed","x":{"y":1,"y":1}}"#,
            "malformed",
        ),
        (r#"{"\u0061lg":"EdDSA","kid":"ed"}"#, "accept"),
    ]);
}

#[test]
fn a_claim_twice_is_refused_at_every_depth_and_through_escapes() {
    for more in [
        r#","exp":9999999999"#,
        r#","\u0065xp":9999999999"#,
        r#","sub":"bob""#,
        r#","x":1,"x":1"#,
        r#","x":1,"\u0078":1"#,
        r#","x":{"y":1,"y":2}"#,
        r#","x":[[{"y":1,"y":2}]]"#,
    ] {
        check_payloads(&[(&payload(more), "malformed")]);
    }
    // Names that look alike are not equal: é composed and not, and a name in another case.
    check_payloads(&[
        (&payload(",\"\u{e9}\":1,\"e\u{301}\":2"), "accept"),
        (&payload(",\"SUB\":\"bob\",\"Exp\":1"), "accept"),
    ]);
}

#[test]
fn what_is_no_strict_json_object_is_refused() {
    let good_header = header(&ED);
    let good_payload = payload("");
    let verifier = verifier();
    for junk in [
        "",
        " ",
        "null",
        "true",
        "1",
        "\"x\"",
        "[]",
        "{",
        "}",
        "{]",
        "{}{}",
        "NaN",
        "{'a':1}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":0x1}",
        "{\"a\":undefined}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\x41\"}",
        "{\"a\":\"\u{1}\"}",
        "{\"a\" 1}",
        "{a:1}",
    ] {
        let with_junk = mint::token(&ED, junk, &good_payload);
        assert_eq!(
            verdict(&verifier, &with_junk),
            "malformed",
            "{junk} as header"
        );
        let with_junk = mint::token(&ED, &good_header, junk);
        assert_eq!(
            verdict(&verifier, &with_junk),
            "malformed",
            "{junk} as payload"
        );
    }
    for (before, after) in [
        ("\u{feff}", ""),
        ("", "x"),
        ("", "\0"),
        ("", "{}"),
        ("", ","),
        ("/**/", ""),
        ("", "//"),
        ("\u{a0}", ""),
        ("\u{b}", ""),
    ] {
        let header = format!("{before}{good_header}{after}");
        let token = mint::token(&ED, &header, &good_payload);
        assert_eq!(verdict(&verifier, &token), "malformed", "{header:?}");
        let payload = format!("{before}{good_payload}{after}");
        let token = mint::token(&ED, &good_header, &payload);
        assert_eq!(verdict(&verifier, &token), "malformed", "{payload:?}");
    }
    for not_utf8 in [
        &b"\xff"[..],
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf8\x88\x80\x80\x80",
    ] {
        let text = payload(",\"x\":\"?\"").into_bytes();
        let at = text.iter().position(|&byte| byte == b'?').unwrap();
        let bytes = [&text[..at], not_utf8, &text[at + 1..]].concat();
        let token = mint::token(&ED, &good_header, bytes);
        assert_eq!(verdict(&verifier, &token), "malformed", "{not_utf8:x?}");
    }
    // White space between tokens is JSON's own.
    let spaced = format!(" \t\r\n{good_payload}\n");
    assert_eq!(
        verdict(&verifier, &mint::token(&ED, &good_header, spaced)),
        "accept"
    );
}

#[test]
fn a_nul_is_a_character_like_any_other() {
    let exp = NOW.seconds() + 1;
    check_headers(&[(r#"{"alg":"EdDSA","kid":"ed\u0000"}"#, "unknown_key")]);
    check_payloads(&[
        (
            &format!(r#"{{"iss":"{ISSUER}\u0000","aud":"{AUDIENCE}","exp":{exp}}}"#),
            "unknown_issuer",
        ),
        (
            &format!(r#"{{"iss":"{ISSUER}\u0000.evil.test","aud":"{AUDIENCE}","exp":{exp}}}"#),
            "unknown_issuer",
        ),
        (
            &format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}\u0000","exp":{exp}}}"#),
            "wrong_audience",
        ),
        (
            &format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"a\u0000b","exp":{exp}}}"#),
            "accept",
        ),
    ]);
}

#[test]
fn subjects_come_through_as_signed() {
    let verifier = verifier();
    let exp = NOW.seconds() + 1;
    for (written, sub) in [
        ("aLiCe", "aLiCe"),
        (" alice ", " alice "),
        ("", ""),
        ("e\\u0301", "e\u{301}"),
        ("\\u00e9", "\u{e9}"),
        ("a\\u0000b", "a\0b"),
        ("\\ud83d\\ude00", "😀"),
        ("\u{212a}", "\u{212a}"),
        ("\u{202e}admin", "\u{202e}admin"),
        ("a\\\"b\\\\c\\/d", "a\"b\\c/d"),
    ] {
        let claims =
            format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","exp":{exp},"sub":"{written}"}}"#);
        let token = mint::token(&ED, &header(&ED), &claims);
        let verified = verifier.try_verify::<Claims>(&token).unwrap();
        assert_eq!(verified.subject(), sub);
        assert_eq!(verified.payload(), claims);
    }
}

#[test]
fn the_bytes_received_are_what_is_verified() {
    let verifier = verifier();
    let odd = payload(",  \"x\" : [ 1 , 2 ]").replace("alice", "\\u0061lice");
    let token = mint::token(&ED, &header(&ED), &odd);
    assert_eq!(verdict(&verifier, &token), "accept");
    // The same claims as any JSON library would write them again.
    let rewritten = odd.replace("\\u0061", "a").replace(' ', "");
    let (_, signature) = token.rsplit_once('.').unwrap();
    let rewritten = format!(
        "{}.{}.{signature}",
        base64url(header(&ED)),
        base64url(rewritten)
    );
    assert_eq!(verdict(&verifier, &rewritten), "bad_signature");
}

#[test]
fn a_forged_token_is_refused_for_its_signature_whatever_it_claims() {
    let verifier = verifier();
    let expired = format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","exp":1}}"#);
    let elsewhere = format!(r#"{{"iss":"{ISSUER}","aud":"elsewhere","exp":9999999999}}"#);
    let nothing = format!(r#"{{"iss":"{ISSUER}"}}"#);
    for claims in [payload(""), expired, elsewhere, nothing] {
        let forged = mint::compact(&header(&ED), &claims, [7; 64]);
        assert_eq!(verdict(&verifier, &forged), "bad_signature", "{claims}");
    }
}
