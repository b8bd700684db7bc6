//! What each target does with one input; `tests/fuzz_corpus.rs` does the same with every file of the corpus.

#![forbid(unsafe_code)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a target says what it found"
)]

use std::collections::HashSet;
use std::fmt;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as BASE_POINT, EIGHT_TORSION};
use curve25519_dalek::scalar::Scalar;
use jsonwebtoken as peer;
use keywheel::jose::{ClaimError, Compact, CompactError, JsonError, MAX_TOKEN_BYTES};
use keywheel::jose::{Policy, RegisteredClaims, SetError, TypRule};
use keywheel::verify::{Check, Expected, KeySet, Malformation, Outcome, StatusBits};
use keywheel::{Algorithm, Claims, JwkSet, ManualClock, NumericDate, Reject};
use keywheel::{Verified, Verifier, VerifyingKey};
use num_bigint::BigUint;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

const NOW: NumericDate = NumericDate::from_seconds(1_790_000_000);
const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "api://orders";
const KEYS: &str = include_str!("../keys.jwks.json");
/// The private half of `ed-1`: a test key that the whole world knows.
const ED_1: &str = "MC4CAQAwBQYDK2VwBCIEILWk_icSp62FhvzPvYV-g-gJ465mQDVgWJAG6voKGWi0";

/// A byte that no UTF-8 text has: it stands between the parts of an input.
const SEPARATOR: u8 = 0xff;

// === targets ===

/// A token's framing and header: each accepted token has one spelling, and its header is what serde reads.
pub fn compact(data: &[u8]) {
    let Some((token, _)) = token(data) else {
        return;
    };
    let mut decoded = Vec::new();
    let Ok(jws) = Compact::parse(&token, MAX_TOKEN_BYTES, &mut decoded) else {
        return;
    };
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    assert_eq!(jws.signing_input, signed.as_bytes());
    assert_eq!(BASE64URL.encode(jws.payload), payload);
    assert_eq!(BASE64URL.encode(jws.signature), signature);
    let bytes = BASE64URL.decode(header).unwrap();
    let Some(members) = value(&bytes) else { return };
    assert_eq!(members["alg"], *jws.header.alg);
    assert_eq!(
        members.get("kid").and_then(Value::as_str),
        jws.header.kid.as_deref()
    );
    assert_eq!(
        members.get("typ").and_then(Value::as_str),
        jws.header.typ.as_deref()
    );
    assert!(members.get("crit").is_none() && members.get("b64").is_none());
    let exactly = TypRule::Exactly("at+jwt".into());
    let typ = jws.header.typ.as_deref();
    assert!(!exactly.accepts(typ) || TypRule::AccessToken.accepts(typ));
}

/// A payload: what is accepted says what serde reads, and a leeway lets more through, never less.
pub fn claims(data: &[u8]) {
    let mut policy = Policy::new([AUDIENCE]);
    let Ok(claims) = RegisteredClaims::parse(data, &policy) else {
        return;
    };
    let verdict = policy.check(&claims, NOW);
    policy.leeway = Duration::from_millis(1_500);
    assert!(verdict.is_err() || policy.check(&claims, NOW).is_ok());
    let Some(members) = value(data) else { return };
    let text = |name| members.get(name).and_then(Value::as_str);
    assert_eq!(claims.iss.as_deref(), text("iss"));
    assert_eq!(claims.sub.as_deref(), text("sub"));
    assert_eq!(claims.jti.as_deref(), text("jti"));
    assert_eq!(claims.sid.as_deref(), text("sid"));
    assert_eq!(claims.client_id.as_deref(), text("client_id"));
    assert_eq!(claims.audiences(), strings(&members["aud"]));
    assert_eq!(claims.roles(), strings(&members["roles"]));
    assert!(claims.scopes().iter().all(|scope| claims.has_scope(scope)));
    assert!(claims.roles().iter().all(|role| claims.has_role(role)));
    for (date, name) in [
        (claims.exp, "exp"),
        (claims.nbf, "nbf"),
        (claims.iat, "iat"),
    ] {
        let (date, theirs) = (
            date.map(NumericDate::as_seconds_f64),
            members.get(name).map(seconds),
        );
        // Serde is off by one in the last place now and then.
        let near =
            |(date, theirs): (f64, f64)| (date - theirs).abs() <= 1e-6_f64.max(date.abs() * 1e-15);
        assert!(
            date.is_some() == theirs.is_some() && date.zip(theirs).is_none_or(near),
            "{name}"
        );
    }
    if verdict.is_ok() {
        assert_in_force(&members);
    }
}

