//! `VerifyingKey` from a JWK (RFC 7517 §4), as strict JSON: a member name twice, and nobody can say what its sender meant.
//!
//! Never reads `x5c`, `x5u` or any other member that would point elsewhere, and never keeps a private member.

use super::algorithm::Algorithm;
use super::base64url;
use super::ecdsa::{Curve, EcKey};
use super::ed25519::Ed25519Key;
use super::json::{self, JsonError, Value};
use super::key::{Material, VerifyingKey};
use super::rsa::RsaKey;

/// Why one JWK is of no use for verifying signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwkError {
    /// Not a JSON object, or a member name twice.
    #[error("not a JWK: {0}")]
    Json(#[from] JsonError),
    /// A member that this `kty` requires is absent.
    #[error("member `{0}` is missing")]
    Missing(&'static str),
    /// A member has another JSON type than RFC 7517 and RFC 7518 give it.
    #[error("member `{0}` is of the wrong type")]
    WrongType(&'static str),
    /// A member that should be base64url is not.
    #[error("member `{0}` is not base64url")]
    NotBase64Url(&'static str),
    /// A `kty` for which JWS has no public-key signature: `oct` among them.
    #[error("kty `{0}` has no public-key signature here")]
    KeyType(String),
    /// A `crv` that no algorithm of this build uses.
    #[error("crv `{0}` is not supported")]
    Curve(String),
    /// An `alg` that is no signature algorithm of this build.
    #[error("alg `{0}` is no signature algorithm here")]
    Algorithm(String),
    /// An `alg` that the key type contradicts.
    #[error("alg {0} contradicts the key's kty and crv")]
    AlgorithmMismatch(Algorithm),
    /// `use` is not `sig`.
    #[error("use `{0}` is not `sig`")]
    Use(String),
    /// `key_ops` is there and lacks `verify`.
    #[error("key_ops lacks `verify`")]
    KeyOps,
    /// RSA modulus outside 2048 to 8192 bits.
    #[error("an RSA modulus of {bits} bits; 2048 to 8192 are accepted")]
    RsaModulusSize {
        /// Bits without leading zeros.
        bits: usize,
    },
    /// An even RSA modulus is no product of two odd primes.
    #[error("an even RSA modulus")]
    RsaModulusEven,
    /// RSA exponent below 3, even, or over 33 bits.
    #[error("an RSA exponent that is below 3, even, or over 33 bits")]
    RsaExponent,
    /// A coordinate that is not exactly the curve's size.
    #[error("a coordinate that is not {expected} bytes")]
    CoordinateSize {
        /// Bytes the curve asks for.
        expected: usize,
    },
    /// Not a point of the named curve.
    #[error("the point is not on its curve")]
    EcPoint,
    /// Not a point of edwards25519.
    #[error("x is no point of Ed25519")]
    EdPoint,
    /// An Ed25519 point with y ≥ p.
    #[error("x is not the canonical encoding of its point")]
    EdPointNotCanonical,
    /// An Ed25519 point of small order, under which one signature fits every message.
    #[error("x is a point of small order")]
    EdPointSmallOrder,
}

// === impl JwkError ===

impl JwkError {
    /// The key may be sound, but says that it is for something else: another kty, crv, alg, use or key_ops.
    pub fn is_contradiction(&self) -> bool {
        matches!(
            self,
            JwkError::KeyType(_)
                | JwkError::Curve(_)
                | JwkError::Algorithm(_)
                | JwkError::AlgorithmMismatch(_)
                | JwkError::Use(_)
                | JwkError::KeyOps
        )
    }
}

/// From the ecosystem's type, by way of its JSON: one parser decides.
impl TryFrom<&jsonwebtoken::jwk::Jwk> for VerifyingKey {
    type Error = JwkError;

    fn try_from(jwk: &jsonwebtoken::jwk::Jwk) -> Result<Self, JwkError> {
        match serde_json::to_string(jwk) {
            Ok(json) => VerifyingKey::from_jwk(&json),
            Err(_) => Err(JwkError::WrongType("jwk")),
        }
    }
}

/// The members of a JWK that decide whether and how it verifies, not yet held against a type: a member that the `kty` has no
/// use for may be anything.
#[derive(Default)]
struct Members<'a> {
    kty: Option<Value<'a>>,
    crv: Option<Value<'a>>,
    x: Option<Value<'a>>,
    y: Option<Value<'a>>,
    n: Option<Value<'a>>,
    e: Option<Value<'a>>,
    kid: Option<Value<'a>>,
    alg: Option<Value<'a>>,
    r#use: Option<Value<'a>>,
    key_ops: Option<Value<'a>>,
}

pub(crate) fn parse_jwk(json: &str) -> Result<VerifyingKey, JwkError> {
    let members = Members::read(json)?;
    members.check_purpose()?;
    let (material, canonical) = members.material()?;
    let declared = members.algorithm()?;
    let key = VerifyingKey::new(
        optional(&members.kid, "kid")?.map(Into::into),
        declared,
        material,
        canonical.into(),
    );
    match declared {
        Some(declared) if declared.key_type() != key.key_type() => {
            Err(JwkError::AlgorithmMismatch(declared))
        }
        _ => Ok(key),
    }
}

// === impl Members ===

impl<'a> Members<'a> {
    fn read(json: &'a str) -> Result<Self, JwkError> {
        let mut members = Members::default();
        json::object::<JwkError>(json, |name, value| {
            let slot = match name {
                "kty" => &mut members.kty,
                "crv" => &mut members.crv,
                "x" => &mut members.x,
                "y" => &mut members.y,
                "n" => &mut members.n,
                "e" => &mut members.e,
                "kid" => &mut members.kid,
                "alg" => &mut members.alg,
                "use" => &mut members.r#use,
                "key_ops" => &mut members.key_ops,
                // Everything else, private members among it, is passed over unread.
                _ => return Ok(()),
            };
            *slot = Some(value);
            Ok(())
        })?;
        Ok(members)
    }

    /// RFC 7517 §4.2, §4.3.
    fn check_purpose(&self) -> Result<(), JwkError> {
        if let Some(purpose) = optional(&self.r#use, "use")?
            && purpose != "sig"
        {
            return Err(JwkError::Use(purpose.into()));
        }
        if let Some(key_ops) = &self.key_ops {
            let Value::Array(raw) = key_ops else {
                return Err(JwkError::WrongType("key_ops"));
            };
            let mut may_verify = false;
            json::array::<JwkError>(raw, |operation, _| match operation.into_string() {
                Some(operation) => {
                    may_verify |= operation == "verify";
                    Ok(())
                }
                None => Err(JwkError::WrongType("key_ops")),
            })?;
            if !may_verify {
                return Err(JwkError::KeyOps);
            }
        }
        Ok(())
    }

    fn algorithm(&self) -> Result<Option<Algorithm>, JwkError> {
        optional(&self.alg, "alg")?
            .map(|name| Algorithm::from_name(name).ok_or(JwkError::Algorithm(name.into())))
            .transpose()
    }

    /// The checked material, and the JSON that its thumbprint is taken over (RFC 7638 §3.2, RFC 8037 §2).
    fn material(&self) -> Result<(Material, String), JwkError> {
        match require(&self.kty, "kty")? {
            "OKP" => {
                let crv = require(&self.crv, "crv")?;
                if crv != "Ed25519" {
                    return Err(JwkError::Curve(crv.into()));
                }
                let x = decode(&self.x, "x")?;
                let canonical = format!(
                    r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#,
                    base64url::encode(&x)
                );
                Ok((Material::Ed25519(Ed25519Key::new(&x)?), canonical))
            }
            "EC" => {
                let crv = require(&self.crv, "crv")?;
                let curve = Curve::from_name(crv).ok_or(JwkError::Curve(crv.into()))?;
                let (x, y) = (decode(&self.x, "x")?, decode(&self.y, "y")?);
                let canonical = format!(
                    r#"{{"crv":"{crv}","kty":"EC","x":"{}","y":"{}"}}"#,
                    base64url::encode(&x),
                    base64url::encode(&y)
                );
                Ok((Material::Ec(EcKey::new(curve, &x, &y)?), canonical))
            }
            "RSA" => {
                let key = RsaKey::new(&decode(&self.n, "n")?, &decode(&self.e, "e")?)?;
                let canonical = format!(
                    r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
                    base64url::encode(key.exponent()),
                    base64url::encode(key.modulus())
                );
                Ok((Material::Rsa(key), canonical))
            }
            other => Err(JwkError::KeyType(other.into())),
        }
    }
}

/// The member's string, where the member is there.
fn optional<'m>(
    member: &'m Option<Value<'_>>,
    name: &'static str,
) -> Result<Option<&'m str>, JwkError> {
    match member {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwkError::WrongType(name)),
    }
}

