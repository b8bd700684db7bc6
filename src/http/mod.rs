//! The HTTP service: the route tables, and nothing else.

mod admin;
mod count;
mod jwks;
mod metadata;
mod prefer;
mod serve;

use axum::Router;
use axum::routing::get;
use http::header::{ETAG, HeaderName};
use tower_http::cors::{Any, CorsLayer};

pub use serve::{ListenError, bind, run};

use crate::issue::Issuer;
use crate::metrics::Metrics;

/// What the public listener answers.
pub fn public_router(issuer: Issuer, metrics: &Metrics) -> Router {
    // Public documents, the same for everyone: any origin may read them.
    let documents = Router::new()
        .route("/.well-known/jwks.json", get(jwks::show))
        .route("/api/auth/jwks", get(jwks::show))
        .route("/.well-known/openid-configuration", get(metadata::show))
        .route(
            "/.well-known/oauth-authorization-server",
            get(metadata::show),
        )
        .layer(
            CorsLayer::new()
                .allow_origin(Any)
                .allow_methods([http::Method::GET, http::Method::HEAD])
                .allow_headers(Any)
                .expose_headers([ETAG, HeaderName::from_static("preference-applied")]),
        );
    Router::new()
        .merge(documents)
        .layer(count::layer(metrics))
        .with_state(issuer)
}

/// What the admin listener answers; it changes nothing.
pub fn admin_router(issuer: Issuer, metrics: &Metrics) -> Router {
    Router::new()
        .route("/metrics", get(admin::metrics))
        .route("/healthz", get(admin::healthz))
        .route("/readyz", get(admin::readyz))
        .route("/watchers", get(admin::watchers))
        .with_state(admin::Admin {
            issuer,
            metrics: metrics.clone(),
        })
}