/// A key set: counted whole, its keys published as they were, and none of them takes a signature of zeros.
pub fn jwks(data: &[u8]) {
    let Ok(set) = JwkSet::parse(data) else { return };
    let count = set.keys.len() + set.skipped.len();
    assert!(JwkSet::parse_bounded(data, count).is_ok());
    if let Some(limit) = count.checked_sub(1) {
        let bounded = JwkSet::parse_bounded(data, limit);
        assert_eq!(bounded.unwrap_err(), SetError::TooManyKeys { limit });
    }
    if let Some(members) = value(data) {
        assert_eq!(members["keys"].as_array().unwrap().len(), count);
    }
    if let Ok(peers) = serde_json::from_slice::<peer::jwk::JwkSet>(data) {
        let _ = JwkSet::from(&peers);
    }
    for key in &set.keys {
        let again = VerifyingKey::from_jwk(&key.to_jwk()).unwrap();
        assert_eq!(again.thumbprint(), key.thumbprint());
        assert_eq!(again.kid(), key.kid());
        assert_eq!(again.declared_algorithm(), key.declared_algorithm());
        for &algorithm in Algorithm::ALL {
            assert!(!key.verify(algorithm, b"message", &[0; 64]));
        }
    }
    let keys = KeySet::new(set, None);
    for key in keys.keys() {
        if let Some(selected) = key.declared_algorithm()
            && let Ok(selected) = keys.select(key.kid(), selected)
        {
            assert_eq!(selected.kid(), key.kid().or(selected.kid()));
        }
    }
}

