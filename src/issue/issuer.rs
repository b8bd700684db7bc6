//! `Issuer`: mints tokens with the keys that sign, and holds the bytes of the JWKS that is published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use serde::Serialize;

use super::clock_jump::ImplausibleClock;
use super::key_record::Stage;
use super::lease::Lease;
use super::migration::algorithm_for;
use super::ring::{KeyRing, RingError, etag_of};
use super::rotation::RotationPolicy;
use super::status_list::StatusReference;
use super::watchers::Watchers;
use crate::clock::Clock;
use crate::jose::{Algorithm, NumericDate, SigningError, SigningKey, base64url};
use crate::metrics::issuer::{IssuerMetrics, Store};
use crate::store::{KeyProblem, KeyStore, Revision, StoreError, StoredKeys};

/// `typ` of the tokens (RFC 9068 §2.1).
const TYP: &str = "at+jwt";
/// A key may be rotated away while its lease is extended; not each time.
const LEASE_TRIES: u32 = 3;

/// Claims with a meaning of their own, which no field of a user may take.
pub const RESERVED_CLAIMS: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "sid",
    "scope",
    "roles",
    "email",
    "status",
    "cnf",
    "act",
    "azp",
    "auth_time",
    "nonce",
    "acr",
    "amr",
];

/// What the tokens of an issuer say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// `iss`, exactly as verifiers are configured with.
    pub issuer: String,
    /// Life of a token that asks for none of its own. 15 minutes.
    pub ttl: Duration,
    /// The audiences by name.
    pub audiences: BTreeMap<String, Audience>,
}

/// What is special about tokens for one audience.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audience {
    /// The algorithm to sign by; the policy's first if none is named.
    pub algorithm: Option<Algorithm>,
    /// The scopes that it knows.
    pub scopes: Vec<String>,
    /// The scopes of a user to whom none were given; all of them by default.
    pub default_scopes: Option<Vec<String>>,
    /// How long its tokens live, if not as all others.
    pub ttl: Option<Duration>,
}

// === impl TokenSettings ===

impl TokenSettings {
    /// Tokens of this issuer that live for 15 minutes.
    pub fn new(issuer: impl Into<String>) -> Self {
        TokenSettings {
            issuer: issuer.into(),
            ttl: Duration::from_secs(15 * 60),
            audiences: BTreeMap::new(),
        }
    }
}

/// What a token is to say; the issuer adds `iss`, `iat`, `exp` and `jti`, which no caller can set.
#[derive(Debug, Clone)]
pub struct Grant {
    subject: String,
    audience: String,
    scopes: Vec<String>,
    roles: Vec<String>,
    email: Option<String>,
    client_id: Option<String>,
    session_id: Option<String>,
    status: Option<StatusReference>,
    user_claims: serde_json::Map<String, serde_json::Value>,
    ttl: Option<Duration>,
}

// === impl Grant ===

impl Grant {
    /// For this subject at this audience.
    pub fn new(subject: impl Into<String>, audience: impl Into<String>) -> Self {
        Grant {
            subject: subject.into(),
            audience: audience.into(),
            scopes: Vec::new(),
            roles: Vec::new(),
            email: None,
            client_id: None,
            session_id: None,
            status: None,
            user_claims: serde_json::Map::new(),
            ttl: None,
        }
    }

    /// Adds a scope, or several with spaces between them.
    pub fn scope(mut self, scope: &str) -> Self {
        self.scopes
            .extend(scope.split_ascii_whitespace().map(Into::into));
        self
    }

    /// Adds a role.
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// Sets `email`.
    pub fn email(mut self, email: impl Into<String>) -> Self {
        self.email = Some(email.into());
        self
    }

    /// Sets `client_id`; the audience by default (RFC 9068 §2.2 requires one).
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Sets `sid`.
    pub fn session(mut self, sid: impl Into<String>) -> Self {
        self.session_id = Some(sid.into());
        self
    }

    /// Sets `status.status_list`: where verifiers learn that the session has ended.
    pub fn status(mut self, status: StatusReference) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds a claim about the user; one of [`RESERVED_CLAIMS`] is left out.
    pub fn user_claim(mut self, name: &str, value: serde_json::Value) -> Self {
        if !RESERVED_CLAIMS.contains(&name) {
            self.user_claims.insert(name.to_owned(), value);
        }
        self
    }

