//! Attempts counted in fixed memory: a count-min sketch whose cells are windows.
//!
//! A key has one cell in each row, and the least of their counts is the key's. Other keys in a cell only ever make its count larger,
//! so a flood of invented keys makes this refuse too much, and never forget a window that is full, as a cache that evicts would.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::windows::{Limit, Taken};

const ROWS: usize = 4;
/// Cells in a row, a power of two. 100,000 keys in one window put three attempts of others into a cell: then windows of three
/// attempts begin to refuse strangers. Four rows of them are one MiB.
const COLUMNS: usize = 1 << 15;

/// Windows by key. The hash is seeded at random: nobody can choose keys that share cells with somebody else's.
pub(super) struct Sketch {
    cells: Box<[AtomicU64]>,
    seed: RandomState,
}

/// One cell: when its window began, how many attempts are in it, and how often in a row it was full.
#[derive(Clone, Copy, Default, PartialEq)]
struct Window {
    /// In ticks of ten milliseconds, from one; 0 for a cell that was never used.
    since: u64,
    attempts: u32,
    level: u32,
}

// === impl Window ===

impl Window {
    const LEVEL_BITS: u32 = 4;
    const ATTEMPT_BITS: u32 = 24;
    const MAX_LEVEL: u32 = (1 << Self::LEVEL_BITS) - 1;
    const MAX_ATTEMPTS: u32 = (1 << Self::ATTEMPT_BITS) - 1;
    const TICK_MILLIS: u64 = 10;

    fn unpack(cell: u64) -> Self {
        let bits = |shift: u32, max: u32| u32::try_from((cell >> shift) & u64::from(max));
        Window {
            since: cell >> (Self::LEVEL_BITS + Self::ATTEMPT_BITS),
            attempts: bits(Self::LEVEL_BITS, Self::MAX_ATTEMPTS).unwrap_or(Self::MAX_ATTEMPTS),
            level: bits(0, Self::MAX_LEVEL).unwrap_or(Self::MAX_LEVEL),
        }
    }

    fn pack(self) -> u64 {
        (self.since << (Self::LEVEL_BITS + Self::ATTEMPT_BITS))
            | (u64::from(self.attempts) << Self::LEVEL_BITS)
            | u64::from(self.level)
    }

    fn tick(now: Duration) -> u64 {
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        1 + millis / Self::TICK_MILLIS
    }

    fn end(self, limit: &Limit) -> Duration {
        let since = Duration::from_millis(self.since.saturating_sub(1) * Self::TICK_MILLIS);
        since + limit.length(self.level)
    }

    fn is_full(self, limit: &Limit) -> bool {
        self.attempts >= limit.attempts.min(Self::MAX_ATTEMPTS)
    }

    /// This window, or an empty one where it is over: longer than this one if this one was full, and shorter if it was not.
    fn at(self, limit: &Limit, now: Duration) -> Self {
        let end = self.end(limit);
        if self.since != 0 && now < end {
            return self;
        }
        let level = match now.saturating_sub(end) {
            _ if self.since == 0 => 0,
            quiet if quiet >= limit.longest => 0,
            _ if self.is_full(limit) => (self.level + 1).min(Self::MAX_LEVEL),
            _ => self.level.saturating_sub(1),
        };
        Window {
            since: Self::tick(now),
            attempts: 0,
            level,
        }
    }
}

// === impl Sketch ===

impl Sketch {
    pub(super) fn new() -> Self {
        Sketch {
            cells: std::iter::repeat_with(AtomicU64::default)
                .take(ROWS * COLUMNS)
                .collect(),
            seed: RandomState::new(),
        }
    }

    /// The places of a key's cells, one a row: 16 bits of its hash each.
    fn places(&self, key: impl Hash) -> [usize; ROWS] {
        let hash = self.seed.hash_one(key).to_le_bytes();
        std::array::from_fn(|row| {
            let bits = u16::from_le_bytes([hash[2 * row], hash[2 * row + 1]]);
            row * COLUMNS + usize::from(bits) % COLUMNS
        })
    }

    fn window(&self, place: usize, limit: &Limit, now: Duration) -> Window {
        Window::unpack(self.cells[place].load(Ordering::Relaxed)).at(limit, now)
    }

    /// How long until `key` may try again; `None` if it may now.
    pub(super) fn wait(&self, key: impl Hash, limit: &Limit, now: Duration) -> Option<Duration> {
        let windows = self.places(key).map(|place| self.window(place, limit, now));
        if windows.iter().any(|window| !window.is_full(limit)) {
            return None;
        }
        // One cell that opens is enough.
        let ends = windows.iter().map(|window| window.end(limit));
        Some(ends.min().unwrap_or_default().saturating_sub(now))
    }

