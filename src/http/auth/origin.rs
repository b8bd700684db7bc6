//! Which pages may use the API: CORS with credentials for the configured origins, and a check of `Origin` against forged requests.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, DATE, ORIGIN, REFERER, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::AuthApi;
use super::error::ApiError;

/// How long a browser may remember that it was allowed.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);

/// Preflights are answered; only the named origins are told that they may. `bearer` is whether pages are given session tokens.
pub(super) fn cors(origins: &[String], bearer: bool) -> CorsLayer {
    let origins = origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin).ok());
    let session_token = bearer.then_some(HeaderName::from_static("set-auth-token"));
    let exposed = [
        HeaderName::from_static("set-auth-jwt"),
        RETRY_AFTER,
        HeaderName::from_static("x-retry-after"),
        // By which a client can tell how far its clock is off.
        DATE,
    ];
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([CONTENT_TYPE, AUTHORIZATION])
        .expose_headers(exposed.into_iter().chain(session_token).collect::<Vec<_>>())
        .max_age(PREFLIGHT_MAX_AGE)
}

/// Refuses what a page of another origin sends with its visitor's cookies, or may have sent.
pub(super) async fn check(State(api): State<AuthApi>, request: Request, next: Next) -> Response {
    let is_read = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if !is_read && let Err(refused) = admit(request.headers(), &api.inner.origins) {
        return refused.into_response();
    }
    next.run(request).await
}

fn admit(headers: &HeaderMap, origins: &[String]) -> Result<(), ApiError> {
    let text = |name: HeaderName| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    let trusted = |origin: &str| origins.iter().any(|trusted| trusted == origin);
    match text(ORIGIN) {
        // A browser says where a request comes from; a foreign page has no business here, with cookies or without.
        Some(origin) if origin != "null" => match trusted(origin) {
            true => Ok(()),
            false => Err(ApiError::InvalidOrigin),
        },
        // Not a browser, or nothing that a forged request could use.
        _ if !headers.contains_key(COOKIE) => Ok(()),
        Some(_) => Err(ApiError::MissingOrigin),
        None => match text(REFERER).and_then(|referer| url::Url::parse(referer).ok()) {
            Some(referer) if trusted(&referer.origin().ascii_serialization()) => Ok(()),
            Some(_) => Err(ApiError::InvalidOrigin),
            None => Err(ApiError::MissingOrigin),
        },
    }
}