    /// A life of its own, within the issuer's limit.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

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

/// Why an issuer cannot open or follow its store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A ring that cannot be published.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// An older ring has taken the place of the one in force, as when a backup is restored.
    #[error(
        "the store holds an older ring (change {found}) than the one in force (change {in_force}): a restored backup? Restart the server to go by it, or put the newer one back"
    )]
    Older {
        /// In the store.
        found: u64,
        /// In force.
        in_force: u64,
    },
    /// A ring that nobody vouches for has taken the place of one that somebody does.
    #[error(
        "the store holds a ring without a seal of a configured wrapping key; the one in force has one and stays"
    )]
    Unvouched,
}

/// What is in force: built whole, then published; nothing in it changes.
#[derive(Debug)]
pub struct Published {
    /// The keys and their stages.
    pub ring: KeyRing,
    /// The body of the JWKS.
    pub jwks: Bytes,
    /// Its strong entity tag, quotes included.
    pub etag: String,
    /// What is wrong with single keys.
    pub problems: Vec<KeyProblem>,
    signers: Vec<Signer>,
    revision: Revision,
}

#[derive(Debug)]
struct Signer {
    key: Arc<SigningKey>,
    /// The first segment of every token this key signs.
    header: String,
    lease: Lease,
}

// === impl Published ===

