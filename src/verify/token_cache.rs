//! Verified tokens; changes speed, never a verdict.
//!
//! Fixed slots, each an [`ArcSwapAny`]: readers wait for nobody and write to nothing shared, and what they get is borrowed, so that
//! not even a hot token's reference count is passed between cores. Only tokens that passed every check enter, so forged ones can
//! evict nothing. A hit says that this very text was once accepted by this very key; whether the key is still published and the
//! time still right is for the caller to ask again, every time.
//!
//! No order of reads and writes can make a wrong verdict of it, and no model of it is checked for that: an entry is whole before a
//! slot has it, and the whole text decides. A tag only says whether to look. Of what an entry says nothing changes after but in
//! which version of the key set its key was last seen, and whichever of two that are written at once stays is true. What could be
//! got wrong is in `arc-swap`, which no model checker sees into.

use std::hash::{BuildHasher, Hasher as _};
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwapAny;
use rapidhash::quality::RandomState;

use super::verified::{Entry, Shared, Token, received};

/// Places per bucket; each token has two buckets. With 10,000 tokens in 32,768 slots one token in a hundred goes to its second
/// bucket, and none has to make room for another; with one bucket each, 98.3 % of looks were measured to be hits.
const WAYS: usize = 4;
/// Longer tokens are verified each time, so that the slots bound the bytes too: at 32,768 slots and about twice a token's
/// length each, 128 MiB at the very worst, 11 MiB for 10,000 tokens of usual size.
const MAX_TOKEN_BYTES: usize = 2048;

/// So many of a token's last characters choose its place: of the signature, which differs where anything does, and is as good as
/// random. What an outsider sends with the end of another token finds that token's place, another text there, and no more.
const HASHED: usize = 32;

/// Tokens kept unless set otherwise.
pub(crate) const DEFAULT_SLOTS: usize = 32_768;

/// Accepted tokens by their text.
pub(crate) struct TokenCache {
    buckets: Box<[Bucket]>,
    /// Keyed at random: nobody outside can choose a bucket.
    hasher: RandomState,
}

/// One line of the processor's cache.
#[repr(align(64))]
struct Bucket {
    /// A part of the hash for each slot, or 0: which slots are worth a look. May be out of step with its slot for a moment, or
    /// after two threads have written at once; then a look is in vain, and no more.
    tags: [AtomicU32; WAYS],
    slots: [ArcSwapAny<Shared>; WAYS],
}

// === impl TokenCache ===

impl TokenCache {
    /// `slots` is rounded up to a power of two; 0 turns the cache off.
    pub(crate) fn new(slots: usize) -> Self {
        let buckets = match slots {
            0 => 0,
            slots => slots.div_ceil(WAYS).next_power_of_two(),
        };
        let nothing = Entry::default().share(&[], 0);
        let bucket = || Bucket {
            tags: Default::default(),
            slots: std::array::from_fn(|_| ArcSwapAny::new(Shared::clone(&nothing))),
        };
        TokenCache {
            buckets: (0..buckets).map(|_| bucket()).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        !self.buckets.is_empty()
    }

    /// Whether a token of so many bytes would be remembered.
    pub(crate) fn takes(&self, length: usize) -> bool {
        self.is_on() && (1..=MAX_TOKEN_BYTES).contains(&length)
    }

    /// The token of exactly this text.
    pub(crate) fn get(&self, text: &[u8]) -> Option<Token> {
        let ([first, second], tag) = self.places(text)?;
        let found = first.get(text, tag);
        found.or_else(|| second.get(text, tag))
    }

    /// Remembers an accepted token, which has kept its text: in a free place, in its own if it has one already, else in the
    /// place of another.
    pub(crate) fn insert(&self, token: &Token) {
        let Some((buckets, tag)) = self.places(received(token.shared())) else {
            return;
        };
        let free = |bucket: &Bucket| {
            let is_free = |its: &AtomicU32| matches!(its.load(Ordering::Relaxed), its if its == 0 || its == tag);
            bucket.tags.iter().position(is_free)
        };
        // Which one goes is as good as chance: it depends on the newcomer's hash.
        let (bucket, place) = buckets
            .iter()
            .find_map(|bucket| Some((*bucket, free(bucket)?)))
            .unwrap_or((buckets[0], tag as usize / 2 % WAYS));
        bucket.slots[place].store(Shared::clone(token.shared()));
        bucket.tags[place].store(tag, Ordering::Relaxed);
    }

    /// Where a token may be, and the tag that it has there, which is odd. The hash of its end only chooses the place; the whole
    /// text is compared before anything counts.
    #[inline]
    fn places(&self, text: &[u8]) -> Option<([&Bucket; 2], u32)> {
        if !self.takes(text.len()) {
            return None;
        }
        let tail = text.last_chunk::<HASHED>().map_or(text, |tail| tail);
        let mut hasher = self.hasher.build_hasher();
        hasher.write(tail);
        let hash = hasher.finish();
        // A power of two, so the lower bits are the remainder.
        let bucket = |hash: u64| {
            let index = usize::try_from(hash & (self.buckets.len() as u64 - 1)).ok()?;
            self.buckets.get(index)
        };
        let tag = u32::try_from(hash >> 32).unwrap_or(0) | 1;
        // The tag's bits, well mixed, make the second bucket as good as independent of the first.
        let second = hash ^ u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        Some(([bucket(hash)?, bucket(second)?], tag))
    }
}

// === impl Bucket ===

impl Bucket {
    #[inline]
    fn get(&self, text: &[u8], tag: u32) -> Option<Token> {
        self.tags.iter().zip(&self.slots).find_map(|(its, slot)| {
            // Relaxed: the slot has its own order, and the text is compared whole.
            if its.load(Ordering::Relaxed) != tag {
                return None;
            }
            let entry = slot.load();
            is_same(received(&entry), text).then(|| Token::from(entry))
        })
    }
}

/// Whether two texts are the same. Looks at all of them whatever it finds, so that every line of memory is asked for at once and not
/// one after the other; and so it takes as long wherever the first difference is.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let ((one, one_end), (other, other_end)) = (one.as_chunks::<32>(), other.as_chunks::<32>());
    let mut differences = [0; 32];
    for (one, other) in one.iter().zip(other) {
        for (difference, (one, other)) in differences.iter_mut().zip(one.iter().zip(other)) {
            *difference |= one ^ other;
        }
    }
    let beyond = one_end
        .iter()
        .zip(other_end)
        .map(|(one, other)| one ^ other);
    differences
        .into_iter()
        .chain(beyond)
        .fold(0, |all, one| all | one)
        == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_same_or_not_wherever_they_differ() {
        for length in [0, 1, 31, 32, 33, 63, 64, 65, 450] {
            let text = vec![7; length];
            assert!(is_same(&text, &text.clone()));
            assert!(!is_same(&text, &[&text[..], &[7]].concat()));
            for place in 0..length {
                let mut other = text.clone();
                other[place] ^= 1 << (place % 8);
                assert!(!is_same(&text, &other), "{length} {place}");
            }
        }
    }
}
