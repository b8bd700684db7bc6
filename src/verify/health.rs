//! `/readyz` and `/metrics` of a backend, as axum routes: whether it could verify a token now, and what it has done so far.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::Verifier;

/// Routes for probes and scrapers; merge them into a listener of one's own, out of reach of the public.
///
/// - `GET /readyz`: 200 when every issuer's keys are in force, else 503; the body is [`Verifier::status`] as JSON, whose `problems`
///   say what is wrong. A status list that has expired is among them and leaves the answer at 200: tokens that refer to none
///   still pass, and all instances would go out of service at once.
/// - `GET /healthz`: 200, as long as the process answers. Missing keys are no reason to restart it.
/// - `GET /metrics`: in the Prometheus text format.
pub fn health_routes(verifier: &Verifier) -> Router {
    Router::new()
        .route("/readyz", get(readyz))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .with_state(verifier.clone())
}

async fn readyz(State(verifier): State<Verifier>) -> Response {
    let status = match verifier.is_ready() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(verifier.status())).into_response()
}

async fn metrics(State(verifier): State<Verifier>) -> Response {
    let content_type = [(CONTENT_TYPE, prometheus::TEXT_FORMAT)];
    (content_type, verifier.metrics().render()).into_response()
}
