//! The tower layer, the axum extractors, and the answers of RFC 6750.
//!
//! The layer verifies and decides; handlers take [`Verified<C>`] as an argument and cannot be reached without it.

mod service;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{
    ConnectInfo, FromRequestParts, MatchedPath, OptionalFromRequestParts, RawPathParams, Request,
};
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode};
use tower_layer::Layer;

use super::reject::{Malformation, Reject};
use super::verified::{ClaimSet, Token, Verified};
use super::{RequestContext, Verifier};
pub use service::{VerifierFuture, VerifierService};

/// What a route asks of a request.
#[derive(Debug, Clone, Default)]
struct Rule {
    optional: bool,
    scopes: Vec<Box<str>>,
    roles: Vec<Box<str>>,
    subject_parameter: Option<Box<str>>,
}

/// Verifies the bearer token of each request, and lets through what the rule allows.
#[derive(Clone)]
pub struct VerifierLayer {
    /// One count for all of it: a service is cloned for each request, on whatever core.
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Shared {
    verifier: Verifier,
    realm: Arc<str>,
    rule: Rule,
}

// === impl Verifier ===

impl Verifier {
    /// A layer for `axum::Router::layer` or `route_layer`: without further words, any verified token passes.
    pub fn layer(&self) -> VerifierLayer {
        let audiences = &self.inner.trusted[0].policy.audiences;
        VerifierLayer {
            shared: Arc::new(Shared {
                verifier: self.clone(),
                realm: audiences.first().map_or("api", |audience| audience).into(),
                rule: Rule::default(),
            }),
        }
    }
}

// === impl VerifierLayer ===

impl VerifierLayer {
    /// Lets requests without a token pass too; one with a bad token is still refused. Handlers take `Option<Verified<C>>`.
    pub fn optional(self) -> Self {
        self.with(|rule| rule.optional = true)
    }

    /// Asks for this scope; call again for several, all of which are then needed.
    pub fn require_scope(self, scope: impl Into<Box<str>>) -> Self {
        self.with(|rule| rule.scopes.push(scope.into()))
    }

    /// Asks for this role; call again for several, all of which are then needed.
    pub fn require_role(self, role: impl Into<Box<str>>) -> Self {
        self.with(|rule| rule.roles.push(role.into()))
    }

    /// Asks that this path parameter, as in `/api/{user_id}/tasks`, equal the token's subject.
    ///
    /// Works on layers within the router. On a route without the parameter every request is refused.
    pub fn require_subject(self, parameter: impl Into<Box<str>>) -> Self {
        self.with(|rule| rule.subject_parameter = Some(parameter.into()))
    }

    /// The realm of challenges; the first audience by default.
    pub fn realm(mut self, realm: &str) -> Self {
        Arc::make_mut(&mut self.shared).realm = realm.into();
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Rule)) -> Self {
        change(&mut Arc::make_mut(&mut self.shared).rule);
        self
    }
}

// === impl Shared ===

impl Shared {
    /// Verifies the request's token and holds it against the rule; `Ok(None)` is an allowed absence.
    async fn admit(&self, parts: &mut Parts) -> Result<Option<Token>, Reject> {
        let own_path = self.named_subject(parts).await;
        let context = context(&parts.headers, &parts.extensions);
        let credentials = match bearer(&parts.headers) {
            Ok(credentials) => credentials,
            Err(Reject::MissingToken) if self.rule.optional => return Ok(None),
            Err(reject) => {
                self.verifier.no_credentials(&reject, context);
                return Err(reject);
            }
        };
        let allow = |token: &Token| self.rule.allow(token, own_path.as_deref());
        self.verifier
            .verify_and_allow(credentials, context, allow)
            .await
            .map(Some)
    }

    /// As [`admit`](Self::admit), at once; `None`, with nothing done yet, where something must be waited for.
    fn admit_at_once(&self, request: &Request) -> Option<Result<Option<Token>, Reject>> {
        // Path parameters come from an extractor, which takes requests apart.
        if self.rule.subject_parameter.is_some() {
            return None;
        }
        let context = || context(request.headers(), request.extensions());
        let credentials = match bearer(request.headers()) {
            Ok(credentials) => credentials,
            Err(Reject::MissingToken) if self.rule.optional => return Some(Ok(None)),
            Err(reject) => {
                self.verifier.no_credentials(&reject, context());
                return Some(Err(reject));
            }
        };
        let allow = |token: &Token| self.rule.allow(token, None);
        let verdict = self
            .verifier
            .verify_and_allow_at_once(credentials, context, allow)?;
        Some(verdict.map(Some))
    }

    /// The path parameter that must be the subject, where the rule names one and the route has it.
    async fn named_subject(&self, parts: &mut Parts) -> Option<String> {
        let wanted = self.rule.subject_parameter.as_deref()?;
        let parameters = RawPathParams::from_request_parts(parts, &()).await.ok()?;
        let mut parameters = parameters.iter();
        let (_, value) = parameters.find(|(name, _)| *name == wanted)?;
        Some(value.to_owned())
    }
}

fn context<'r>(headers: &'r HeaderMap, extensions: &'r Extensions) -> RequestContext<'r> {
    RequestContext {
        ip: extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0.ip()),
        route: extensions.get::<MatchedPath>().map(MatchedPath::as_str),
        request_id: request_id(headers),
    }
}

// === impl Rule ===