fn require<'m>(member: &'m Option<Value<'_>>, name: &'static str) -> Result<&'m str, JwkError> {
    optional(member, name)?.ok_or(JwkError::Missing(name))
}

fn decode(member: &Option<Value<'_>>, name: &'static str) -> Result<Vec<u8>, JwkError> {
    base64url::decode_jwk_value(require(member, name)?).map_err(|_| JwkError::NotBase64Url(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 appendix A.2 and A.3.
    const ED25519: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn with(member: &str) -> String {
        format!("{},{member}}}", &ED25519[..ED25519.len() - 1])
    }

    #[test]
    fn thumbprints_are_rfc_7638s() {
        let key = VerifyingKey::from_jwk(ED25519).unwrap();
        assert_eq!(
            key.thumbprint().to_string(),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
        // RFC 7638 §3.1.
        let rsa = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
        assert_eq!(
            VerifyingKey::from_jwk(rsa)
                .unwrap()
                .thumbprint()
                .to_string(),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }

    #[test]
    fn members_that_contradict_the_purpose_make_a_key_unusable() {
        for (member, error) in [
            (r#""use":"enc""#, JwkError::Use("enc".into())),
            (r#""use":1"#, JwkError::WrongType("use")),
            (r#""key_ops":["sign"]"#, JwkError::KeyOps),
            (r#""key_ops":[]"#, JwkError::KeyOps),
            (r#""key_ops":"verify""#, JwkError::WrongType("key_ops")),
            (r#""key_ops":["verify",1]"#, JwkError::WrongType("key_ops")),
            (
                r#""alg":"RS256""#,
                JwkError::AlgorithmMismatch(Algorithm::RS256),
            ),
            (r#""alg":"HS256""#, JwkError::Algorithm("HS256".into())),
            (r#""alg":null"#, JwkError::WrongType("alg")),
            (r#""kid":1"#, JwkError::WrongType("kid")),
        ] {
            assert_eq!(
                VerifyingKey::from_jwk(&with(member)).unwrap_err(),
                error,
                "{member}"
            );
        }
        for member in [
            r#""use":"sig""#,
            r#""key_ops":["verify"]"#,
            r#""alg":"EdDSA""#,
            r#""alg":"Ed25519""#,
            r#""d":"secret""#,
        ] {
            assert!(VerifyingKey::from_jwk(&with(member)).is_ok(), "{member}");
        }
        assert!(matches!(
            VerifyingKey::from_jwk(&with(
                r#""x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#
            )),
            Err(JwkError::Json(_))
        ));
    }
}
