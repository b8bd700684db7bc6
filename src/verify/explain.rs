//! How every check of one verification ended, found out after the fact.
//!
//! The verdict is the verifier's own: the one failed check is found from its reject, so that an explanation cannot contradict
//! what a backend does. What a token says of itself is shown as what it says, never as what is so.

use super::explanation::{Check, CheckName, Explanation, Outcome};
use super::reject::Reject;
use super::verifier::{Trusted, Verifier};
use crate::jose::{Algorithm, Compact, Header, NumericDate, Policy, RegisteredClaims, TypRule};

impl Verifier {
    /// Verifies a token and explains every check. Counts nothing and writes nothing to the audit trail.
    pub async fn explain(&self, token: &str) -> Explanation {
        let verdict = self.look(token.as_bytes()).await;
        let reject = verdict.err().map(|refusal| refusal.reject);
        let policy = &self.inner.trusted[0].policy;
        let mut decoded = Vec::new();
        // Where even this fails there is nothing to show, and the failed check says why.
        let jws = Compact::parse(token, self.inner.max_token_bytes, &mut decoded).ok();
        let claims = jws
            .as_ref()
            .and_then(|jws| RegisteredClaims::parse(jws.payload, policy).ok());
        let trusted = claims.as_ref().and_then(|claims| {
            let iss = claims.iss.as_deref()?;
            let mut trusted = self.inner.trusted.iter();
            trusted.find(|trusted| *trusted.name == *iss)
        });
        let subject = Subject {
            verifier: self,
            token,
            header: jws.as_ref().map(|jws| &jws.header),
            claims: claims.as_ref(),
            trusted,
            now: self.inner.clock.now(),
        };
        subject.explain(reject)
    }
}

/// What there is to look at.
struct Subject<'a> {
    verifier: &'a Verifier,
    token: &'a str,
    header: Option<&'a Header<'a>>,
    claims: Option<&'a RegisteredClaims<'a>>,
    trusted: Option<&'a Trusted>,
    now: NumericDate,
}

// === impl Subject ===