/// Our JSON reader against serde's: it takes nothing that serde refuses, and refuses nothing else than it says.
pub fn json_vs_serde(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // As an unknown claim, so that nothing but the JSON decides.
    let text = format!(r#"{{"?":{text}}}"#);
    let policy = Policy::new([AUDIENCE]);
    let serde = serde_json::from_str::<Value>(&text);
    let unique = serde_json::from_str::<Unique>(&text);
    match (RegisteredClaims::parse(text.as_bytes(), &policy), serde) {
        (Ok(_), Ok(_)) => assert!(unique.unwrap().0, "a duplicate name is accepted: {text}"),
        // RFC 8259 §6 sets no limit to a number; serde's is that of its types.
        (Ok(_), Err(error)) if error.to_string().starts_with("number out of range") => {}
        (Ok(_), Err(error)) => panic!("serde refuses what is accepted: {error}: {text}"),
        (Err(ClaimError::Json(error)), Ok(_)) => match error.what() {
            "duplicate member name" => assert!(!unique.unwrap().0, "no name is twice: {text}"),
            "nested too deep" => assert!(brackets(&text) > 32, "not so deep: {text}"),
            what => panic!("{what}: serde accepts {text}"),
        },
        // Closed its own member and opened one that means something; or both refuse.
        (Err(_), _) => {}
    }
}

/// One whole verification: only what is signed is accepted, and only while it is in force; a second look, which the cache may
/// answer, and an explanation say the same.
pub fn verify(data: &[u8]) {
    let Some((token, forged)) = token(data) else {
        return;
    };
    let verdict = try_verify(&token);
    let again = try_verify(&token);
    assert_eq!(verdict.as_ref().err(), again.as_ref().err());
    assert_explained(&token, verdict.as_ref().err());
    if let (Ok(token), Ok(again)) = (verdict, again) {
        assert!(!forged, "accepted with another signature: {data:?}");
        // The token keeps its claims by their places in the payload.
        let policy = Policy::new([AUDIENCE]);
        let claims = RegisteredClaims::parse(token.payload().as_bytes(), &policy).unwrap();
        assert_eq!(token.registered(), claims);
        assert_eq!(again.registered(), claims);
        assert_eq!(token.subject(), claims.sub.as_deref().unwrap_or_default());
        let members = value(token.payload().as_bytes()).unwrap_or_default();
        if !members.is_null() {
            assert_in_force(&members);
        }
    }
}

/// Our verdict against that of `jsonwebtoken`: nothing is accepted that it refuses, and nothing refused but for a reason that
/// it does not know. The differences that are meant are listed here, and no others pass.
pub fn differential(data: &[u8]) {
    let Some((token, _)) = token(data) else {
        return;
    };
    match (try_verify(&token), peer_verify(&token)) {
        (Ok(_), Err(error)) => match error.kind() {
            // It does not know ES512 and Ed25519, and types header parameters that take no part in a verdict.
            peer::errors::ErrorKind::Json(_) if peer::decode_header(&token).is_err() => {}
            kind => panic!("accepted here, {kind:?} there: {token}"),
        },
        (Err(reject), Ok(())) => match reject {
            // The clock is not compared: the peer can only read the machine's.
            Reject::Expired { .. } | Reject::NotYetValid { .. } => {}
            // It has no limit, no `crit`, no `typ`, and lets `iss` be an array.
            Reject::TooLarge { .. } | Reject::CriticalHeader(_) => {}
            Reject::TypeNotAllowed | Reject::UnknownIssuer => {}
            // It types only the claims that it was told to check, and those loosely.
            Reject::BadClaim(_) => {}
            // `null` is no header parameter to it.
            Reject::Malformed(Malformation::Jws(CompactError::NotAString(_))) => {}
            Reject::Malformed(
                Malformation::Jws(CompactError::Json(error)) | Malformation::Payload(error),
            ) if is_stricter_json(&error) => {}
            reject => panic!("{reject:?} here, accepted there: {token}"),
        },
        _ => {}
    }
}

/// Ed25519 with a table of precomputed multiples against `verify_strict`: the first byte chooses the key, the next 64 are added,
/// bit by bit, to a signature that is right but for what points of small order do to it, and the rest is the message.
pub fn ed25519(data: &[u8]) {
    let Some((&[which, small, ref change @ ..], message)) = data.split_first_chunk::<66>() else {
        return;
    };
    static KEYS: LazyLock<[EdKey; 8]> = LazyLock::new(|| [0, 1, 2, 3, 4, 5, 6, 7].map(EdKey::new));
    let key = &KEYS[usize::from(which) % 8];
    let r = Scalar::from_bytes_mod_order([small; 32]);
    let point = r * BASE_POINT + EIGHT_TORSION[usize::from(small) % 8];
    // With only the part of small order now and then.
    let (r, point) = match small >> 6 {
        3 => (Scalar::ZERO, EIGHT_TORSION[usize::from(small) % 8]),
        _ => (r, point),
    };
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(point.compress().as_bytes());
    let mut hash = ring::digest::Context::new(&ring::digest::SHA512);
    for part in [&signature[..32], &key.bytes, message] {
        hash.update(part);
    }
    let k = Scalar::from_bytes_mod_order_wide(hash.finish().as_ref().try_into().unwrap());
    signature[32..].copy_from_slice((r + k * key.secret).as_bytes());
    for (byte, change) in signature.iter_mut().zip(change) {
        *byte ^= change;
    }
    let theirs = ed25519_dalek::Signature::from_bytes(&signature);
    let theirs = key.theirs.verify_strict(message, &theirs).is_ok();
    assert_eq!(
        key.ours.verify(Algorithm::EdDSA, message, &signature),
        theirs
    );
}

/// A key of order L or 2, 4 or 8 times that, in our hands and in dalek's.
struct EdKey {
    secret: Scalar,
    bytes: [u8; 32],
    ours: VerifyingKey,
    theirs: ed25519_dalek::VerifyingKey,
}

impl EdKey {
    fn new(n: u8) -> Self {
        let secret = Scalar::from_bytes_mod_order([n + 1; 32]);
        let bytes = (secret * BASE_POINT + EIGHT_TORSION[usize::from(n)])
            .compress()
            .to_bytes();
        let x = BASE64URL.encode(bytes);
        let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
        let ours = VerifyingKey::from_jwk(&jwk).unwrap();
        ours.precompute();
        EdKey {
            secret,
            bytes,
            ours,
            theirs: ed25519_dalek::VerifyingKey::from_bytes(&bytes).unwrap(),
        }
    }
}

/// A status list: an accepted one is whole, ours and in force by what serde reads, and its statuses are read as they were written.
/// The first byte chooses how wide they are, and what the rest is: a token, as elsewhere; what stands in `lst`, compressed as it
/// may be; or the statuses.
pub fn status_list(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else {
        return;
    };
    let bits = 1 << (how & 3);
    let list = |compressed: &[u8]| {
        let claims = serde_json::json!({
            "sub": LIST_URI, "iat": NOW.seconds(),
            "status_list": { "bits": bits, "lst": BASE64URL.encode(compressed) },
        });
        let header: &[u8] = br#"{"alg":"EdDSA","kid":"ed-1","typ":"statuslist+jwt"}"#;
        [header, claims.to_string().as_bytes(), b""].join(&SEPARATOR)
    };
    let (input, written) = match how >> 6 {
        0 => (rest.to_vec(), None),
        1 => (list(rest), None),
        _ => (list(&zlib(rest)), Some(rest)),
    };
    let Some((token, forged)) = token(&input) else {
        return;
    };
    static KEYS: LazyLock<KeySet> =
        LazyLock::new(|| KeySet::new(JwkSet::parse(self::KEYS.as_bytes()).unwrap(), None));
    let expected = Expected {
        uri: LIST_URI,
        issuer: ISSUER,
        algorithms: Algorithm::ALL,
        keys: Some(&KEYS),
        now: NOW,
    };
    let list = match StatusBits::parse(token.as_bytes(), expected) {
        Ok(list) => list,
        Err(why) => return assert!(written.is_none(), "{why}"),
    };
    assert!(!forged);
    assert!(list.len() <= 8 * MAX_LIST_BYTES);
    assert_eq!(list.is_valid(list.len() as u64), None);
    if let Some(bytes) = written {
        assert_eq!(list.len(), bytes.len() * 8 / bits);
        for idx in 0..list.len() {
            // Bit by bit, where the list is read by masks.
            let first = idx * bits;
            let is_set = |bit: usize| bytes[bit / 8] >> (bit % 8) & 1 == 1;
            let holds = !(first..first + bits).any(is_set);
            assert_eq!(list.is_valid(idx as u64), Some(holds), "{idx}");
        }
    }
    let payload = token.trim_ascii().split('.').nth(1).unwrap();
    let Some(members) = value(&BASE64URL.decode(payload).unwrap()) else {
        return;
    };
    assert_eq!(members["sub"], LIST_URI);
    assert!(
        members
            .get("iss")
            .is_none_or(|iss| !iss.is_string() || iss == ISSUER)
    );
    let exp = members.get("exp").map(seconds);
    assert!(
        exp.is_none_or(|exp| exp > NOW.as_seconds_f64() - 1e-6),
        "{members}"
    );
}

/// The list that tokens refer to.
const LIST_URI: &str = "https://issuer.example/status/0";
/// The longest list that is read, in bytes.
const MAX_LIST_BYTES: usize = 4 << 20;

/// The ZLIB format (RFC 1950) without compressing: stored blocks (RFC 1951 §3.2.4), so that what reads them has no say in it.
fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(0xffff).peekable();
    if blocks.peek().is_none() {
        out.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let len = u16::try_from(block.len()).unwrap();
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend(block);
    }
    let (mut a, mut b) = (1u32, 0u32);
    for &byte in bytes {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    out.extend((b << 16 | a).to_be_bytes());
    out
}

/// RSA verification against ring's: the first byte chooses the hash, what is changed and whether it ends differently; the next are
/// added, bit by bit, to the block before it is signed or to the signature after that.
pub fn rsa(data: &[u8]) {
    let Some((&how, change)) = data.split_first() else {
        return;
    };
    static KEY: LazyLock<RsaTestKey> = LazyLock::new(RsaTestKey::new);
    let key = &*KEY;
    let (algorithm, parameters, info) = RSA[usize::from(how) % 3];
    let message = &how.to_be_bytes();
    let mut block = key.block(parameters.1, info, message);
    let add = |bytes: &mut [u8]| {
        for (byte, change) in bytes.iter_mut().zip(change) {
            *byte ^= change;
        }
    };
    if how & 0x40 == 0 {
        add(&mut block);
    }
    let mut signature = key.sign(&block);
    if how & 0x40 != 0 {
        add(&mut signature);
    }
    match how >> 4 & 3 {
        1 => signature.push(how),
        2 => signature.truncate(255),
        _ => {}
    }
    let theirs = ring::signature::RsaPublicKeyComponents {
        n: &key.n[..],
        e: &[1, 0, 1],
    };
    let theirs = theirs.verify(parameters.0, message, &signature).is_ok();
    assert_eq!(key.ours.verify(algorithm, message, &signature), theirs);
    let is_whole = signature.len() == 256 && change.iter().take(256).all(|&byte| byte == 0);
    assert_eq!(theirs, is_whole);
}

type RsaHash = (
    &'static ring::signature::RsaParameters,
    &'static ring::digest::Algorithm,
);

/// With DigestInfo up to the hash (RFC 8017 §9.2, note 1).
const RSA: [(Algorithm, RsaHash, &[u8]); 3] = [
    (
        Algorithm::RS256,
        (
            &ring::signature::RSA_PKCS1_2048_8192_SHA256,
            &ring::digest::SHA256,
        ),
        b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
    ),
    (
        Algorithm::RS384,
        (
            &ring::signature::RSA_PKCS1_2048_8192_SHA384,
            &ring::digest::SHA384,
        ),
        b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
    ),
    (
        Algorithm::RS512,
        (
            &ring::signature::RSA_PKCS1_2048_8192_SHA512,
            &ring::digest::SHA512,
        ),
        b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
    ),
];

/// A key that anybody can compute, and the same each time: an input that fails must fail again. Of eight primes, which nobody sees
/// who verifies, and signing costs a fiftieth of what it does with two: by the Chinese remainder theorem (RFC 8017 §5.2.1).
struct RsaTestKey {
    ours: VerifyingKey,
    n: Vec<u8>,
    factors: Vec<Factor>,
}

struct Factor {
    prime: BigUint,
    /// The private exponent, modulo the prime less one.
    exponent: BigUint,
    /// The product of the primes before this one, and what it must be multiplied by to be one modulo this prime.
    before: BigUint,
    inverse: BigUint,
}

impl RsaTestKey {
    fn new() -> Self {
        let e = BigUint::from(65_537u32);
        let mut n = BigUint::from(1u32);
        // How far the next primes are from the hashes, that e has an inverse for.
        let distances = [380u32, 272, 136, 168, 74, 6, 52, 22];
        let factors = (0u8..).zip(distances).map(|(number, distance)| {
            let prime = near_hash(number) + distance;
            let before = n.clone();
            n *= &prime;
            Factor {
                exponent: e.modinv(&(&prime - 1u32)).unwrap(),
                inverse: before.modinv(&prime).unwrap(),
                before,
                prime,
            }
        });
        let factors = factors.collect();
        let member = |number: &BigUint| BASE64URL.encode(number.to_bytes_be());
        let public = serde_json::json!({ "kty": "RSA", "n": member(&n), "e": member(&e) });
        RsaTestKey {
            ours: VerifyingKey::from_jwk(&public.to_string()).unwrap(),
            n: n.to_bytes_be(),
            factors,
        }
    }

    fn block(
        &self,
        hash: &'static ring::digest::Algorithm,
        info: &[u8],
        message: &[u8],
    ) -> Vec<u8> {
        let hash = ring::digest::digest(hash, message);
        let mut block = vec![0xff; self.n.len() - info.len() - hash.as_ref().len()];
        block[..2].copy_from_slice(&[0, 1]);
        *block.last_mut().unwrap() = 0;
        [&block, info, hash.as_ref()].concat()
    }

    /// What verifies to this block, or to it less the modulus.
    fn sign(&self, block: &[u8]) -> Vec<u8> {
        let block = BigUint::from_bytes_be(block);
        let mut signature = BigUint::ZERO;
        for factor in &self.factors {
            let prime = &factor.prime;
            let here = (&block % prime).modpow(&factor.exponent, prime);
            let missing = (here + prime - &signature % prime) * &factor.inverse % prime;
            signature += missing * &factor.before;
        }
        let signature = signature.to_bytes_be();
        [vec![0; self.n.len() - signature.len()], signature].concat()
    }
}

/// An odd number of 256 bits, the upper four of them set: eight such have a product of 2048 bits.
fn near_hash(number: u8) -> BigUint {
    let hash = ring::digest::digest(
        &ring::digest::SHA256,
        &[b"prime".as_slice(), &[number]].concat(),
    );
    let mut bytes = hash.as_ref().to_vec();
    bytes[0] |= 0xf0;
    bytes[31] |= 1;
    BigUint::from_bytes_be(&bytes)
}

// === inputs ===

/// The token that an input stands for: the text itself, or header, payload and a third part with separators between them,
/// signed by `ed-1` and then with the third part's bytes added to the signature's. Also tells whether that changed it.
fn token(data: &[u8]) -> Option<(String, bool)> {
    let parts: Vec<_> = data.splitn(3, |&byte| byte == SEPARATOR).collect();
    let &[header, payload, change] = &*parts else {
        return Some((std::str::from_utf8(data).ok()?.to_owned(), false));
    };
    static KEY: LazyLock<peer::EncodingKey> =
        LazyLock::new(|| peer::EncodingKey::from_ed_der(&BASE64URL.decode(ED_1).unwrap()));
    let mut token = [header, payload]
        .map(|part| BASE64URL.encode(part))
        .join(".");
    let signature = peer::crypto::sign(token.as_bytes(), &KEY, peer::Algorithm::EdDSA).unwrap();
    let mut signature = BASE64URL.decode(signature).unwrap();
    // Bytes past the end make it longer.
    signature.resize(signature.len().max(change.len()), 0);
    let before = signature.clone();
    for (byte, change) in signature.iter_mut().zip(change) {
        *byte ^= change;
    }
    let forged = signature != before || signature.len() != 64;
    token.push('.');
    BASE64URL.encode_string(signature, &mut token);
    Some((token, forged))
}

// === verdicts ===

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    Verifier::builder()
        .issuer(ISSUER)
        .static_keys(JwkSet::parse(KEYS.as_bytes()).unwrap())
        .audience(AUDIENCE)
        .algorithms(Algorithm::ALL.iter().copied())
        .clock(ManualClock::new(NOW))
        // Every refusal is read once more for the audit trail.
        .audit_rate(u32::MAX)
        .build()
        .unwrap()
});

