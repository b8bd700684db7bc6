//! What goes wrong, as clients are told: `{"message", "code"}` with Better Auth's codes and statuses.

use std::borrow::Cow;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, SET_COOKIE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use crate::issue::{AccountError, HashError, TokenError};
use crate::store::StoreError;

const X_RETRY_AFTER: HeaderName = HeaderName::from_static("x-retry-after");
/// When to try again what could not be done now.
const SOON_SECONDS: u64 = 1;

/// An answer other than the one that was hoped for.
#[derive(Debug)]
pub(super) enum ApiError {
    Unauthorized,
    /// The cookies name several users; these headers take all of them away.
    SeveralSessions(Vec<HeaderValue>),
    Validation(String),
    InvalidJson,
    MediaType,
    TooLarge,
    TooSlow,
    InvalidOrigin,
    MissingOrigin,
    /// Seconds until the next attempt.
    TooManyRequests(u64),
    UnknownAudience,
    Account(AccountError),
    /// Said in the log; the client learns only that it may try again.
    Unavailable,
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Store(error) => error.into(),
            AccountError::Hash(HashError::System) | AccountError::System(_) => {
                tracing::error!(%error, "the system failed a sign-in");
                ApiError::Unavailable
            }
            error => ApiError::Account(error),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed a request");
        ApiError::Unavailable
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::UnknownAudience => ApiError::UnknownAudience,
            error => {
                tracing::error!(%error, "no token could be given");
                ApiError::Unavailable
            }
        }
    }
}

impl ApiError {
    fn parts(&self) -> (u16, Cow<'static, str>, &'static str) {
        let (status, message, code) = match self {
            ApiError::Unauthorized | ApiError::SeveralSessions(_) => {
                (401, "Unauthorized", "UNAUTHORIZED")
            }
            ApiError::Validation(message) => {
                return (400, message.clone().into(), "VALIDATION_ERROR");
            }
            ApiError::InvalidJson => (400, "Invalid JSON in request body", "BAD_REQUEST"),
            ApiError::MediaType => (
                415,
                "Content-Type is not allowed. Allowed types: application/json",
                "UNSUPPORTED_MEDIA_TYPE",
            ),
            ApiError::TooLarge => (413, "Request body is too large", "PAYLOAD_TOO_LARGE"),
            ApiError::TooSlow => (408, "Request body took too long", "REQUEST_TIMEOUT"),
            ApiError::InvalidOrigin => (403, "Invalid origin", "INVALID_ORIGIN"),
            ApiError::MissingOrigin => (403, "Missing or null Origin", "MISSING_OR_NULL_ORIGIN"),
            ApiError::TooManyRequests(_) => (
                429,
                "Too many requests. Please try again later.",
                "TOO_MANY_REQUESTS",
            ),
            ApiError::UnknownAudience => (400, "Unknown audience", "UNKNOWN_AUDIENCE"),
            ApiError::Unavailable => (
                503,
                "The service is not available at the moment",
                "SERVICE_UNAVAILABLE",
            ),
            ApiError::Account(error) => return account(error),
        };
        (status, message.into(), code)
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            ApiError::TooManyRequests(seconds) => Some(*seconds),
            ApiError::Unavailable | ApiError::Account(AccountError::Hash(_)) => Some(SOON_SECONDS),
            _ => None,
        }
    }
}

fn account(error: &AccountError) -> (u16, Cow<'static, str>, &'static str) {
    let (status, message, code) = match error {
        AccountError::SignUpClosed => (
            400,
            "Email and password sign up is not enabled",
            "EMAIL_PASSWORD_SIGN_UP_DISABLED",
        ),
        AccountError::InvalidEmail => (400, "Invalid email", "INVALID_EMAIL"),
        AccountError::PasswordTooShort => (400, "Password too short", "PASSWORD_TOO_SHORT"),
        AccountError::PasswordTooLong => (400, "Password too long", "PASSWORD_TOO_LONG"),
        AccountError::UserExists => (
            422,
            "User already exists. Use another email.",
            "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL",
        ),
        AccountError::MissingField(field) => {
            return (400, format!("{field} is required").into(), "MISSING_FIELD");
        }
        AccountError::InvalidField { .. } => {
            return (400, error.to_string().into(), "VALIDATION_ERROR");
        }
        AccountError::InvalidCredentials => (
            401,
            "Invalid email or password",
            "INVALID_EMAIL_OR_PASSWORD",
        ),
        AccountError::InvalidPassword => (400, "Invalid password", "INVALID_PASSWORD"),
        AccountError::Disabled => (403, "This account has been disabled", "BANNED_USER"),
        AccountError::Hash(_) | AccountError::Store(_) | AccountError::System(_) => (
            503,
            "The service is busy. Please try again.",
            "SERVICE_UNAVAILABLE",
        ),
    };
    (status, message.into(), code)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, message, code) = self.parts();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = Json(json!({ "message": message, "code": code }));
        let mut response = (status, body).into_response();
        if let Some(seconds) = self.retry_after() {
            let seconds = HeaderValue::from(seconds);
            response.headers_mut().insert(RETRY_AFTER, seconds.clone());
            response.headers_mut().insert(X_RETRY_AFTER, seconds);
        }
        if let ApiError::SeveralSessions(cookies) = self {
            for cookie in cookies {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
        }
        response
    }
}