impl Rule {
    fn allow(&self, token: &Token, named_subject: Option<&str>) -> Result<(), Reject> {
        if !self.scopes.iter().all(|scope| token.has_scope(scope)) {
            return Err(Reject::InsufficientScope {
                required: Some(self.scopes.join(" ").into()),
            });
        }
        let has_roles = self.roles.iter().all(|role| token.has_role(role));
        // Not looked at unless asked for: it may lie cold.
        let is_own = self.subject_parameter.is_none() || {
            let subject = token.subject();
            !subject.is_empty() && named_subject == Some(subject)
        };
        if has_roles && is_own {
            return Ok(());
        }
        Err(Reject::InsufficientScope { required: None })
    }
}

impl<S> Layer<S> for VerifierLayer {
    type Service = VerifierService<S>;

    fn layer(&self, inner: S) -> VerifierService<S> {
        VerifierService {
            inner,
            layer: self.clone(),
        }
    }
}

/// What a request is called, where something in front of it has given it a name.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name that is taken: UUIDs and hexadecimal digests fit.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// The request's name, if it is one: letters, digits, and what commonly stands between them.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let is_one = (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(is_plain);
    is_one.then_some(id)
}

/// The scheme and the space after it, without which it would be another scheme.
const BEARER: &[u8] = b"Bearer ";

/// The one bearer credential of a request (RFC 6750 §2.1); the scheme's name is case-insensitive (RFC 9110 §11.1). Whether it is text is
/// for whoever reads it: of a token seen before nobody need ask.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&[u8], Reject> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Reject::MissingToken);
    };
    if values.next().is_some() {
        return Err(Reject::Malformed(Malformation::Credentials));
    }
    let Some((scheme, mut credentials)) = value.as_bytes().split_at_checked(BEARER.len()) else {
        return Err(Reject::MissingToken);
    };
    if !scheme.eq_ignore_ascii_case(BEARER) {
        return Err(Reject::MissingToken);
    }
    while let Some(rest) = credentials.strip_prefix(b" ") {
        credentials = rest;
    }
    match credentials {
        [] => Err(Reject::MissingToken),
        token => Ok(token),
    }
}

/// A refusal as an HTTP answer: 401 or 403 with a challenge (RFC 6750 §3), or 503 with `Retry-After`.
#[derive(Debug, Clone)]
pub struct Denied {
    reject: Reject,
    realm: Arc<str>,
}

// === impl Denied ===

impl Denied {
    /// The answer to `reject`, in the name of `realm`.
    pub fn new(reject: Reject, realm: &str) -> Self {
        Denied {
            reject,
            realm: realm.into(),
        }
    }

    /// RFC 6750 §3.1: the error code, which a request without credentials does not get.
    fn error(&self) -> &'static str {
        match (&self.reject, self.reject.reason().status()) {
            (Reject::MissingToken, _) => "missing_token",
            (_, 503) => "temporarily_unavailable",
            (_, 403) => "insufficient_scope",
            _ => "invalid_token",
        }
    }

    fn challenge(&self) -> String {
        let mut challenge = format!("Bearer realm=\"{}\"", quotable(&self.realm));
        if self.reject != Reject::MissingToken {
            let description = self.reject.description();
            challenge.push_str(&format!(
                ", error=\"{}\", error_description=\"{description}\"",
                self.error()
            ));
        }
        if let Reject::InsufficientScope {
            required: Some(scope),
        } = &self.reject
        {
            challenge.push_str(&format!(", scope=\"{}\"", quotable(scope)));
        }
        challenge
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let body = Json(serde_json::json!({
            "error": self.error(),
            "error_description": self.reject.description(),
        }));
        let status =
            StatusCode::from_u16(self.reject.reason().status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        match &self.reject {
            Reject::KeysUnavailable { retry_after } | Reject::StatusUnavailable { retry_after } => {
                let seconds = retry_after.as_secs().max(1);
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            _ => {
                if let Ok(challenge) = HeaderValue::from_str(&self.challenge()) {
                    headers.insert(WWW_AUTHENTICATE, challenge);
                }
            }
        }
        response
    }
}

/// What may stand between the quotes of a challenge (RFC 6750 §3: no quote, no backslash, printable ASCII).
fn quotable(text: &str) -> String {
    text.chars()
        .filter(|&c| matches!(c, ' '..='~') && c != '"' && c != '\\')
        .collect()
}

/// The verified token of a route that a [`VerifierLayer`] guards.
///
/// On a route without that layer every request gets 500, and the log says why: better loud than open.
impl<S: Send + Sync, C: ClaimSet> FromRequestParts<S> for Verified<C> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        let Some(token) = parts.extensions.get::<Token>().cloned() else {
            tracing::error!(
                path = parts.uri.path(),
                "Verified<…> is an argument of a handler that no verifier layer guards, or an optional one does: take Option<Verified<…>> there"
            );
            return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
        };
        decode(token)
    }
}

/// The verified token, where the request had one: for routes behind [`VerifierLayer::optional`].
impl<S: Send + Sync, C: ClaimSet> OptionalFromRequestParts<S> for Verified<C> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Response> {
        parts
            .extensions
            .get::<Token>()
            .cloned()
            .map(decode)
            .transpose()
    }
}

#[expect(clippy::result_large_err, reason = "axum's rejection is a response")]
fn decode<C: ClaimSet>(token: Token) -> Result<Verified<C>, Response> {
    // Borrowed by nobody, and cheap to clone: the realm is only looked for when it is needed.
    let refused = token.clone();
    token.decode().map_err(|reject| {
        let realm = refused.audiences().into_iter().next().unwrap_or_default();
        Denied::new(reject, &realm).into_response()
    })
}
