//! `JwkSet` (RFC 7517 §5): one bad key is skipped and named, never the whole set. A document that is not strict JSON, a member
//! name twice in one of its keys included, is refused whole: nobody can say what its sender meant.

use std::borrow::Cow;
use std::sync::Arc;

use super::json::{self, JsonError, Value};
use super::jwk::{JwkError, parse_jwk};
use super::key::VerifyingKey;

/// A key of a set that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedKey {
    /// Position in `keys`, from 0.
    pub index: usize,
    /// Its `kid`, where it has a readable one.
    pub kid: Option<String>,
    /// What is wrong with it.
    pub error: JwkError,
}

/// Why a document is no JWK Set at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// Not strict JSON, not an object, or `keys` twice.
    #[error("not a JWK Set: {0}")]
    Json(#[from] JsonError),
    /// No `keys`, or it is no array (RFC 7517 §5.1).
    #[error("not a JWK Set: `keys` is missing or not an array")]
    NoKeys,
    /// More keys than the limit.
    #[error("more than {limit} keys")]
    TooManyKeys {
        /// The most keys a set may have.
        limit: usize,
    },
}

/// A JWK Set (RFC 7517 §5): the usable keys in published order, and the skipped ones by name.
#[derive(Debug, Clone, Default)]
pub struct JwkSet {
    /// Keys that may verify signatures.
    pub keys: Vec<Arc<VerifyingKey>>,
    /// Keys that may not, with the reason.
    pub skipped: Vec<SkippedKey>,
}

// === impl JwkSet ===

impl JwkSet {
    /// Parses a JWK Set document.
    ///
    /// # Errors
    /// [`SetError`] if the document is not strict JSON or has no `keys` array. A bad key is no error: it is in `skipped`.
    pub fn parse(document: &[u8]) -> Result<Self, SetError> {
        Self::parse_bounded(document, usize::MAX)
    }

    /// As [`parse`](Self::parse), refusing a set of more than `limit` keys.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and [`SetError::TooManyKeys`].
    pub fn parse_bounded(document: &[u8], limit: usize) -> Result<Self, SetError> {
        let text = json::utf8(document)?;
        let mut keys = None;
        json::object(text, |name, value| {
            if name == "keys"
                && let Value::Array(raw) = value
            {
                keys = Some(raw);
            }
            Ok::<(), JsonError>(())
        })?;
        let mut set = JwkSet::default();
        let mut index = 0;
        json::array::<SetError>(keys.ok_or(SetError::NoKeys)?, |_, raw| {
            if index == limit {
                return Err(SetError::TooManyKeys { limit });
            }
            match parse_jwk(raw) {
                Ok(key) => set.keys.push(Arc::new(key)),
                Err(error) => set.skipped.push(SkippedKey {
                    index,
                    kid: readable_kid(raw),
                    error,
                }),
            }
            index += 1;
            Ok(())
        })?;
        Ok(set)
    }
}

/// From the ecosystem's type; keys that cannot be used are in `skipped`.
impl From<&jsonwebtoken::jwk::JwkSet> for JwkSet {
    fn from(set: &jsonwebtoken::jwk::JwkSet) -> Self {
        let mut out = JwkSet::default();
        for (index, jwk) in set.keys.iter().enumerate() {
            match VerifyingKey::try_from(jwk) {
                Ok(key) => out.keys.push(Arc::new(key)),
                Err(error) => out.skipped.push(SkippedKey {
                    index,
                    kid: jwk.common.key_id.clone(),
                    error,
                }),
            }
        }
        out
    }
}

/// The `kid` of a key that is otherwise bad, to name it in reports.
fn readable_kid(json: &str) -> Option<String> {
    let mut kid = None;
    // The verdict on the key has been given already; here only its name is wanted.
    let _ = json::object(json, |name, value| {
        if name == "kid" {
            kid = value.into_string().map(Cow::into_owned);
        }
        Ok::<(), JsonError>(())
    });
    kid
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 appendix A.2 and A.3.
    const ED25519: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn a_bad_key_is_skipped_and_named() {
        let document = format!(
            r#"{{"keys":[{{"kty":"XYZ","kid":"odd"}},5,{ED25519},{{"kty":"oct","k":"AAAA"}}]}}"#
        );
        let set = JwkSet::parse(document.as_bytes()).unwrap();
        assert_eq!(set.keys.len(), 1);
        let skipped: Vec<_> = set
            .skipped
            .iter()
            .map(|key| (key.index, key.kid.as_deref(), key.error.to_string()))
            .collect();
        assert_eq!(skipped[0].0, 0);
        assert_eq!(skipped[0].1, Some("odd"));
        assert_eq!(skipped[1].0, 1);
        assert_eq!(skipped[2].2, "kty `oct` has no public-key signature here");
    }

    #[test]
    fn what_is_no_set_is_an_error() {
        for document in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"keys":{}}"#,
            r#"{"keys":null}"#,
            r#"{"keys":[],"keys":[]}"#,
            "\u{feff}{\"keys\":[]}",
            "<html></html>",
            r#"{"keys":[],}"#,
            r#"{"keys":[]}x"#,
        ] {
            assert!(JwkSet::parse(document.as_bytes()).is_err(), "{document}");
        }
        assert!(JwkSet::parse(b"{\"keys\":[]}\xff").is_err());
        assert!(JwkSet::parse(br#"{"keys":[]}"#).unwrap().keys.is_empty());
        let three = format!(r#"{{"keys":[{ED25519},{ED25519},{ED25519}]}}"#);
        assert!(JwkSet::parse_bounded(three.as_bytes(), 3).is_ok());
        assert_eq!(
            JwkSet::parse_bounded(three.as_bytes(), 2).unwrap_err(),
            SetError::TooManyKeys { limit: 2 }
        );
    }
}
