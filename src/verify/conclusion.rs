//! What becomes of a look at a token: counted, and a refusal written to the audit trail.

use std::net::IpAddr;

use super::look::{Accepted, Refusal};
use super::reject::Reject;
use super::verified::{ClaimSet, Verified};
#[cfg(feature = "axum")]
use super::verified::{Claims, Token};
use super::verifier::{Trusted, Verifier};
use crate::audit::{Event, Fields};
use crate::jose::{Compact, RegisteredClaims};
use crate::metrics::Outcomes;

/// Where a token came from, for the audit trail.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestContext<'a> {
    /// Address of the client.
    pub ip: Option<IpAddr>,
    /// The route's pattern.
    pub route: Option<&'a str>,
    /// The request's identifier: its header `x-request-id`, if that is one.
    pub request_id: Option<&'a str>,
}

// === impl Verifier ===

impl Verifier {
    /// Counts the outcome, writes a refusal to the audit trail, and decodes what the caller asked for.
    pub(super) fn conclude<C: ClaimSet>(
        &self,
        token: &[u8],
        outcome: Result<Accepted<'_>, Refusal<'_>>,
        context: RequestContext<'_>,
    ) -> Result<Verified<C>, Reject> {
        let (reject, trusted) = match outcome {
            Ok(Accepted {
                token,
                trusted,
                look,
                timing,
            }) => {
                if let Some(timing) = timing {
                    trusted.outcomes.took(timing.took, timing.weight);
                }
                match token.decode() {
                    Ok(verified) => {
                        trusted.outcomes.accepted(look);
                        return Ok(verified);
                    }
                    Err(reject) => {
                        self.inner.cache_results.refused(look);
                        (reject, Some(trusted))
                    }
                }
            }
            Err(refusal) => {
                if let Some(timing) = refusal.timing {
                    let outcomes = self.outcomes(refusal.trusted);
                    outcomes.took(timing.took, timing.weight);
                }
                (refusal.reject, refusal.trusted)
            }
        };
        self.outcomes(trusted).rejected(reject.reason());
        self.audit(token, &reject, trusted, context);
        Err(reject)
    }

    fn outcomes<'v>(&'v self, trusted: Option<&'v Trusted>) -> &'v Outcomes {
        trusted.map_or(&self.inner.no_issuer, |trusted| &trusted.outcomes)
    }

    #[cfg(feature = "axum")]
    pub(super) fn conclude_allowed<'r>(
        &self,
        token: &[u8],
        outcome: Result<Accepted<'_>, Refusal<'_>>,
        context: impl FnOnce() -> RequestContext<'r>,
        allow: impl FnOnce(&Token) -> Result<(), Reject>,
    ) -> Result<Token, Reject> {
        let outcome = outcome.and_then(|accepted| match allow(&accepted.token) {
            Ok(()) => Ok(accepted),
            Err(reject) => {
                self.inner.cache_results.refused(accepted.look);
                Err(Refusal {
                    timing: accepted.timing,
                    ..Refusal::of(accepted.trusted, reject)
                })
            }
        });
        let context = match &outcome {
            Ok(_) => RequestContext::default(),
            Err(_) => context(),
        };
        let verified: Verified<Claims> = self.conclude(token, outcome, context)?;
        Ok(verified.into_token().detached())
    }

    /// Counts and writes a request that came without usable credentials.
    #[cfg(feature = "axum")]
    pub(crate) fn no_credentials(&self, reject: &Reject, context: RequestContext<'_>) {
        self.inner.no_issuer.rejected(reject.reason());
        if self.inner.audit.admits(reject.reason()) {
            self.write_refusal(reject, None, None, None, context);
        }
    }

    /// Reads the token once more, which costs only those refusals that are written.
    fn audit(
        &self,
        token: &[u8],
        reject: &Reject,
        trusted: Option<&Trusted>,
        context: RequestContext<'_>,
    ) {
        if !self.inner.audit.admits(reject.reason()) {
            return;
        }
        let mut decoded = Vec::new();
        let jws = Compact::parse_behind(&[], token, self.inner.max_token_bytes, &mut decoded).ok();
        let kid = jws.as_ref().and_then(|jws| jws.header.kid.as_deref());
        let policy = &self.inner.trusted[0].policy;
        // What a token says of itself is worth writing down only if its signature was good.
        let claims = jws
            .as_ref()
            .filter(|_| reject.reason().is_authentic())
            .and_then(|jws| RegisteredClaims::parse(jws.payload, policy).ok());
        self.write_refusal(reject, trusted, kid, claims.as_ref(), context);
    }

    fn write_refusal(
        &self,
        reject: &Reject,
        trusted: Option<&Trusted>,
        kid: Option<&str>,
        claims: Option<&RegisteredClaims<'_>>,
        context: RequestContext<'_>,
    ) {
        let detail = reject.to_string();
        self.inner.audit.write(
            Event::VerificationFailed,
            &Fields {
                reason: Some(reject.code()),
                detail: Some(&detail),
                issuer: trusted.map(|trusted| &*trusted.name),
                kid,
                sub: claims.and_then(|claims| claims.sub.as_deref()),
                jti: claims.and_then(|claims| claims.jti.as_deref()),
                sid: claims.and_then(|claims| claims.sid.as_deref()),
                ip: context.ip,
                route: context.route,
                request_id: context.request_id,
            },
        );
    }
}
