//! `Grant`: what one token is to say, as far as a caller has a say in it.

use std::time::Duration;

use super::status_list::StatusReference;

/// Claims with a meaning of their own, which no field of a user may take.
pub const RESERVED_CLAIMS: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "sid",
    "scope",
    "roles",
    "email",
    "status",
    "cnf",
    "act",
    "azp",
    "auth_time",
    "nonce",
    "acr",
    "amr",
];

/// What a token is to say; the issuer adds `iss`, `iat`, `exp` and `jti`, which no caller can set.
#[derive(Debug, Clone)]
pub struct Grant {
    pub(super) subject: String,
    pub(super) audience: String,
    pub(super) scopes: Vec<String>,
    pub(super) roles: Vec<String>,
    pub(super) email: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) session_id: Option<String>,
    pub(super) status: Option<StatusReference>,
    pub(super) user_claims: serde_json::Map<String, serde_json::Value>,
    pub(super) ttl: Option<Duration>,
}

// === impl Grant ===

impl Grant {
    /// For this subject at this audience.
    pub fn new(subject: impl Into<String>, audience: impl Into<String>) -> Self {
        Grant {
            subject: subject.into(),
            audience: audience.into(),
            scopes: Vec::new(),
            roles: Vec::new(),
            email: None,
            client_id: None,
            session_id: None,
            status: None,
            user_claims: serde_json::Map::new(),
            ttl: None,
        }
    }

    /// Adds a scope, or several with spaces between them.
    pub fn scope(mut self, scope: &str) -> Self {
        self.scopes
            .extend(scope.split_ascii_whitespace().map(Into::into));
        self
    }

    /// Adds a role.
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// Sets `email`.
    pub fn email(mut self, email: impl Into<String>) -> Self {
        self.email = Some(email.into());
        self
    }

    /// Sets `client_id`; the audience by default (RFC 9068 §2.2 requires one).
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Sets `sid`.
    pub fn session(mut self, sid: impl Into<String>) -> Self {
        self.session_id = Some(sid.into());
        self
    }

    /// Sets `status.status_list`: where verifiers learn that the session has ended.
    pub fn status(mut self, status: StatusReference) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds a claim about the user; one of [`RESERVED_CLAIMS`] is left out.
    pub fn user_claim(mut self, name: &str, value: serde_json::Value) -> Self {
        if !RESERVED_CLAIMS.contains(&name) {
            self.user_claims.insert(name.to_owned(), value);
        }
        self
    }

    /// A life of its own, within the issuer's limit.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}
