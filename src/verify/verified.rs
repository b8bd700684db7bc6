//! `Verified<C>`: a token whose every check has passed; there is no other way to come by one.

use std::collections::HashMap;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::Guard;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use triomphe::ThinArc;

use super::reject::Reject;
use super::status::StatusEntry;
use crate::jose::claim_places::{ClaimPlaces, PlacedClaims};
use crate::jose::key::KeyId;
use crate::jose::{NumericDate, RegisteredClaims};

/// An accepted token: its payload and its registered claims. Cheap to clone.
///
/// One from the token cache borrows the cache's entry, in a way that no other thread takes part in; a clone shares it by
/// counting. Each thread can borrow a handful of entries at a time: a token that is kept for long is better cloned, and the
/// clone kept.
pub struct Token {
    entry: Guard<Shared>,
}

/// What is known of an accepted token, and right behind it its text: the token as received, if it is kept, and then what of it was
/// decoded. In one piece of memory, for of thousands each lies cold when its turn comes, and is waited for once.
pub(super) type Shared = ThinArc<Entry, u8>;

/// What is known of an accepted token. Keeps no key alive, for with the key would stay its table.
///
/// In this order in memory: what a hit looks at comes first, beside the count of those who share it.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Entry {
    /// The version of the issuer's key set that last was seen to have the key.
    seen_in: AtomicU64,
    /// The seconds in which the time need not be asked more exactly.
    unquestioned: Range<i64>,
    /// Position of the issuer in the verifier's list.
    trusted: u32,
    /// How many bytes of the text are the token as received.
    kept: u32,
    /// Whether there is a `status`, for that lies further on.
    has_status: bool,
    claims: ClaimPlaces,
    key: KeyId,
    /// Where the issuer says whether it still holds, if it does.
    status: Option<StatusEntry>,
}

/// The token as received; nothing if it was not kept.
#[inline]
pub(super) fn received(entry: &Shared) -> &[u8] {
    let kept = entry.header.header.kept as usize;
    entry.slice.get(..kept).unwrap_or_default()
}

/// The version of no key set: more publications than there is time for.
const NEVER: u64 = u64::MAX;

// === impl Entry ===

impl Entry {
    pub(super) fn new(
        claims: ClaimPlaces,
        key: KeyId,
        trusted: usize,
        unquestioned: Range<i64>,
        status: Option<StatusEntry>,
    ) -> Self {
        Entry {
            seen_in: AtomicU64::new(NEVER),
            unquestioned,
            // Nobody has so many issuers; a position beyond the list would be none.
            trusted: u32::try_from(trusted).unwrap_or(u32::MAX),
            kept: 0,
            has_status: status.is_some(),
            claims,
            key,
            status,
        }
    }

    pub(super) fn status(&self) -> Option<&StatusEntry> {
        if self.has_status {
            self.status.as_ref()
        } else {
            None
        }
    }

    /// To be shared, with its text, of which so many bytes are the token as received.
    pub(super) fn share(mut self, text: &[u8], kept: usize) -> Shared {
        // What is kept is short; were it not, it would be found by nobody.
        self.kept = u32::try_from(kept).unwrap_or(0);
        ThinArc::from_header_and_slice(self, text)
    }

    pub(super) fn key(&self) -> KeyId {
        self.key
    }

    pub(super) fn trusted(&self) -> usize {
        self.trusted as usize
    }

    /// Whether the key was seen in the issuer's key set of this version.
    #[inline]
    pub(super) fn was_seen_in(&self, version: u64) -> bool {
        // Relaxed: the number says all there is to know. Written by several at once, it is true whichever stays.
        self.seen_in.load(Ordering::Relaxed) == version
    }

    pub(super) fn seen_in(&self, version: u64) {
        self.seen_in.store(version, Ordering::Relaxed);
    }

    /// Whether it is valid by time for certain, of which `recent` says no more than a [`Clock`](crate::Clock) does.
    #[inline]
    pub(super) fn is_unquestioned(&self, recent: NumericDate) -> bool {
        self.unquestioned.contains(&recent.seconds())
    }

    /// `exp` and `nbf`.
    pub(super) fn validity(&self) -> (Option<NumericDate>, Option<NumericDate>) {
        self.claims.validity()
    }
}

// === impl Token ===

impl Clone for Token {
    fn clone(&self) -> Self {
        Token::from(Shared::clone(&self.entry))
    }
}

/// Whose it is, and not the token itself: that would let in whoever reads the log.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("issuer", &self.issuer())
            .field("subject", &self.subject())
            .field("kid", &self.kid())
            .finish_non_exhaustive()
    }
}

impl From<Guard<Shared>> for Token {
    fn from(entry: Guard<Shared>) -> Self {
        Token { entry }
    }
}

impl From<Shared> for Token {
    fn from(entry: Shared) -> Self {
        Token {
            entry: Guard::from_inner(entry),
        }
    }
}

impl Token {
    /// `sub`, verbatim; the empty string when the token has none.
    pub fn subject(&self) -> &str {
        self.claims().sub().unwrap_or_default()
    }

