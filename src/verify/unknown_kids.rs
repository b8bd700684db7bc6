//! Kids that a fetch did not find, or found gone, and when each may cause another; bounded, so that inventing kids fills
//! nothing.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::keyset::KeySet;

/// Unknown kids remembered; 40 bytes each.
const CAPACITY: u64 = 10_000;
/// A kid that stays unknown may ask again after 1, 2, 4, … up to 2 to the power of this many cool-downs. No more, since a
/// kid may be asked for before it is published, and should then not wait for long.
const MAX_STEP: u32 = 3;

/// The memory of one issuer.
pub(crate) struct UnknownKids {
    /// By a keyed hash: nobody outside can make two kids collide, and a kid of any length costs the same.
    not_before: moka::sync::Cache<u64, (Duration, u32)>,
    hasher: RandomState,
}

// === impl UnknownKids ===

impl UnknownKids {
    pub(crate) fn new() -> Self {
        UnknownKids {
            not_before: moka::sync::Cache::new(CAPACITY),
            hasher: RandomState::new(),
        }
    }

    /// Whether this kid may cause a fetch at `now`.
    pub(crate) fn may_ask(&self, kid: &str, now: Duration) -> bool {
        self.not_before
            .get(&self.hasher.hash_one(kid))
            .is_none_or(|(not_before, _)| now >= not_before)
    }

    /// Notes that a set has come: what it has is known, and what it no longer has is known to be gone, so that a removal
    /// does not make everybody who verifies ask again.
    pub(crate) fn note_set(
        &self,
        previous: Option<&KeySet>,
        set: &KeySet,
        now: Duration,
        cool_down: Duration,
    ) {
        let has = |kid: &str| set.keys().iter().any(|key| key.kid() == Some(kid));
        let before = previous.map_or(&[][..], KeySet::keys);
        for kid in before.iter().filter_map(|key| key.kid()) {
            if !has(kid) {
                self.note(kid, now, cool_down);
            }
        }
        for kid in set.keys().iter().filter_map(|key| key.kid()) {
            self.not_before.invalidate(&self.hasher.hash_one(kid));
        }
    }

    /// Notes that a fetch did not find this kid.
    pub(crate) fn note(&self, kid: &str, now: Duration, cool_down: Duration) {
        let hash = self.hasher.hash_one(kid);
        let step = self
            .not_before
            .get(&hash)
            .map_or(0, |(_, step)| (step + 1).min(MAX_STEP));
        self.not_before
            .insert(hash, (now + cool_down * (1 << step), step));
    }
}
