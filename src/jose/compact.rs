//! One compact JWS (RFC 7515 §7.1): size cap, strict base64url, strict header, fields borrowed.
//!
//! Never looks at the payload, and never follows `jku`, `x5u`, `x5c` or `jwk`: they are passed over unread.

use std::borrow::Cow;
use std::ops::Range;

use super::base64url;
use super::json::{self, JsonError, Value};

/// Default limit on a token's length in bytes. A header line over 8 to 16 KiB does not pass common proxies either.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Why a text is not an acceptable compact JWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// Longer than the limit, in bytes.
    #[error("longer than {limit} bytes")]
    TooLarge {
        /// The limit that was passed.
        limit: usize,
    },
    /// Not exactly three segments: a JWE has five, an unsecured token drops its last.
    #[error("not three segments")]
    Segments,
    /// A segment that is not base64url without padding, in its one canonical spelling.
    #[error("the {0} is not strict base64url")]
    Base64(&'static str),
    /// A header that is not a strict JSON object.
    #[error("the header is not strict JSON: {0}")]
    Json(#[from] JsonError),
    /// A header parameter of the wrong JSON type.
    #[error("header parameter `{0}` is not a string")]
    NotAString(&'static str),
    /// RFC 7515 §4.1.1: "This Header Parameter MUST be present".
    #[error("the header has no `alg`")]
    NoAlgorithm,
    /// `crit` or `b64`: an extension that must be understood, and none is (RFC 7515 §4.1.11, RFC 7797 §7).
    #[error("the header has `{0}`, which asks for an extension that is not understood")]
    Critical(&'static str),
}

/// The header parameters that take part in a verdict (RFC 7515 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    /// `alg`, as written.
    pub alg: Cow<'a, str>,
    /// `kid`, an opaque string.
    pub kid: Option<Cow<'a, str>>,
    /// `typ`, as written.
    pub typ: Option<Cow<'a, str>>,
}

/// A compact JWS taken apart and decoded; nothing about it is verified yet.
#[derive(Debug)]
pub struct Compact<'a> {
    /// The header parameters.
    pub header: Header<'a>,
    /// The decoded payload.
    pub payload: &'a [u8],
    /// Where the payload stands in the buffer that was decoded into; the header is before it.
    pub(crate) payload_range: Range<usize>,
    /// The decoded signature.
    pub signature: &'a [u8],
    /// What was signed: the first two segments with their dot, as received (RFC 7515 §5.2).
    pub signing_input: &'a [u8],
}

// === impl Compact ===

impl<'a> Compact<'a> {
    /// Takes `token` apart; its segments are decoded into `decoded`, which is cleared first and allocates at most once.
    ///
    /// # Errors
    /// [`CompactError`], in the order size, segments, base64url, header.
    pub fn parse(
        token: &'a str,
        max_bytes: usize,
        decoded: &'a mut Vec<u8>,
    ) -> Result<Self, CompactError> {
        Self::parse_behind(&[], token.as_bytes(), max_bytes, decoded)
    }

    /// As [`parse`](Self::parse), of bytes that need not be text: base64url is. The segments are decoded behind a copy of `before`, in
    /// one allocation with it.
    pub(crate) fn parse_behind(
        before: &[u8],
        token: &'a [u8],
        max_bytes: usize,
        decoded: &'a mut Vec<u8>,
    ) -> Result<Self, CompactError> {
        decoded.clear();
        if token.len() > max_bytes {
            return Err(CompactError::TooLarge { limit: max_bytes });
        }
        let (first, second) = two_dots(token).ok_or(CompactError::Segments)?;
        decoded.reserve(before.len() + token.len() / 4 * 3 + 3);
        decoded.extend_from_slice(before);
        let mut segment = |range: Range<usize>, name| {
            base64url::decode_onto(&token[range], decoded)
                .map(|()| decoded.len())
                .map_err(|_| CompactError::Base64(name))
        };
        let header_end = segment(0..first, "header")?;
        let payload_end = segment(first + 1..second, "payload")?;
        segment(second + 1..token.len(), "signature")?;
        let decoded: &'a [u8] = decoded;
        Ok(Compact {
            header: Header::parse(&decoded[before.len()..header_end])?,
            payload: &decoded[header_end..payload_end],
            payload_range: header_end..payload_end,
            signature: &decoded[payload_end..],
            signing_input: &token[..second],
        })
    }
}

/// The offsets of the two dots of a three-segment token; stops at a third.
fn two_dots(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut dots = memchr::memchr_iter(b'.', bytes);
    let offsets = (dots.next()?, dots.next()?);
    dots.next().is_none().then_some(offsets)
}

// === impl Header ===

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, CompactError> {
        let text = json::utf8(bytes)?;
        let (mut alg, mut kid, mut typ) = (None, None, None);
        let mut critical = None;
        json::object::<CompactError>(text, |name, value: Value<'a>| {
            let (slot, name) = match name {
                "alg" => (&mut alg, "alg"),
                "kid" => (&mut kid, "kid"),
                "typ" => (&mut typ, "typ"),
                // None is understood, so a well-formed list is refused like an ill-formed one.
                "crit" => {
                    critical = Some("crit");
                    return Ok(());
                }
                "b64" => {
                    critical.get_or_insert("b64");
                    return Ok(());
                }
                _ => return Ok(()),
            };
            *slot = Some(value.into_string().ok_or(CompactError::NotAString(name))?);
            Ok(())
        })?;
        if let Some(name) = critical {
            return Err(CompactError::Critical(name));
        }
        Ok(Header {
            alg: alg.ok_or(CompactError::NoAlgorithm)?,
            kid,
            typ,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> String {
        format!("{}.e30.AAAA", base64url::encode(header.as_bytes()))
    }

    fn check(token: &str, expected: Result<(), CompactError>) {
        let mut decoded = Vec::new();
        let parsed = Compact::parse(token, MAX_TOKEN_BYTES, &mut decoded);
        assert_eq!(parsed.map(|_| ()), expected, "{token}");
    }

    #[test]
    fn takes_a_token_apart() {
        let token = token(r#"{"alg":"EdDSA","kid":"k","typ":"JWT","jku":5,"x":{"y":[]}}"#);
        let mut decoded = Vec::new();
        let jws = Compact::parse(&token, MAX_TOKEN_BYTES, &mut decoded).unwrap();
        assert_eq!(jws.header.alg, "EdDSA");
        assert_eq!(jws.header.kid.as_deref(), Some("k"));
        assert_eq!(jws.header.typ.as_deref(), Some("JWT"));
        assert_eq!(jws.payload, b"{}");
        assert_eq!(jws.signature, [0, 0, 0]);
        assert_eq!(jws.signing_input, &token.as_bytes()[..token.len() - 5]);
    }

    #[test]
    fn framing_is_strict() {
        let good = token(r#"{"alg":"EdDSA"}"#);
        check(&good, Ok(()));
        for bad in ["", ".", "e30", "e30.e30", "....", "a.b.c.d", "a.b.c.d.e"] {
            check(bad, Err(CompactError::Segments));
        }
        check(&format!(" {good}"), Err(CompactError::Base64("header")));
        for suffix in ["=", " ", "\n", "\0", "+", "/", "A", "\u{a0}"] {
            check(
                &format!("{good}{suffix}"),
                Err(CompactError::Base64("signature")),
            );
        }
        check(
            &good.replace("e30", "e30="),
            Err(CompactError::Base64("payload")),
        );
        check(
            &good.replace("e30", "e31"),
            Err(CompactError::Base64("payload")),
        );
    }

    #[test]
    fn size_is_capped_before_anything_is_read() {
        let long = "a".repeat(MAX_TOKEN_BYTES + 1);
        check(
            &long,
            Err(CompactError::TooLarge {
                limit: MAX_TOKEN_BYTES,
            }),
        );
        check(&long[..MAX_TOKEN_BYTES], Err(CompactError::Segments));
    }

    #[test]
    fn headers_of_the_wrong_shape_are_refused() {
        for (header, error) in [
            (r#"{}"#, CompactError::NoAlgorithm),
            (r#"{"alg":null}"#, CompactError::NotAString("alg")),
            (r#"{"alg":["EdDSA"]}"#, CompactError::NotAString("alg")),
            (
                r#"{"alg":"EdDSA","kid":1}"#,
                CompactError::NotAString("kid"),
            ),
            (
                r#"{"alg":"EdDSA","kid":null}"#,
                CompactError::NotAString("kid"),
            ),
            (
                r#"{"alg":"EdDSA","typ":[]}"#,
                CompactError::NotAString("typ"),
            ),
            (
                r#"{"alg":"EdDSA","crit":["exp"]}"#,
                CompactError::Critical("crit"),
            ),
            (
                r#"{"alg":"EdDSA","crit":[]}"#,
                CompactError::Critical("crit"),
            ),
            (
                r#"{"alg":"EdDSA","b64":true}"#,
                CompactError::Critical("b64"),
            ),
        ] {
            check(&token(header), Err(error));
        }
        for header in [
            r#"{"alg":"EdDSA","alg":"EdDSA"}"#,
            r#"["EdDSA"]"#,
            "null",
            "\u{feff}{}",
        ] {
            let mut decoded = Vec::new();
            let token = token(header);
            let parsed = Compact::parse(&token, MAX_TOKEN_BYTES, &mut decoded);
            assert!(matches!(parsed, Err(CompactError::Json(_))), "{header}");
        }
    }
}
