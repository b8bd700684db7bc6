//! Registered claims (RFC 7519 §4.1, RFC 8693 §4.2, RFC 9068 §2.2) with strict types, read in one pass and borrowed.

use std::borrow::Cow;

use super::json::{self, JsonError, Value};
use super::numeric_date::NumericDate;
use super::policy::{ClaimError, Policy};

/// The claims that take part in a verdict or in authorization, borrowed from the payload.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RegisteredClaims<'a> {
    /// Issuer; absent too when it is not a string, since no issuer can then match.
    pub iss: Option<Cow<'a, str>>,
    /// Subject, verbatim: no case folding, no normalisation.
    pub sub: Option<Cow<'a, str>>,
    /// Expiration time.
    pub exp: Option<NumericDate>,
    /// Not before.
    pub nbf: Option<NumericDate>,
    /// Issued at.
    pub iat: Option<NumericDate>,
    /// Token identifier.
    pub jti: Option<Cow<'a, str>>,
    /// Session identifier (OpenID Connect Front-Channel Logout 1.0 §3).
    pub sid: Option<Cow<'a, str>>,
    /// Client that the token was issued to (RFC 8693 §4.3).
    pub client_id: Option<Cow<'a, str>>,
    /// Where the issuer says whether this token still holds (Token Status List, `status.status_list`).
    pub status: Option<StatusReference<'a>>,
    pub(super) aud: Option<Strings<'a>>,
    pub(super) scope: Option<Strings<'a>>,
    pub(super) roles: Option<Strings<'a>>,
    /// Bit i is set when the policy's i-th required claim is there.
    pub(super) present: u64,
}

/// `status.status_list` of a token (draft-ietf-oauth-status-list §6.2): its place in a list that the issuer publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReference<'a> {
    /// Position in the list, from 0.
    pub idx: u64,
    /// The list's URI, as the token has it: not yet known to be the issuer's own.
    pub uri: Cow<'a, str>,
}

// === impl StatusReference ===

impl<'a> StatusReference<'a> {
    /// `None` for a status by another mechanism, which is none of ours.
    fn from_value(value: Value<'a>) -> Result<Option<Self>, ClaimError> {
        let bad = || ClaimError::Bad("status");
        let Value::Object(status) = value else {
            return Err(bad());
        };
        let mut list = None;
        json::object(status, |name, value| {
            if name == "status_list" {
                list = Some(value);
            }
            Ok::<(), ClaimError>(())
        })?;
        let list = match list {
            None => return Ok(None),
            Some(Value::Object(list)) => list,
            Some(_) => return Err(bad()),
        };
        let (mut idx, mut uri) = (None, None);
        json::object(list, |name, value| {
            match (name, value) {
                ("idx", Value::Number(number)) => idx = number.parse().ok(),
                ("uri", Value::String(text)) => uri = Some(text),
                _ => {}
            }
            Ok::<(), ClaimError>(())
        })?;
        match (idx, uri) {
            (Some(idx), Some(uri)) => Ok(Some(StatusReference { idx, uri })),
            _ => Err(bad()),
        }
    }
}

