//! The sample API: a backend as a user of the crate would write it. It has never seen a secret.

use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use serde::{Deserialize, Serialize};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::verify::{Claims, Verified, Verifier, health_routes};

/// The routes: personalized content for anyone signed in, tasks only for their owner.
///
/// Pages of `page_origin` may call it: without credentials, for the token goes in a header.
pub(super) fn router(verifier: &Verifier, page_origin: &str) -> Router {
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
        .merge(health_routes(verifier))
        .layer(cors(page_origin))
}

fn cors(page_origin: &str) -> CorsLayer {
    let origin = page_origin.parse().map(AllowOrigin::exact);
    CorsLayer::new()
        .allow_origin(origin.unwrap_or_default())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE])
        .expose_headers([WWW_AUTHENTICATE])
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
