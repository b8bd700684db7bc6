//! Registered claims (RFC 7519 §4.1, RFC 8693 §4.2, RFC 9068 §2.2) with strict types, and the policy they are held against.
//!
//! Never reads the clock: the time is an argument.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use super::json::{self, JsonError, Value};
use super::numeric_date::NumericDate;

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
    aud: Option<Strings<'a>>,
    scope: Option<Strings<'a>>,
    roles: Option<Strings<'a>>,
    /// Bit i is set when the policy's i-th required claim is there.
    present: u64,
}

/// What is wrong with the claims of a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// The payload is not one strict JSON object.
    #[error("the payload is not strict JSON: {0}")]
    Json(#[from] JsonError),
    /// A registered claim of the wrong JSON type, or a date out of range.
    #[error("claim `{0}` is of the wrong type or out of range")]
    Bad(&'static str),
    /// A required claim is absent.
    #[error("claim `{0}` is required and absent")]
    Missing(Box<str>),
    /// On or after `exp` plus leeway (RFC 7519 §4.1.4).
    #[error("expired at {exp}, now is {now}")]
    Expired {
        /// The claim.
        exp: NumericDate,
        /// The time it was held against.
        now: NumericDate,
    },
    /// Before `nbf` minus leeway (RFC 7519 §4.1.5).
    #[error("not valid before {nbf}, now is {now}")]
    NotYetValid {
        /// The claim.
        nbf: NumericDate,
        /// The time it was held against.
        now: NumericDate,
    },
    /// None of the accepted audiences is a member of `aud` (RFC 7519 §4.1.3).
    #[error("no accepted audience in `aud`")]
    WrongAudience,
}

/// A claim that is one string or an array of strings.
#[derive(Debug, Clone, PartialEq)]
enum Strings<'a> {
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
                    claims.present |= 1 << bit;
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
            Some(Strings::One(list)) => list.split(' ').any(|granted| granted == scope),
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
        collect(&self.aud)
    }

    /// Every scope token, in order.
    pub fn scopes(&self) -> Vec<String> {
        match &self.scope {
            Some(Strings::One(list)) => list
                .split(' ')
                .filter(|scope| !scope.is_empty())
                .map(Into::into)
                .collect(),
            scope => collect(scope),
        }
    }

    /// Every role, in order.
    pub fn roles(&self) -> Vec<String> {
        collect(&self.roles)
    }
}

/// A payload with what was read of it: [`RegisteredClaims`] that own their text.
#[derive(Debug)]
pub(crate) struct OwnedClaims {
    payload: String,
    iss: Option<Span>,
    sub: Option<Span>,
    jti: Option<Span>,
    sid: Option<Span>,
    client_id: Option<Span>,
    aud: Option<StringsSpan>,
    scope: Option<StringsSpan>,
    roles: Option<StringsSpan>,
    exp: Option<NumericDate>,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
    present: u64,
}

/// A text of the payload: a place in it, or its own text where the JSON had escapes.
#[derive(Debug)]
enum Span {
    Place(Range<usize>),
    Text(Box<str>),
}

#[derive(Debug)]
enum StringsSpan {
    One(Span),
    Many(Range<usize>),
}

// === impl OwnedClaims ===

impl OwnedClaims {
    /// Notes where the claims stand, so that the payload can be moved; [`Located::into_owned`] puts the two together.
    pub(crate) fn locate(claims: &RegisteredClaims<'_>, payload: &[u8]) -> Located {
        let place = |text: &str| {
            let start = text.as_ptr() as usize - payload.as_ptr() as usize;
            start..start + text.len()
        };
        let span = |text: &Cow<'_, str>| match text {
            Cow::Borrowed(text) => Span::Place(place(text)),
            Cow::Owned(text) => Span::Text(text.as_str().into()),
        };
        let strings = |strings: &Strings<'_>| match strings {
            Strings::One(text) => StringsSpan::One(span(text)),
            Strings::Many(raw) => StringsSpan::Many(place(raw)),
        };
        Located(OwnedClaims {
            payload: String::new(),
            iss: claims.iss.as_ref().map(span),
            sub: claims.sub.as_ref().map(span),
            jti: claims.jti.as_ref().map(span),
            sid: claims.sid.as_ref().map(span),
            client_id: claims.client_id.as_ref().map(span),
            aud: claims.aud.as_ref().map(strings),
            scope: claims.scope.as_ref().map(strings),
            roles: claims.roles.as_ref().map(strings),
            exp: claims.exp,
            nbf: claims.nbf,
            iat: claims.iat,
            present: claims.present,
        })
    }

    pub(crate) fn payload(&self) -> &str {
        &self.payload
    }

    /// `exp` and `nbf`.
    pub(crate) fn validity(&self) -> (Option<NumericDate>, Option<NumericDate>) {
        (self.exp, self.nbf)
    }

    pub(crate) fn sub(&self) -> Option<&str> {
        self.sub.as_ref().map(|span| span.text(&self.payload))
    }

    /// The claims, borrowed; nothing is parsed again.
    pub(crate) fn borrow(&self) -> RegisteredClaims<'_> {
        RegisteredClaims {
            iss: self.text(&self.iss),
            sub: self.text(&self.sub),
            jti: self.text(&self.jti),
            sid: self.text(&self.sid),
            client_id: self.text(&self.client_id),
            aud: self.strings(&self.aud),
            scope: self.strings(&self.scope),
            roles: self.strings(&self.roles),
            exp: self.exp,
            nbf: self.nbf,
            iat: self.iat,
            present: self.present,
        }
    }

    fn text<'s>(&'s self, span: &'s Option<Span>) -> Option<Cow<'s, str>> {
        span.as_ref()
            .map(|span| Cow::Borrowed(span.text(&self.payload)))
    }

    fn strings<'s>(&'s self, span: &'s Option<StringsSpan>) -> Option<Strings<'s>> {
        span.as_ref().map(|span| match span {
            StringsSpan::One(span) => Strings::One(Cow::Borrowed(span.text(&self.payload))),
            StringsSpan::Many(place) => Strings::Many(&self.payload[place.clone()]),
        })
    }
}

