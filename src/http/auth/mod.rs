//! The auth API: sign-up, sign-in, sessions, tokens, in the words of Better Auth.

mod body;
mod cookies;
mod error;
mod handlers;
mod limits;
mod origin;
mod view;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use http::HeaderMap;
use http::header::{AUTHORIZATION, USER_AGENT};

use cookies::Cookies;
use error::ApiError;
use limits::Limits;

use super::client_ip::client_ip;
use crate::audit::AuditLog;
use crate::config::{Config, Network};
use crate::issue::{Accounts, Client, SessionToken, Sessions};
use crate::metrics::Metrics;
use crate::store::{Session, StoreError, User};
use crate::verify::request_id;

/// The name of the cookie secret among the store's shared values.
const COOKIE_SECRET: &str = "cookie_secret";

/// What the auth API works with. Clones share it.
#[derive(Clone)]
pub struct AuthApi {
    inner: Arc<Inner>,
}

struct Inner {
    accounts: Accounts,
    cookies: Cookies,
    limits: Limits,
    origins: Vec<String>,
    proxies: Vec<Network>,
    audit: Arc<AuditLog>,
    metrics: Metrics,
}

/// A request with what was found out about who sends it.
struct Caller {
    ip: Option<IpAddr>,
    client: Client,
    /// What it presented, by header or by cookie, if that was well signed.
    token: Option<SessionToken>,
    /// Whether it came with a session cookie, good or not.
    has_cookie: bool,
    /// What the request is called.
    request_id: Option<String>,
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
        metrics.issuer.expect_sign_ins();
        Ok(AuthApi {
            inner: Arc::new(Inner {
                cookies: Cookies::new(&config.sessions.cookie_prefix, config.is_https(), &secret),
                limits: Limits::new(
                    config.accounts.rate_limit,
                    config.accounts.account_rate_limit,
                    clock,
                ),
                origins: config.origins(),
                proxies: config.trusted_proxies.clone(),
                accounts,
                audit,
                metrics: metrics.clone(),
            }),
        })
    }

    fn sessions(&self) -> &Sessions {
        self.inner.accounts.sessions()
    }

    fn caller(&self, request: &Request) -> Caller {
        let headers = request.headers();
        let ip = client_ip(request, &self.inner.proxies);
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let cookies = &self.inner.cookies;
        let by_cookie = cookies.session(headers);
        let has_cookie = by_cookie.is_some();
        let token = match bearer(headers) {
            Some(bearer) => cookies.bearer(bearer),
            None => by_cookie.flatten(),
        };
        Caller {
            client: Client {
                ip_address: ip.map(|ip| ip.to_string()).unwrap_or_default(),
                user_agent: text(USER_AGENT).unwrap_or_default().to_owned(),
            },
            ip,
            token,
            has_cookie,
            request_id: request_id(headers).map(String::from),
        }
    }

    /// The caller's session, if it has one.
    async fn session(
        &self,
        caller: &Caller,
    ) -> Result<Option<(SessionToken, Session, User)>, ApiError> {
        let Some(token) = &caller.token else {
            return Ok(None);
        };
        let found = self.sessions().find(token).await?;
        Ok(found.map(|(session, user)| (token.clone(), session, user)))
    }

    async fn demand_session(
        &self,
        caller: &Caller,
    ) -> Result<(SessionToken, Session, User), ApiError> {
        self.session(caller).await?.ok_or(ApiError::Unauthorized)
    }
}

/// The credentials of `Authorization: Bearer` (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| credentials.trim())
}

/// The routes under `/api/auth` but the key set.
pub(super) fn router(api: AuthApi) -> Router {
    let cors = origin::cors(&api.inner.origins);
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
