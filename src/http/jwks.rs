//! `GET /.well-known/jwks.json`, `GET /api/auth/jwks`: prebuilt bytes, a strong entity tag, 304; and the push: with
//! `Prefer: wait=N` (RFC 7240) a request that holds the current set is answered when the set changes.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName};
use http::{HeaderMap, StatusCode};

use super::entity_tags::EntityTags;
use super::prefer;
use crate::issue::Issuer;

/// RFC 7517 §8.5.2.
const CONTENT: &str = "application/jwk-set+json";
/// Longest that a request is held: proxies commonly end what is silent for longer.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

pub(super) async fn show(State(issuer): State<Issuer>, headers: HeaderMap) -> Response {
    let wait = prefer::wait(&headers).map(|wait| wait.min(MAX_WAIT));
    let holds = EntityTags::copied_from(&headers);
    // The headers share the connection's buffer: kept while a request is held, they would cost another one.
    drop(headers);
    let Some(wait) = wait else {
        issuer.watchers().polled(issuer.jwks_max_age());
        return answer(&issuer, &holds);
    };
    match holds.name_one() {
        true => issuer.watchers().wait(&holds.as_strs(), wait).await,
        // It can watch, and has nothing to compare with yet: answered at once, and told that its next one would be held.
        false => issuer.watchers().began(),
    }
    let applied = [(PREFERENCE_APPLIED, format!("wait={}", wait.as_secs()))];
    (applied, answer(&issuer, &holds)).into_response()
}

/// The set in force, or that it is among those that the client `holds`.
fn answer(issuer: &Issuer, holds: &EntityTags) -> Response {
    // Loaded once: an entity tag must never go out with another set's verdict.
    let published = issuer.published();
    let freshness = [
        (ETAG, published.etag.clone()),
        (
            CACHE_CONTROL,
            format!("public, max-age={}", issuer.jwks_max_age().as_secs()),
        ),
    ];
    if holds.include(&published.etag) {
        return (StatusCode::NOT_MODIFIED, freshness).into_response();
    }
    let content_type = [(CONTENT_TYPE, CONTENT)];
    (freshness, content_type, published.jwks.clone()).into_response()
}