    /// Counts an attempt, or says how long to wait.
    pub(super) fn take(
        &self,
        key: impl Hash,
        limit: &Limit,
        now: Duration,
    ) -> Result<Taken, Duration> {
        let places = self.places(&key);
        if let Some(wait) = self.wait(&key, limit, now) {
            return Err(wait);
        }
        // The cell with the fewest decides, by one atomic step, so that of attempts at once no more pass than may. It is counted
        // last: then no other cell of a key that shares none has fewer.
        let counts = places.map(|place| self.window(place, limit, now).attempts);
        let deciding = (0..ROWS).min_by_key(|&row| counts[row]).unwrap_or(0);
        let mut rows = 0;
        for row in (0..ROWS).filter(|&row| row != deciding) {
            if self.count(places[row], limit, now) {
                rows |= 1 << row;
            }
        }
        if !self.count(places[deciding], limit, now) {
            // Another was faster; what was counted of this one stays, as it errs to the safe side.
            let end = self.window(places[deciding], limit, now).end(limit);
            return Err(end.saturating_sub(now));
        }
        rows |= 1 << deciding;
        Ok(Taken {
            places,
            rows,
            at: now,
        })
    }

    /// Whether there was room in one cell.
    fn count(&self, place: usize, limit: &Limit, now: Duration) -> bool {
        let order = Ordering::Relaxed;
        let counted = self.cells[place].fetch_update(order, order, |cell| {
            let mut window = Window::unpack(cell).at(limit, now);
            if window.is_full(limit) {
                return None;
            }
            window.attempts += 1;
            Some(window.pack())
        });
        counted.is_ok()
    }

    /// Takes back what [`take`](Self::take) counted, and only that: cells that were full already were not changed by it.
    pub(super) fn give_back(&self, taken: &Taken) {
        let order = Ordering::Relaxed;
        for row in (0..ROWS).filter(|row| taken.rows & (1 << row) != 0) {
            // Fails where the window has been another since.
            let _ = self.cells[taken.places[row]].fetch_update(order, order, |cell| {
                let mut window = Window::unpack(cell);
                if window.since > Window::tick(taken.at) || window.attempts == 0 {
                    return None;
                }
                window.attempts -= 1;
                Some(window.pack())
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limit(attempts: u32) -> Limit {
        Limit {
            attempts,
            window: 60 * SECOND,
            longest: 60 * SECOND,
        }
    }

    #[test]
    fn a_cell_holds_what_was_put_in() {
        for window in [
            Window::default(),
            Window {
                since: (1 << 36) - 1,
                attempts: Window::MAX_ATTEMPTS,
                level: Window::MAX_LEVEL,
            },
        ] {
            assert!(Window::unpack(window.pack()) == window);
        }
    }

    #[test]
    fn a_full_window_outlives_any_flood_of_other_keys() {
        let sketch = Sketch::new();
        let limit = limit(10);
        for _ in 0..10 {
            sketch.take("victim", &limit, SECOND).unwrap();
        }
        for invented in 0..500_000 {
            let _ = sketch.take(invented, &limit, 2 * SECOND);
            if invented % 10_000 == 0 {
                assert_eq!(
                    sketch.take("victim", &limit, 2 * SECOND).err(),
                    Some(59 * SECOND)
                );
            }
        }
        assert!(sketch.take("victim", &limit, 60 * SECOND).is_err());
        sketch.take("victim", &limit, 61 * SECOND).unwrap();
    }

    #[test]
    fn tens_of_thousands_of_keys_at_once_are_not_taken_for_one_another() {
        let sketch = Sketch::new();
        let limit = limit(10);
        let refused = (0..50_000).filter(|key| sketch.take(key, &limit, SECOND).is_err());
        assert_eq!(refused.count(), 0);
    }

    #[test]
    fn of_attempts_at_once_no_more_pass_than_may() {
        for round in 0..200 {
            let (sketch, limit) = (Sketch::new(), limit(5));
            let start = std::sync::Barrier::new(4);
            let passed: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            let passed =
                                (0..5).filter(|_| sketch.take("a", &limit, SECOND).is_ok());
                            passed.count()
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .sum()
            });
            assert_eq!(passed, 5, "round {round}");
        }
    }

    #[test]
    fn an_attempt_given_back_makes_room_for_one_and_never_for_two() {
        let (sketch, limit) = (Sketch::new(), limit(2));
        let first = sketch.take("a", &limit, SECOND).unwrap();
        sketch.take("a", &limit, SECOND).unwrap();
        assert!(sketch.take("a", &limit, SECOND).is_err());
        sketch.give_back(&first);
        sketch.take("a", &limit, SECOND).unwrap();
        assert!(sketch.take("a", &limit, SECOND).is_err());
        // One of a window that is over changes nothing in the next.
        let next = 61 * SECOND;
        for _ in 0..2 {
            sketch.take("a", &limit, next).unwrap();
        }
        sketch.give_back(&first);
        assert!(sketch.take("a", &limit, next).is_err());
    }

    #[test]
    fn a_window_filled_again_and_again_grows_to_its_bound_and_shrinks_when_it_is_not() {
        let sketch = Sketch::new();
        let limit = Limit {
            attempts: 1,
            window: 60 * SECOND,
            longest: 3600 * SECOND,
        };
        let mut now = SECOND;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            sketch.take("a", &limit, now).unwrap();
            let wait = sketch.take("a", &limit, now).unwrap_err();
            assert_eq!(wait, 60 * minutes * SECOND);
            now += wait;
        }
        now += 3600 * SECOND;
        sketch.take("a", &limit, now).unwrap();
        assert_eq!(sketch.take("a", &limit, now).unwrap_err(), 60 * SECOND);
    }
}
