//! Times and names in words.

use std::time::Duration;

use super::html::Html;
use crate::jose::NumericDate;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;

/// Longest name that is shown whole.
const WHOLE_NAME: usize = 16;

/// How long that is, in the one unit that people would say it in.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_millis() >= 500));
    let (unit, name) = match seconds {
        0..100 => (1, "s"),
        100..6_000 => (MINUTE, "min"),
        6_000..172_800 => (HOUR, "h"),
        172_800..63_072_000 => (DAY, "days"),
        _ => (YEAR, "years"),
    };
    format!("{} {name}", seconds.saturating_add(unit / 2) / unit)
}

/// How far off a moment is.
pub(super) fn relative(at: NumericDate, now: NumericDate) -> String {
    if at > now {
        return format!("in {}", span(at.since(now)));
    }
    match now.since(at) {
        age if age < Duration::from_secs(1) => "now".into(),
        age => format!("{} ago", span(age)),
    }
}

/// A moment for people: `2026-11-25 22:52:27 UTC`.
pub(super) fn utc(at: NumericDate) -> String {
    match at.to_rfc3339().strip_suffix('Z').map(str::to_owned) {
        Some(time) => format!("{} UTC", time.replace('T', " ")),
        // Beyond the year 9999: the seconds alone.
        None => at.to_string(),
    }
}

/// A name short enough to read, with both its ends; the whole belongs in a title beside it.
pub(super) fn short(name: &str) -> String {
    let length = name.chars().count();
    if length <= WHOLE_NAME {
        return name.to_owned();
    }
    let head: String = name.chars().take(8).collect();
    let tail: String = name.chars().skip(length - 4).collect();
    format!("{head}…{tail}")
}

// === impl Html ===

impl Html {
    /// A moment in relative words, the exact one with it for machines and for the pointer.
    pub(super) fn moment(&mut self, at: NumericDate, now: NumericDate) {
        self.add(
            "<time datetime=\"{}\" title=\"{}\">{}</time>",
            &[&at.to_rfc3339(), &utc(at), &relative(at, now)],
        );
    }

    /// A key's name, shortened for the eye alone.
    pub(super) fn kid(&mut self, kid: &str) {
        match short(kid) {
            short if short == kid => self.add("<code>{}</code>", &[&kid]),
            short => self.add("<code title=\"{}\">{}</code>", &[&kid, &short]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_one_unit() {
        for (seconds, said) in [
            (0, "0 s"),
            (99, "99 s"),
            (100, "2 min"),
            (5_999, "100 min"),
            (6_000, "2 h"),
            (172_799, "48 h"),
            (172_800, "2 days"),
            (29 * DAY + 13 * HOUR, "30 days"),
            (u64::MAX, "584942417355 years"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), said, "{seconds}");
        }
    }

    #[test]
    fn a_moment_is_said_from_now() {
        let now = NumericDate::from_seconds(1_790_000_000);
        let minute = Duration::from_secs(180);
        assert_eq!(relative(now.plus(minute), now), "in 3 min");
        assert_eq!(relative(now.minus(minute), now), "3 min ago");
        assert_eq!(relative(now, now), "now");
        assert_eq!(utc(now), "2026-09-21 14:13:20 UTC");
    }

    #[test]
    fn a_long_name_keeps_both_ends() {
        assert_eq!(short("abc"), "abc");
        assert_eq!(short("0123456789abcdefghij"), "01234567…ghij");
        assert_eq!(short(&"é".repeat(20)), "éééééééé…éééé");
    }
}