fn try_verify(token: &str) -> Result<Verified, Reject> {
    VERIFIER.try_verify::<Claims>(token)
}

/// The explanation gives the same reason, fails the one check, and shows nothing that a terminal would obey.
fn assert_explained(token: &str, reject: Option<&Reject>) {
    let explanation = pin!(VERIFIER.explain(token)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(explanation) = explanation else {
        panic!("waits, with keys that are at hand");
    };
    assert_eq!(explanation.reason, reject.map(Reject::code));
    let authentic = reject.is_none_or(|reject| reject.reason().is_authentic());
    assert_eq!(explanation.authentic, authentic, "{reject:?}");
    let failed = |check: &&Check| check.outcome == Outcome::Failed;
    let failures = explanation.checks.iter().filter(failed).count();
    assert_eq!(failures, usize::from(!explanation.ok));
    let text = explanation.to_string();
    assert!(
        !text.contains(|c: char| c.is_control() && c != '\n'),
        "{text:?}"
    );
}

/// As its users write it, with the key chosen by `kid`, or by `alg` where that leaves one.
fn peer_verify(token: &str) -> Result<(), peer::errors::Error> {
    static KEYS: LazyLock<peer::jwk::JwkSet> =
        LazyLock::new(|| serde_json::from_str(self::KEYS).unwrap());
    let header = peer::decode_header(token)?;
    let by_alg = || {
        let mut fitting = KEYS
            .keys
            .iter()
            .filter(|key| algorithm(key) == Some(header.alg));
        fitting.next().filter(|_| fitting.next().is_none())
    };
    let key = header
        .kid
        .as_ref()
        .map_or_else(by_alg, |kid| KEYS.find(kid));
    let key = key.ok_or(peer::errors::ErrorKind::InvalidKeyFormat)?;
    let algorithm = algorithm(key).ok_or(peer::errors::ErrorKind::InvalidAlgorithm)?;
    let mut validation = peer::Validation::new(algorithm);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.validate_exp = false;
    let key = peer::DecodingKey::from_jwk(key)?;
    peer::decode::<IgnoredAny>(token, &key, &validation).map(drop)
}

fn algorithm(key: &peer::jwk::Jwk) -> Option<peer::Algorithm> {
    key.common.key_algorithm?.to_string().parse().ok()
}

/// The peer keeps the last of two equal names, goes deeper, and does not read the text that it passes over.
fn is_stricter_json(error: &JsonError) -> bool {
    let reasons = [
        "duplicate member name",
        "nested too deep",
        "not UTF-8",
        "a lone surrogate",
    ];
    reasons.contains(&error.what())
}

fn assert_in_force(members: &Value) {
    let now = NOW.as_seconds_f64();
    assert!(
        strings(&members["aud"]).contains(&AUDIENCE.to_owned()),
        "{members}"
    );
    assert!(seconds(&members["exp"]) > now - 1e-6, "{members}");
    assert!(
        members
            .get("nbf")
            .is_none_or(|nbf| seconds(nbf) < now + 1e-6),
        "{members}"
    );
}

// === what serde makes of it ===

/// One JSON object; `None` too where serde has no type for one of its numbers.
fn value(bytes: &[u8]) -> Option<Value> {
    match serde_json::from_slice(bytes) {
        Ok(value @ Value::Object(_)) => Some(value),
        Ok(other) => panic!("not an object: {other}"),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(error) => panic!("serde refuses what is accepted: {error}"),
    }
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(_) => serde_json::from_value(value.clone()).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn brackets(text: &str) -> usize {
    text.matches(['[', '{']).count()
}

/// Any JSON value; `false` if somewhere in it an object has a name twice.
struct Unique(bool);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique(true))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique(true))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique(true))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique(true))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique(true))
    }

    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique(true))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Unique, A::Error> {
        let mut unique = true;
        while let Some(element) = elements.next_element::<Unique>()? {
            unique &= element.0;
        }
        Ok(Unique(unique))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unique, A::Error> {
        let mut names = HashSet::new();
        let mut unique = true;
        while let Some((name, value)) = members.next_entry::<String, Unique>()? {
            unique &= names.insert(name) & value.0;
        }
        Ok(Unique(unique))
    }
}
