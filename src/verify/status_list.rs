//! One status list as its issuer signed it (draft-ietf-oauth-status-list): who signed it, for how long it holds, and the bits.

use std::time::Duration;

use super::keyset::KeySet;
use crate::jose::json::{self, Value};
use crate::jose::{Algorithm, Compact, JsonError, NumericDate, base64url};

/// Longest list as a token, in bytes. A million sessions of which one in a hundred has ended take some 15 KiB.
pub(crate) const MAX_LIST_TOKEN_BYTES: usize = 1 << 20;
/// Longest list when inflated, in bytes: 33 million tokens at one bit each.
const MAX_INFLATED_BYTES: usize = 4 << 20;
/// The one `typ` of a list (§5.1); compared as RFC 7515 §4.1.9 has it.
const TYP: &str = "statuslist+jwt";

/// What a list must be to be believed.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// What tokens call it, and its `sub` must be.
    pub uri: &'a str,
    /// Its `iss`, if it has one.
    pub issuer: &'a str,
    /// Those it may be signed by.
    pub algorithms: &'a [Algorithm],
    /// The issuer's keys, if they are at hand.
    pub keys: Option<&'a KeySet>,
    /// Its `exp` must be after this.
    pub now: NumericDate,
}

/// The statuses that one list gives, by position; every one but 0 means that the token holds no longer.
#[derive(Debug)]
pub struct StatusBits {
    bytes: Vec<u8>,
    /// Bits per status: 1, 2, 4 or 8.
    bits: u8,
    /// When the issuer wrote it.
    pub(crate) issued_at: NumericDate,
    /// From when on it says nothing any more.
    pub(crate) expires_at: Option<NumericDate>,
    /// How long it may be kept before it is asked for again.
    pub(crate) ttl: Option<Duration>,
}

// === impl StatusBits ===

impl StatusBits {
    /// Reads and checks a list.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(token: &[u8], expected: Expected<'_>) -> Result<Self, String> {
        let token = std::str::from_utf8(token)
            .map_err(|_| "not a compact JWS")?
            .trim_ascii();
        let mut decoded = Vec::new();
        let jws = Compact::parse(token, MAX_LIST_TOKEN_BYTES, &mut decoded)
            .map_err(|error| format!("not a compact JWS: {error}"))?;
        let typ = jws.header.typ.as_deref().unwrap_or_default();
        let typ = typ.strip_prefix("application/").unwrap_or(typ);
        if !typ.eq_ignore_ascii_case(TYP) {
            return Err(format!("typ is not {TYP}"));
        }
        let algorithm = Algorithm::from_name(&jws.header.alg)
            .filter(|algorithm| expected.algorithms.contains(algorithm))
            .ok_or("its alg is not allowed for the issuer")?;
        let key = expected
            .keys
            .ok_or("the issuer's keys are not at hand")?
            .select(jws.header.kid.as_deref(), algorithm)
            .map_err(|reject| format!("no key of the issuer for it: {reject}"))?;
        if !key.verify(algorithm, jws.signing_input, jws.signature) {
            return Err("its signature is not the issuer's".into());
        }
        let claims = ListClaims::parse(jws.payload)?;
        claims.check(expected)?;
        claims.inflate()
    }

    /// Whether the token at this position holds; `None` beyond the end.
    #[inline]
    pub fn is_valid(&self, idx: u64) -> Option<bool> {
        let per_byte = u64::from(8 / self.bits);
        let byte = self.bytes.get(usize::try_from(idx / per_byte).ok()?)?;
        // From the least significant bit on (§4.1).
        let shift = idx % per_byte * u64::from(self.bits);
        let mask = u8::MAX >> (8 - self.bits);
        Some(byte >> shift & mask == 0)
    }

    /// How many statuses there is room for.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks for that")]
    pub fn len(&self) -> usize {
        self.bytes.len() * usize::from(8 / self.bits)
    }
}

/// The claims of a list (§5.1), types checked.
#[derive(Default)]
struct ListClaims {
    sub: Option<String>,
    iss: Option<String>,
    iat: Option<NumericDate>,
    exp: Option<NumericDate>,
    ttl: Option<Duration>,
    bits: Option<u8>,
    lst: Option<String>,
}

// === impl ListClaims ===

