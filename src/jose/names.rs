//! The names that one JSON object has shown so far, so that none is taken twice.

use std::borrow::Cow;
use std::collections::HashSet;

/// Up to this many names are compared pairwise; beyond it a hash set keeps the check linear.
pub(super) const INLINE: usize = 16;

/// Allocates nothing for up to [`INLINE`] names without escapes.
pub(super) struct Names<'a> {
    /// Of each name a part: names that differ here differ, and almost all do.
    parts: [u64; INLINE],
    names: [&'a str; INLINE],
    len: usize,
    /// All of them, once there are too many, or one that had escapes.
    spilled: Option<HashSet<Cow<'a, str>>>,
}

// === impl Names ===

impl<'a> Names<'a> {
    pub(super) fn new() -> Self {
        Names {
            parts: [0; INLINE],
            names: [""; INLINE],
            len: 0,
            spilled: None,
        }
    }

    /// `false` if the name was there already.
    #[expect(clippy::ptr_arg, reason = "what is borrowed lives as long as the text")]
    #[inline]
    pub(super) fn insert(&mut self, name: &Cow<'a, str>) -> bool {
        let (Cow::Borrowed(text), None, 0..INLINE) = (name, &self.spilled, self.len) else {
            return self.spill(name.clone());
        };
        let part = part(text.as_bytes());
        let mut known = self.parts[..self.len].iter().zip(&self.names);
        if known.any(|(&its, known)| its == part && known == text) {
            return false;
        }
        self.parts[self.len] = part;
        self.names[self.len] = text;
        self.len += 1;
        true
    }

    #[cold]
    fn spill(&mut self, name: Cow<'a, str>) -> bool {
        let inline = &self.names[..self.len];
        let spilled = self
            .spilled
            .get_or_insert_with(|| inline.iter().copied().map(Cow::Borrowed).collect());
        spilled.insert(name)
    }
}

/// The first bytes and the last ones, up to eight in all.
#[inline]
fn part(name: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
    }
    name.iter()
        .fold(0, |part, &byte| part << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of every length up to ten that differ in one place, or in none.
    #[test]
    fn a_name_is_known_by_all_of_it() {
        for len in 0..=10 {
            let name = &"abcdefghij"[..len];
            for place in 0..len {
                let mut other = name.to_owned();
                other.replace_range(place..=place, "x");
                let mut names = Names::new();
                assert!(names.insert(&name.into()) && names.insert(&(&*other).into()));
                assert!(!names.insert(&name.into()) && !names.insert(&(&*other).into()));
            }
        }
        let mut names = Names::new();
        assert!(
            ["", "a", "\0a", "a\0", "aa"]
                .iter()
                .all(|name| names.insert(&(*name).into()))
        );
    }

    #[test]
    fn names_with_escapes_and_many_names_are_compared_too() {
        let mut names = Names::new();
        assert!(names.insert(&"a".into()));
        assert!(!names.insert(&Cow::Owned("a".into())));
        assert!(names.insert(&Cow::Owned("b".into())));
        assert!(!names.insert(&"b".into()) && !names.insert(&"a".into()));
        let all: Vec<String> = (0..3 * INLINE).map(|n| n.to_string()).collect();
        let mut names = Names::new();
        assert!(all.iter().all(|name| names.insert(&(&**name).into())));
        assert!(!all.iter().any(|name| names.insert(&(&**name).into())));
    }
}