// === impl Span ===

impl Span {
    fn text<'s>(&'s self, payload: &'s str) -> &'s str {
        match self {
            Span::Place(place) => &payload[place.clone()],
            Span::Text(text) => text,
        }
    }
}

/// Claims that know where they stand in a payload they have yet to be given.
pub(crate) struct Located(OwnedClaims);

// === impl Located ===

impl Located {
    /// `payload` is the one that the claims were located in, byte for byte.
    pub(crate) fn into_owned(mut self, payload: String) -> OwnedClaims {
        self.0.payload = payload;
        self.0
    }
}

fn collect(strings: &Option<Strings<'_>>) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(strings) = strings {
        strings.for_each(|text| out.push(text.to_owned()));
    }
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

/// Which `typ` header values are accepted (RFC 8725 §3.11); compared without case and without an `application/` prefix
/// (RFC 7515 §4.1.9).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TypRule {
    /// Absent, `JWT`, or `at+jwt`; no other: a logout token or a DPoP proof is no access token.
    #[default]
    AccessToken,
    /// This one, present.
    Exactly(Box<str>),
}

// === impl TypRule ===

impl TypRule {
    /// Whether a header with this `typ` is accepted.
    pub fn accepts(&self, typ: Option<&str>) -> bool {
        let typ = typ.map(without_application);
        match (self, typ) {
            (TypRule::AccessToken, None) => true,
            (TypRule::AccessToken, Some(typ)) => {
                typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt")
            }
            (TypRule::Exactly(wanted), Some(typ)) => {
                typ.eq_ignore_ascii_case(without_application(wanted))
            }
            (TypRule::Exactly(_), None) => false,
        }
    }
}

fn without_application(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.get(..PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &typ[PREFIX.len()..],
        _ => typ,
    }
}

/// What a verifier asks of the claims, whoever the issuer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// At least one of these must be in `aud`.
    pub audiences: Vec<Box<str>>,
    /// Tolerance for clocks that disagree, applied to `exp` and `nbf`.
    pub leeway: Duration,
    /// Names of claims that must be there; at most [`Policy::MAX_REQUIRED`].
    pub required: Vec<Box<str>>,
    /// Which `typ` headers pass.
    pub typ: TypRule,
}

// === impl Policy ===

impl Policy {
    /// The most claims that `required` may name.
    pub const MAX_REQUIRED: usize = 64;

    /// `exp` required, no leeway, an access token's `typ`.
    pub fn new<A: Into<Box<str>>>(audiences: impl IntoIterator<Item = A>) -> Self {
        Policy {
            audiences: audiences.into_iter().map(Into::into).collect(),
            leeway: Duration::ZERO,
            required: vec!["exp".into()],
            typ: TypRule::default(),
        }
    }

    /// Holds claims, read by [`RegisteredClaims::parse`] with this policy, against it at the moment `now`.
    ///
    /// # Errors
    /// [`ClaimError`], in the order missing, expired, not yet valid, wrong audience. `iat` is not held against the
    /// clock: RFC 7519 §4.1.6 gives it no such meaning.
    pub fn check(&self, claims: &RegisteredClaims<'_>, now: NumericDate) -> Result<(), ClaimError> {
        for (bit, required) in self.required.iter().enumerate() {
            if claims.present & (1 << bit) == 0 {
                return Err(ClaimError::Missing(required.clone()));
            }
        }
        self.check_time(claims.exp, claims.nbf, now)?;
        if claims.aud.is_none() {
            return Err(ClaimError::Missing("aud".into()));
        }
        if !self
            .audiences
            .iter()
            .any(|audience| claims.has_audience(audience))
        {
            return Err(ClaimError::WrongAudience);
        }
        Ok(())
    }

