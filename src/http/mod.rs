//! The HTTP service: the route tables, and nothing else.

mod admin;
mod admin_page;
mod auth;
mod client_ip;
mod cookie_header;
mod count;
mod entity_tags;
pub mod gate;
mod jwks;
mod metadata;
mod pages;
mod prefer;
mod request_id;
mod security;
mod serve;
mod status_list;
mod under_path;
mod unheeded;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use http::header::{ETAG, HeaderName};
use tower_http::cors::{Any, CorsLayer};

pub use admin::StoreProbe;
pub use admin_page::gate_page;
pub use auth::AuthApi;
pub use pages::PageSettings;
pub use serve::{Descriptors, ListenError, Listening, bind, run};

use crate::audit::Recent;
use crate::issue::{Issuer, StatusLists};
use crate::metrics::Metrics;

/// The key set and the metadata, for an issuer without accounts.
pub fn public_router(issuer: Issuer, metrics: &Metrics) -> Router {
    let name = issuer.settings().issuer.clone();
    under_path::under_path(documents(issuer).layer(count::layer(metrics)), &name)
}

/// What the public listener of a whole auth service answers: the documents, the status lists, the auth API and a page.
pub fn service_router(
    issuer: Issuer,
    lists: StatusLists,
    api: AuthApi,
    page: PageSettings,
    metrics: &Metrics,
) -> Router {
    let name = issuer.settings().issuer.clone();
    let https = name.starts_with("https:");
    let lists = Router::new()
        .route("/status/{list}", get(status_list::show))
        .route(
            "/status/{list}/{algorithm}",
            get(status_list::show_signed_by),
        )
        .with_state(lists)
        .layer(public_documents());
    let routes = documents(issuer)
        .merge(lists)
        .merge(auth::router(api))
        .merge(pages::router(page, under_path::path_of(&name)))
        .layer(count::layer(metrics))
        .layer(from_fn(request_id::identify))
        .layer(from_fn_with_state(https, security::headers));
    under_path::under_path(routes, &name)
}

fn documents(issuer: Issuer) -> Router {
    Router::new()
        .route("/.well-known/jwks.json", get(jwks::show))
        .route("/api/auth/jwks", get(jwks::show))
        .route("/.well-known/openid-configuration", get(metadata::show))
        .route(
            "/.well-known/oauth-authorization-server",
            get(metadata::show),
        )
        .with_state(issuer)
        .layer(public_documents())
}

/// Public documents, the same for everyone: any origin may read them.
fn public_documents() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([http::Method::GET, http::Method::HEAD])
        .allow_headers(Any)
        .expose_headers([ETAG, HeaderName::from_static("preference-applied")])
}

/// What the admin listener answers; it changes nothing. `recent` is what the audit trail remembers.
pub fn admin_router(
    issuer: Issuer,
    store: Option<StoreProbe>,
    recent: Arc<Recent>,
    metrics: &Metrics,
) -> Router {
    let admin = admin::Admin {
        issuer,
        store,
        recent,
        metrics: metrics.clone(),
    };
    Router::new()
        .route("/metrics", get(admin::metrics))
        .route("/healthz", get(admin::healthz))
        .route("/readyz", get(admin::readyz))
        .route("/watchers", get(admin::watchers))
        .with_state(admin.clone())
        .merge(admin_page::keys_page(admin))
}
