//! The time axis: where a moment is in the picture, and which moments are written along it.

use std::time::Duration;

use super::timeline::Window;
use crate::jose::NumericDate;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// What ticks may be apart; each is a multiple of those that people count in.
#[rustfmt::skip]
const STEPS: [u64; 28] = [
    1, 2, 5, 10, 15, 30,
    MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
    HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR,
    DAY, 2 * DAY, 4 * DAY, 7 * DAY, 10 * DAY, 14 * DAY, 28 * DAY, 56 * DAY, 91 * DAY, 182 * DAY, 364 * DAY,
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// Now is never nearer to an edge than this share of the width: else one side would be too small to read.
const NOW_WITHIN: (f64, f64) = (0.3, 0.7);

/// Maps moments to places between `left` and `right`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    window: Window,
    pub(super) left: f64,
    pub(super) right: f64,
    now: f64,
}

/// A moment that is written along the axis.
#[derive(Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) x: f64,
    pub(super) label: String,
}

// === impl Axis ===

impl Axis {
    pub(super) fn new(window: Window, left: f64, right: f64) -> Self {
        let (past, future) = sides(window);
        let (least, most) = NOW_WITHIN;
        let share = (past / (past + future)).clamp(least, most);
        let now = left + share * (right - left);
        Axis {
            window,
            left,
            right,
            now,
        }
    }

    /// Whether the past and the plan are drawn to different scales.
    pub(super) fn is_split(window: Window) -> bool {
        let (past, future) = sides(window);
        let share = past / (past + future);
        share < NOW_WITHIN.0 || share > NOW_WITHIN.1
    }

    /// Where `at` is; what is outside of the window is at its edge.
    pub(super) fn x(&self, at: NumericDate) -> f64 {
        let Window { from, now, until } = self.window;
        let at = at.clamp(from, until);
        let (past, future) = sides(self.window);
        match at < now {
            true => self.now - now.since(at).as_secs_f64() / past * (self.now - self.left),
            false => self.now + at.since(now).as_secs_f64() / future * (self.right - self.now),
        }
    }

    /// Moments that people would name, at least `gap` apart.
    pub(super) fn ticks(&self, gap: f64) -> Vec<Tick> {
        let Window { from, now, until } = self.window;
        let mut ticks = Vec::new();
        match Axis::is_split(self.window) {
            true => {
                self.ticks_between(from, now, gap, &mut ticks);
                self.ticks_between(now, until, gap, &mut ticks);
            }
            false => self.ticks_between(from, until, gap, &mut ticks),
        }
        ticks
    }

    fn ticks_between(
        &self,
        from: NumericDate,
        until: NumericDate,
        gap: f64,
        ticks: &mut Vec<Tick>,
    ) {
        let (left, right) = (self.x(from), self.x(until));
        let most = ((right - left) / gap).max(1.0);
        let wanted = until.since(from).as_secs_f64() / most;
        let step = STEPS.into_iter().find(|&step| step as f64 >= wanted);
        // Beyond years nobody names moments: any even distance will do.
        let step = step.unwrap_or_else(|| Duration::from_secs_f64(wanted.min(1e15)).as_secs());
        let step = i64::try_from(step).unwrap_or(i64::MAX).max(1);
        let mut at = (from.seconds().div_euclid(step)).saturating_mul(step);
        loop {
            at = at.saturating_add(step);
            let moment = NumericDate::from_seconds(at);
            if moment > until || at == i64::MAX {
                return;
            }
            let x = self.x(moment);
            let is_clear = ticks.last().is_none_or(|last| x - last.x >= gap * 0.9);
            // A label reaches to both sides of its tick.
            if is_clear && x >= self.left + gap / 2.5 && x <= self.right - gap / 2.5 {
                // What is before 1970 or after 9999 has no name.
                if let Some(label) = label(moment, step) {
                    ticks.push(Tick { x, label });
                }
            }
        }
    }
}

/// How long the past and the future are, in seconds; neither is nothing.
fn sides(window: Window) -> (f64, f64) {
    let side = |duration: Duration| duration.as_secs_f64().max(1.0);
    (
        side(window.now.since(window.from)),
        side(window.until.since(window.now)),
    )
}

/// As much of a moment as tells it from its neighbours at a distance of `step` seconds.
fn label(at: NumericDate, step: i64) -> Option<String> {
    let text = at.to_rfc3339();
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let month = MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
    let days = |days: u64| i64::try_from(days * DAY).unwrap_or(i64::MAX);
    Some(if step >= days(100) {
        format!("{month} {year}")
    } else if step >= days(1) || time == "00:00:00" {
        format!("{} {month}", day.trim_start_matches('0'))
    } else if step >= 60 {
        time.get(..5)?.to_owned()
    } else {
        time.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: NumericDate = NumericDate::from_seconds(1_790_000_000);

    fn window(past: u64, future: u64) -> Window {
        Window {
            from: NOW.minus(Duration::from_secs(past)),
            now: NOW,
            until: NOW.plus(Duration::from_secs(future)),
        }
    }

    #[test]
    fn now_is_in_the_picture_and_ticks_keep_their_distance_at_any_scale() {
        let spans = [
            1,
            10,
            90,
            HOUR,
            DAY,
            30 * DAY,
            365 * DAY,
            10_000 * DAY,
            u64::MAX / 4,
        ];
        for past in spans {
            for future in spans {
                let axis = Axis::new(window(past, future), 200.0, 960.0);
                let now = axis.x(NOW);
                assert!((420.0..=740.0).contains(&now), "{past} {future}: {now}");
                let ticks = axis.ticks(80.0);
                assert!(ticks.len() <= 10, "{past} {future}: {ticks:?}");
                for pair in ticks.windows(2) {
                    assert!(pair[1].x - pair[0].x >= 71.0, "{past} {future}: {ticks:?}");
                }
                for tick in &ticks {
                    assert!((200.0..=960.0).contains(&tick.x), "{tick:?}");
                }
            }
        }
    }

    #[test]
    fn moments_are_in_order_and_stay_inside() {
        let axis = Axis::new(window(HOUR, 30 * DAY), 0.0, 100.0);
        assert!(Axis::is_split(window(HOUR, 30 * DAY)));
        assert!(!Axis::is_split(window(HOUR, HOUR)));
        let moments = [
            -(1 << 40),
            -3_600,
            -60,
            -1,
            0,
            1,
            86_400,
            86_400 * 30,
            1 << 40,
        ];
        let places = moments.map(|at: i64| axis.x(NumericDate::from_seconds(NOW.seconds() + at)));
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!((places[0], places[4], places[8]), (0.0, 30.0, 100.0));
    }

    #[test]
    fn ticks_are_moments_that_people_name() {
        let labels = |past, future| {
            let ticks = Axis::new(window(past, future), 0.0, 760.0).ticks(95.0);
            ticks.into_iter().map(|tick| tick.label).collect::<Vec<_>>()
        };
        let days = labels(30 * DAY, 30 * DAY);
        assert_eq!(days, ["4 Sep", "14 Sep", "24 Sep", "4 Oct", "14 Oct"]);
        let minutes = labels(120, 120);
        assert!(minutes.contains(&"14:13:00".to_owned()), "{minutes:?}");
        let hours = labels(12 * HOUR, 12 * HOUR);
        assert!(
            hours.contains(&"12:00".to_owned()) && hours.contains(&"22 Sep".to_owned()),
            "{hours:?}"
        );
    }
}
