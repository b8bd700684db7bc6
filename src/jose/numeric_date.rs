//! `NumericDate` (RFC 7519 §2): seconds since 1970-01-01T00:00:00Z, fractions allowed.

use std::fmt;
use std::time::Duration;

const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// A moment: seconds since the epoch, UTC, leap seconds not counted, with nanoseconds.
///
/// Ordered by time. Arithmetic saturates: no value wraps into the past or the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumericDate {
    seconds: i64,
    nanos: u32,
}

// === impl NumericDate ===

impl NumericDate {
    /// The first moment of 1970, UTC.
    pub const EPOCH: NumericDate = NumericDate::from_seconds(0);

    /// The moment `seconds` after the epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        NumericDate { seconds, nanos: 0 }
    }

    /// The moment `since_epoch` after the epoch.
    pub fn from_duration(since_epoch: Duration) -> Self {
        NumericDate {
            seconds: i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX),
            nanos: since_epoch.subsec_nanos(),
        }
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Seconds since the epoch with their fraction.
    pub fn as_seconds_f64(self) -> f64 {
        self.seconds as f64 + f64::from(self.nanos) / f64::from(NANOS_PER_SECOND)
    }

    /// RFC 3339 in whole seconds, UTC; the seconds alone beyond the year 9999.
    pub fn to_rfc3339(self) -> String {
        let whole = Duration::from_secs(u64::try_from(self.seconds).unwrap_or(0));
        match std::time::SystemTime::UNIX_EPOCH.checked_add(whole) {
            Some(time) if self.seconds >= 0 && self.seconds < 253_402_300_800 => {
                humantime::format_rfc3339_seconds(time).to_string()
            }
            _ => self.to_string(),
        }
    }

    /// This moment, `by` later; the last moment there is when that passes the range.
    pub fn plus(self, by: Duration) -> Self {
        let nanos = self.nanos + by.subsec_nanos();
        let carry = u64::from(nanos / NANOS_PER_SECOND);
        NumericDate {
            seconds: self
                .seconds
                .saturating_add_unsigned(by.as_secs().saturating_add(carry)),
            nanos: nanos % NANOS_PER_SECOND,
        }
    }

    /// This moment, `by` earlier; the first moment there is when that passes the range.
    pub fn minus(self, by: Duration) -> Self {
        let (borrow, nanos) = match self.nanos.checked_sub(by.subsec_nanos()) {
            Some(nanos) => (0, nanos),
            None => (1, self.nanos + NANOS_PER_SECOND - by.subsec_nanos()),
        };
        NumericDate {
            seconds: self
                .seconds
                .saturating_sub_unsigned(by.as_secs().saturating_add(borrow)),
            nanos,
        }
    }

    /// How long after `earlier` this moment is; zero if it is not after it.
    pub fn since(self, earlier: NumericDate) -> Duration {
        if self <= earlier {
            return Duration::ZERO;
        }
        // Not negative: self > earlier, so the difference of the seconds is at least zero.
        let seconds = self.seconds.abs_diff(earlier.seconds);
        Duration::new(seconds, self.nanos)
            .saturating_sub(Duration::from_nanos(u64::from(earlier.nanos)))
    }

    /// A JSON number as a date: `None` when it is outside what 64-bit seconds hold.
    ///
    /// Fractions and exponents are JSON numbers like any other (RFC 7519 §2: "integer and non-integer values can be
    /// represented").
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range has been checked, and a fraction of a second is not negative"
    )]
    pub(crate) fn from_json_number(text: &str) -> Option<Self> {
        // Short enough not to overflow, and nothing but digits: what dates are.
        let digit = |so_far: Option<i64>, byte: u8| match byte {
            b'0'..=b'9' => so_far.map(|so_far| 10 * so_far + i64::from(byte - b'0')),
            _ => None,
        };
        if (1..=18).contains(&text.len())
            && let Some(seconds) = text.bytes().fold(Some(0), digit)
        {
            return Some(NumericDate::from_seconds(seconds));
        }
        if !text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            return text.parse().ok().map(NumericDate::from_seconds);
        }
        let value: f64 = text.parse().ok()?;
        let seconds = value.floor();
        // i64::MAX as f64 rounds up to 2^63, which is one too many: hence the strict comparison.
        if !(seconds >= i64::MIN as f64 && seconds < i64::MAX as f64) {
            return None;
        }
        let nanos = ((value - seconds) * f64::from(NANOS_PER_SECOND)) as u32;
        Some(NumericDate {
            seconds: seconds as i64,
            nanos: nanos.min(NANOS_PER_SECOND - 1),
        })
    }
}

impl fmt::Display for NumericDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds)
    }
}

/// A JSON number: an integer, or with a fraction where there is one.
impl serde::Serialize for NumericDate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.nanos == 0 {
            serializer.serialize_i64(self.seconds)
        } else {
            serializer.serialize_f64(self.as_seconds_f64())
        }
    }
}

impl<'de> serde::Deserialize<'de> for NumericDate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        NumericDate::from_json_number(&number.to_string())
            .ok_or_else(|| serde::de::Error::custom("a date out of range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_numbers_become_dates_without_wrapping() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("-0", Some((0, 0))),
            ("-1", Some((-1, 0))),
            ("1790000000", Some((1_790_000_000, 0))),
            ("999999999999999999", Some((999_999_999_999_999_999, 0))),
            ("1000000000000000000", Some((1_000_000_000_000_000_000, 0))),
            ("1790000000.5", Some((1_790_000_000, 500_000_000))),
            ("-1.5", Some((-2, 500_000_000))),
            ("1790000050e0", Some((1_790_000_050, 0))),
            ("9223372036854775807", Some((i64::MAX, 0))),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("9.3e18", None),
            ("1e308", None),
            ("1e400", None),
            ("-1e400", None),
        ] {
            let date = NumericDate::from_json_number(text);
            assert_eq!(
                date.map(|d| (d.seconds, d.nanos)),
                expected,
                "{text}: {date:?}"
            );
        }
    }

    #[test]
    fn arithmetic_saturates() {
        let half = Duration::from_millis(500);
        let date = NumericDate::from_seconds(10).plus(half);
        assert_eq!(date.plus(half), NumericDate::from_seconds(11));
        assert_eq!(date.minus(half), NumericDate::from_seconds(10));
        assert_eq!(date.minus(half).minus(half).seconds(), 9);
        assert_eq!(
            NumericDate::from_seconds(i64::MAX)
                .plus(Duration::MAX)
                .seconds(),
            i64::MAX
        );
        assert_eq!(
            NumericDate::from_seconds(i64::MIN)
                .minus(Duration::MAX)
                .seconds(),
            i64::MIN
        );
        assert_eq!(
            date.since(NumericDate::from_seconds(9)),
            Duration::from_millis(1500)
        );
        assert_eq!(
            NumericDate::from_seconds(11).since(date),
            Duration::from_millis(500)
        );
        assert_eq!(NumericDate::EPOCH.since(date), Duration::ZERO);
    }
}
