//! `KeySet`: an immutable snapshot of one issuer's keys; [`Publisher`] writes it, [`Reader`] loads it.
//!
//! A snapshot is built whole, then published; after that nothing in it changes. Loading takes no lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use rapidhash::quality::RandomState;

use super::reject::Reject;
use crate::jose::key::KeyId;
use crate::jose::{Algorithm, JwkSet, SkippedKey, VerifyingKey};

/// The keys of one issuer at one moment.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Arc<VerifyingKey>>,
    by_kid: HashMap<Box<str>, Vec<Arc<VerifyingKey>>, RandomState>,
    skipped: Vec<SkippedKey>,
}

// === impl KeySet ===

impl KeySet {
    /// A snapshot of `set`. Keys that `previous` had too stay the very same `Arc`, so that what is remembered of them
    /// survives a refresh that changes nothing.
    pub fn new(set: JwkSet, previous: Option<&KeySet>) -> Self {
        let mut snapshot = KeySet {
            skipped: set.skipped,
            ..KeySet::default()
        };
        for key in set.keys {
            // One key published twice is one key.
            if snapshot.keys.iter().any(|known| known.is_same_key(&key)) {
                continue;
            }
            let key = previous
                .and_then(|previous| previous.keys.iter().find(|known| known.is_same_key(&key)))
                .map_or(key, Arc::clone);
            if let Some(kid) = key.kid() {
                let namesakes = snapshot.by_kid.entry(kid.into()).or_default();
                namesakes.push(Arc::clone(&key));
            }
            snapshot.keys.push(key);
        }
        snapshot
    }

    /// The usable keys, in published order.
    pub fn keys(&self) -> &[Arc<VerifyingKey>] {
        &self.keys
    }

    /// The keys that were published and cannot be used, with the reason.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// The one key that a header with this `kid` and `alg` means.
    ///
    /// With a `kid`, only its namesakes are candidates, and `alg` may tell two of them apart. Without one, every key that
    /// allows `alg` is a candidate. No key is ever tried: exactly one may be left.
    ///
    /// # Errors
    /// [`Reject::UnknownKey`] with no candidate, [`Reject::KeyMismatch`] when none of a kid's keys allows `alg` or what is
    /// published under this kid says that it is for something else, [`Reject::AmbiguousKey`] with several.
    pub fn select(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<&Arc<VerifyingKey>, Reject> {
        let (candidates, none_fits) = match kid {
            Some(kid) => (
                self.by_kid.get(kid).ok_or_else(|| self.none_called(kid))?,
                Reject::KeyMismatch,
            ),
            None => (&self.keys, Reject::UnknownKey),
        };
        let mut fitting = candidates.iter().filter(|key| key.allows(algorithm));
        let key = fitting.next().ok_or(none_fits)?;
        match fitting.next() {
            None => Ok(key),
            Some(_) => Err(Reject::AmbiguousKey),
        }
    }

    /// Why no usable key has this kid: no key at all, or one that says itself that it is not for this.
    fn none_called(&self, kid: &str) -> Reject {
        let is_it = |key: &&SkippedKey| key.kid.as_deref() == Some(kid);
        match self.skipped.iter().find(is_it) {
            Some(key) if key.error.is_contradiction() => Reject::KeyMismatch,
            _ => Reject::UnknownKey,
        }
    }

    pub(super) fn contains_id(&self, id: KeyId) -> bool {
        self.keys.iter().any(|known| known.id() == id)
    }

    /// Whether this very key, by identity, is in the snapshot.
    pub fn contains(&self, key: &Arc<VerifyingKey>) -> bool {
        self.keys.iter().any(|known| Arc::ptr_eq(known, key))
    }
}

/// What the two ends share.
#[derive(Debug, Default)]
struct Slot {
    set: ArcSwapOption<KeySet>,
    /// How often it has changed.
    version: AtomicU64,
}

// === impl Slot ===

impl Slot {
    fn put(&self, set: Option<Arc<KeySet>>) {
        self.set.store(set);
        // Release, and after the set: whoever sees this version sees this set or a later one.
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// The two ends of one published snapshot; nothing is published yet.
pub fn channel() -> (Publisher, Reader) {
    let slot = Arc::new(Slot::default());
    (Publisher { slot: slot.clone() }, Reader { slot })
}

/// The writing end: one per issuer, and not to be cloned.
#[derive(Debug)]
pub struct Publisher {
    slot: Arc<Slot>,
}

// === impl Publisher ===

impl Publisher {
    /// Puts `set` in force, at once and for every reader.
    pub fn publish(&self, set: Arc<KeySet>) {
        self.slot.put(Some(set));
    }

    /// Takes the snapshot out of force: from now on there are no keys.
    pub fn withdraw(&self) {
        self.slot.put(None);
    }

    /// What is in force.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.slot.set.load_full()
    }
}

/// The reading end; cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    slot: Arc<Slot>,
}

// === impl Reader ===

impl Reader {
    /// The snapshot in force, or `None` when there are no keys. Drop the guard before any `.await`.
    pub fn load(&self) -> arc_swap::Guard<Option<Arc<KeySet>>> {
        self.slot.set.load()
    }

