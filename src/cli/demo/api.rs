//! The sample API: a backend as a user of the crate would write it. It has never seen a secret.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use crate::verify::{Claims, Verified, Verifier};

/// The routes: personalized content for anyone signed in, tasks only for their owner.
pub(super) fn router(verifier: &Verifier) -> Router {
    let tasks = Router::new()
        .route("/api/{user_id}/tasks", get(tasks))
        .layer(
            verifier
                .layer()
                .require_scope("tasks:read")
                .require_subject("user_id"),
        );
    Router::new()
        .route("/api/personalize", post(personalize))
        .layer(verifier.layer())
        .merge(tasks)
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(verifier.clone())
}

#[derive(Deserialize)]
struct Personalize {
    topic: String,
}

#[derive(Serialize)]
struct Personalized {
    user: String,
    content: String,
}

async fn personalize(
    token: Verified<Claims>,
    Json(request): Json<Personalize>,
) -> Json<Personalized> {
    Json(Personalized {
        user: token.subject().to_owned(),
        content: format!("{}, chosen for {}", request.topic, token.subject()),
    })
}

#[derive(Serialize)]
struct Task {
    owner: String,
    title: &'static str,
}

async fn tasks(token: Verified<Claims>, Path(user_id): Path<String>) -> Json<Vec<Task>> {
    // The layer has made sure of it; a handler that can check costs nothing.
    debug_assert_eq!(token.subject(), user_id);
    Json(vec![Task {
        owner: user_id,
        title: "rotate the keys",
    }])
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
