//! Keys and tokens made by hand, so that a test can get every part of them wrong.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keywheel::NumericDate;
use keywheel::jose::{Algorithm, SigningKey};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "orders-api";
pub const NOW: NumericDate = NumericDate::from_seconds(1_790_000_000);

/// A new Ed25519 key called `kid`.
pub fn key(kid: &str) -> Arc<SigningKey> {
    key_for(Algorithm::EdDSA, kid)
}

pub fn key_for(algorithm: Algorithm, kid: &str) -> Arc<SigningKey> {
    let (_, pkcs8) = SigningKey::generate(algorithm).expect("a key");
    Arc::new(SigningKey::from_pkcs8(algorithm, &pkcs8, Some(kid)).expect("the same key"))
}

/// The JWK Set of these keys' public halves.
pub fn jwks(keys: &[&Arc<SigningKey>]) -> String {
    let keys: Vec<String> = keys
        .iter()
        .map(|key| key.verifying_key().to_jwk())
        .collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// Claims that pass for an hour.
pub fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "user-1",
        "iat": NOW.seconds(),
        "exp": NOW.seconds() + 3600,
    })
}

/// A good token by `key`.
pub fn token(key: &SigningKey) -> String {
    sign(key, &header(key), &claims())
}

/// A good token by `key` that outlasts any test.
pub fn lasting_token(key: &SigningKey) -> String {
    let mut claims = claims();
    claims["exp"] = json!(NOW.seconds() + 10_000_000);
    sign(key, &header(key), &claims)
}

pub fn header(key: &SigningKey) -> Value {
    json!({ "alg": key.algorithm(), "kid": key.kid(), "typ": "at+jwt" })
}

/// Any header and payload under a true signature of `key`.
pub fn sign(key: &SigningKey, header: &Value, claims: &Value) -> String {
    sign_text(key, header, &claims.to_string())
}

/// As `sign`, for a payload that no JSON library would write.
pub fn sign_text(key: &SigningKey, header: &Value, claims: &str) -> String {
    let input = format!("{}.{}", encode(&header.to_string()), encode(claims));
    let signature = key.sign(input.as_bytes()).expect("a signature");
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// `token` under a signature that is not its key's.
pub fn forged(token: &str) -> String {
    let (input, signature) = token.rsplit_once('.').expect("a token");
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{input}.{first}{}", &signature[1..])
}

pub fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}
