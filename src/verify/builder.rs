//! `VerifierBuilder`: what a verifier trusts, said once and checked before the first token.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::dial::{self, ClientError, UrlRule};
use super::fetch::Fetcher;
use super::keyset::{self, KeySet, Reader};
use super::refresh::{RefreshPolicy, RemoteKeys};
use super::status::{ListMaker, StatusCheck, StatusLists};
use super::tables::{DEFAULT_TABLES, Tables};
use super::token_cache::{DEFAULT_SLOTS, TokenCache};
use super::trusted_issuer::TrustedIssuer;
use super::verifier::{Inner, Trusted, Verifier};
use crate::audit::{AuditLog, DEFAULT_RATE, Recent};
use crate::clock::{Clock, SystemClock};
use crate::jose::{Algorithm, JwkSet, MAX_TOKEN_BYTES, Policy, TypRule};
use crate::metrics::{Metrics, NO_ISSUER};

/// A leeway beyond this is no tolerance for clocks but a longer life for every token.
pub(super) const MAX_LEEWAY: Duration = Duration::from_secs(600);

/// Why a verifier could not be built. Each names the setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No issuer at all.
    #[error("issuer: name at least one trusted issuer")]
    NoIssuer,
    /// An issuer without an audience: every token of it would do, whoever it was meant for (RFC 8725 §3.9).
    #[error("audience: name the audience that tokens of `{issuer}` must be meant for")]
    NoAudience {
        /// The issuer in question.
        issuer: String,
    },
    /// An empty list.
    #[error("algorithms: the list for `{issuer}` is empty")]
    NoAlgorithms {
        /// The issuer in question.
        issuer: String,
    },
    /// One issuer twice.
    #[error("issuer: `{issuer}` is there twice")]
    IssuerTwice {
        /// The issuer in question.
        issuer: String,
    },
    /// A URL that is none, or plain http to another machine.
    #[error("{setting}: {why}")]
    Url {
        /// The setting.
        setting: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A leeway over ten minutes.
    #[error("leeway: {leeway:?} is more than {MAX_LEEWAY:?}")]
    Leeway {
        /// As given.
        leeway: Duration,
    },
    /// Keys given for good, and a place to fetch them from: which of the two is to be believed?
    #[error("static_keys: `{issuer}` has keys to be fetched too; name either")]
    StaticAndRemote {
        /// The issuer in question.
        issuer: String,
    },
    /// Addresses are refused where connections are made, and those of a given client are made by it.
    #[error(
        "refuse_private_addresses: not with an http_client of one's own; give that client a resolver that refuses them"
    )]
    PrivateAddressesWithClient,
    /// A time of the refresh policy that cannot be.
    #[error("refresh: {0}")]
    Refresh(&'static str),
    /// More required claims than 64.
    #[error("require: more than {} claims", Policy::MAX_REQUIRED)]
    TooManyRequired,
    /// Keys that must be fetched need a task to fetch them.
    #[error(
        "issuer `{issuer}` has remote keys or status lists: build the verifier inside a Tokio runtime"
    )]
    NoRuntime {
        /// The issuer in question.
        issuer: String,
    },
    /// The HTTP client could not be made.
    #[error("http client: {0}")]
    Client(#[source] ClientError),
    /// The metrics could not be registered.
    #[error("metrics: {0}")]
    Metrics(#[source] prometheus::Error),
}

/// Builds a [`Verifier`].
#[derive(Default)]
pub struct VerifierBuilder {
    issuers: Vec<TrustedIssuer>,
    leeway: Duration,
    required: Option<Vec<Box<str>>>,
    typ: TypRule,
    max_token_bytes: Option<usize>,
    token_cache: Option<usize>,
    key_tables: Option<usize>,
    refresh: RefreshPolicy,
    rule: UrlRule,
    audit_rate: Option<u32>,
    recent: Option<Arc<Recent>>,
    client: Option<reqwest::Client>,
    clock: Option<Arc<dyn Clock>>,
    metrics: Option<Metrics>,
}

// === impl VerifierBuilder ===

impl VerifierBuilder {
    /// Trusts this issuer; settings of an issuer that follow are about it.
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        self.trust(TrustedIssuer::new(issuer))
    }

    /// Trusts an issuer that has been described whole; call again for further ones.
    pub fn trust(mut self, issuer: TrustedIssuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// As [`TrustedIssuer::jwks_url`], for the issuer named last.
    pub fn jwks_url(self, url: impl Into<String>) -> Self {
        self.last(|issuer| issuer.jwks_url(url))
    }

    /// As [`TrustedIssuer::discover`], for the issuer named last.
    pub fn discover(self) -> Self {
        self.last(TrustedIssuer::discover)
    }

    /// As [`TrustedIssuer::static_keys`], for the issuer named last.
    pub fn static_keys(self, set: JwkSet) -> Self {
        self.last(|issuer| issuer.static_keys(set))
    }

    /// As [`TrustedIssuer::published_keys`], for the issuer named last.
    pub fn published_keys(self, keys: Reader) -> Self {
        self.last(|issuer| issuer.published_keys(keys))
    }

    /// As [`TrustedIssuer::audience`], for the issuer named last.
    pub fn audience(self, audience: impl Into<Box<str>>) -> Self {
        self.last(|issuer| issuer.audience(audience))
    }

    /// As [`TrustedIssuer::status_check`], for the issuer named last.
    pub fn status_check(self, check: StatusCheck) -> Self {
        self.last(|issuer| issuer.status_check(check))
    }

    /// As [`TrustedIssuer::algorithms`], for the issuer named last.
    pub fn algorithms(self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.last(|issuer| issuer.algorithms(algorithms))
    }

    fn last(mut self, change: impl FnOnce(TrustedIssuer) -> TrustedIssuer) -> Self {
        // Said before any issuer was named, it is kept for a nameless one, and `build` names what is missing.
        let issuer = self.issuers.pop().unwrap_or_else(|| TrustedIssuer::new(""));
        self.issuers.push(change(issuer));
        self
    }

    /// Tolerance for clocks that disagree, for `exp` and `nbf`, for issuers that have none of their own. None by default, ten
    /// minutes at most.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Claims that every token must have. `exp` by default; naming others replaces it.
    pub fn require<N: Into<Box<str>>>(mut self, claims: impl IntoIterator<Item = N>) -> Self {
        self.required = Some(claims.into_iter().map(Into::into).collect());
        self
    }

    /// The one `typ` to accept. By default an absent one, `JWT` and `at+jwt` pass.
    pub fn typ(mut self, typ: impl Into<Box<str>>) -> Self {
        self.typ = TypRule::Exactly(typ.into());
        self
    }

    /// Longest token, in bytes. 16 KiB by default.
    pub fn max_token_bytes(mut self, limit: usize) -> Self {
        self.max_token_bytes = Some(limit);
        self
    }

    /// How many accepted tokens are remembered, so that their signatures need not be checked again; 0 for none. 32,768 by
    /// default, rounded up to a power of two. Key, time and revocation are checked on every hit.
    pub fn token_cache(mut self, tokens: usize) -> Self {
        self.token_cache = Some(tokens);
        self
    }

    /// How many busy Ed25519 keys may have a table that makes their verification three times as fast, 480 KiB each; 0 for none.
    /// 8 by default. One more table of that size is shared by all verifiers. A key's table is dropped with the key.
    pub fn key_tables(mut self, tables: usize) -> Self {
        self.key_tables = Some(tables);
        self
    }

    /// When and how often remote keys are fetched.
    pub fn refresh(mut self, policy: RefreshPolicy) -> Self {
        self.refresh = policy;
        self
    }

    /// Allows plain http to other machines too: for networks that nobody else is on.
    pub fn allow_http(mut self, allow: bool) -> Self {
        self.rule.allow_http = allow;
        self
    }

    /// Follows redirects to the same scheme, host and port, three at most. None are followed by default, and never any that
    /// leads elsewhere.
    pub fn follow_same_origin_redirects(mut self, follow: bool) -> Self {
        self.rule.same_origin_redirects = follow;
        self
    }

    /// Connects to public addresses alone: neither loopback nor private ranges, however they are named and whatever a name
    /// resolves to at that moment. For issuers whose URLs are not one's own to choose.
    pub fn refuse_private_addresses(mut self, refuse: bool) -> Self {
        self.rule.public_only = refuse;
        self
    }

    /// Failures written to the audit trail per second and reason, the rest being summed. 100 by default.
    pub fn audit_rate(mut self, rate: u32) -> Self {
        self.audit_rate = Some(rate);
        self
    }

    /// Where the last audit lines and the failures of the last hour are kept, for a page that shows them. Nowhere by default.
    pub fn remember(mut self, recent: &Arc<Recent>) -> Self {
        self.recent = Some(recent.clone());
        self
    }

    /// One's own HTTP client, for proxies, private CAs and client certificates. It should follow no redirects: an answer from
    /// elsewhere than it was asked of is refused.
    pub fn http_client(mut self, client: reqwest::Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Another clock, for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Counts into these metrics; by default into a registry of the verifier's own.
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = Some(metrics.clone());
        self
    }

    /// Checks everything, starts fetching remote keys, and gives the verifier, also while an issuer is down.
    ///
    /// # Errors
    /// [`BuildError`] names the setting. Remote keys need a Tokio runtime to be fetched on.
    pub fn build(self) -> Result<Verifier, BuildError> {
        self.check()?;
        let clock = self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock));
        let metrics = match &self.metrics {
            Some(metrics) => metrics.clone(),
            None => Metrics::new().map_err(BuildError::Metrics)?,
        };
        let mut client = self.client.clone();
        let mut trusted = Vec::new();
        for issuer in &self.issuers {
            let name: Arc<str> = issuer.name.as_str().into();
            let (publisher, keys) = keyset::channel();
            let locations = issuer.locations(self.rule)?;
            let keys = issuer.published.clone().unwrap_or(keys);
            let fetching = match issuer.fetches() {
                false => None,
                true => Some(self.fetching(&name, &mut client, &clock)?),
            };
            let remote = match (&issuer.static_keys, &fetching) {
                (Some(set), _) => {
                    publisher.publish(Arc::new(KeySet::new(set.clone(), None)));
                    None
                }
                (None, Some((runtime, fetcher))) if !issuer.has_keys() => Some(RemoteKeys::start(
                    runtime,
                    locations,
                    fetcher.clone(),
                    publisher,
                    clock.clone(),
                    self.refresh.clone(),
                    metrics.source(&name, self.refresh.max_stale),
                )),
                (None, _) => None,
            };
            let status = fetching
                .filter(|_| issuer.status_rule() != StatusCheck::Ignore)
                .map(|(runtime, fetcher)| {
                    let made = ListMaker {
                        runtime,
                        issuer: name.clone(),
                        origin: Url::parse(&name).ok(),
                        algorithms: issuer.algorithms.as_slice().into(),
                        keys: keys.clone(),
                        fetcher,
                        clock: clock.clone(),
                        policy: self.refresh.clone(),
                        metrics: metrics.status_lists(&name),
                    };
                    StatusLists::new(issuer.status_rule(), made)
                });
            trusted.push(Trusted {
                algorithms: issuer.algorithms.as_slice().into(),
                policy: self.policy(issuer),
                keys,
                remote,
                status,
                outcomes: metrics.outcomes(&name),
                name,
            });
        }
        let mut audit =
            AuditLog::new(clock.clone(), self.audit_rate.unwrap_or(DEFAULT_RATE)).counted(&metrics);
        if let Some(recent) = self.recent {
            audit = audit.remembering(recent);
        }
        Ok(Verifier {
            inner: Arc::new(Inner {
                trusted: trusted.into(),
                max_token_bytes: self.max_token_bytes.unwrap_or(MAX_TOKEN_BYTES),
                audit,
                no_issuer: metrics.outcomes(NO_ISSUER),
                cache: TokenCache::new(self.token_cache.unwrap_or(DEFAULT_SLOTS)),
                cache_results: metrics.token_cache(),
                tables: Tables::new(self.key_tables.unwrap_or(DEFAULT_TABLES)),
                clock,
                metrics,
            }),
        })
    }

    /// What it takes to fetch on behalf of `issuer`; one client for all of them.
    fn fetching(
        &self,
        issuer: &str,
        client: &mut Option<reqwest::Client>,
        clock: &Arc<dyn Clock>,
    ) -> Result<(tokio::runtime::Handle, Fetcher), BuildError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime {
            issuer: issuer.into(),
        })?;
        let client = match client {
            Some(client) => client.clone(),
            None => client
                .insert(dial::default_client(self.rule).map_err(BuildError::Client)?)
                .clone(),
        };
        let deadline = self.refresh.deadline;
        let fetcher = Fetcher::new(client, clock.clone(), deadline, self.rule);
        Ok((runtime, fetcher))
    }

    fn check(&self) -> Result<(), BuildError> {
        if self.issuers.is_empty() || self.issuers[0].name.is_empty() {
            return Err(BuildError::NoIssuer);
        }
        for (index, TrustedIssuer { name, .. }) in self.issuers.iter().enumerate() {
            if self.issuers[..index]
                .iter()
                .any(|other| other.name == *name)
            {
                return Err(BuildError::IssuerTwice {
                    issuer: name.clone(),
                });
            }
        }
        for issuer in &self.issuers {
            issuer.check(self.leeway)?;
        }
        if self.rule.public_only && self.client.is_some() {
            return Err(BuildError::PrivateAddressesWithClient);
        }
        self.refresh.check().map_err(BuildError::Refresh)?;
        let required = self.required.as_ref().map_or(1, Vec::len);
        if required > Policy::MAX_REQUIRED {
            return Err(BuildError::TooManyRequired);
        }
        Ok(())
    }

    fn policy(&self, issuer: &TrustedIssuer) -> Policy {
        let mut policy = Policy::new(issuer.audiences.iter().cloned());
        policy.leeway = issuer.leeway_or(self.leeway);
        policy.typ = self.typ.clone();
        if let Some(required) = &self.required {
            policy.required.clone_from(required);
        }
        policy
    }
}
