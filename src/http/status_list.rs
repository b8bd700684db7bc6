//! `GET /status/N`: a Token Status List, with an entity tag and, for whoever watches it, the push.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::entity_tags::EntityTags;
use super::jwks::{MAX_WAIT, PREFERENCE_APPLIED};
use super::prefer;
use crate::issue::StatusLists;
use crate::jose::Algorithm;

/// draft-ietf-oauth-status-list §8.1.
const CONTENT: &str = "application/statuslist+jwt";
/// Kept by whoever likes, used only after asking: an answer from a cache would hide a sign-out.
const REVALIDATE: &str = "no-cache";

/// `/status/{list}`: signed by the default algorithm.
pub(super) async fn show(
    State(lists): State<StatusLists>,
    Path(list): Path<u32>,
    headers: HeaderMap,
) -> Response {
    answer(&lists, list, lists.default_algorithm(), headers).await
}

/// `/status/{list}/{algorithm}`: for verifiers that accept no other.
pub(super) async fn show_signed_by(
    State(lists): State<StatusLists>,
    Path((list, algorithm)): Path<(u32, Algorithm)>,
    headers: HeaderMap,
) -> Response {
    answer(&lists, list, algorithm, headers).await
}

async fn answer(
    lists: &StatusLists,
    list: u32,
    algorithm: Algorithm,
    headers: HeaderMap,
) -> Response {
    let holds = EntityTags::copied_from(&headers);
    let wait = prefer::wait(&headers).map(|wait| wait.min(MAX_WAIT));
    // The headers share the connection's buffer: kept while a request is held, they would cost another one.
    drop(headers);
    let mut applied = None;
    if let Some(wait) = wait {
        if !holds.is_empty() {
            let holds = holds.as_strs();
            lists.wait(list, algorithm, &holds, wait).await;
        }
        // Also to whoever has nothing to compare with yet: the next request would be held.
        applied = HeaderValue::from_str(&format!("wait={}", wait.as_secs())).ok();
    }
    let found = match lists.get(list, algorithm).await {
        Ok(Some(found)) => found,
        Ok(None) => return StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!(%error, "a status list could not be had");
            return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")]).into_response();
        }
    };
    let freshness = [(ETAG, found.etag.as_str()), (CACHE_CONTROL, REVALIDATE)];
    let mut response = match holds.include(&found.etag) {
        true => (StatusCode::NOT_MODIFIED, freshness).into_response(),
        false => {
            let content_type: [(HeaderName, &str); 1] = [(CONTENT_TYPE, CONTENT)];
            (freshness, content_type, found.body).into_response()
        }
    };
    if let Some(applied) = applied {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    response
}
