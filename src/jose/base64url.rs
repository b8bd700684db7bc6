//! base64url (RFC 4648 §5) as JOSE uses it: without padding, and with only the one spelling of each byte string.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// RFC 7515 §2: no `=`, no line break, and unused trailing bits are zero (RFC 4648 §3.5): else one token has many spellings.
const STRICT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(false),
);

/// For the values of a published JWK alone: some well-known issuers pad them.
const PADDING_ALLOWED: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(false),
);

/// Appends the bytes that `text` stands for; leaves `out` as it was on an error.
pub(crate) fn decode_onto(text: &[u8], out: &mut Vec<u8>) -> Result<(), base64::DecodeError> {
    let start = out.len();
    let result = STRICT.decode_vec(text, out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// The bytes of a JWK member, with or without `=` at its end.
pub(crate) fn decode_jwk_value(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    PADDING_ALLOWED.decode(text)
}

/// base64url without padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STRICT.encode(bytes)
}

/// Appends base64url without padding.
#[cfg(feature = "server")]
pub(crate) fn encode_onto(bytes: &[u8], out: &mut String) {
    STRICT.encode_string(bytes, out);
}
