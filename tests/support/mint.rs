//! Tokens that say whatever a test wants, signed with keys made for the occasion.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keywheel::Algorithm;
use keywheel::jose::SigningKey;

/// A key of its own, under this kid.
pub(crate) fn key(algorithm: Algorithm, kid: &str) -> SigningKey {
    let (_, pkcs8) = SigningKey::generate(algorithm).unwrap();
    SigningKey::from_pkcs8(algorithm, &pkcs8, Some(kid)).unwrap()
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Three segments out of their bytes.
pub(crate) fn compact(
    header: &str,
    payload: impl AsRef<[u8]>,
    signature: impl AsRef<[u8]>,
) -> String {
    format!(
        "{}.{}.{}",
        base64url(header),
        base64url(payload),
        base64url(signature)
    )
}

/// A token with this header and payload, byte for byte, and a good signature.
pub(crate) fn token(key: &SigningKey, header: &str, payload: impl AsRef<[u8]>) -> String {
    let signed = format!("{}.{}", base64url(header), base64url(payload));
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", base64url(signature))
}

/// The set that publishes these keys.
pub(crate) fn jwks(keys: &[&SigningKey]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| key.verifying_key().to_jwk())
        .collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}
