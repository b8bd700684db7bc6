//! What a proxy asks about one request, and the answer.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::response::{IntoResponse, Response};
use http::{Extensions, HeaderMap, Method, StatusCode, Uri};

use super::credentials::{Credentials, credentials};
use super::original::{Original, OriginalError};
use super::rules::{Access, Need};
use super::{GateRules, Unavailable, identity};
use crate::verify::{Denied, Reject, RequestContext, Token, request_id};

/// Where Envoy's `path_prefix` leads.
pub(super) const ENVOY_PREFIX: &str = "/envoy";

/// How it is said which request is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// nginx, Caddy, Traefik: in headers. `?scope=` and `?role=` ask for more than the rules do.
    Headers,
    /// Envoy: it is the request itself, below a prefix. The query is the client's, and asks for nothing.
    Itself,
}

/// The head of a proxy's request, borrowed.
#[derive(Clone, Copy)]
pub(super) struct Head<'r> {
    pub(super) method: &'r Method,
    pub(super) uri: &'r Uri,
    pub(super) headers: &'r HeaderMap,
    pub(super) extensions: &'r Extensions,
}

/// May this request pass, and who is it from?
pub(super) struct Question<'r> {
    rules: &'r GateRules,
    /// Of the proxy's request, as a pattern.
    route: &'static str,
    head: Head<'r>,
    /// `None` where it makes no difference.
    original: Option<Original<'r>>,
    need: Need<'r>,
}

// === impl Question ===

impl<'r> Question<'r> {
    /// # Errors
    /// [`OriginalError`]: the rules cannot be applied.
    pub(super) fn read(
        rules: &'r GateRules,
        manner: Manner,
        route: &'static str,
        head: Head<'r>,
    ) -> Result<Self, OriginalError> {
        let original = match manner {
            Manner::Headers => Original::from_headers(head.headers),
            Manner::Itself => Original::from_request(ENVOY_PREFIX, head.uri, head.method),
        };
        let original = match original {
            // Without rules it makes no difference what the request was, and a proxy need not be told to say it.
            Err(OriginalError::Absent) if rules.rules.is_empty() => None,
            original => Some(original?),
        };
        let mut need = original.as_ref().map_or_else(Need::default, |original| {
            rules.rules.need(&original.path, &original.method)
        });
        if let (Manner::Headers, Some(more)) = (manner, head.uri.query())
            // A proxy's own configuration may ask for more, never for less.
            && need.asks_more(more)
        {
            need.access = Access::Token;
        }
        Ok(Question {
            rules,
            route,
            head,
            original,
            need,
        })
    }

    /// The answer, if nothing has to be waited for; else `None`, with nothing counted or written yet.
    pub(super) fn answer_at_once(&self) -> Option<Response> {
        let outcome = match self.credentials() {
            Ok(Credentials::AnyOf(_)) => return None,
            Ok(Credentials::One(token)) => self.rules.verifier.verify_and_allow_at_once(
                token,
                || self.context(),
                |token| self.need.allow(token),
            )?,
            Err(reject) => Err(self.without_credentials(reject)),
        };
        Some(self.conclude(outcome))
    }

    /// The answer, after a fetch if one may change it.
    pub(super) async fn answer(&self) -> Response {
        let outcome = match self.credentials() {
            Ok(credentials) => {
                let allow = |token: &Token| self.need.allow(token);
                let (verifier, context) = (&self.rules.verifier, self.context());
                match credentials {
                    Credentials::One(token) => {
                        verifier.verify_and_allow(token, context, allow).await
                    }
                    Credentials::AnyOf(tokens) => {
                        verifier.verify_any_and_allow(&tokens, context, allow).await
                    }
                }
            }
            Err(reject) => Err(self.without_credentials(reject)),
        };
        self.conclude(outcome)
    }

    fn credentials(&self) -> Result<Credentials<'r>, Reject> {
        let method = self.original.as_ref().map(|original| &original.method);
        credentials(self.rules.cookie.as_deref(), method, self.head.headers)
    }

    /// Counts and writes it, unless a stranger may pass too.
    fn without_credentials(&self, reject: Reject) -> Reject {
        if self.need.access != Access::Public {
            self.rules.verifier.no_credentials(&reject, self.context());
        }
        reject
    }

    fn context(&self) -> RequestContext<'r> {
        let connection = self.head.extensions.get::<ConnectInfo<SocketAddr>>();
        RequestContext {
            ip: connection.map(|info| info.0.ip()),
            route: Some(self.route),
            request_id: request_id(self.head.headers),
        }
    }

    fn conclude(&self, outcome: Result<Token, Reject>) -> Response {
        let refused = match outcome {
            Ok(token) => match identity::answer(&token) {
                Some(named) => return named,
                None => {
                    tracing::warn!("an identity that no header can carry");
                    Reject::InsufficientScope { required: None }
                }
            },
            Err(reject) if self.need.access == Access::Public => return anonymous(Some(reject)),
            Err(Reject::KeysUnavailable { .. } | Reject::StatusUnavailable { .. })
                if self.rules.unavailable == Unavailable::Anonymous
                    && self.need.is_only_a_token() =>
            {
                return anonymous(None);
            }
            Err(reject) => reject,
        };
        nobody(Denied::new(refused, &self.rules.realm))
    }
}

/// The answer to what the rules cannot be applied to.
pub(super) fn unreadable(error: &OriginalError) -> Response {
    // 403 and not 400: nginx takes anything but 401 and 403 for a failure of its own.
    // Counted by its status; a line for each would let anyone fill the log.
    tracing::debug!(%error, "a request that the rules cannot be applied to");
    let body = format!("the gate cannot tell what was asked for: {error}\n");
    nobody((StatusCode::FORBIDDEN, body))
}

/// It passes, and nobody is named.
fn anonymous(reject: Option<Reject>) -> Response {
    if let Some(reject) = reject.filter(|reject| *reject != Reject::MissingToken) {
        tracing::debug!(reason = reject.code(), "a stranger on a public path");
    }
    nobody(StatusCode::OK)
}

fn nobody(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    identity::add_nobody(response.headers_mut());
    response
}