/// A claim that is one string or an array of strings.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Strings<'a> {
    One(Cow<'a, str>),
    /// The text of a JSON array that holds strings only.
    Many(&'a str),
}

// === impl Strings ===

impl<'a> Strings<'a> {
    fn from_value(value: Value<'a>) -> Option<Self> {
        match value {
            Value::String(text) => Some(Strings::One(text)),
            Value::Array(raw) => {
                let mut all_strings = true;
                json::array(raw, |value, _| {
                    all_strings &= matches!(value, Value::String(_));
                    Ok::<(), JsonError>(())
                })
                .ok()?;
                all_strings.then_some(Strings::Many(raw))
            }
            _ => None,
        }
    }

    fn for_each(&self, mut visit: impl FnMut(&str)) {
        match self {
            Strings::One(text) => visit(text),
            Strings::Many(raw) => {
                // Cannot fail: `from_value` has read this very text.
                let _ = json::array(raw, |value, _| {
                    if let Value::String(text) = value {
                        visit(&text);
                    }
                    Ok::<(), JsonError>(())
                });
            }
        }
    }

    fn any(&self, mut wanted: impl FnMut(&str) -> bool) -> bool {
        let mut found = false;
        self.for_each(|text| found = found || wanted(text));
        found
    }
}

// === impl RegisteredClaims ===

impl<'a> RegisteredClaims<'a> {
    /// Reads the payload of a token; `policy` names the required claims, whose presence is noted on the way.
    ///
    /// # Errors
    /// [`ClaimError::Json`], or [`ClaimError::Bad`] for the first registered claim of the wrong type. `iss` of the wrong type
    /// is no error here: it matches no issuer.
    pub fn parse(payload: &'a [u8], policy: &Policy) -> Result<Self, ClaimError> {
        let mut claims = RegisteredClaims::default();
        json::object(json::utf8(payload)?, |name, value| {
            for (bit, required) in policy.required.iter().enumerate() {
                if **required == *name {
                    claims.present |= Policy::presence(bit);
                }
            }
            claims.take(name, value)
        })?;
        Ok(claims)
    }

    fn take(&mut self, name: &str, value: Value<'a>) -> Result<(), ClaimError> {
        match name {
            "iss" => self.iss = value.into_string(),
            "sub" => self.sub = Some(string(value, "sub")?),
            "aud" => self.aud = Some(Strings::from_value(value).ok_or(ClaimError::Bad("aud"))?),
            "exp" => self.exp = Some(date(value, "exp")?),
            "nbf" => self.nbf = Some(date(value, "nbf")?),
            "iat" => self.iat = Some(date(value, "iat")?),
            "jti" => self.jti = Some(string(value, "jti")?),
            "sid" => self.sid = Some(string(value, "sid")?),
            "client_id" => self.client_id = Some(string(value, "client_id")?),
            // RFC 8693 says one string; Duende and others publish an array.
            "scope" => {
                self.scope = Some(Strings::from_value(value).ok_or(ClaimError::Bad("scope"))?);
            }
            // RFC 9068 §2.2.3.1 borrows SCIM's loose type: what is no list of strings grants no role.
            "roles" => self.roles = Strings::from_value(value),
            "status" => self.status = StatusReference::from_value(value)?,
            _ => {}
        }
        Ok(())
    }

    /// Whether `audience` is a member of `aud`, compared as a whole string.
    pub fn has_audience(&self, audience: &str) -> bool {
        self.aud
            .as_ref()
            .is_some_and(|aud| aud.any(|member| member == audience))
    }

    /// Whether the token grants `scope`, one scope token of RFC 6749 §3.3.
    pub fn has_scope(&self, scope: &str) -> bool {
        match &self.scope {
            Some(Strings::One(list)) => {
                let mut granted = list.as_bytes().split(|&byte| byte == b' ');
                granted.any(|granted| granted == scope.as_bytes())
            }
            Some(many) => many.any(|granted| granted == scope),
            None => false,
        }
    }

    /// Whether the token names `role` in `roles`.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles
            .as_ref()
            .is_some_and(|roles| roles.any(|member| member == role))
    }

    /// Every audience, in order.
    pub fn audiences(&self) -> Vec<String> {
        collect(|push| each(&self.aud, push))
    }

    /// Every scope token, in order.
    pub fn scopes(&self) -> Vec<String> {
        collect(|push| self.each_scope(push))
    }

    /// Visits every scope token, in order.
    pub(crate) fn each_scope(&self, mut visit: impl FnMut(&str)) {
        match &self.scope {
            Some(Strings::One(list)) => list
                .split(' ')
                .filter(|scope| !scope.is_empty())
                .for_each(visit),
            scope => each(scope, &mut visit),
        }
    }

    /// Every role, in order.
    pub fn roles(&self) -> Vec<String> {
        collect(|push| self.each_role(push))
    }

    /// Visits every role, in order.
    pub(crate) fn each_role(&self, mut visit: impl FnMut(&str)) {
        each(&self.roles, &mut visit);
    }
}

fn each(strings: &Option<Strings<'_>>, visit: &mut dyn FnMut(&str)) {
    if let Some(strings) = strings {
        strings.for_each(visit);
    }
}

fn collect(each: impl FnOnce(&mut dyn FnMut(&str))) -> Vec<String> {
    let mut out = Vec::new();
    each(&mut |text| out.push(text.to_owned()));
    out
}

fn string<'a>(value: Value<'a>, name: &'static str) -> Result<Cow<'a, str>, ClaimError> {
    value.into_string().ok_or(ClaimError::Bad(name))
}

fn date(value: Value<'_>, name: &'static str) -> Result<NumericDate, ClaimError> {
    match value {
        Value::Number(text) => NumericDate::from_json_number(text).ok_or(ClaimError::Bad(name)),
        _ => Err(ClaimError::Bad(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_and_roles_are_whole_words() {
        let policy = Policy::new(["api"]);
        let claims =
            |payload: &'static str| RegisteredClaims::parse(payload.as_bytes(), &policy).unwrap();
        let token = claims(r#"{"scope":"orders:read orders:write","roles":["admin"]}"#);
        assert!(token.has_scope("orders:read") && token.has_scope("orders:write"));
        assert!(!token.has_scope("orders") && !token.has_scope("orders:read orders:write"));
        assert!(token.has_role("admin") && !token.has_role("Admin"));
        let token = claims(r#"{"scope":["a","b"],"roles":{"admin":true}}"#);
        assert!(token.has_scope("a") && !token.has_scope("c") && !token.has_role("admin"));
        assert_eq!(token.scopes(), ["a", "b"]);
        assert!(!claims("{}").has_scope(""));
        assert!(RegisteredClaims::parse(br#"{"scope":1}"#, &policy).is_err());
    }
}