    /// The checks that depend on the time alone.
    pub(crate) fn check_time(
        &self,
        exp: Option<NumericDate>,
        nbf: Option<NumericDate>,
        now: NumericDate,
    ) -> Result<(), ClaimError> {
        if let Some(exp) = exp
            && now >= exp.plus(self.leeway)
        {
            return Err(ClaimError::Expired { exp, now });
        }
        if let Some(nbf) = nbf
            && now < nbf.minus(self.leeway)
        {
            return Err(ClaimError::NotYetValid { nbf, now });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: NumericDate = NumericDate::from_seconds(1_790_000_000);

    fn check(members: &str, leeway: u64) -> Result<(), String> {
        let mut policy = Policy::new(["api"]);
        policy.leeway = Duration::from_secs(leeway);
        let payload = format!("{{{members}}}");
        RegisteredClaims::parse(payload.as_bytes(), &policy)
            .and_then(|claims| policy.check(&claims, NOW))
            .map_err(|error| match error {
                ClaimError::Json(_) => "malformed".to_owned(),
                ClaimError::Bad(name) => format!("bad {name}"),
                ClaimError::Missing(name) => format!("missing {name}"),
                ClaimError::Expired { .. } => "expired".into(),
                ClaimError::NotYetValid { .. } => "not yet".into(),
                ClaimError::WrongAudience => "audience".into(),
            })
    }

    #[test]
    fn times_are_checked_on_the_edge() {
        for (times, leeway, expected) in [
            (r#""exp":1790000001"#, 0, Ok(())),
            (r#""exp":1790000000"#, 0, Err("expired")),
            (r#""exp":1790000000.5"#, 0, Ok(())),
            (r#""exp":1789999999.5"#, 0, Err("expired")),
            (r#""exp":1789999996"#, 5, Ok(())),
            (r#""exp":1789999995"#, 5, Err("expired")),
            (r#""exp":9223372036854775807"#, 5, Ok(())),
            (r#""exp":1e308"#, 0, Err("bad exp")),
            (r#""exp":"1790000001""#, 0, Err("bad exp")),
            (r#""exp":null"#, 0, Err("bad exp")),
            (r#""exp":-0"#, 0, Err("expired")),
            (r#""iat":1"#, 0, Err("missing exp")),
            (r#""exp":1790000001,"nbf":1790000000"#, 0, Ok(())),
            (r#""exp":1790000009,"nbf":1790000001"#, 0, Err("not yet")),
            (r#""exp":1790000009,"nbf":1790000005"#, 5, Ok(())),
            (r#""exp":1790000009,"nbf":-9223372036854775808"#, 5, Ok(())),
            (r#""exp":1790000009,"nbf":true"#, 0, Err("bad nbf")),
            (r#""exp":1790000009,"iat":[]"#, 0, Err("bad iat")),
            (r#""exp":1790000009,"iat":1890000000"#, 0, Ok(())),
        ] {
            let outcome = check(&format!(r#""aud":"api",{times}"#), leeway);
            assert_eq!(outcome, expected.map_err(String::from), "{times}, {leeway}");
        }
    }

    #[test]
    fn audiences_are_whole_strings() {
        for (aud, expected) in [
            (r#""aud":"api""#, Ok(())),
            (r#""aud":["x","api"]"#, Ok(())),
            (r#""aud":["x","a\u0070i"]"#, Ok(())),
            (r#""aud":"ap""#, Err("audience")),
            (r#""aud":"api2""#, Err("audience")),
            (r#""aud":"API""#, Err("audience")),
            (r#""aud":"api\u0000""#, Err("audience")),
            (r#""aud":[]"#, Err("audience")),
            (r#""aud":["api",5]"#, Err("bad aud")),
            (r#""aud":5"#, Err("bad aud")),
            (r#""aud":null"#, Err("bad aud")),
            (r#""x":1"#, Err("missing aud")),
        ] {
            let outcome = check(&format!(r#""exp":1790000001,{aud}"#), 0);
            assert_eq!(outcome, expected.map_err(String::from), "{aud}");
        }
    }

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

    #[test]
    fn typ_compares_without_case_and_prefix() {
        let default = TypRule::default();
        let exact = TypRule::Exactly("at+jwt".into());
        for (typ, by_default, exactly) in [
            (None, true, false),
            (Some("JWT"), true, false),
            (Some("jwt"), true, false),
            (Some("at+jwt"), true, true),
            (Some("application/AT+jwt"), true, true),
            (Some("Application/at+jwt"), true, true),
            (Some("logout+jwt"), false, false),
            (Some("dpop+jwt"), false, false),
            (Some("statuslist+jwt"), false, false),
            (Some("secevent+jwt"), false, false),
            (Some(""), false, false),
            (Some("JOSE"), false, false),
            (Some("applicatiön/at+jwt"), false, false),
        ] {
            assert_eq!(default.accepts(typ), by_default, "{typ:?}");
            assert_eq!(exact.accepts(typ), exactly, "{typ:?}");
        }
    }
}
