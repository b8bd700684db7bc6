//! What happened lately, for a page that shows it: the last audit lines, and the failures of the last hour by reason.
//!
//! Bounded whatever comes, and without a lock: a failure that is not written for being one of too many adds to a count and
//! allocates nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::verify::Reason;

/// Lines kept. What each may hold is cut, so all of them are under a megabyte, and some twenty kilobytes as a rule.
pub const LINES: usize = 64;
/// Minutes that are looked back on, the one under way included.
pub const MINUTES: usize = 60;
/// Places for minutes: a power of two above [`MINUTES`].
const PLACES: usize = 64;

/// Why a sign-in fails, as the audit lines say it; [`OTHER`] is what is none of these.
const SIGN_IN_REASONS: [&str; 6] = [
    "invalid_credentials",
    "disabled",
    "rate_limited",
    "busy",
    "unavailable",
    OTHER,
];
const OTHER: &str = "other";

/// The last lines and the last hour. Give it to an [`AuditLog`](super::AuditLog), and keep a clone to read.
#[derive(Default)]
pub struct Recent {
    refusals: [Hour; Reason::ALL.len()],
    sign_ins: [Hour; SIGN_IN_REASONS.len()],
    lines: Lines,
}

/// The failures for one reason in the last hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failures {
    /// A reject code, or why a sign-in failed.
    pub reason: &'static str,
    /// How many in each minute, the oldest first, the one under way last.
    pub minutes: [u64; MINUTES],
}

// === impl Failures ===

impl Failures {
    /// All of the hour.
    pub fn total(&self) -> u64 {
        self.last(MINUTES)
    }

    /// Those of the last `minutes`, the one under way included.
    pub fn last(&self, minutes: usize) -> u64 {
        self.minutes.iter().rev().take(minutes).sum()
    }
}

// === impl Recent ===

impl Recent {
    /// The newest lines, newest first, as they were written.
    pub fn lines(&self) -> Vec<Arc<str>> {
        self.lines.newest_first()
    }

    /// The reasons that occurred within the hour before `now`, a monotonic time; the most frequent first.
    pub fn failures(&self, now: Duration) -> Vec<Failures> {
        let refusals = Reason::ALL.iter().map(|reason| reason.code());
        let refusals = refusals.zip(&self.refusals);
        let all = refusals.chain(SIGN_IN_REASONS.into_iter().zip(&self.sign_ins));
        let failures = all.map(|(reason, hour)| Failures {
            reason,
            minutes: hour.before(now),
        });
        let mut failures: Vec<_> = failures.filter(|failures| failures.total() > 0).collect();
        failures.sort_by_key(|failures| std::cmp::Reverse(failures.total()));
        failures
    }

    pub(super) fn refused(&self, reason: Reason, now: Duration) {
        self.refusals[reason as usize].count(now);
    }

    pub(super) fn sign_in_failed(&self, reason: Option<&str>, now: Duration) {
        let known = SIGN_IN_REASONS
            .iter()
            .position(|known| Some(*known) == reason);
        self.sign_ins[known.unwrap_or(SIGN_IN_REASONS.len() - 1)].count(now);
    }

    pub(super) fn keep(&self, line: String) {
        self.lines.keep(line);
    }
}

/// How many there were of something in each of the last minutes.
struct Hour {
    /// The number of its minute in the upper half, how many in the lower.
    places: [AtomicU64; PLACES],
}

impl Default for Hour {
    fn default() -> Self {
        Hour {
            places: [const { AtomicU64::new(0) }; PLACES],
        }
    }
}

// === impl Hour ===

impl Hour {
    /// From 1: a place that was never used must not look like the first minute's. Cut: it only has to differ from neighbours.
    fn minute(now: Duration) -> u64 {
        1 + (now.as_secs() / 60) % (u64::from(u32::MAX) - 1)
    }

    fn place(&self, minute: u64) -> &AtomicU64 {
        &self.places[usize::try_from(minute).unwrap_or(0) % PLACES]
    }

