//! The auth API: sign-up, sign-in, sessions, tokens, in the words of Better Auth.

mod attempts;
mod body;
mod caller;
mod clearing;
mod cookies;
mod device;
mod error;
mod handlers;
mod limits;
mod origin;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};

use cookies::Cookies;
use device::KnownDevices;
use limits::Limits;

use super::unheeded::Unheeded;
use crate::audit::AuditLog;
use crate::config::{Config, Network};
use crate::issue::{Accounts, SessionToken, Sessions};
use crate::metrics::Metrics;
use crate::store::StoreError;

/// The name of the cookie secret among the store's shared values.
const COOKIE_SECRET: &str = "cookie_secret";
/// And of what the cookie was called first; followed by another name, of when that was first used.
const COOKIE_NAME: &str = "cookie_name";

/// What the auth API works with. Clones share it.
#[derive(Clone)]
pub struct AuthApi {
    inner: Arc<Inner>,
}

struct Inner {
    accounts: Accounts,
    cookies: Cookies,
    devices: KnownDevices,
    limits: Limits,
    origins: Vec<String>,
    proxies: Vec<Network>,
    unheeded: Unheeded,
    audit: Arc<AuditLog>,
    metrics: Metrics,
    /// Whether pages are given session tokens too.
    bearer: bool,
}

// === impl AuthApi ===

impl AuthApi {
    /// The API over these accounts, by this configuration.
    ///
    /// # Errors
    /// [`StoreError`] if the secret that signs the cookies cannot be had from the store.
    pub async fn open(
        accounts: Accounts,
        config: &Config,
        store: &dyn crate::issue::AuthStore,
        audit: Arc<AuditLog>,
        clock: Arc<dyn crate::Clock>,
        metrics: &Metrics,
    ) -> Result<Self, StoreError> {
        let secret = match &config.sessions.secret {
            Some(secret) => secret.0.clone(),
            None => {
                let first = SessionToken::random_secret().unwrap_or_default();
                store.shared_value(COOKIE_SECRET, &first).await?
            }
        };
        let cookies = Cookies::new(config, &secret);
        warn_of_another_name(&cookies, config, store, &*clock).await?;
        metrics.issuer.expect_sign_ins();
        Ok(AuthApi {
            inner: Arc::new(Inner {
                devices: KnownDevices::new(
                    cookies.name("known_device"),
                    config.is_https(),
                    &secret,
                ),
                cookies,
                bearer: config.sessions.bearer,
                limits: Limits::new(
                    config.accounts.rate_limit,
                    config.accounts.account_rate_limit,
                    clock,
                ),
                origins: config.origins(),
                proxies: config.trusted_proxies.clone(),
                unheeded: Unheeded::default(),
                accounts,
                audit,
                metrics: metrics.clone(),
            }),
        })
    }

    fn sessions(&self) -> &Sessions {
        self.inner.accounts.sessions()
    }
}

/// A cookie of another name is not read: whoever is signed in would be signed out without a word.
async fn warn_of_another_name(
    cookies: &Cookies,
    config: &Config,
    store: &dyn crate::issue::AuthStore,
    clock: &dyn crate::Clock,
) -> Result<(), StoreError> {
    let name = cookies.session_name();
    let first = store.shared_value(COOKIE_NAME, &name).await?;
    if first == name || cookies.old_session_name().is_some() {
        return Ok(());
    }
    let now = clock.now();
    let since = format!("{COOKIE_NAME} {name}");
    let since = store
        .shared_value(&since, &now.seconds().to_string())
        .await?;
    let since = crate::NumericDate::from_seconds(since.parse().unwrap_or(0));
    if now.since(since) < config.sessions.ttl.0 {
        tracing::warn!(
            %first, %name,
            "the session cookie has another name than before, so everybody who is signed in has to sign in again, unless \
             sessions.old_cookie_prefix names the old prefix for as long as sessions.ttl"
        );
    }
    Ok(())
}

/// The routes under `/api/auth` but the key set.
pub(super) fn router(api: AuthApi) -> Router {
    let cors = origin::cors(&api.inner.origins, api.inner.bearer);
    Router::new()
        .route("/api/auth/sign-up/email", post(handlers::sign_up))
        .route("/api/auth/sign-in/email", post(handlers::sign_in))
        .route("/api/auth/sign-out", post(handlers::sign_out))
        .route("/api/auth/get-session", get(handlers::get_session))
        .route("/api/auth/token", get(handlers::token))
        .route("/api/auth/jwt", get(handlers::token))
        .route("/api/auth/list-sessions", get(handlers::list_sessions))
        .route("/api/auth/revoke-session", post(handlers::revoke_session))
        .route("/api/auth/revoke-sessions", post(handlers::revoke_sessions))
        .route(
            "/api/auth/revoke-other-sessions",
            post(handlers::revoke_other_sessions),
        )
        .route("/api/auth/change-password", post(handlers::change_password))
        .route("/api/auth/ok", get(handlers::ok))
        .with_state(api.clone())
        .layer(from_fn_with_state(api, origin::check))
        .layer(from_fn(super::security::no_store))
        .layer(cors)
}