impl Subject<'_> {
    fn explain(&self, reject: Option<Reject>) -> Explanation {
        let failed = reject
            .as_ref()
            .map(|reject| CheckName::failed_by(reject, self.header, self.claims));
        let checks = CheckName::ALL
            .into_iter()
            .map(|name| {
                let outcome = match failed {
                    Some(failed) if name == failed => Outcome::Failed,
                    Some(failed) if name > failed => Outcome::NotReached,
                    _ => Outcome::Passed,
                };
                let reached = outcome != Outcome::NotReached;
                Check {
                    name,
                    outcome,
                    seen: self.seen(name).filter(|_| reached),
                    wanted: self.wanted(name).filter(|_| reached),
                    advice: reject
                        .as_ref()
                        .filter(|_| outcome == Outcome::Failed)
                        .map(|reject| self.advice(reject)),
                }
            })
            .collect();
        Explanation {
            ok: reject.is_none(),
            reason: reject.as_ref().map(Reject::code),
            authentic: failed.is_none_or(|failed| failed > CheckName::Signature),
            checks,
        }
    }

    fn seen(&self, name: CheckName) -> Option<String> {
        let header = self.header;
        let claims = self.claims;
        match name {
            CheckName::Size => Some(format!("{} bytes", self.token.len())),
            CheckName::Framing => {
                let segments = self.token.split('.').take(100).count();
                Some(format!("{segments} segments"))
            }
            CheckName::Algorithm | CheckName::AllowedAlgorithm => {
                header.map(|header| quoted(&header.alg))
            }
            CheckName::Type => header.map(|header| or_none(header.typ.as_deref())),
            CheckName::Issuer => claims.map(|claims| or_none(claims.iss.as_deref())),
            CheckName::Keys => self.trusted.map(|trusted| self.describe_keys(trusted)),
            CheckName::Key => header.map(|header| or_none(header.kid.as_deref())),
            CheckName::Expiry => claims.and_then(|claims| {
                let exp = claims.exp?;
                Some(format!("exp {exp}, {}", self.relative(exp)))
            }),
            CheckName::NotBefore => claims.map(|claims| match claims.nbf {
                Some(nbf) => format!("nbf {nbf}, {}", self.relative(nbf)),
                None => "no nbf".into(),
            }),
            CheckName::Audience => claims.map(|claims| {
                let audiences: Vec<String> =
                    claims.audiences().iter().map(|aud| quoted(aud)).collect();
                match audiences.is_empty() {
                    true => "none".into(),
                    false => audiences.join(", "),
                }
            }),
            CheckName::Status => claims.map(|claims| match &claims.status {
                Some(status) => format!("place {} of {}", status.idx, quoted(&status.uri)),
                None => "the token refers to no status list".into(),
            }),
            _ => None,
        }
    }

    fn wanted(&self, name: CheckName) -> Option<String> {
        let policy = self.policy();
        match name {
            CheckName::Size => Some(format!(
                "at most {} bytes",
                self.verifier.inner.max_token_bytes
            )),
            CheckName::Algorithm => Some("a public-key signature".into()),
            CheckName::AllowedAlgorithm => self.trusted.map(|trusted| {
                let names: Vec<_> = trusted.algorithms.iter().map(|alg| alg.name()).collect();
                names.join(", ")
            }),
            CheckName::Type => Some(match &policy.typ {
                TypRule::AccessToken => "none, `JWT` or `at+jwt`".into(),
                TypRule::Exactly(typ) => quoted(typ),
            }),
            CheckName::Issuer => {
                let trusted = self.verifier.inner.trusted.iter();
                let names: Vec<String> = trusted.map(|trusted| quoted(&trusted.name)).collect();
                Some(names.join(" or "))
            }
            CheckName::RequiredClaims => Some(policy.required.join(", ")),
            CheckName::Audience => {
                let names: Vec<String> = policy.audiences.iter().map(|aud| quoted(aud)).collect();
                Some(names.join(" or "))
            }
            _ => None,
        }
    }

    fn policy(&self) -> &Policy {
        let trusted = self.trusted.unwrap_or(&self.verifier.inner.trusted[0]);
        &trusted.policy
    }

    fn describe_keys(&self, trusted: &Trusted) -> String {
        let kids: Vec<String> = {
            let snapshot = trusted.keys.load();
            let keys = snapshot.iter().flat_map(|set| set.keys());
            keys.map(|key| or_none(key.kid())).collect()
        };
        let status = self.verifier.status();
        let status = status.iter().find(|status| *status.issuer == *trusted.name);
        let fetched = match status.and_then(|status| status.age) {
            Some(age) => format!(", fetched {} s ago", age.as_secs()),
            None => String::new(),
        };
        match kids.is_empty() {
            true => format!("no keys{fetched}"),
            false => format!("{}{fetched}", kids.join(", ")),
        }
    }

    fn relative(&self, at: NumericDate) -> String {
        match at > self.now {
            true => format!("in {} s", at.since(self.now).as_secs()),
            false => format!("{} s ago", self.now.since(at).as_secs()),
        }
    }

    fn advice(&self, reject: &Reject) -> String {
        let wanted_audience = || {
            let audience = self.policy().audiences.first();
            audience.map_or_else(String::new, |audience| {
                format!("ask the issuer for one with ?audience={audience}")
            })
        };
        match reject {
            Reject::TooLarge { .. } => "put less into the token: headers of this size do not pass common proxies either".into(),
            Reject::MissingToken | Reject::Malformed(_) if self.token.starts_with("Bearer ") => {
                "give the token alone, without `Bearer `".into()
            }
            Reject::MissingToken | Reject::Malformed(_) => {
                format!("{reject}; was it cut, wrapped, or decoded on the way?")
            }
            Reject::CriticalHeader(_) => format!("{reject}; have the issuer leave it out"),
            Reject::AlgNotAllowed => match self.header.map(|header| &*header.alg) {
                Some(alg) if alg.starts_with("HS") => "the token is signed with a shared secret, which Keywheel never accepts: have the issuer sign with EdDSA or RS256 and publish its keys".into(),
                Some(alg) if alg.eq_ignore_ascii_case("none") => "the token is not signed at all".into(),
                Some(alg) if Algorithm::from_name(alg).is_some() => format!("add {alg} to the verifier's algorithms, if the issuer is to use it"),
                _ => "have the issuer use a registered signature algorithm".into(),
            },
            Reject::TypeNotAllowed => "is this an access token? ID tokens, logout tokens and DPoP proofs are not".into(),
            Reject::BadClaim("status") if self.claims.is_some_and(|claims| claims.status.is_some()) => "the status list must be at the issuer's own origin, and have room for the token's place".into(),
            Reject::Revoked => "the user has signed out, or was signed out; sign in again".into(),
            Reject::StatusUnavailable { .. } => {
                let status = self.verifier.status();
                let mut lists = status.iter().flat_map(|status| &status.status_lists);
                let error = lists.find_map(|list| list.last_error.clone());
                error.unwrap_or_else(|| "the status list has not been fetched yet".into())
            }
            Reject::BadClaim(name) => format!("have the issuer write `{name}` with the type RFC 7519 gives it"),
            Reject::UnknownIssuer => "compare letter by letter, slash at the end and http or https included: the verifier is configured for another issuer, or the token is another's".into(),
            Reject::KeysUnavailable { .. } => {
                let status = self.verifier.status();
                let error = status.iter().find_map(|status| status.last_error.clone());
                error.unwrap_or_else(|| "no keys have been fetched yet".into())
            }
            Reject::UnknownKey => match self.trusted {
                Some(trusted) => format!("the set has {}; has the issuer published the key it signs with, and is this the right issuer's set?", self.describe_keys(trusted)),
                None => "has the issuer published the key it signs with?".into(),
            },
            Reject::AmbiguousKey => "have the issuer put a kid into its tokens, and publish each kid once".into(),
            Reject::KeyMismatch => "the published key names another alg or is of another type; the token's header cannot overrule it".into(),
            Reject::BadSignature => "it was changed after it was signed, or signed by a key that only borrows this kid".into(),
            Reject::MissingClaim(name) if **name == *"aud" => wanted_audience(),
            Reject::MissingClaim(name) => format!("have the issuer set `{name}`"),
            Reject::Expired { exp, now } => format!(
                "expired {} s ago; get a new one, and if that surprises, compare clocks: this machine says {now}",
                now.since(*exp).as_secs()
            ),
            Reject::NotYetValid { nbf, now } => format!(
                "valid in {} s; compare clocks: this machine says {now}",
                nbf.since(*now).as_secs()
            ),
            Reject::WrongAudience => format!("the token is meant for another API: {}", wanted_audience()),
            other => other.to_string(),
        }
    }
}

fn or_none(text: Option<&str>) -> String {
    text.map_or_else(|| "none".into(), quoted)
}

/// Text of a stranger's in backticks: control characters escaped, cut at 100 characters.
fn quoted(text: &str) -> String {
    const MOST: usize = 100;
    let shown: String = text
        .chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect();
    let rest = if text.chars().nth(MOST).is_some() {
        "…"
    } else {
        ""
    };
    format!("`{shown}{rest}`")
}
