//! What a request must have, by its path and method: the most specific rule decides, and where two are as specific as each other,
//! both do.

use std::borrow::Cow;
use std::cmp::Ordering;

use http::Method;

use super::path::PlainPath;
use crate::verify::{Reject, Token};

/// Who passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Anyone; who brings no token, or one that is no good, passes without an identity.
    Public,
    /// Who brings a token that is good and has what the rule asks for.
    #[default]
    Token,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    path: Vec<Segment>,
    /// As configured, for people.
    pattern: String,
    /// All of them, if empty.
    methods: Vec<Method>,
    need: Need<'static>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter(String),
}

/// What one or several rules ask of a token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Need<'r> {
    pub(crate) access: Access,
    pub(crate) scopes: Cow<'r, [String]>,
    pub(crate) roles: Cow<'r, [String]>,
    /// What `sub` must be, each of them: the value that the path has for the parameter.
    pub(crate) subjects: Vec<String>,
}

/// Why a rule cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A path that does not begin with `/`, has an empty segment, or one that no request can have.
    #[error("path `{0}`: {1}")]
    Path(String, String),
    /// A word that is no HTTP method.
    #[error("methods: `{0}` is no HTTP method")]
    Method(String),
    /// `subject` names a parameter that the path does not have.
    #[error("subject: the path `{path}` has no {{{parameter}}}")]
    Subject {
        /// The rule's path.
        path: String,
        /// The parameter in question.
        parameter: String,
    },
    /// A public rule that asks for something.
    #[error("allow = \"public\" and scopes, roles or subject contradict each other, at path `{0}`")]
    PublicWithNeeds(String),
}

// === impl Rule ===

impl Rule {
    /// A rule for every path that begins with the segments of `pattern`; `{name}` stands for any one segment.
    ///
    /// # Errors
    /// [`RuleError`] names what is wrong.
    pub fn new(
        pattern: &str,
        methods: &[String],
        access: Access,
        scopes: Vec<String>,
        roles: Vec<String>,
        subject: Option<String>,
    ) -> Result<Self, RuleError> {
        let path = segments(pattern)?;
        let methods = methods
            .iter()
            .map(|name| {
                let known = name.bytes().all(|byte| byte.is_ascii_uppercase());
                let method = Method::from_bytes(name.as_bytes()).ok().filter(|_| known);
                method.ok_or_else(|| RuleError::Method(name.clone()))
            })
            .collect::<Result<_, _>>()?;
        if let Some(parameter) = &subject
            && !path.contains(&Segment::Parameter(parameter.clone()))
        {
            return Err(RuleError::Subject {
                path: pattern.into(),
                parameter: parameter.clone(),
            });
        }
        let asks = !scopes.is_empty() || !roles.is_empty() || subject.is_some();
        if access == Access::Public && asks {
            return Err(RuleError::PublicWithNeeds(pattern.into()));
        }
        Ok(Rule {
            path,
            pattern: pattern.into(),
            methods,
            need: Need {
                access,
                scopes: scopes.into(),
                roles: roles.into(),
                subjects: subject.into_iter().collect(),
            },
        })
    }

    fn applies(&self, path: &PlainPath<'_>, method: &Method) -> bool {
        let segments = path.segments();
        let fits = |(wanted, is): (&Segment, &Cow<'_, str>)| match wanted {
            Segment::Literal(text) => text == is,
            Segment::Parameter(_) => true,
        };
        self.path.len() <= segments.len()
            && self.path.iter().zip(segments).all(fits)
            && self.is_for(method)
    }

    /// `HEAD` is `GET` without the body, and whoever may not have the one may not have the other.
    fn is_for(&self, method: &Method) -> bool {
        let as_get = *method == Method::HEAD;
        self.methods.is_empty()
            || self.methods.contains(method)
            || as_get && self.methods.contains(&Method::GET)
    }

    /// Which of two rules that both apply says more about the request; `None` if each says something that the other does not.
    fn compare(&self, other: &Rule) -> Option<Ordering> {
        let literal = |segment: Option<&Segment>| match segment {
            Some(Segment::Literal(_)) => 2,
            Some(Segment::Parameter(_)) => 1,
            None => 0,
        };
        let longest = self.path.len().max(other.path.len());
        let by_segment =
            (0..longest).map(|at| literal(self.path.get(at)).cmp(&literal(other.path.get(at))));
        let by_method = match (self.methods.is_empty(), other.methods.is_empty()) {
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            _ => Ordering::Equal,
        };
        let path = { by_segment }.try_fold(Ordering::Equal, |so_far, next| match (so_far, next) {
            (Ordering::Equal, next) => Some(next),
            (so_far, next) if next == so_far || next == Ordering::Equal => Some(so_far),
            _ => None,
        });
        // A longer path outweighs a method.
        path.map(|path| path.then(by_method))
    }

