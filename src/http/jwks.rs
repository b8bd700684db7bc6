//! `GET /.well-known/jwks.json`, `GET /api/auth/jwks`: prebuilt bytes, a strong entity tag, 304; and the push: with
//! `Prefer: wait=N` (RFC 7240) a request that holds the current set is answered when the set changes.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};

use super::prefer;
use crate::issue::Issuer;

/// RFC 7517 §8.5.2.
const CONTENT: &str = "application/jwk-set+json";
/// Longest that a request is held: proxies commonly end what is silent for longer.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// `If-None-Match: *`: any set at all.
const ANY: &str = "*";

pub(super) async fn show(State(issuer): State<Issuer>, headers: HeaderMap) -> Response {
    let wait = prefer::wait(&headers).map(|wait| wait.min(MAX_WAIT));
    let holds: Vec<Box<str>> = entity_tags(&headers).map(Into::into).collect();
    // The headers share the connection's buffer: kept while a request is held, they would cost another one.
    drop(headers);
    let holds: Vec<&str> = holds.iter().map(|tag| &**tag).collect();
    let names_a_set = holds.iter().any(|&tag| tag != ANY);
    let Some(wait) = wait else {
        issuer.watchers().polled(issuer.jwks_max_age());
        return answer(&issuer, &holds);
    };
    match names_a_set {
        true => issuer.watchers().wait(&holds, wait).await,
        // It can watch, and has nothing to compare with yet: answered at once, and told that its next one would be held.
        false => issuer.watchers().began(),
    }
    let applied = [(PREFERENCE_APPLIED, format!("wait={}", wait.as_secs()))];
    (applied, answer(&issuer, &holds)).into_response()
}

/// The set in force, or that it is among those that the client `holds`.
fn answer(issuer: &Issuer, holds: &[&str]) -> Response {
    // Loaded once: an entity tag must never go out with another set's verdict.
    let published = issuer.published();
    let freshness = [
        (ETAG, published.etag.clone()),
        (
            CACHE_CONTROL,
            format!("public, max-age={}", issuer.jwks_max_age().as_secs()),
        ),
    ];
    if is_current(holds, &published.etag) {
        return (StatusCode::NOT_MODIFIED, freshness).into_response();
    }
    let content_type = [(CONTENT_TYPE, CONTENT)];
    (freshness, content_type, published.jwks.clone()).into_response()
}

/// The listed entity tags, without their weakness: `If-None-Match` compares weakly (RFC 9110 §13.1.2).
pub(super) fn entity_tags(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim())
        .map(|tag| tag.strip_prefix("W/").unwrap_or(tag))
        .filter(|tag| !tag.is_empty())
}

pub(super) fn is_current(holds: &[&str], etag: &str) -> bool {
    holds.iter().any(|&tag| tag == ANY || tag == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_compared_by_the_rfc() {
        for (sent, current) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, http::HeaderValue::from_static(sent));
            let tags: Vec<&str> = entity_tags(&headers).collect();
            assert_eq!(is_current(&tags, "\"a\""), current, "{sent}");
        }
        assert!(!is_current(&[], "\"a\""));
    }
}
