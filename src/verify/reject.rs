//! `Reject`: the closed list of reasons for refusing a token; one string per reason, everywhere.

use std::time::Duration;

use crate::jose::{ClaimError, CompactError, JsonError, NumericDate};

/// Why a token was refused, with the evidence.
///
/// The client learns only what it can act on ([`description`](Reject::description)); logs and metrics get
/// [`code`](Reject::code).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reject {
    /// No bearer credentials.
    #[error("no bearer token")]
    MissingToken,
    /// Not a compact JWS, not strict base64url, not strict JSON, or a header parameter of the wrong type.
    #[error("malformed: {0}")]
    Malformed(Malformation),
    /// Over the size limit.
    #[error("over {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Unknown, `none`, an HMAC, or outside the allow-list.
    #[error("its algorithm is not allowed")]
    AlgNotAllowed,
    /// A `typ` that is not an accepted one.
    #[error("its type is not allowed")]
    TypeNotAllowed,
    /// `crit` or `b64`.
    #[error("header parameter `{0}` asks for an extension that is not understood")]
    CriticalHeader(&'static str),
    /// `iss` missing, of the wrong type, or not configured.
    #[error("its issuer is not trusted here")]
    UnknownIssuer,
    /// No key for this `kid`, after the refresh the policy allows.
    #[error("no key of its issuer has its kid")]
    UnknownKey,
    /// No `kid` and several candidates, or one `kid` for two keys.
    #[error("several keys could be meant")]
    AmbiguousKey,
    /// The key's type, curve, `alg`, `use` or `key_ops` contradicts the header.
    #[error("the key is not for its algorithm")]
    KeyMismatch,
    /// The signature is not the key's over this token.
    #[error("the signature is wrong")]
    BadSignature,
    /// A claim of the wrong type or out of range.
    #[error("claim `{0}` is of the wrong type or out of range")]
    BadClaim(&'static str),
    /// A required claim is absent.
    #[error("claim `{0}` is required and absent")]
    MissingClaim(Box<str>),
    /// now ≥ exp + leeway.
    #[error("expired at {exp}, now is {now}")]
    Expired {
        /// The claim.
        exp: NumericDate,
        /// The verifier's clock.
        now: NumericDate,
    },
    /// now < nbf − leeway.
    #[error("not valid before {nbf}, now is {now}")]
    NotYetValid {
        /// The claim.
        nbf: NumericDate,
        /// The verifier's clock.
        now: NumericDate,
    },
    /// `aud` names nobody here.
    #[error("it is meant for another audience")]
    WrongAudience,
    /// The session or the key has been revoked.
    #[error("revoked")]
    Revoked,
    /// Authentic, yet not allowed.
    #[error("it does not allow this")]
    InsufficientScope {
        /// The scope that would do, where a scope is what was missing.
        required: Option<Box<str>>,
    },
    /// No key set yet, or one that is stale past its limit.
    #[error("the issuer's keys could not be had")]
    KeysUnavailable {
        /// When another try may fare better.
        retry_after: Duration,
    },
    /// The status list could not be had within its limit, and the policy is to fail closed.
    #[error("the issuer's status list could not be had")]
    StatusUnavailable {
        /// When another try may fare better.
        retry_after: Duration,
    },
}

/// What is malformed about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformation {
    /// Its framing or its header.
    #[error("{0}")]
    Jws(CompactError),
    /// Its payload.
    #[error("the payload is not strict JSON: {0}")]
    Payload(JsonError),
    /// An `Authorization` field that is twice there, or is not `Bearer` and one token (RFC 6750 §2.1).
    #[error("not one `Bearer` credential")]
    Credentials,
}

/// The reasons without their evidence: what metrics and dashboards count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// [`Reject::MissingToken`]
    MissingToken,
    /// [`Reject::Malformed`]
    Malformed,
    /// [`Reject::TooLarge`]
    TooLarge,
    /// [`Reject::AlgNotAllowed`]
    AlgNotAllowed,
    /// [`Reject::TypeNotAllowed`]
    TypeNotAllowed,
    /// [`Reject::CriticalHeader`]
    CriticalHeader,
    /// [`Reject::UnknownIssuer`]
    UnknownIssuer,
    /// [`Reject::UnknownKey`]
    UnknownKey,
    /// [`Reject::AmbiguousKey`]
    AmbiguousKey,
    /// [`Reject::KeyMismatch`]
    KeyMismatch,
    /// [`Reject::BadSignature`]
    BadSignature,
    /// [`Reject::BadClaim`]
    BadClaim,
    /// [`Reject::MissingClaim`]
    MissingClaim,
    /// [`Reject::Expired`]
    Expired,
    /// [`Reject::NotYetValid`]
    NotYetValid,
    /// [`Reject::WrongAudience`]
    WrongAudience,
    /// [`Reject::Revoked`]
    Revoked,
    /// [`Reject::InsufficientScope`]
    InsufficientScope,
    /// [`Reject::KeysUnavailable`]
    KeysUnavailable,
    /// [`Reject::StatusUnavailable`]
    StatusUnavailable,
}

// === impl Reason ===

impl Reason {
    /// Every reason, in the order of the checks.
    pub const ALL: [Reason; 20] = [
        Reason::MissingToken,
        Reason::Malformed,
        Reason::TooLarge,
        Reason::AlgNotAllowed,
        Reason::TypeNotAllowed,
        Reason::CriticalHeader,
        Reason::UnknownIssuer,
        Reason::UnknownKey,
        Reason::AmbiguousKey,
        Reason::KeyMismatch,
        Reason::BadSignature,
        Reason::BadClaim,
        Reason::MissingClaim,
        Reason::Expired,
        Reason::NotYetValid,
        Reason::WrongAudience,
        Reason::Revoked,
        Reason::InsufficientScope,
        Reason::KeysUnavailable,
        Reason::StatusUnavailable,
    ];

