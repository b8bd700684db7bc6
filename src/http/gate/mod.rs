//! `keywheel gate`: a proxy asks whether a request may pass, and who it is from. nginx's `auth_request`, Caddy's `forward_auth`,
//! Traefik's ForwardAuth and Envoy's `ext_authz` ask in different words; the answer is the same.

mod identity;
mod original;
mod path;
mod rules;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use super::count;
use crate::metrics::Metrics;
use crate::verify::{Denied, Reject, RequestContext, Token, Verifier, bearer, request_id};
use original::{Original, OriginalError};
use rules::Need;
pub use rules::{Access, Rule, RuleError, Rules};

/// Where Envoy's `path_prefix` leads.
const ENVOY_PREFIX: &str = "/envoy";

/// What becomes of a request while the issuer's keys cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unavailable {
    /// 503 with `Retry-After`.
    #[default]
    Refuse,
    /// It passes without an identity, where no more than a token is asked for: the backend then sees a stranger.
    Anonymous,
}

/// What a gate decides by. Replaced as a whole when the configuration changes.
#[derive(Clone)]
pub struct GateRules {
    /// Who is believed.
    pub verifier: Verifier,
    /// What a request must have.
    pub rules: Rules,
    /// The realm of challenges.
    pub realm: String,
    /// A cookie that may hold the token of a browser's navigation.
    pub cookie: Option<String>,
    /// While keys cannot be had.
    pub unavailable: Unavailable,
}

/// A running gate. Cheap to clone; clones share the rules.
#[derive(Clone)]
pub struct Gate {
    current: Arc<ArcSwap<GateRules>>,
}

// === impl Gate ===

impl Gate {
    /// A gate that decides by `rules`.
    pub fn new(rules: GateRules) -> Self {
        Gate {
            current: Arc::new(ArcSwap::from_pointee(rules)),
        }
    }

    /// Decides by other rules from the next request on.
    pub fn replace(&self, rules: GateRules) {
        self.current.store(Arc::new(rules));
    }

    /// What it decides by at the moment.
    pub fn current(&self) -> Arc<GateRules> {
        self.current.load_full()
    }

    /// Its routes: `/verify`, and `/envoy/…`.
    pub fn router(&self, metrics: &Metrics) -> Router {
        Router::new()
            .route("/verify", any(by_headers))
            .route("/envoy", any(by_request))
            .route("/envoy/{*path}", any(by_request))
            .with_state(self.clone())
            .layer(count::layer(metrics))
    }
}

/// nginx, Caddy, Traefik: headers say what the request was. `?scope=` and `?role=` ask for more than the rules do.
async fn by_headers(State(gate): State<Gate>, request: Request) -> Response {
    let rules = gate.current();
    let (parts, _) = request.into_parts();
    let original = Original::from_headers(&parts.headers);
    // Without rules it makes no difference what the request was, and a proxy need not be told to say it.
    let original = match original {
        Err(OriginalError::Absent) if rules.rules.is_empty() => Ok(None),
        original => original.map(Some),
    };
    let more = parts.uri.query().unwrap_or_default();
    answer(&rules, original, more, &parts).await
}

/// Envoy: the request itself, below a prefix.
async fn by_request(State(gate): State<Gate>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let original = Original::from_request(ENVOY_PREFIX, &parts.uri, &parts.method);
    // The query is the client's here, and asks for nothing.
    answer(&gate.current(), original.map(Some), "", &parts).await
}

async fn answer(
    rules: &GateRules,
    original: Result<Option<Original>, OriginalError>,
    more: &str,
    request: &Parts,
) -> Response {
    let named = match original {
        Ok(original) => decide(rules, original.as_ref(), more, request).await,
        Err(error) => {
            // 403 and not 400: nginx takes anything but 401 and 403 for a failure of its own.
            // Counted by its status; a line for each would let anyone fill the log.
            tracing::debug!(%error, "a request that the rules cannot be applied to");
            let body = format!("the gate cannot tell what was asked for: {error}\n");
            Err((StatusCode::FORBIDDEN, body).into_response())
        }
    };
    named.unwrap_or_else(|mut response| {
        identity::add_nobody(response.headers_mut());
        response
    })
}

