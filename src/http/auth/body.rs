//! A request's JSON object, read within its limits, and its fields by type; what is wrong is named as Better Auth names it.

use std::time::Duration;

use axum::extract::Request;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::Clock;

/// A profile of some fields and a password fit many times over.
pub(in crate::http) const MAX_BODY_BYTES: usize = 32 * 1024;
/// A client that needs longer for so little is not one.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// The fields that have not been taken out, and what was wrong with those that have.
pub(super) struct Body {
    fields: Map<String, Value>,
    problems: Vec<String>,
}

// === impl Body ===

impl Body {
    pub(super) async fn read(request: Request, clock: &dyn Clock) -> Result<Self, ApiError> {
        let content_type = request.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let media_type = content_type.map(|value| value.split(';').next().unwrap_or_default());
        // No other type: a browser sends JSON to another origin only after asking whether it may.
        let is_json = media_type.is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json"));
        if !is_json {
            return Err(ApiError::MediaType);
        }
        let read = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES);
        let bytes = tokio::select! {
            bytes = read => bytes.map_err(|_| ApiError::TooLarge)?,
            () = clock.sleep(READ_WITHIN) => return Err(ApiError::TooSlow),
        };
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(fields)) => Ok(Body {
                fields,
                problems: Vec::new(),
            }),
            Ok(other) => Err(ApiError::Validation(format!(
                "[body] Invalid input: expected object, received {}",
                kind(Some(&other))
            ))),
            Err(_) => Err(ApiError::InvalidJson),
        }
    }

    fn problem(&mut self, name: &str, expected: &str, found: Option<&Value>) {
        let found = kind(found);
        self.problems.push(format!(
            "[body.{name}] Invalid input: expected {expected}, received {found}"
        ));
    }

    /// A text that must be there.
    pub(super) fn text(&mut self, name: &str) -> String {
        match self.fields.remove(name) {
            Some(Value::String(text)) => text,
            other => {
                self.problem(name, "string", other.as_ref());
                String::new()
            }
        }
    }

    pub(super) fn optional_text(&mut self, name: &str) -> Option<String> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            other => {
                self.problem(name, "string", other.as_ref());
                None
            }
        }
    }

    pub(super) fn optional_bool(&mut self, name: &str) -> Option<bool> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::Bool(value)) => Some(value),
            other => {
                self.problem(name, "boolean", other.as_ref());
                None
            }
        }
    }

    /// What is left, if all that was taken out was right.
    pub(super) fn finish(self) -> Result<Map<String, Value>, ApiError> {
        match self.problems.is_empty() {
            true => Ok(self.fields),
            false => Err(ApiError::Validation(self.problems.join("; "))),
        }
    }
}

fn kind(value: Option<&Value>) -> &'static str {
    match value {
        None => "undefined",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "boolean",
        Some(Value::Number(_)) => "number",
        Some(Value::String(_)) => "string",
        Some(Value::Array(_)) => "array",
        Some(Value::Object(_)) => "object",
    }
}