    /// `iss`: the configured issuer that the token was held against.
    pub fn issuer(&self) -> &str {
        self.claims().iss().unwrap_or_default()
    }

    /// Every member of `aud`.
    pub fn audiences(&self) -> Vec<String> {
        self.registered().audiences()
    }

    /// `exp`. Always there unless the verifier was told not to require it.
    pub fn expires_at(&self) -> Option<NumericDate> {
        self.registered().exp
    }

    /// `iat`.
    pub fn issued_at(&self) -> Option<NumericDate> {
        self.registered().iat
    }

    /// Every scope token of `scope`.
    pub fn scopes(&self) -> Vec<String> {
        self.registered().scopes()
    }

    /// Whether `scope` grants this one scope token, compared exactly.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.claims().has_scope(scope)
    }

    /// Every member of `roles`.
    pub fn roles(&self) -> Vec<String> {
        self.registered().roles()
    }

    /// Whether `roles` names this role, compared exactly.
    pub fn has_role(&self, role: &str) -> bool {
        self.claims().has_role(role)
    }

    /// The registered claims, borrowed.
    pub fn registered(&self) -> RegisteredClaims<'_> {
        self.claims().registered()
    }

    /// The `kid` of the key that signed the token, where that key has one.
    pub fn kid(&self) -> Option<&str> {
        self.claims().kid()
    }

    /// The payload: one JSON object, as signed.
    pub fn payload(&self) -> &str {
        self.claims().payload()
    }

    /// One claim by name, decoded when asked for: `Ok(None)` when the token has no such claim.
    ///
    /// # Errors
    /// The claim does not have the shape of `T`.
    pub fn claim<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        // Raw, so that a number elsewhere that no type could hold is nobody's concern.
        let members: HashMap<String, &RawValue> = serde_json::from_str(self.payload())?;
        members
            .get(name)
            .map(|value| serde_json::from_str(value.get()))
            .transpose()
    }

    /// Visits every scope token of `scope`.
    #[cfg(feature = "server")]
    pub(crate) fn each_scope(&self, visit: impl FnMut(&str)) {
        self.claims().scope().each_scope(visit);
    }

    /// Visits every member of `roles`.
    #[cfg(feature = "server")]
    pub(crate) fn each_role(&self, visit: impl FnMut(&str)) {
        self.claims().roles().each_role(visit);
    }

    /// The payload's segment of the token as received, if the token is kept: what [`payload`](Self::payload) is, encoded.
    #[cfg(feature = "server")]
    pub(crate) fn payload_segment(&self) -> Option<&str> {
        let received = received(&self.entry);
        let mut dots = memchr::memchr_iter(b'.', received);
        let segment = received.get(dots.next()? + 1..dots.next()?)?;
        std::str::from_utf8(segment).ok()
    }

    /// As it is, borrowing nothing: for a token that may be kept for long.
    pub(super) fn detached(self) -> Self {
        Token::from(Guard::into_inner(self.entry))
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry.header.header
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.entry
    }

    fn claims(&self) -> PlacedClaims<'_> {
        self.entry().claims.within(&self.entry.slice)
    }

    pub(super) fn decode<C: ClaimSet>(self) -> Result<Verified<C>, Reject> {
        let claims = C::from_token(&self)?;
        Ok(Verified {
            token: self,
            claims,
        })
    }
}

/// What a token's payload is decoded into: [`Claims`], or any type of one's own that serde can read.
pub trait ClaimSet: Sized {
    /// Decodes the payload of a token that has passed every other check.
    ///
    /// # Errors
    /// [`Reject::BadClaim`] if the payload does not have this type's shape.
    fn from_token(token: &Token) -> Result<Self, Reject>;
}

/// The registered claims and no more: nothing further is decoded. [`Token::claim`] reads a single other claim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claims;

impl ClaimSet for Claims {
    fn from_token(_token: &Token) -> Result<Self, Reject> {
        // Not even looked at.
        Ok(Claims)
    }
}

impl<C: DeserializeOwned> ClaimSet for C {
    fn from_token(token: &Token) -> Result<Self, Reject> {
        // The token is authentic, but not what this backend was written for.
        serde_json::from_str(token.payload()).map_err(|_| Reject::BadClaim("(custom)"))
    }
}

/// A token that passed every check, with its claims as a `C`. Has the methods of [`Token`].
#[derive(Debug, Clone)]
pub struct Verified<C = Claims> {
    token: Token,
    claims: C,
}

// === impl Verified ===

impl<C> Verified<C> {
    /// The claims as the type asked for.
    pub fn claims(&self) -> &C {
        &self.claims
    }

    /// The claims, by value.
    pub fn into_claims(self) -> C {
        self.claims
    }

    /// The token without the decoded claims.
    pub fn token(&self) -> &Token {
        &self.token
    }

    pub(super) fn detached(self) -> Self {
        Verified {
            token: self.token.detached(),
            ..self
        }
    }

    #[cfg(feature = "axum")]
    pub(super) fn into_token(self) -> Token {
        self.token
    }
}

impl<C> Deref for Verified<C> {
    type Target = Token;

    fn deref(&self) -> &Token {
        &self.token
    }
}
