//! Headers that every answer carries, and what no request may carry.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, StatusCode};

/// Names and values of all headers together: browsers' cookies at their worst, and a token.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// For answers that are no pages: nothing is loaded, nothing may frame them.
const NO_PAGE: &str =
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// Two years, as browsers' preload lists ask.
const HSTS: &str = "max-age=63072000";

/// Refuses oversize heads, and marks what goes out. `https` is whether browsers reach this by https only.
pub(super) async fn headers(State(https): State<bool>, request: Request, next: Next) -> Response {
    let size: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    let mut response = match size > MAX_HEADER_BYTES {
        true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response(),
        false => next.run(request).await,
    };
    let mut default = |name: HeaderName, value: &'static str| {
        let headers = response.headers_mut();
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    default(X_CONTENT_TYPE_OPTIONS, "nosniff");
    default(REFERRER_POLICY, "no-referrer");
    default(X_FRAME_OPTIONS, "DENY");
    default(CONTENT_SECURITY_POLICY, NO_PAGE);
    if https {
        default(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    response
}

/// Nothing that carries a token, a cookie or a person's data is kept by anybody on the way.
pub(super) async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}
