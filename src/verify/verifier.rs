//! `Verifier`: what it holds, and what is asked of it.

use std::sync::Arc;

use super::builder::VerifierBuilder;
use super::conclusion::RequestContext;
use super::keyset::Reader;
use super::look::Missed;
use super::refresh::RemoteKeys;
use super::reject::Reject;
use super::status::StatusLists;
use super::tables::Tables;
use super::token_cache::TokenCache;
#[cfg(feature = "axum")]
use super::verified::Token;
use super::verified::{ClaimSet, Verified};
use crate::audit::AuditLog;
use crate::clock::Clock;
use crate::jose::{Algorithm, Policy};
use crate::metrics::{CacheResults, Metrics, Outcomes};

/// Verifies tokens of the configured issuers, sharing no secret with any. Cheap to clone.
#[derive(Clone)]
pub struct Verifier {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) trusted: Box<[Trusted]>,
    pub(super) max_token_bytes: usize,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) no_issuer: Outcomes,
    pub(super) cache: TokenCache,
    pub(super) cache_results: CacheResults,
    pub(super) tables: Tables,
    pub(super) audit: AuditLog,
}

/// One configured issuer.
pub(super) struct Trusted {
    pub(super) name: Arc<str>,
    pub(super) algorithms: Box<[Algorithm]>,
    pub(super) policy: Policy,
    pub(super) keys: Reader,
    /// `None` for static keys.
    pub(super) remote: Option<RemoteKeys>,
    /// `None` if they are not to be looked at.
    pub(super) status: Option<StatusLists>,
    pub(super) outcomes: Outcomes,
}

// === impl Verifier ===

impl Verifier {
    /// Says what to trust.
    pub fn builder() -> VerifierBuilder {
        VerifierBuilder::default()
    }

    /// Verifies a token: the compact serialization alone, without `Bearer`.
    ///
    /// May wait for one fetch when no key fits or none are there yet, and the cool-down allows one, and before it for one that
    /// was under way; else it never waits.
    ///
    /// # Errors
    /// [`Reject`], for the first check that failed.
    pub async fn verify<C: ClaimSet>(&self, token: &str) -> Result<Verified<C>, Reject> {
        self.verify_request(token, RequestContext::default()).await
    }

    /// As [`verify`](Self::verify); a refusal's audit line also says where the token came from.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn verify_request<C: ClaimSet>(
        &self,
        token: &str,
        context: RequestContext<'_>,
    ) -> Result<Verified<C>, Reject> {
        let outcome = self.look(token.as_bytes()).await;
        // Whoever awaits this may await more with the token in hand, many at a time on one thread.
        self.conclude(token.as_bytes(), outcome, context)
            .map(Verified::detached)
    }

    /// As [`verify`](Self::verify), at once: a missing key is asked for in the background, and this token is refused.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn try_verify<C: ClaimSet>(&self, token: &str) -> Result<Verified<C>, Reject> {
        let outcome = self.attempt(token.as_bytes());
        if let Err(refusal) = &outcome {
            match refusal.curable() {
                Some((trusted, Missed::Key(missed))) => {
                    if let Some(remote) = &trusted.remote {
                        remote.nudge(missed.kid.as_deref());
                    }
                }
                Some((_, Missed::StatusList(list))) => list.nudge(),
                None => {}
            }
        }
        self.conclude(token.as_bytes(), outcome, RequestContext::default())
    }

    /// As [`verify_request`](Self::verify_request); `allow` has the last word on an authentic token, and its refusal is the
    /// one outcome that is counted and written. `token` need not be text, of which every token is made.
    #[cfg(feature = "axum")]
    pub(crate) async fn verify_and_allow(
        &self,
        token: &[u8],
        context: RequestContext<'_>,
        allow: impl FnOnce(&Token) -> Result<(), Reject>,
    ) -> Result<Token, Reject> {
        let outcome = self.look(token).await;
        self.conclude_allowed(token, outcome, || context, allow)
    }

    /// As [`verify_and_allow`](Self::verify_and_allow), at once; `None`, with nothing counted or written, if a fetch might change
    /// the verdict. `context` is asked for only if a refusal may be written.
    #[cfg(feature = "axum")]
    pub(crate) fn verify_and_allow_at_once<'r>(
        &self,
        token: &[u8],
        context: impl FnOnce() -> RequestContext<'r>,
        allow: impl FnOnce(&Token) -> Result<(), Reject>,
    ) -> Option<Result<Token, Reject>> {
        let outcome = self.attempt(token);
        if let Err(refusal) = &outcome
            && refusal.curable().is_some()
        {
            return None;
        }
        Some(self.conclude_allowed(token, outcome, context, allow))
    }

    /// The metrics this verifier counts into.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Whether every issuer's keys are in force.
    pub fn is_ready(&self) -> bool {
        let mut trusted = self.inner.trusted.iter();
        trusted.all(|trusted| trusted.keys.load().is_some())
    }

    /// Ends when every issuer's keys are in force: for a service that would rather start late than answer 503. Put a bound on
    /// it: an issuer may stay away.
    pub async fn ready(&self) {
        for trusted in &self.inner.trusted {
            if let Some(remote) = &trusted.remote {
                remote.until(|| trusted.keys.load().is_some()).await;
            }
        }
    }
}