impl Published {
    fn new(stored: StoredKeys, before: Option<&Published>) -> Result<Self, IssuerError> {
        let jwks = stored.ring.to_jwks()?;
        let is_signing = |key: &SigningKey| {
            let signing = stored.ring.signing(key.algorithm());
            signing.is_some_and(|record| record.kid == key.kid())
        };
        let signers = stored
            .signers
            .iter()
            .filter(|key| is_signing(key))
            .map(|key| {
                let until = stored.ring.get(key.kid()).and_then(|key| key.tokens_until);
                let before = before.and_then(|before| before.signer_of(key.kid()));
                Signer {
                    header: header(key, TYP),
                    key: key.clone(),
                    lease: Lease::new(until, before.map(|signer| &signer.lease)),
                }
            })
            .collect();
        Ok(Published {
            etag: etag_of(&jwks),
            jwks: jwks.into(),
            signers,
            ring: stored.ring,
            problems: stored.problems,
            revision: stored.revision,
        })
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = (Algorithm, &Lease)> {
        let signers = self.signers.iter();
        signers.map(|signer| (signer.key.algorithm(), &signer.lease))
    }

    /// Whether a key that was published in `before` is revoked in this.
    fn revokes_what_was_in(&self, before: &Published) -> bool {
        let was_published = |kid: &str| before.ring.published().any(|key| key.kid == kid);
        let mut keys = self.ring.keys.iter();
        keys.any(|key| key.stage == Stage::Revoked && was_published(&key.kid))
    }

    fn signer_of(&self, kid: &str) -> Option<&Signer> {
        self.signers.iter().find(|signer| signer.key.kid() == kid)
    }

    fn signer(&self, algorithm: Algorithm) -> Option<&Signer> {
        self.signers
            .iter()
            .find(|signer| signer.key.algorithm() == algorithm)
    }
}

fn header(key: &SigningKey, typ: &str) -> String {
    let kid = serde_json::Value::from(key.kid());
    let alg = key.algorithm();
    base64url::encode(format!(r#"{{"alg":"{alg}","kid":{kid},"typ":"{typ}"}}"#).as_bytes())
}

/// Mints tokens. Cheap to clone; clones share the keys.
#[derive(Clone)]
pub struct Issuer {
    inner: Arc<Inner>,
}

struct Inner {
    store: Box<dyn KeyStore>,
    policy: RotationPolicy,
    settings: TokenSettings,
    clock: Arc<dyn Clock>,
    published: ArcSwap<Published>,
    last_error: ArcSwapOption<String>,
    metrics: IssuerMetrics,
    watchers: Watchers,
    /// How far the wall clock is ahead of the one that never leaps, as far as it is accounted for; in milliseconds.
    clock_offset: AtomicI64,
    has_started: AtomicBool,
}

// === impl Issuer ===

impl Issuer {
    /// Opens the store, makes its first keys if it has none, and has something to sign with and to publish when it returns.
    ///
    /// Blocks on the store; run [`run_rotator`](super::run_rotator) afterwards to follow it.
    ///
    /// # Errors
    /// [`IssuerError`] names the file.
    pub fn open(
        store: impl KeyStore,
        policy: RotationPolicy,
        settings: TokenSettings,
        clock: impl Clock,
        metrics: &crate::Metrics,
    ) -> Result<Self, IssuerError> {
        let issuer = Self::open_existing(store, policy, settings, clock, metrics)?;
        issuer.tick()?;
        Ok(issuer)
    }

    /// As [`open`](Self::open), changing nothing: for programs that only mint.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_existing(
        store: impl KeyStore,
        policy: RotationPolicy,
        settings: TokenSettings,
        clock: impl Clock,
        metrics: &crate::Metrics,
    ) -> Result<Self, IssuerError> {
        let published = Published::new(store.load()?, None)?;
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let clock_offset = AtomicI64::new(offset(&*clock));
        let watchers = Watchers::new(
            clock.clone(),
            policy.jwks_max_age,
            metrics.issuer.revocation_propagation(),
        );
        watchers.publish(&published.etag, false);
        metrics.issuer.watch(&watchers);
        let issuer = Issuer {
            inner: Arc::new(Inner {
                store: Box::new(store),
                policy,
                settings,
                clock,
                published: ArcSwap::from_pointee(published),
                last_error: ArcSwapOption::empty(),
                metrics: metrics.issuer.clone(),
                watchers,
                clock_offset,
                has_started: AtomicBool::new(false),
            }),
        };
        issuer.show_keys();
        Ok(issuer)
    }

    /// What is in force at this moment.
    pub fn published(&self) -> arc_swap::Guard<Arc<Published>> {
        self.inner.published.load()
    }

    /// The rotation policy.
    pub fn policy(&self) -> &RotationPolicy {
        &self.inner.policy
    }

    /// What tokens say.
    pub fn settings(&self) -> &TokenSettings {
        &self.inner.settings
    }

    /// The issuer's clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    pub(super) fn store(&self) -> &dyn KeyStore {
        &*self.inner.store
    }

    pub(super) fn publish(&self, stored: StoredKeys) -> Result<(), IssuerError> {
        let before = self.inner.published.load_full();
        let (found, in_force) = (stored.ring.serial, before.ring.serial);
        if found < in_force {
            return Err(IssuerError::Older { found, in_force });
        }
        if stored.ring.unvouched && !before.ring.unvouched && in_force > 0 {
            return Err(IssuerError::Unvouched);
        }
        let published = Arc::new(Published::new(stored, Some(&before))?);
        let is_revocation = published.revokes_what_was_in(&before);
        self.inner.published.store(published.clone());
        self.count_transitions(&before.ring, &published.ring);
        // After the set is in force: whoever is woken by this must find the new one.
        self.inner.watchers.publish(&published.etag, is_revocation);
        self.show_keys();
        Ok(())
    }

    /// Who watches the key set.
    pub fn watchers(&self) -> &Watchers {
        &self.inner.watchers
    }

    pub(super) fn metrics(&self) -> &IssuerMetrics {
        &self.inner.metrics
    }

    /// By how much the wall clock has leapt forward since it was last accounted for, if by more than `least`.
    pub(super) fn clock_leap(&self, least: Duration) -> Option<Duration> {
        let accounted = self.inner.clock_offset.load(Ordering::Relaxed);
        let leap = offset(self.clock()).saturating_sub(accounted);
        if leap < 0 {
            // Set back: the rules wait longer, which breaks nobody.
            self.leap_is_noted();
        }
        let leap = Duration::from_millis(u64::try_from(leap).unwrap_or(0));
        (leap > least).then_some(leap)
    }

    pub(super) fn leap_is_noted(&self) {
        let offset = offset(self.clock());
        self.inner.clock_offset.store(offset, Ordering::Relaxed);
    }

    pub(super) fn is_starting(&self) -> bool {
        !self.inner.has_started.load(Ordering::Relaxed)
    }

    pub(super) fn has_started(&self) {
        self.inner.has_started.store(true, Ordering::Relaxed);
    }

    pub(super) fn note(&self, error: Option<&IssuerError>) {
        self.inner
            .last_error
            .store(error.map(|error| Arc::new(error.to_string())));
        self.inner.metrics.store_up(Store::Keys, error.is_none());
    }

    /// Whoever made them: the command line changes the store and has no metrics that anybody would scrape.
    fn count_transitions(&self, before: &KeyRing, now: &KeyRing) {
        for key in &now.keys {
            if before.get(&key.kid).map(|before| before.stage) != Some(key.stage) {
                let cause = key
                    .causes
                    .get(&key.stage)
                    .map_or("unknown", |cause| cause.name());
                self.inner
                    .metrics
                    .transition(key.alg, key.stage.name(), cause);
            }
        }
    }

    fn show_keys(&self) {
        let published = self.published();
        self.inner
            .metrics
            .show(&published.ring, &self.inner.policy, self.clock().now());
    }

    /// What is wrong, one line each: a key that cannot be used, an algorithm without a signer, a store that cannot be followed.
    /// Empty when all is well.
    pub fn problems(&self) -> Vec<String> {
        let published = self.published();
        let mut problems: Vec<String> = published.problems.iter().map(|p| p.to_string()).collect();
        for &alg in &self.inner.policy.algorithms {
            if published.signer(alg).is_none() {
                problems.push(MintError::NoSigner(alg).to_string());
            }
        }
        let clock = published
            .ring
            .check_clock(&self.inner.policy, self.clock().now());
        if let Err(error) = clock {
            problems.push(error.to_string());
        }
        if let Some(error) = &*self.inner.last_error.load() {
            problems.push(error.to_string());
        }
        problems
    }

    /// How long the JWKS may be kept: the policy's limit, less where a planned change comes sooner.
    pub fn jwks_max_age(&self) -> Duration {
        let published = self.published();
        let policy = &self.inner.policy;
        let now = self.clock().now();
        let next_change = published
            .ring
            .keys
            .iter()
            .filter_map(|key| policy.next_step_at(&published.ring, key, now))
            .filter(|&at| at > now)
            .min();
        let until_change = next_change.map_or(Duration::MAX, |at| at.since(now));
        Duration::from_secs(policy.jwks_max_age.min(until_change).as_secs())
    }

    /// The algorithm of tokens for `audience`: what it was moved to, else what the configuration says.
    pub fn algorithm_for(&self, audience: &str) -> Algorithm {
        let ring = &self.published().ring;
        algorithm_for(ring, &self.inner.policy, &self.inner.settings, audience)
    }

    /// What is published, once the store knows that the key that signs by `algorithm` signs tokens that live until `exp`.
    fn with_lease(&self, algorithm: Algorithm, exp: i64) -> Result<Arc<Published>, MintError> {
        for _ in 0..LEASE_TRIES {
            let published = self.inner.published.load_full();
            match published.signer(algorithm) {
                Some(signer) if !signer.lease.covers(exp) => self.extend_lease(algorithm, exp)?,
                _ => return Ok(published),
            }
        }
        let (policy, now) = (&self.inner.policy, self.clock().now());
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
        let inner = &*self.inner;
        let audience = inner.settings.audiences.get(&grant.audience);
        let ttl = grant
            .ttl
            .or(audience.and_then(|audience| audience.ttl))
            .unwrap_or(inner.settings.ttl);
        let max = inner.policy.max_token_ttl;
        if ttl < Duration::from_secs(1) || ttl > max {
            return Err(MintError::Ttl { ttl, max });
        }
        let algorithm = self.algorithm_for(&grant.audience);
        let now = inner.clock.now().seconds();
        let exp = now.saturating_add_unsigned(ttl.as_secs());
        let jti = random_id()?;
        let claims = TokenClaims {
            iss: &inner.settings.issuer,
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
        inner.metrics.minted(algorithm, named);
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
        let inner = &*self.inner;
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
        let started = inner.clock.monotonic();
        let signature = signer.key.sign(token.as_bytes())?;
        signer.lease.signed(exp);
        let took = inner.clock.monotonic().saturating_sub(started);
        token.push('.');
        base64url::encode_onto(&signature, &mut token);
        inner.metrics.signed(algorithm, took);
        Ok((token, signer.key.kid().to_owned()))
    }

    /// The kid of the key that signs by `algorithm` at this moment.
    pub(super) fn signing_kid(&self, algorithm: Algorithm) -> Option<String> {
        let published = self.published();
        Some(published.signer(algorithm)?.key.kid().to_owned())
    }
}

/// How far the wall clock is ahead of the one that never leaps, in milliseconds.
fn offset(clock: &dyn Clock) -> i64 {
    let wall = clock.now().since(NumericDate::EPOCH).as_millis();
    let monotonic = clock.monotonic().as_millis();
    let signed = |millis| i64::try_from(millis).unwrap_or(i64::MAX);
    signed(wall).saturating_sub(signed(monotonic))
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