    fn count(&self, now: Duration) {
        let minute = Hour::minute(now);
        // Relaxed: the count stands alone. Never fails: it always gives a value.
        let order = Ordering::Relaxed;
        let _ = self
            .place(minute)
            .fetch_update(order, order, |value| match value >> 32 {
                found if found == minute && value & 0xffff_ffff < 0xffff_ffff => Some(value + 1),
                found if found == minute => Some(value),
                _ => Some(minute << 32 | 1),
            });
    }

    fn before(&self, now: Duration) -> [u64; MINUTES] {
        let last = Hour::minute(now);
        std::array::from_fn(|index| {
            let ago = u64::try_from(MINUTES - 1 - index).unwrap_or(0);
            let Some(minute) = last.checked_sub(ago).filter(|&minute| minute > 0) else {
                return 0;
            };
            let value = self.place(minute).load(Ordering::Relaxed);
            match value >> 32 == minute {
                true => value & 0xffff_ffff,
                false => 0,
            }
        })
    }
}

/// The last lines. Writers take turns by number, so none waits for another.
struct Lines {
    next: AtomicU64,
    places: [ArcSwapOption<(u64, Arc<str>)>; LINES],
}

impl Default for Lines {
    fn default() -> Self {
        Lines {
            next: AtomicU64::new(0),
            places: std::array::from_fn(|_| ArcSwapOption::empty()),
        }
    }
}

// === impl Lines ===

impl Lines {
    fn keep(&self, line: String) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let place = &self.places[usize::try_from(number).unwrap_or(0) % LINES];
        // A writer that slept through all the others' turns puts back an old line: it then shows as the old one that it is.
        place.store(Some(Arc::new((number, line.into()))));
    }

    fn newest_first(&self) -> Vec<Arc<str>> {
        let places = self.places.iter();
        let mut lines: Vec<_> = places.filter_map(ArcSwapOption::load_full).collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.0));
        lines.iter().map(|line| line.1.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;

    #[test]
    fn the_hour_forgets_minute_by_minute() {
        let recent = Recent::default();
        let at = |minute: u64| Duration::from_secs(minute * MINUTE + 7);
        for minute in 0..200 {
            for _ in 0..=minute {
                recent.refused(Reason::Expired, at(minute));
            }
        }
        let of = |minute| {
            let failures = recent.failures(at(minute));
            failures.first().map(|failures| {
                let minutes = failures.minutes;
                (minutes[0], minutes[MINUTES - 1], failures.total())
            })
        };
        assert_eq!(of(199), Some((141, 200, (141..=200).sum())));
        assert_eq!(of(229), Some((171, 0, (171..=200).sum())));
        assert_eq!(of(258), Some((200, 0, 200)));
        assert_eq!(of(259), None);
    }

    #[test]
    fn reasons_come_by_their_number_and_what_is_unknown_is_other() {
        let (recent, now) = (Recent::default(), Duration::from_secs(30));
        recent.sign_in_failed(Some("invalid_credentials"), now);
        for reason in [Some("of another time"), None] {
            recent.sign_in_failed(reason, now);
        }
        for _ in 0..3 {
            recent.refused(Reason::BadSignature, now);
        }
        let failures = recent.failures(now);
        let told: Vec<_> = failures.iter().map(|f| (f.reason, f.last(5))).collect();
        let expected = [("bad_signature", 3), (OTHER, 2), ("invalid_credentials", 1)];
        assert_eq!(told, expected);
    }

    #[test]
    #[cfg(feature = "server")]
    fn every_way_to_fail_to_sign_in_has_its_place() {
        use crate::metrics::issuer::SignIn;
        for outcome in SignIn::ALL {
            let is_known = SIGN_IN_REASONS.contains(&outcome.name());
            assert_eq!(is_known, outcome != SignIn::SignedIn, "{outcome:?}");
        }
    }

    #[test]
    fn the_last_lines_stay_and_no_more() {
        let recent = Recent::default();
        assert!(recent.lines().is_empty());
        for number in 0..1000 {
            recent.keep(number.to_string());
        }
        let lines = recent.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!((&*lines[0], &*lines[LINES - 1]), ("999", "936"));
    }
}