    /// How often what is in force has changed. To be read before [`load`](Self::load): what was found in the set then loaded
    /// holds for as long as this number stays.
    #[inline]
    pub(super) fn version(&self) -> u64 {
        self.slot.version.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str =
        r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
    const B: &str =
        r#""kty":"OKP","crv":"Ed25519","x":"yZd4dt8VHTFgg2CLemwfR5TXc3evPGKErYYOOSqOCwI""#;
    const P256: &str = r#""kty":"EC","crv":"P-256","x":"-0aIVx_T2GYvSUfNTemJ3rSVgvziCceThyPHnv74U_4","y":"6cFOxClnHejSVqUJc59-OQ0LghRsUhhcFJRUPTYZ1Ag""#;

    fn set(keys: &[String], previous: Option<&KeySet>) -> KeySet {
        let document = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        let parsed = JwkSet::parse(document.as_bytes()).unwrap();
        assert!(parsed.skipped.is_empty(), "{:?}", parsed.skipped);
        KeySet::new(parsed, previous)
    }

    fn key(members: &str, kid: &str) -> String {
        format!(r#"{{{members},"kid":"{kid}"}}"#)
    }

    #[test]
    fn a_kid_selects_exactly() {
        let set = set(&[key(A, "a"), key(B, "b"), key(P256, "a")], None);
        for (kid, algorithm, expected) in [
            (Some("b"), Algorithm::EdDSA, Ok("b")),
            (Some("a"), Algorithm::EdDSA, Ok("a")),
            (Some("a"), Algorithm::ES256, Ok("a")),
            (Some("b"), Algorithm::ES256, Err(Reject::KeyMismatch)),
            (Some("B"), Algorithm::EdDSA, Err(Reject::UnknownKey)),
            (Some(""), Algorithm::EdDSA, Err(Reject::UnknownKey)),
            (None, Algorithm::ES256, Ok("a")),
            (None, Algorithm::EdDSA, Err(Reject::AmbiguousKey)),
            (None, Algorithm::RS256, Err(Reject::UnknownKey)),
        ] {
            let selected = set.select(kid, algorithm).map(|key| key.kid().unwrap());
            assert_eq!(selected, expected, "{kid:?} {algorithm}");
        }
        let twice = self::set(&[key(A, "k"), key(B, "k")], None);
        assert_eq!(
            twice.select(Some("k"), Algorithm::EdDSA).unwrap_err(),
            Reject::AmbiguousKey
        );
        let same = self::set(&[key(A, "k"), key(A, "k")], None);
        assert!(same.select(Some("k"), Algorithm::EdDSA).is_ok());
    }

    #[test]
    fn keys_keep_their_identity_unless_their_material_changes() {
        let first = set(&[key(A, "a"), key(B, "b")], None);
        let same = set(&[key(B, "b"), key(A, "a")], Some(&first));
        assert!(first.keys().iter().all(|key| same.contains(key)));
        let changed = set(&[key(B, "a"), key(A, "x")], Some(&first));
        assert!(!first.keys().iter().any(|key| changed.contains(key)));
    }

    #[test]
    fn what_is_published_is_read_until_it_is_withdrawn() {
        let (publisher, reader) = channel();
        assert!(reader.load().is_none());
        publisher.publish(Arc::new(set(&[key(A, "a")], None)));
        assert_eq!(reader.load().as_ref().unwrap().keys().len(), 1);
        publisher.withdraw();
        assert!(reader.load().is_none());
    }
}