/// The answer that names whom the request is from; `Err` for one that names nobody.
async fn decide(
    rules: &GateRules,
    original: Option<&Original>,
    more: &str,
    request: &Parts,
) -> Result<Response, Response> {
    let mut need = original.map_or_else(Need::default, |original| {
        rules.rules.need(&original.path, &original.method)
    });
    // A proxy's own configuration may ask for more, never for less.
    if need.asks_more(more) {
        need.access = Access::Token;
    }
    let context = RequestContext {
        ip: request
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0.ip()),
        route: Some("/verify"),
        request_id: request_id(&request.headers),
    };
    let credentials = credentials(rules, original, &request.headers);
    let outcome = match credentials {
        Ok(token) => {
            let allow = |token: &Token| need.allow(token);
            rules.verifier.verify_and_allow(token, context, allow).await
        }
        Err(reject) if need.access == Access::Public => return Err(anonymous(Some(reject))),
        Err(reject) => {
            rules.verifier.no_credentials(&reject, context);
            Err(reject)
        }
    };
    Err(match outcome {
        Ok(token) => match identity::answer(&token) {
            Some(named) => return Ok(named),
            None => {
                tracing::warn!("an identity that no header can carry");
                let reject = Reject::InsufficientScope { required: None };
                Denied::new(reject, &rules.realm).into_response()
            }
        },
        Err(reject) if need.access == Access::Public => anonymous(Some(reject)),
        Err(Reject::KeysUnavailable { .. } | Reject::StatusUnavailable { .. })
            if rules.unavailable == Unavailable::Anonymous && need.is_only_a_token() =>
        {
            anonymous(None)
        }
        Err(reject) => Denied::new(reject, &rules.realm).into_response(),
    })
}

/// It passes, and nobody is named.
fn anonymous(reject: Option<Reject>) -> Response {
    if let Some(reject) = reject.filter(|reject| *reject != Reject::MissingToken) {
        tracing::debug!(reason = reject.code(), "a stranger on a public path");
    }
    StatusCode::OK.into_response()
}

/// The token of the request: its bearer credentials, or a cookie where that is meant for navigations.
fn credentials<'h>(
    rules: &GateRules,
    original: Option<&Original>,
    headers: &'h HeaderMap,
) -> Result<&'h str, Reject> {
    match (bearer(headers), &rules.cookie) {
        (Ok(token), _) => Ok(token),
        (Err(Reject::MissingToken), Some(name)) => {
            // A cookie is sent by any page's form or image: good for looking, not for changing anything.
            let is_safe = original
                .is_some_and(|original| matches!(original.method, Method::GET | Method::HEAD));
            cookie(headers, name)
                .filter(|_| is_safe && !is_embedded_elsewhere(headers))
                .ok_or(Reject::MissingToken)
        }
        (Err(reject), _) => Err(reject),
    }
}

/// Fetched by a page of another site, not navigated to (Fetch Metadata).
fn is_embedded_elsewhere(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|header| header == value);
    is("sec-fetch-site", "cross-site") && !is("sec-fetch-mode", "navigate")
}

fn cookie<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let mut pairs = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let is_wanted = |(name, _): &(&str, &str)| *name == wanted;
    let (_, value) = pairs.find(is_wanted)?;
    // Two of one name come from two places, and one of them may not be ours (RFC 6265 §4.2.2).
    let only = pairs.all(|pair| !is_wanted(&pair));
    only.then(|| value.trim_matches('"'))
}

// === impl Need ===

impl Need<'_> {
    /// Adds what the query of the proxy's own request asks for; `true` if that is anything.
    fn asks_more(&mut self, query: &str) -> bool {
        let mut any = false;
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let list = match &*name {
                "scope" => &mut self.scopes,
                "role" => &mut self.roles,
                _ => continue,
            };
            let wanted = value.split(' ').filter(|one| !one.is_empty());
            list.to_mut().extend(wanted.map(String::from));
            any = true;
        }
        any
    }

    fn is_only_a_token(&self) -> bool {
        self.scopes.is_empty() && self.roles.is_empty() && self.subjects.is_empty()
    }

    fn allow(&self, token: &Token) -> Result<(), Reject> {
        if !self.scopes.iter().all(|scope| token.has_scope(scope)) {
            return Err(Reject::InsufficientScope {
                required: Some(self.scopes.join(" ").into()),
            });
        }
        let roles = self.roles.iter().all(|role| token.has_role(role));
        let subjects = self
            .subjects
            .iter()
            .all(|subject| token.subject() == subject);
        match roles && subjects {
            true => Ok(()),
            false => Err(Reject::InsufficientScope { required: None }),
        }
    }
}
