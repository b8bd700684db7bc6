//! `GET /.well-known/openid-configuration`, `GET /.well-known/oauth-authorization-server`: RFC 8414 metadata.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;

use crate::issue::Issuer;

pub(super) async fn show(State(issuer): State<Issuer>) -> Response {
    let url = &issuer.settings().issuer;
    let metadata = serde_json::json!({
        "issuer": url,
        "jwks_uri": format!("{url}/.well-known/jwks.json"),
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": &issuer.policy().algorithms,
    });
    let max_age = issuer.policy().jwks_max_age.as_secs();
    let freshness = [(CACHE_CONTROL, format!("public, max-age={max_age}"))];
    (freshness, Json(metadata)).into_response()
}