    /// The one string for this reason: log field, metric label, dashboard legend.
    pub const fn code(self) -> &'static str {
        match self {
            Reason::MissingToken => "missing_token",
            Reason::Malformed => "malformed",
            Reason::TooLarge => "too_large",
            Reason::AlgNotAllowed => "alg_not_allowed",
            Reason::TypeNotAllowed => "type_not_allowed",
            Reason::CriticalHeader => "critical_header",
            Reason::UnknownIssuer => "unknown_issuer",
            Reason::UnknownKey => "unknown_key",
            Reason::AmbiguousKey => "ambiguous_key",
            Reason::KeyMismatch => "key_mismatch",
            Reason::BadSignature => "bad_signature",
            Reason::BadClaim => "bad_claim",
            Reason::MissingClaim => "missing_claim",
            Reason::Expired => "expired",
            Reason::NotYetValid => "not_yet_valid",
            Reason::WrongAudience => "wrong_audience",
            Reason::Revoked => "revoked",
            Reason::InsufficientScope => "insufficient_scope",
            Reason::KeysUnavailable => "keys_unavailable",
            Reason::StatusUnavailable => "status_unavailable",
        }
    }

    /// The HTTP status that tells the client: 401, 403 or 503.
    pub const fn status(self) -> u16 {
        match self {
            Reason::InsufficientScope => 403,
            Reason::KeysUnavailable | Reason::StatusUnavailable => 503,
            _ => 401,
        }
    }

    /// Whether the signature had been found good when the token was refused for this reason: only then may its claims be
    /// believed, as in an audit line.
    pub const fn is_authentic(self) -> bool {
        matches!(
            self,
            Reason::MissingClaim
                | Reason::Expired
                | Reason::NotYetValid
                | Reason::WrongAudience
                | Reason::Revoked
                | Reason::InsufficientScope
                | Reason::StatusUnavailable
        )
    }
}

// === impl Reject ===

impl Reject {
    /// The reason alone.
    pub fn reason(&self) -> Reason {
        match self {
            Reject::MissingToken => Reason::MissingToken,
            Reject::Malformed(_) => Reason::Malformed,
            Reject::TooLarge { .. } => Reason::TooLarge,
            Reject::AlgNotAllowed => Reason::AlgNotAllowed,
            Reject::TypeNotAllowed => Reason::TypeNotAllowed,
            Reject::CriticalHeader(_) => Reason::CriticalHeader,
            Reject::UnknownIssuer => Reason::UnknownIssuer,
            Reject::UnknownKey => Reason::UnknownKey,
            Reject::AmbiguousKey => Reason::AmbiguousKey,
            Reject::KeyMismatch => Reason::KeyMismatch,
            Reject::BadSignature => Reason::BadSignature,
            Reject::BadClaim(_) => Reason::BadClaim,
            Reject::MissingClaim(_) => Reason::MissingClaim,
            Reject::Expired { .. } => Reason::Expired,
            Reject::NotYetValid { .. } => Reason::NotYetValid,
            Reject::WrongAudience => Reason::WrongAudience,
            Reject::Revoked => Reason::Revoked,
            Reject::InsufficientScope { .. } => Reason::InsufficientScope,
            Reject::KeysUnavailable { .. } => Reason::KeysUnavailable,
            Reject::StatusUnavailable { .. } => Reason::StatusUnavailable,
        }
    }

    /// As [`Reason::code`].
    pub fn code(&self) -> &'static str {
        self.reason().code()
    }

    /// What the client is told: it acts on "missing" and "expired"; every other 401 reads the same to it.
    pub fn description(&self) -> &'static str {
        match self.reason() {
            Reason::MissingToken => "The access token is missing",
            Reason::Expired => "The access token expired",
            Reason::InsufficientScope => "The access token does not allow this request",
            Reason::KeysUnavailable | Reason::StatusUnavailable => {
                "The access token cannot be checked at the moment"
            }
            _ => "The access token is invalid",
        }
    }
}

impl From<CompactError> for Reject {
    fn from(error: CompactError) -> Self {
        match error {
            CompactError::TooLarge { limit } => Reject::TooLarge { limit },
            CompactError::Critical(name) => Reject::CriticalHeader(name),
            error => Reject::Malformed(Malformation::Jws(error)),
        }
    }
}

impl From<ClaimError> for Reject {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Json(error) => Reject::Malformed(Malformation::Payload(error)),
            ClaimError::Bad(name) => Reject::BadClaim(name),
            ClaimError::Missing(name) => Reject::MissingClaim(name),
            ClaimError::Expired { exp, now } => Reject::Expired { exp, now },
            ClaimError::NotYetValid { nbf, now } => Reject::NotYetValid { nbf, now },
            ClaimError::WrongAudience => Reject::WrongAudience,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_reject_codes_lists_every_code_with_its_status() {
        let page = include_str!("../../docs/reject-codes.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let listed: Vec<(&str, &str)> = rows
            .map(|row| {
                let mut cells = row.split(" | ");
                let code = cells.next().unwrap_or_default().trim_end_matches('`');
                (code, cells.next().unwrap_or_default())
            })
            .collect();
        let statuses = Reason::ALL.map(|reason| reason.status().to_string());
        let reasons = Reason::ALL.iter().zip(&statuses);
        let known: Vec<(&str, &str)> = reasons
            .map(|(reason, status)| (reason.code(), status.as_str()))
            .collect();
        assert_eq!(listed, known);
    }

    #[test]
    fn codes_are_distinct_and_listed_in_order() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Reason::ALL.len());
    }
}
