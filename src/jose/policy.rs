//! The policy that claims are held against: times, audiences, required names, and which `typ` passes.
//!
//! Never reads the clock: the time is an argument.

use std::ops::Range;
use std::time::Duration;

use super::claims::RegisteredClaims;
use super::json::JsonError;
use super::numeric_date::NumericDate;

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
    /// Names of claims that must be there; at most [`Policy::MAX_REQUIRED`], and one past that counts as missing.
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

    /// The bit that notes the presence of a required claim, by its position; none past the limit.
    pub(super) const fn presence(position: usize) -> u64 {
        if position < Self::MAX_REQUIRED {
            1 << position
        } else {
            0
        }
    }

    /// Holds claims, read by [`RegisteredClaims::parse`] with this policy, against it at the moment `now`.
    ///
    /// # Errors
    /// [`ClaimError`], in the order missing, expired, not yet valid, wrong audience. `iat` is not held against the
    /// clock: RFC 7519 §4.1.6 gives it no such meaning.
    pub fn check(&self, claims: &RegisteredClaims<'_>, now: NumericDate) -> Result<(), ClaimError> {
        for (bit, required) in self.required.iter().enumerate() {
            if claims.present & Policy::presence(bit) == 0 {
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

    /// The whole seconds at whose beginning, and until `within` after it, [`check_time`](Self::check_time) accepts: for whoever
    /// knows the time no better than that.
    pub(crate) fn unquestioned(
        &self,
        exp: Option<NumericDate>,
        nbf: Option<NumericDate>,
        within: Duration,
    ) -> Range<i64> {
        let first = nbf.map_or(i64::MIN, |nbf| nbf.minus(self.leeway).seconds());
        let last = exp.map_or(i64::MAX, |exp| {
            exp.plus(self.leeway).minus(within).seconds()
        });
        // Rounded inward: within `first` it may not have begun yet, and within `last` it may be over.
        first.saturating_add(1)..last
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
    fn a_required_claim_past_the_limit_is_missing() {
        let names: Vec<String> = (0..=Policy::MAX_REQUIRED).map(|n| n.to_string()).collect();
        let members: Vec<String> = names.iter().map(|name| format!(r#""{name}":0"#)).collect();
        let payload = format!(r#"{{"aud":"api",{}}}"#, members.join(","));
        let check = |required: &[String]| {
            let mut policy = Policy::new(["api"]);
            policy.required = required.iter().map(|name| name.as_str().into()).collect();
            let claims = RegisteredClaims::parse(payload.as_bytes(), &policy).unwrap();
            policy.check(&claims, NOW)
        };
        assert_eq!(check(&names[..Policy::MAX_REQUIRED]), Ok(()));
        assert_eq!(check(&names), Err(ClaimError::Missing("64".into())));
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

    #[test]
    fn whoever_is_unquestioned_at_a_second_is_valid_until_that_much_after_it() {
        let date = |seconds, millis| {
            NumericDate::from_seconds(seconds).plus(Duration::from_millis(millis))
        };
        let within = Duration::from_secs(2);
        for leeway in [0, 1_000, 1_500] {
            let mut policy = Policy::new(["api"]);
            policy.leeway = Duration::from_millis(leeway);
            for (exp, nbf) in [(0, 0), (300, 0), (0, 300), (999, 999)] {
                let (exp, nbf) = (Some(date(30, exp)), Some(date(10, nbf)));
                let range = policy.unquestioned(exp, nbf, within);
                // All but the seconds next to the borders.
                assert!(range.contains(&12) && range.contains(&27), "{range:?}");
                for second in range {
                    for now in [date(second, 0), date(second, 0).plus(within)] {
                        let at = format!("{exp:?} {nbf:?} {leeway} {now:?}");
                        assert_eq!(policy.check_time(exp, nbf, now), Ok(()), "{at}");
                    }
                }
            }
        }
        let policy = Policy::new(["api"]);
        let range = policy.unquestioned(None, None, within);
        assert!(range.contains(&0) && range.contains(&(i64::MAX - 1)));
    }
}
