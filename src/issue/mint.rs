//! Minting: a grant becomes a token, signed with the key that signs at this moment.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::clock_jump::ImplausibleClock;
use super::grant::Grant;
use super::issuer::Issuer;
use super::published::Published;
use super::status_list::StatusReference;
use crate::jose::{Algorithm, NumericDate, SigningError, SigningKey, base64url};

/// `typ` of the tokens (RFC 9068 §2.1).
pub(super) const TYP: &str = "at+jwt";
/// A key may be rotated away while its lease is extended; not each time.
const LEASE_TRIES: u32 = 3;

/// A new token.
#[derive(Clone)]
pub struct Minted {
    /// The compact serialization.
    pub token: String,
    /// Its `jti`.
    pub jti: String,
    /// Its `exp`.
    pub expires_at: NumericDate,
    /// The key that signed it.
    pub kid: String,
}

/// Shows everything but the token.
impl std::fmt::Debug for Minted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted")
            .field("jti", &self.jti)
            .field("expires_at", &self.expires_at)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Why no token was minted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// `sub` or `aud` is empty.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// A life of nothing, or beyond the limit that retired keys are kept for.
    #[error("a ttl of {} is not between 1s and the limit of {}", humantime::format_duration(*.ttl), humantime::format_duration(*.max))]
    Ttl {
        /// As asked for.
        ttl: Duration,
        /// The limit.
        max: Duration,
    },
    /// No key signs by this algorithm.
    #[error("no usable key signs by {0}; see `keywheel keys list`")]
    NoSigner(Algorithm),
    /// How long the token will live could not be written down, so it is not given.
    #[error(
        "the key store cannot be written, and no token is given that it does not know to live: {0}"
    )]
    Store(String),
    /// By the ring, the clock is wrong.
    #[error(transparent)]
    Clock(#[from] ImplausibleClock),
    /// The signature failed.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The system gave no random bytes, or JSON could not be written.
    #[error("the system failed to {0}")]
    System(&'static str),
}

// === impl Issuer ===

impl Issuer {
    /// What is published, once the store knows that the key that signs by `algorithm` signs tokens that live until `exp`.
    fn with_lease(&self, algorithm: Algorithm, exp: i64) -> Result<Arc<Published>, MintError> {
        for _ in 0..LEASE_TRIES {
            let published = Arc::clone(&self.published());
            match published.signer(algorithm) {
                Some(signer) if !signer.lease.covers(exp) => self.extend_lease(algorithm, exp)?,
                _ => return Ok(published),
            }
        }
        let (policy, now) = (self.policy(), self.clock().now());
        self.published().ring.check_clock(policy, now)?;
        Err(MintError::Store("it changes all the time".into()))
    }

    /// Signs a token for `grant` with the key that signs at this moment.
    ///
    /// # Errors
    /// [`MintError`]; no token is given that would outlive its key's publication, and none without `exp`.
    pub fn mint(&self, grant: &Grant) -> Result<Minted, MintError> {
        if grant.subject.is_empty() {
            return Err(MintError::Empty("the subject"));
        }
        if grant.audience.is_empty() {
            return Err(MintError::Empty("the audience"));
        }
        let settings = self.settings();
        let audience = settings.audiences.get(&grant.audience);
        let ttl = grant
            .ttl
            .or(audience.and_then(|audience| audience.ttl))
            .unwrap_or(settings.ttl);
        let max = self.policy().max_token_ttl;
        if ttl < Duration::from_secs(1) || ttl > max {
            return Err(MintError::Ttl { ttl, max });
        }
        let algorithm = self.algorithm_for(&grant.audience);
        let now = self.clock().now().seconds();
        let exp = now.saturating_add_unsigned(ttl.as_secs());
        let jti = random_id()?;
        let claims = TokenClaims {
            iss: &settings.issuer,
            sub: &grant.subject,
            aud: &grant.audience,
            iat: now,
            exp,
            jti: &jti,
            client_id: grant.client_id.as_deref().unwrap_or(&grant.audience),
            sid: grant.session_id.as_deref(),
            scope: (!grant.scopes.is_empty()).then(|| grant.scopes.join(" ")),
            roles: &grant.roles,
            email: grant.email.as_deref(),
            status: grant
                .status
                .as_ref()
                .map(|status_list| Status { status_list }),
            user_claims: &grant.user_claims,
        };
        let (token, kid) = self.sign(algorithm, TYP, exp, &claims)?;
        let named = audience.is_some().then_some(&*grant.audience);
        self.metrics().minted(algorithm, named);
        Ok(Minted {
            token,
            jti,
            expires_at: NumericDate::from_seconds(exp),
            kid,
        })
    }

    /// Signs `claims`, which expire at `exp` in seconds since the epoch, as a JWS with this `typ`. Gives the kid, too.
    ///
    /// # Errors
    /// [`MintError`] without a usable key.
    pub(super) fn sign(
        &self,
        algorithm: Algorithm,
        typ: &str,
        exp: i64,
        claims: &impl Serialize,
    ) -> Result<(String, String), MintError> {
        let published = self.with_lease(algorithm, exp)?;
        let signer = published
            .signer(algorithm)
            .ok_or(MintError::NoSigner(algorithm))?;
        let payload =
            serde_json::to_vec(claims).map_err(|_| MintError::System("write the claims"))?;
        let other_header;
        let header = match typ {
            TYP => &signer.header,
            _ => {
                other_header = header(&signer.key, typ);
                &other_header
            }
        };
        let mut token = String::with_capacity(header.len() + payload.len() * 4 / 3 + 96);
        token.push_str(header);
        token.push('.');
        base64url::encode_onto(&payload, &mut token);
        let started = self.clock().monotonic();
        let signature = signer.key.sign(token.as_bytes())?;
        signer.lease.signed(exp);
        let took = self.clock().monotonic().saturating_sub(started);
        token.push('.');
        base64url::encode_onto(&signature, &mut token);
        self.metrics().signed(algorithm, took);
        Ok((token, signer.key.kid().to_owned()))
    }
}

/// The first segment of a token of this `typ` that `key` signs.
pub(super) fn header(key: &SigningKey, typ: &str) -> String {
    let kid = serde_json::Value::from(key.kid());
    let alg = key.algorithm();
    base64url::encode(format!(r#"{{"alg":"{alg}","kid":{kid},"typ":"{typ}"}}"#).as_bytes())
}

/// The payload (RFC 9068 §2.2): only what is named here can be in a token.
#[derive(Serialize)]
struct TokenClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: &'a str,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    roles: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(flatten)]
    user_claims: &'a serde_json::Map<String, serde_json::Value>,
}

/// The claim `status` (draft-ietf-oauth-status-list §6.1).
#[derive(Serialize)]
struct Status<'a> {
    status_list: &'a StatusReference,
}

/// 128 random bits in base64url.
fn random_id() -> Result<String, MintError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| MintError::System("give random bytes"))?;
    Ok(base64url::encode(&bytes))
}