    /// What it asks of a token for this path.
    fn need(&self, path: &PlainPath<'_>) -> Need<'_> {
        let value = |parameter: &String| {
            let is_it = |segment: &Segment| *segment == Segment::Parameter(parameter.clone());
            let at = self.path.iter().position(is_it)?;
            path.segments().get(at).map(ToString::to_string)
        };
        Need {
            access: self.need.access,
            scopes: Cow::Borrowed(&self.need.scopes),
            roles: Cow::Borrowed(&self.need.roles),
            subjects: self.need.subjects.iter().filter_map(value).collect(),
        }
    }
}

fn segments(pattern: &str) -> Result<Vec<Segment>, RuleError> {
    let bad = |why: &str| RuleError::Path(pattern.into(), why.into());
    let mut names = Vec::new();
    let plain = pattern.replace(['{', '}'], "_");
    if pattern.contains(['?', '%']) {
        return Err(bad("a query or an encoded character; write it as it reads"));
    }
    PlainPath::parse(&plain).map_err(|error| bad(&error.to_string()))?;
    let trimmed = pattern.trim_matches('/');
    if trimmed.is_empty() {
        return Ok(Vec::new());
    }
    trimmed
        .split('/')
        .map(|text| {
            let name = text
                .strip_prefix('{')
                .and_then(|text| text.strip_suffix('}'));
            match name {
                Some(name) if name.is_empty() || names.contains(&name) => {
                    Err(bad("each parameter needs a name of its own"))
                }
                Some(name) => {
                    names.push(name);
                    Ok(Segment::Parameter(name.into()))
                }
                None if text.contains(['{', '}']) => {
                    Err(bad("a parameter is a whole segment: /{user_id}/"))
                }
                None => Ok(Segment::Literal(text.into())),
            }
        })
        .collect()
}

/// Every rule of a gate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules(Vec<Rule>);

// === impl Rules ===

impl Rules {
    /// In any order: it decides nothing.
    pub fn new(rules: Vec<Rule>) -> Self {
        Rules(rules)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a request must have. Without a rule for it, a token.
    pub(crate) fn need(&self, path: &PlainPath<'_>, method: &Method) -> Need<'_> {
        let applying: Vec<&Rule> = self
            .0
            .iter()
            .filter(|rule| rule.applies(path, method))
            .collect();
        let is_outdone = |rule: &&&Rule| {
            let less = |other: &&&Rule| rule.compare(other) == Some(Ordering::Less);
            applying.iter().any(|other| less(&other))
        };
        let deciding = applying.iter().filter(|rule| !is_outdone(rule));
        deciding
            .map(|rule| rule.need(path))
            .reduce(Need::and)
            .unwrap_or_default()
    }

    /// Pairs of rules that can meet on one request with neither being the more specific: both then count. For people who check
    /// their configuration.
    pub fn ambiguities(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (index, one) in self.0.iter().enumerate() {
            for other in &self.0[index + 1..] {
                let undecided = matches!(one.compare(other), None | Some(Ordering::Equal));
                if undecided && can_meet(one, other) && one.need != other.need {
                    found.push(format!(
                        "`{}` and `{}` can both apply, and neither is the more specific: a request must satisfy both",
                        one.pattern, other.pattern
                    ));
                }
            }
        }
        found
    }
}

fn can_meet(one: &Rule, other: &Rule) -> bool {
    let differ = |(one, other): (&Segment, &Segment)| match (one, other) {
        (Segment::Literal(one), Segment::Literal(other)) => one != other,
        _ => false,
    };
    let paths = !one.path.iter().zip(&other.path).any(differ);
    let methods = one.methods.is_empty()
        || other.methods.is_empty()
        || one
            .methods
            .iter()
            .any(|method| other.methods.contains(method));
    paths && methods
}

// === impl Need ===

impl Need<'_> {
    /// Adds what the query of the proxy's own request asks for; `true` if that is anything.
    pub(super) fn asks_more(&mut self, query: &str) -> bool {
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

    pub(super) fn is_only_a_token(&self) -> bool {
        self.scopes.is_empty() && self.roles.is_empty() && self.subjects.is_empty()
    }

    pub(super) fn allow(&self, token: &Token) -> Result<(), Reject> {
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

    /// Both: the stricter of the two in every respect.
    fn and(mut self, other: Self) -> Self {
        if other.access == Access::Token {
            self.access = Access::Token;
        }
        for (all, more) in [
            (&mut self.scopes, &other.scopes),
            (&mut self.roles, &other.roles),
        ] {
            for one in more.iter() {
                if !all.contains(one) {
                    all.to_mut().push(one.clone());
                }
            }
        }
        for one in other.subjects {
            if !self.subjects.contains(&one) {
                self.subjects.push(one);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, methods: &[&str], scope: &str) -> Rule {
        let methods: Vec<String> = methods.iter().map(|&method| method.into()).collect();
        let (access, scopes) = match scope {
            "public" => (Access::Public, vec![]),
            "" => (Access::Token, vec![]),
            scope => (Access::Token, vec![scope.into()]),
        };
        Rule::new(pattern, &methods, access, scopes, vec![], None).unwrap()
    }

    fn scopes(rules: &Rules, method: &str, path: &str) -> String {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let need = rules.need(&PlainPath::parse(path).unwrap(), &method);
        match need.access {
            Access::Public => "public".into(),
            Access::Token => need.scopes.join("+"),
        }
    }

    #[test]
    fn the_most_specific_rule_decides_and_of_equals_both() {
        let rules = Rules::new(vec![
            rule("/", &[], ""),
            rule("/public", &[], "public"),
            rule("/public/secret", &[], "s"),
            rule("/orders", &[], "read"),
            rule("/orders", &["POST", "DELETE"], "write"),
            rule("/orders/{id}/refund", &[], "refund"),
            rule("/a/{x}", &[], "ax"),
            rule("/{y}/b", &[], "yb"),
            rule("/twice", &["GET"], "one"),
            rule("/twice", &["GET", "PUT"], "two"),
            rule("/mixed", &[], "public"),
            rule("/mixed/", &[], "m"),
        ]);
        for (method, path, expected) in [
            ("GET", "/", ""),
            ("GET", "/elsewhere", ""),
            ("GET", "/public", "public"),
            ("GET", "/public/css/a.css", "public"),
            ("GET", "/publicity", ""),
            ("GET", "/public/secret/x", "s"),
            ("GET", "/orders/7", "read"),
            ("POST", "/orders", "write"),
            ("HEAD", "/orders", "read"),
            ("POST", "/orders/7/refund", "refund"),
            ("GET", "/a/c", "ax"),
            ("GET", "/c/b", "yb"),
            ("GET", "/a/b", "ax+yb"),
            ("GET", "/twice", "one+two"),
            ("HEAD", "/twice", "one+two"),
            ("PUT", "/twice", "two"),
            ("GET", "/mixed", "m"),
        ] {
            assert_eq!(scopes(&rules, method, path), expected, "{method} {path}");
        }
        let shown = rules.ambiguities();
        let is_shown = |pair: &str| shown.iter().any(|line| line.starts_with(pair));
        for pair in [
            "`/a/{x}` and `/{y}/b`",
            "`/public` and `/{y}/b`",
            "`/twice` and `/twice`",
            "`/mixed` and `/mixed/`",
        ] {
            assert!(is_shown(pair), "{pair}: {shown:?}");
        }
        for pair in [
            "`/` and `/public`",
            "`/public` and `/public/secret`",
            "`/orders` and `/orders`",
            "`/orders` and `/twice`",
        ] {
            assert!(!is_shown(pair), "{pair}: {shown:?}");
        }
        // With no rule at all, a token is wanted.
        assert_eq!(scopes(&Rules::default(), "GET", "/x"), "");
    }

    #[test]
    fn the_subject_is_the_segment_that_the_path_has_for_it() {
        let rules = Rules::new(vec![
            Rule::new(
                "/api/{user_id}/tasks",
                &[],
                Access::Token,
                vec![],
                vec![],
                Some("user_id".into()),
            )
            .unwrap(),
        ]);
        let need = rules.need(
            &PlainPath::parse("/api/u%C3%A4/tasks/3").unwrap(),
            &Method::GET,
        );
        assert_eq!(need.subjects, ["uä"]);
    }

    #[test]
    fn rules_that_cannot_be_are_refused() {
        let new = |pattern: &str, methods: &[&str], access, subject: Option<&str>| {
            let methods: Vec<String> = methods.iter().map(|&method| method.into()).collect();
            Rule::new(
                pattern,
                &methods,
                access,
                vec![],
                vec![],
                subject.map(Into::into),
            )
            .map(|_| ())
            .map_err(|error| error.to_string())
        };
        for (result, words) in [
            (new("orders", &[], Access::Token, None), "slash"),
            (new("/a//b", &[], Access::Token, None), "empty segment"),
            (new("/a/../b", &[], Access::Token, None), "`..`"),
            (new("/a%20b", &[], Access::Token, None), "encoded"),
            (new("/a?b", &[], Access::Token, None), "query"),
            (new("/a{b}", &[], Access::Token, None), "whole segment"),
            (new("/{}", &[], Access::Token, None), "name"),
            (new("/{a}/{a}", &[], Access::Token, None), "name"),
            (new("/a", &["get"], Access::Token, None), "`get`"),
            (new("/a", &["GET "], Access::Token, None), "`GET `"),
            (new("/{a}", &[], Access::Token, Some("b")), "no {b}"),
            (new("/{a}", &[], Access::Public, Some("a")), "contradict"),
        ] {
            let error = result.unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
