//! The admin listener besides its page: `/metrics`, `/healthz`, `/readyz`, `/watchers`. Reads only; changes are made by the command line on the store.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::audit::Recent;
use crate::issue::{Issuer, StatusLists, WatcherStatus};
use crate::metrics::Metrics;
use crate::store::SessionStore;

#[derive(Clone)]
pub(super) struct Admin {
    pub(super) issuer: Issuer,
    pub(super) store: Option<StoreProbe>,
    pub(super) recent: Arc<Recent>,
    pub(super) metrics: Metrics,
}

// === impl Admin ===

impl Admin {
    /// What keeps the service from being ready.
    pub(super) async fn problems(&self) -> Vec<String> {
        let mut problems = self.issuer.problems();
        if let Some(store) = &self.store {
            problems.extend(store.problems().await);
        }
        problems
    }
}

/// Tells whether the store of accounts and sessions answers, and whether what it says is published.
#[derive(Clone)]
pub struct StoreProbe {
    /// The store.
    pub store: Arc<dyn SessionStore>,
    /// The lists of its ended sessions.
    pub lists: StatusLists,
}

// === impl StoreProbe ===

impl StoreProbe {
    async fn problems(&self) -> Vec<String> {
        let unreachable = self.store.ping().await.err().map(|error| error.to_string());
        unreachable
            .into_iter()
            .chain(self.lists.problem())
            .collect()
    }
}

pub(super) async fn metrics(State(admin): State<Admin>) -> Response {
    let content_type = [(CONTENT_TYPE, prometheus::TEXT_FORMAT)];
    (content_type, admin.metrics.render()).into_response()
}

/// Alive: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready: every algorithm has a usable signer, the key store can be followed, the database answers; if not, the body says what is wrong.
pub(super) async fn readyz(State(admin): State<Admin>) -> Response {
    let problems = admin.problems().await;
    let status = if problems.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::json!({ "ready": problems.is_empty(), "problems": problems });
    (status, Json(body)).into_response()
}

/// Who watches the key set, and how many of them have the one in force: what `keywheel keys revoke` prints.
pub(super) async fn watchers(State(admin): State<Admin>) -> Json<WatcherStatus> {
    Json(admin.issuer.watchers().status())
}