impl ListClaims {
    fn parse(payload: &[u8]) -> Result<Self, String> {
        let mut claims = ListClaims::default();
        let not_json = |error: JsonError| format!("its payload is not strict JSON: {error}");
        let text = json::utf8(payload).map_err(not_json)?;
        let mut list = None;
        json::object(text, |name, value| {
            match (name, value) {
                ("sub", Value::String(text)) => claims.sub = Some(text.into_owned()),
                ("iss", Value::String(text)) => claims.iss = Some(text.into_owned()),
                ("iat", Value::Number(text)) => claims.iat = NumericDate::from_json_number(text),
                ("exp", Value::Number(text)) => {
                    // One that cannot be read must not become a list that never ends.
                    claims.exp = NumericDate::from_json_number(text);
                    claims.exp.get_or_insert(NumericDate::from_seconds(0));
                }
                ("ttl", Value::Number(text)) => {
                    claims.ttl = text.parse().ok().map(Duration::from_secs);
                }
                ("status_list", Value::Object(text)) => list = Some(text),
                ("exp", _) => claims.exp = Some(NumericDate::from_seconds(0)),
                _ => {}
            }
            Ok::<(), JsonError>(())
        })
        .map_err(not_json)?;
        json::object(list.ok_or("it has no status_list")?, |name, value| {
            match (name, value) {
                ("bits", Value::Number(text)) => claims.bits = text.parse().ok(),
                ("lst", Value::String(text)) => claims.lst = Some(text.into_owned()),
                _ => {}
            }
            Ok::<(), JsonError>(())
        })
        .map_err(not_json)?;
        Ok(claims)
    }

    fn check(&self, expected: Expected<'_>) -> Result<(), String> {
        // §8.3: the list's sub is the uri that the token names, so that one list cannot pass for another.
        if self.sub.as_deref() != Some(expected.uri) {
            return Err(format!("its sub is {:?}, not its own URI", self.sub));
        }
        if self
            .iss
            .as_deref()
            .is_some_and(|iss| iss != expected.issuer)
        {
            return Err(format!("its iss is {:?}", self.iss));
        }
        match self.exp {
            Some(exp) if expected.now >= exp => Err(format!("it expired at {exp}")),
            _ => Ok(()),
        }
    }

    fn inflate(self) -> Result<StatusBits, String> {
        let bits = self
            .bits
            .filter(|bits| matches!(bits, 1 | 2 | 4 | 8))
            .ok_or("its bits are not 1, 2, 4 or 8")?;
        let mut compressed = Vec::new();
        base64url::decode_onto(self.lst.ok_or("it has no lst")?.as_bytes(), &mut compressed)
            .map_err(|_| "its lst is not base64url")?;
        let bytes = inflate(&compressed)?;
        Ok(StatusBits {
            bytes,
            bits,
            issued_at: self.iat.ok_or("it has no iat")?,
            expires_at: self.exp,
            ttl: self.ttl,
        })
    }
}

/// DEFLATE in the ZLIB format (RFC 1950), to a bounded size.
fn inflate(compressed: &[u8]) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let limit = MAX_INFLATED_BYTES as u64 + 1;
    flate2::read::ZlibDecoder::new(compressed)
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("its lst cannot be inflated: {error}"))?;
    if bytes.len() > MAX_INFLATED_BYTES {
        return Err(format!(
            "its lst is more than {MAX_INFLATED_BYTES} bytes when inflated"
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bits: u8, bytes: &[u8]) -> StatusBits {
        StatusBits {
            bytes: bytes.into(),
            bits,
            issued_at: NumericDate::from_seconds(0),
            expires_at: None,
            ttl: None,
        }
    }

    /// The examples of §4.1.
    #[test]
    fn statuses_are_read_from_the_least_significant_bit_on() {
        let one = of(1, &[0xb9, 0xa3]);
        let expected = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1];
        for (idx, status) in (0u64..).zip(expected) {
            assert_eq!(one.is_valid(idx), Some(status == 0), "{idx}");
        }
        assert_eq!((one.is_valid(16), one.len()), (None, 16));
        let two = of(2, &[0xc9, 0x44, 0xf9]);
        let expected = [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3];
        for (idx, status) in (0u64..).zip(expected) {
            assert_eq!(two.is_valid(idx), Some(status == 0), "{idx}");
        }
        assert_eq!(two.is_valid(12), None);
        assert_eq!(of(8, &[0, 7]).is_valid(1), Some(false));
        assert_eq!(of(4, &[0x70]).is_valid(0), Some(true));
        assert_eq!(of(4, &[0x70]).is_valid(1), Some(false));
        assert_eq!(of(1, &[0xff]).is_valid(u64::MAX), None);
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        use std::io::Write as _;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; MAX_INFLATED_BYTES + 1]).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 8192);
        assert!(inflate(&bomb).unwrap_err().contains("when inflated"));
        assert!(inflate(&bomb[..100]).is_err());
        assert!(inflate(b"not zlib").is_err());
    }
}
