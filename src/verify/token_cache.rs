//! Verified tokens; changes speed, never a verdict.
//!
//! Fixed slots, each an [`ArcSwapOption`]: readers wait for nobody and write to nothing shared. Only tokens that passed every
//! check enter, so forged ones can evict nothing. A hit says that this very text was once accepted by this very key; whether
//! the key is still published and the time still right is for the caller to ask again, every time.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

use super::verified::Token;

/// Places per bucket. With 10,000 tokens in 32,768 slots, 3 in 100 tokens share a bucket with more than it has places for;
/// with two places it would be 13 (and 83 % of looks were measured to be hits).
const WAYS: usize = 4;
/// Longer tokens are verified each time, so that the slots bound the bytes too: at 32,768 slots and about twice a token's
/// length each, 128 MiB at the very worst, 16 MiB for 10,000 tokens of usual size.
const MAX_TOKEN_BYTES: usize = 2048;
/// How much of a token's end is hashed: all of an Ed25519 signature's randomness there is need of.
const HASHED_BYTES: usize = 32;

/// Tokens kept unless set otherwise.
pub(crate) const DEFAULT_SLOTS: usize = 32_768;

/// Accepted tokens by their text.
pub(crate) struct TokenCache {
    slots: Box<[ArcSwapOption<Entry>]>,
    hasher: RandomState,
}

pub(crate) struct Entry {
    text: Box<str>,
    pub(crate) token: Token,
    /// Position of the issuer in the verifier's list.
    pub(crate) trusted: usize,
}

/// A hit: borrowed from the cache, so that a hot token's counter is not passed between cores for the look.
pub(crate) struct Hit(Guard<Option<Arc<Entry>>>);

// === impl Hit ===

impl Hit {
    pub(crate) fn entry(&self) -> Option<&Entry> {
        self.0.as_deref()
    }
}

// === impl TokenCache ===

impl TokenCache {
    /// `slots` is rounded up to a power of two; 0 turns the cache off.
    pub(crate) fn new(slots: usize) -> Self {
        let slots = match slots {
            0 => 0,
            slots => slots.max(WAYS).next_power_of_two(),
        };
        TokenCache {
            slots: (0..slots).map(|_| ArcSwapOption::empty()).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        !self.slots.is_empty()
    }

    /// The entry of exactly this text.
    pub(crate) fn get(&self, text: &str) -> Option<Hit> {
        self.bucket(text)?.iter().find_map(|slot| {
            let entry = slot.load();
            let is_it = entry.as_ref().is_some_and(|entry| *entry.text == *text);
            is_it.then(|| Hit(entry))
        })
    }

    /// Remembers an accepted token: in a free place, in its own if it has one already, else in the place of another.
    pub(crate) fn insert(&self, text: &str, token: &Token, trusted: usize) {
        let Some(bucket) = self.bucket(text) else {
            return;
        };
        let free = bucket.iter().find(|slot| {
            let entry = slot.load();
            entry.as_ref().is_none_or(|entry| *entry.text == *text)
        });
        // Which one goes is as good as chance: it depends on the newcomer's signature.
        let victim = text.bytes().rev().take(8).map(usize::from).sum::<usize>() % WAYS;
        let slot = free.unwrap_or(&bucket[victim]);
        slot.store(Some(Arc::new(Entry {
            text: text.into(),
            token: token.clone(),
            trusted,
        })));
    }

    /// A token ends in its signature, which is as good as random, so the end alone spreads well; the key of the hash keeps
    /// anyone from choosing a slot; and the whole text is compared before it counts.
    fn bucket(&self, text: &str) -> Option<&[ArcSwapOption<Entry>]> {
        if !self.is_on() || text.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let end = &text.as_bytes()[text.len().saturating_sub(HASHED_BYTES)..];
        let buckets = self.slots.len() / WAYS;
        // A power of two, so the lower bits are the remainder.
        let index = self.hasher.hash_one(end) & (buckets as u64 - 1);
        let start = usize::try_from(index).unwrap_or(0) * WAYS;
        self.slots.get(start..start + WAYS)
    }
}
