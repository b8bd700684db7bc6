//! `Prefer: wait=N` (RFC 7240 §4.3): how long a client is ready to wait for an answer.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

/// The seconds of the first `wait` preference; `None` if there is none, or it is no number: an unknown preference is ignored.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(HeaderName::from_static("prefer"));
    let mut preferences = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let seconds = preferences.find_map(|preference| {
        // Parameters follow a semicolon; none is known for `wait`.
        let preference = preference.split(';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("wait")
            .then(|| value.trim())
    })?;
    let seconds = seconds.strip_prefix('"').unwrap_or(seconds);
    let seconds = seconds.strip_suffix('"').unwrap_or(seconds);
    if seconds.is_empty() || !seconds.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A number of more digits than fit is still a number: as long as possible.
    Some(Duration::from_secs(seconds.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_preference_is_read_by_the_rfc() {
        for (sent, expected) in [
            ("wait=10", Some(10)),
            ("Wait=10", Some(10)),
            ("respond-async, wait=10", Some(10)),
            ("wait=10, wait=20", Some(10)),
            ("wait = 10", Some(10)),
            ("wait=\"10\"", Some(10)),
            ("wait=10; foo=bar", Some(10)),
            ("wait=0", Some(0)),
            ("wait=99999999999999999999999", Some(u64::MAX)),
            ("wait", None),
            ("wait=", None),
            ("wait=soon", None),
            ("wait=-1", None),
            ("wait=+1", None),
            ("wait=1.5", None),
            ("waiting=10", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", http::HeaderValue::from_static(sent));
            assert_eq!(wait(&headers), expected.map(Duration::from_secs), "{sent}");
        }
        let mut headers = HeaderMap::new();
        headers.append("prefer", http::HeaderValue::from_static("handling=lenient"));
        headers.append("prefer", http::HeaderValue::from_static("wait=7"));
        assert_eq!(wait(&headers), Some(Duration::from_secs(7)));
    }
}
