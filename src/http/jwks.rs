//! `GET /.well-known/jwks.json`, `GET /api/auth/jwks`: prebuilt bytes, a strong entity tag, 304.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};

use crate::issue::Issuer;

/// RFC 7517 §8.5.2.
const CONTENT: &str = "application/jwk-set+json";

pub(super) async fn show(State(issuer): State<Issuer>, headers: HeaderMap) -> Response {
    let published = issuer.published();
    let freshness = [
        (ETAG, published.etag.clone()),
        (
            CACHE_CONTROL,
            format!("public, max-age={}", issuer.jwks_max_age().as_secs()),
        ),
    ];
    if is_current(&headers, &published.etag) {
        return (StatusCode::NOT_MODIFIED, freshness).into_response();
    }
    let content_type = [(CONTENT_TYPE, CONTENT)];
    (freshness, content_type, published.jwks.clone()).into_response()
}

/// RFC 9110 §13.1.2: any of the listed tags, weakly compared, or `*`.
fn is_current(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim())
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
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
            assert_eq!(is_current(&headers, "\"a\""), current, "{sent}");
        }
        assert!(!is_current(&HeaderMap::new(), "\"a\""));
    }
}
