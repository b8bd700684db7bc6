//! `Explanation`: every check of one verification, in order: passed, failed, or not reached; what was seen, what was wanted, what to
//! do.

use std::fmt;

use serde::Serialize;

use super::reject::{Malformation, Reject};
use crate::jose::{Algorithm, Header, RegisteredClaims};

/// One check of a verification, in the order they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CheckName {
    /// Within the size limit.
    Size,
    /// Three segments of strict base64url, and a strict JSON header.
    Framing,
    /// No extension that must be understood.
    CriticalHeader,
    /// An algorithm that exists here.
    Algorithm,
    /// An accepted `typ`.
    Type,
    /// A strict JSON payload with registered claims of the right types.
    Payload,
    /// A configured issuer.
    Issuer,
    /// An algorithm that is allowed for this issuer.
    AllowedAlgorithm,
    /// The issuer's keys are at hand.
    Keys,
    /// One key of the issuer has the kid.
    Key,
    /// That key is for this algorithm.
    KeyUse,
    /// The signature is the key's.
    Signature,
    /// The required claims are there.
    RequiredClaims,
    /// Not expired.
    Expiry,
    /// Valid already.
    NotBefore,
    /// Meant for this audience.
    Audience,
    /// The issuer's status list does not say that the session has ended.
    Status,
}

// === impl CheckName ===

impl CheckName {
    pub(super) const ALL: [CheckName; 17] = [
        CheckName::Size,
        CheckName::Framing,
        CheckName::CriticalHeader,
        CheckName::Algorithm,
        CheckName::Type,
        CheckName::Payload,
        CheckName::Issuer,
        CheckName::AllowedAlgorithm,
        CheckName::Keys,
        CheckName::Key,
        CheckName::KeyUse,
        CheckName::Signature,
        CheckName::RequiredClaims,
        CheckName::Expiry,
        CheckName::NotBefore,
        CheckName::Audience,
        CheckName::Status,
    ];

    /// In words.
    pub const fn title(self) -> &'static str {
        match self {
            CheckName::Size => "size",
            CheckName::Framing => "three base64url segments, strict header",
            CheckName::CriticalHeader => "no extension that must be understood",
            CheckName::Algorithm => "alg is a signature algorithm",
            CheckName::Type => "typ",
            CheckName::Payload => "strict payload, claims of the right types",
            CheckName::Issuer => "iss is trusted",
            CheckName::AllowedAlgorithm => "alg is allowed for the issuer",
            CheckName::Keys => "the issuer's keys are at hand",
            CheckName::Key => "one key has the kid",
            CheckName::KeyUse => "the key is for the alg",
            CheckName::Signature => "signature",
            CheckName::RequiredClaims => "required claims are there",
            CheckName::Expiry => "exp is not reached",
            CheckName::NotBefore => "nbf is reached",
            CheckName::Audience => "aud names this audience",
            CheckName::Status => "the session has not ended",
        }
    }

    /// The check that a refusal comes from.
    pub(super) fn failed_by(
        reject: &Reject,
        header: Option<&Header<'_>>,
        claims: Option<&RegisteredClaims<'_>>,
    ) -> Self {
        let has_status = claims.is_some_and(|claims| claims.status.is_some());
        match reject {
            Reject::TooLarge { .. } => CheckName::Size,
            // A status of the right shape that leads nowhere: to a list of another origin, or beyond the end of one.
            Reject::BadClaim("status") if has_status => CheckName::Status,
            Reject::CriticalHeader(_) => CheckName::CriticalHeader,
            Reject::Malformed(Malformation::Payload(_)) | Reject::BadClaim(_) => CheckName::Payload,
            Reject::MissingToken | Reject::Malformed(_) => CheckName::Framing,
            Reject::AlgNotAllowed => {
                let known =
                    header.is_some_and(|header| Algorithm::from_name(&header.alg).is_some());
                match known {
                    true => CheckName::AllowedAlgorithm,
                    false => CheckName::Algorithm,
                }
            }
            Reject::TypeNotAllowed => CheckName::Type,
            Reject::UnknownIssuer => CheckName::Issuer,
            Reject::KeysUnavailable { .. } => CheckName::Keys,
            Reject::UnknownKey | Reject::AmbiguousKey => CheckName::Key,
            Reject::KeyMismatch => CheckName::KeyUse,
            Reject::BadSignature => CheckName::Signature,
            Reject::MissingClaim(name) if **name == *"aud" => CheckName::Audience,
            Reject::MissingClaim(_) => CheckName::RequiredClaims,
            Reject::Expired { .. } => CheckName::Expiry,
            Reject::NotYetValid { .. } => CheckName::NotBefore,
            // Nothing else is decided without a request, which an explanation does not have.
            Reject::WrongAudience | Reject::InsufficientScope { .. } => CheckName::Audience,
            Reject::Revoked | Reject::StatusUnavailable { .. } => CheckName::Status,
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// ✓
    Passed,
    /// ✗
    Failed,
    /// –: an earlier one failed.
    NotReached,
}

/// One check with what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which.
    pub name: CheckName,
    /// How it ended.
    pub outcome: Outcome,
    /// What the token has, as it says itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// What would have passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// What to do about a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Every check of one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether the token is accepted.
    pub ok: bool,
    /// The reject code, if it is not.
    pub reason: Option<&'static str>,
    /// Whether the signature was found good: only then is what the token says known to be its issuer's word.
    pub authentic: bool,
    /// The checks, in order.
    pub checks: Vec<Check>,
}

/// One line a check, with its mark; a failed one says what to do.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let mark = match check.outcome {
                Outcome::Passed => "✓",
                Outcome::Failed => "✗",
                Outcome::NotReached => "–",
            };
            write!(f, "{mark} {}", check.name.title())?;
            if let Some(seen) = &check.seen {
                write!(f, ": {seen}")?;
            }
            if let (Outcome::Failed, Some(wanted)) = (check.outcome, &check.wanted) {
                write!(f, "; wanted {wanted}")?;
            }
            writeln!(f)?;
            if let Some(advice) = &check.advice {
                writeln!(f, "    {advice}")?;
            }
        }
        match (self.reason, self.authentic) {
            (None, _) => write!(f, "accepted"),
            (Some(reason), true) => write!(f, "refused: {reason}"),
            (Some(reason), false) => write!(
                f,
                "refused: {reason}. Nothing that the token says is verified: anyone could have written it"
            ),
        }
    }
}

/// Keeps the list of reasons and the list of checks in step: a new claim error must say which check it belongs to.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::ClaimError;
    use crate::verify::Reason;

    #[test]
    fn checks_are_listed_in_their_order() {
        assert!(CheckName::ALL.is_sorted());
        for error in [ClaimError::WrongAudience, ClaimError::Bad("exp")] {
            let reject = Reject::from(error);
            assert!(CheckName::failed_by(&reject, None, None) >= CheckName::Payload);
        }
        assert!(Reason::BadSignature < Reason::Expired);
    }
}
