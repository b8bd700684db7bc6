//! How long an answer is fresh, by its own headers (RFC 9111 §4.2, for a private cache).

use std::time::{Duration, SystemTime};

use reqwest::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, HeaderMap, HeaderName};

/// How much longer this answer is fresh; zero for one that is not to be kept; `None` when it says nothing usable.
///
/// `max-age` beats `Expires` (§5.3). Both are less `Age`. `Expires` counts from the answer's own `Date`, so that no clock of
/// ours is needed; without one it says nothing. `s-maxage` is for shared caches and is not for us.
pub(crate) fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let mut max_age: Option<u64> = None;
    for directive in directives(headers) {
        if directive == "no-store" || directive == "no-cache" {
            return Some(Duration::ZERO);
        }
        if let Some(seconds) = directive.strip_prefix("max-age=")
            && let Ok(seconds) = seconds.trim_matches('"').parse()
        {
            // Twice and different: the more cautious one (§4.2.1 allows either).
            max_age = Some(max_age.map_or(seconds, |other| other.min(seconds)));
        }
    }
    let lifetime = max_age
        .map(Duration::from_secs)
        .or_else(|| expires(headers))?;
    let age = text(headers, &AGE).and_then(|age| age.trim().parse().ok());
    Some(lifetime.saturating_sub(Duration::from_secs(age.unwrap_or(0))))
}

fn directives(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let values = headers.get_all(CACHE_CONTROL).iter();
    values
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(|directive| directive.trim().to_ascii_lowercase())
}

/// `Expires` less `Date`. An `Expires` that is no date is in the past (§5.3).
fn expires(headers: &HeaderMap) -> Option<Duration> {
    let expires = text(headers, &EXPIRES)?;
    let Ok(expires) = httpdate::parse_http_date(expires) else {
        return Some(Duration::ZERO);
    };
    let date: SystemTime = httpdate::parse_http_date(text(headers, &DATE)?).ok()?;
    Some(expires.duration_since(date).unwrap_or_default())
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn freshness_is_max_age_or_expires_less_age() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let in_five_minutes = ("expires", "Sun, 06 Nov 1994 08:54:37 GMT");
        for (headers, expected) in [
            (vec![("cache-control", "public, max-age=600")], Some(600)),
            (
                vec![("cache-control", "Max-Age=600"), ("age", "100")],
                Some(500),
            ),
            (
                vec![("cache-control", "max-age=600"), ("age", "1000")],
                Some(0),
            ),
            (
                vec![("cache-control", "max-age=600"), ("age", "-1")],
                Some(600),
            ),
            (vec![("cache-control", "max-age=\"60\"")], Some(60)),
            (vec![("cache-control", "max-age=600, max-age=30")], Some(30)),
            (vec![("cache-control", "s-maxage=5")], None),
            (
                vec![("cache-control", "max-age=1000000000000")],
                Some(1_000_000_000_000),
            ),
            (vec![("cache-control", "max-age=-1")], None),
            (vec![("cache-control", "max-age=x")], None),
            (vec![("cache-control", "no-store, max-age=5")], Some(0)),
            (vec![("age", "5")], None),
            (vec![date, in_five_minutes], Some(300)),
            (vec![date, in_five_minutes, ("age", "100")], Some(200)),
            (
                vec![date, in_five_minutes, ("cache-control", "max-age=7")],
                Some(7),
            ),
            (vec![in_five_minutes], None),
            (vec![date, ("expires", "0")], Some(0)),
            (
                vec![date, ("expires", "Sun, 06 Nov 1994 08:00:00 GMT")],
                Some(0),
            ),
            (vec![("date", "yesterday"), in_five_minutes], None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            let expected = expected.map(Duration::from_secs);
            assert_eq!(fresh_for(&map), expected, "{headers:?}");
        }
    }
}
