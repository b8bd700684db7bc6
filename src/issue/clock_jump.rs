//! Clocks that are set: the rules that protect verifiers count time that has really passed, and a clock that leaps forward only
//! says that it has.
//!
//! A server sees a leap by the difference between the wall clock and one that never leaps, and writes it into the ring. Until
//! every set fetched and every token signed before the leap has surely run out, that much is taken off what the wall clock says.
//! A clock that is set back makes the rules wait longer, which breaks nobody. A clock that is set while no server runs cannot be
//! noticed, unless it is off by more than any ring lies unused.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ring::KeyRing;
use super::rotation::RotationPolicy;
use crate::jose::NumericDate;

/// The wall clock's reading may go back by this against what a ring was saved with: more is a clock that is wrong.
const FARTHEST_BACK: Duration = Duration::from_secs(24 * 3600);
/// No ring lies unused for longer than this past its next rotation, unless the clock is wrong or it is a very old backup.
const FARTHEST_AHEAD: Duration = Duration::from_secs(366 * 24 * 3600);

/// A leap of the wall clock, forward.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockJump {
    /// When it was seen, by the clock that had leapt.
    pub at: NumericDate,
    /// By how many seconds it leapt.
    pub seconds: u64,
    /// Until when it counts.
    pub until: NumericDate,
}

/// A clock that cannot be right, by what the ring says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock says {now}, but the ring was last changed at {newest}: {why}; nothing is changed by plan until then (--force goes ahead)"
)]
pub struct ImplausibleClock {
    now: String,
    newest: String,
    why: &'static str,
}

impl KeyRing {
    /// What a wall clock that shows `now` proves to have passed.
    pub fn settled(&self, now: NumericDate) -> NumericDate {
        let counting = self.clock_jumps.iter().filter(|jump| now < jump.until);
        let seconds = counting
            .map(|jump| jump.seconds)
            .fold(0, u64::saturating_add);
        now.minus(Duration::from_secs(seconds))
    }

    /// From when on [`settled`](Self::settled) is at least `at`, as far as is known at `now`.
    pub fn settled_at(&self, at: NumericDate, now: NumericDate) -> NumericDate {
        let counting: Vec<_> = self
            .clock_jumps
            .iter()
            .filter(|jump| now < jump.until)
            .collect();
        let seconds = counting
            .iter()
            .fold(0, |sum, jump| jump.seconds.saturating_add(sum));
        let Some(over) = counting.iter().map(|jump| jump.until).max() else {
            return at;
        };
        at.plus(Duration::from_secs(seconds)).min(at.max(over))
    }

    /// Writes down that the clock, which shows `now`, has leapt forward by `leap`.
    pub fn note_clock_jump(&mut self, policy: &RotationPolicy, now: NumericDate, leap: Duration) {
        let leap = Duration::from_secs(leap.as_secs() + u64::from(leap.subsec_nanos() > 0));
        // What an earlier leap still had to wait for has come no nearer by this one.
        let before = now.minus(leap);
        self.clock_jumps.retain(|jump| before < jump.until);
        let mut leaps = leap;
        for jump in &mut self.clock_jumps {
            jump.until = jump.until.plus(leap);
            leaps = leaps.saturating_add(Duration::from_secs(jump.seconds));
        }
        let max_age = self
            .longest_max_age
            .map_or(Duration::ZERO, |promise| promise.duration())
            .max(policy.jwks_max_age);
        let sets_until = now.plus(max_age);
        let tokens_until = self
            .published()
            .filter_map(|key| key.tokens_until)
            .map(|until| until.plus(leaps))
            .fold(sets_until, NumericDate::max);
        self.clock_jumps.push(ClockJump {
            at: now,
            seconds: leap.as_secs(),
            until: tokens_until.plus(policy.clock_skew),
        });
    }

    /// Brings what the ring names as past and the clock as future to `now`, for an operator who knows that the clock is right now.
    /// How long tokens live stays: those are in the wild.
    pub(super) fn believe_clock(&mut self, now: NumericDate) {
        let back = |at: &mut NumericDate| *at = (*at).min(now);
        for key in &mut self.keys {
            back(&mut key.created_at);
            let times = [
                &mut key.first_published,
                &mut key.signing_since,
                &mut key.retired_at,
                &mut key.gone_at,
                &mut key.revoked_at,
            ];
            times.into_iter().flatten().for_each(back);
        }
    }

    /// The latest moment that the ring names as past.
    fn newest(&self) -> Option<NumericDate> {
        self.keys
            .iter()
            .flat_map(|key| {
                [
                    Some(key.created_at),
                    key.first_published,
                    key.signing_since,
                    key.retired_at,
                    key.gone_at,
                    key.revoked_at,
                ]
            })
            .flatten()
            .max()
    }

    /// Whether a clock that shows `now` can be right.
    ///
    /// # Errors
    /// [`ImplausibleClock`] if it is a day behind the ring, or a year past all that the ring had planned.
    pub fn check_clock(
        &self,
        policy: &RotationPolicy,
        now: NumericDate,
    ) -> Result<(), ImplausibleClock> {
        let Some(newest) = self.newest() else {
            return Ok(());
        };
        let why = if newest.since(now) > FARTHEST_BACK {
            "the clock is behind, or was ahead then: set it right"
        } else if now.since(newest.plus(policy.rotate_every)) > FARTHEST_AHEAD {
            "the clock is ahead, or this ring is a very old one: set it right, or restore the right one"
        } else {
            return Ok(());
        };
        Err(ImplausibleClock {
            now: now.to_rfc3339(),
            newest: newest.to_rfc3339(),
            why,
        })
    }
}
