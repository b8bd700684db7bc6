//! base64url (RFC 4648 §5) as JOSE uses it: without padding, and with only the one spelling of each byte string.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const WITHOUT_PADDING: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_encode_padding(false),
);

/// For the values of a published JWK alone: some well-known issuers pad them.
const PADDING_ALLOWED: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(false),
);

/// Not base64url in its one spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotBase64url;

/// Beyond the 24 bits of four characters: some character is not of the alphabet.
const BAD: u32 = 1 << 24;

/// What each character means as the first to the fourth of four: its six bits where they belong, or [`BAD`].
static MEANINGS: [[u32; 256]; 4] = meanings();

const fn meanings() -> [[u32; 256]; 4] {
    let mut meanings = [[BAD; 256]; 4];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // A counter of the table's own type: there is no cast in what the program does.
    let (mut place, mut value) = (0, 0);
    while place < alphabet.len() {
        let character = alphabet[place] as usize;
        meanings[0][character] = value << 18;
        meanings[1][character] = value << 12;
        meanings[2][character] = value << 6;
        meanings[3][character] = value;
        place += 1;
        value += 1;
    }
    meanings
}

/// Appends the bytes that `text` stands for; leaves `out` as it was on an error.
///
/// RFC 7515 §2: no `=`, no line break, and unused trailing bits are zero (RFC 4648 §3.5): else one token has many spellings.
pub(crate) fn decode_onto(text: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64url> {
    let start = out.len();
    let result = decode_end(text, out, start);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn decode_end(text: &[u8], out: &mut Vec<u8>, start: usize) -> Result<(), NotBase64url> {
    let meaning = |place: usize, character: u8| MEANINGS[place][usize::from(character)];
    let (fours, rest) = text.as_chunks::<4>();
    out.resize(start + 3 * fours.len(), 0);
    let (threes, _) = out[start..].as_chunks_mut::<3>();
    // Looked at once for all: a token with a bad character is rare.
    let mut seen = 0;
    for (&[a, b, c, d], three) in fours.iter().zip(threes) {
        let bits = meaning(0, a) | meaning(1, b) | meaning(2, c) | meaning(3, d);
        seen |= bits;
        let [_, bytes @ ..] = bits.to_be_bytes();
        *three = bytes;
    }
    // What is left stands for one byte or two, and for nothing beyond them.
    let (bits, bytes) = match *rest {
        [] => (0, 0),
        [a, b] => (meaning(0, a) | meaning(1, b), 1),
        [a, b, c] => (meaning(0, a) | meaning(1, b) | meaning(2, c), 2),
        _ => return Err(NotBase64url),
    };
    let [_, ends @ ..] = bits.to_be_bytes();
    let (ends, beyond) = ends.split_at(bytes);
    if (seen | bits) & BAD != 0 || beyond.iter().any(|&byte| byte != 0) {
        return Err(NotBase64url);
    }
    out.extend_from_slice(ends);
    Ok(())
}

/// The bytes of a JWK member, with or without `=` at its end.
pub(crate) fn decode_jwk_value(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    PADDING_ALLOWED.decode(text)
}

/// base64url without padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    WITHOUT_PADDING.encode(bytes)
}

/// Appends base64url without padding.
#[cfg(feature = "server")]
pub(crate) fn encode_onto(bytes: &[u8], out: &mut String) {
    WITHOUT_PADDING.encode_string(bytes, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The library's own decoder, set to the same rules.
    fn theirs(text: &[u8]) -> Option<Vec<u8>> {
        let strict = GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::RequireNone)
            .with_decode_allow_trailing_bits(false);
        GeneralPurpose::new(&URL_SAFE, strict).decode(text).ok()
    }

    fn check(text: &[u8]) {
        let mut out = b"before".to_vec();
        let ours = decode_onto(text, &mut out).ok();
        let expected = theirs(text);
        assert_eq!(ours.is_some(), expected.is_some(), "{text:?}");
        let mut wanted = b"before".to_vec();
        wanted.extend(expected.unwrap_or_default());
        assert_eq!(out, wanted, "{text:?}");
    }

    #[test]
    fn every_byte_in_every_place_means_what_the_library_says() {
        for len in 0..=9 {
            check(&vec![b'A'; len]);
            for place in 0..len {
                for byte in 0..=255 {
                    let mut text = vec![b'A'; len];
                    text[place] = byte;
                    check(&text);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_and_what_is_changed_is_judged_alike(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut text = encode(&bytes).into_bytes();
            check(&text);
            if !text.is_empty() {
                let place = place.index(text.len());
                text[place] = byte;
                check(&text);
            }
        }
    }
}
