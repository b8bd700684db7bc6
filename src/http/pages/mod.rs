//! `GET /`: a small page that signs up, signs in, asks for a token, calls an API and signs out. No framework, and a policy that
//! lets it load nothing but its own script and style; the token stays in a variable.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde::Serialize;

/// What the page is told.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PageSettings {
    /// Where the API is that it may call, as an origin; the page leaves the call out without one.
    pub api: Option<String>,
    /// What its tokens are for; the default audience without one.
    pub audience: Option<String>,
}

const HTML: &str = include_str!("index.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

/// `base` is the path of the issuer's URL: the page asks for its own script below it, and the script for everything else.
pub(super) fn router(settings: PageSettings, base: &str) -> Router {
    let html: Arc<str> = HTML
        .replace("=\"/page.", &format!("=\"{base}/page."))
        .into();
    Router::new()
        .route("/", get(async move |settings| page(settings, &html)))
        .route(
            "/page.js",
            get(async || asset("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route(
            "/page.css",
            get(async || asset("text/css; charset=utf-8", STYLE)),
        )
        .route("/page.json", get(configuration))
        .with_state(Arc::new(settings))
}

fn page(State(settings): State<Arc<PageSettings>>, html: &str) -> Response {
    let api = settings.api.as_deref().unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' {api}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    );
    let mut response = asset("text/html; charset=utf-8", html.to_owned());
    // An origin that a header could not hold is none that a page could call.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response
            .headers_mut()
            .insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

async fn configuration(State(settings): State<Arc<PageSettings>>) -> Response {
    ([(CACHE_CONTROL, "no-cache")], Json(&*settings)).into_response()
}

fn asset(content_type: &'static str, body: impl IntoResponse) -> Response {
    let headers = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")];
    (headers, body).into_response()
}
