//! `gate.toml`: whom a gate believes, and what it asks for where.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::reading::{ConfigError, file_error, line_of};
use super::{Log, Span};
use crate::http::gate::{Access, Rule, Rules, Unavailable};
use crate::jose::Algorithm;
use crate::verify::{BuildError, StatusCheck, TrustedIssuer, Verifier, VerifierBuilder};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    /// Where the proxy asks.
    pub listen: SocketAddr,
    /// Listener for metrics and health; loopback unless told otherwise.
    pub admin_listen: SocketAddr,
    /// The realm of challenges.
    pub realm: String,
    /// A cookie that may hold the token of a browser's navigation.
    pub cookie: Option<String>,
    /// What becomes of a request while keys cannot be had.
    pub when_unavailable: Unavailable,
    /// `[[issuer]]`
    pub issuer: Vec<IssuerConfig>,
    /// `[[rule]]`
    pub rule: Vec<RuleConfig>,
    /// `[log]`
    pub log: Log,
}

/// `[[issuer]]`: whom to believe.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// `iss`, exactly.
    pub name: String,
    /// Whose tokens pass: any of these.
    pub audience: Vec<String>,
    /// Places of its key set; by discovery if there is none.
    #[serde(default)]
    pub jwks_urls: Vec<String>,
    /// The algorithms to allow; EdDSA, ES256 and RS256 unless set.
    #[serde(default)]
    pub algorithms: Option<Vec<Algorithm>>,
    /// Tolerance for clocks.
    #[serde(default)]
    pub leeway: Option<Span>,
    /// `fail_closed`, `fail_open` or `ignore`: what a status list that cannot be had means.
    #[serde(default)]
    pub status: StatusRule,
}

/// [`StatusCheck`], as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusRule {
    /// [`StatusCheck::FailClosed`]
    #[default]
    FailClosed,
    /// [`StatusCheck::FailOpen`]
    FailOpen,
    /// [`StatusCheck::Ignore`]
    Ignore,
}

/// `[[rule]]`: what to ask for, where.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// A prefix, segment by segment; `{name}` stands for any one.
    pub path: String,
    /// All, unless set.
    #[serde(default)]
    pub methods: Vec<String>,
    /// `token` or `public`.
    #[serde(default)]
    pub allow: Access,
    /// All of them are needed.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// All of them are needed.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The parameter of the path that must be the token's subject.
    #[serde(default)]
    pub subject: Option<String>,
}

impl Default for GateConfig {
    fn default() -> Self {
        GateConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 4180)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9302)),
            realm: "api".into(),
            cookie: None,
            when_unavailable: Unavailable::Refuse,
            issuer: Vec::new(),
            rule: Vec::new(),
            log: Log::default(),
        }
    }
}

// === impl GateConfig ===

impl GateConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the line and the setting.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            place: name.clone(),
            why: error.to_string(),
        })?;
        Self::parse(&text, &name)
    }

    /// As [`load`](Self::load), from the text of a file called `name`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        let config: GateConfig =
            toml::from_str(text).map_err(|error| file_error(text, name, &error))?;
        config.log.check().map_err(|(setting, why)| ConfigError {
            place: match line_of(text, setting) {
                Some(line) => format!("{name}:{line}"),
                None => name.to_owned(),
            },
            why: format!("{setting} {why}"),
        })?;
        config.rules(name)?;
        Ok(config)
    }

    /// The rules, checked; `name` is that of the file, for errors.
    ///
    /// # Errors
    /// [`ConfigError`] names the rule by its number.
    pub fn rules(&self, name: &str) -> Result<Rules, ConfigError> {
        let rules = self.rule.iter().enumerate().map(|(index, rule)| {
            Rule::new(
                &rule.path,
                &rule.methods,
                rule.allow,
                rule.scopes.clone(),
                rule.roles.clone(),
                rule.subject.clone(),
            )
            .map_err(|error| ConfigError {
                place: format!("{name}: [[rule]] {}", index + 1),
                why: error.to_string(),
            })
        });
        Ok(Rules::new(rules.collect::<Result<_, _>>()?))
    }

    /// A verifier for the issuers.
    ///
    /// # Errors
    /// [`BuildError`] names the setting.
    pub fn verifier(&self, builder: VerifierBuilder) -> Result<Verifier, BuildError> {
        let issuers = self.issuer.iter().map(IssuerConfig::trusted);
        issuers
            .fold(builder, VerifierBuilder::trust)
            .audit_rate(self.log.audit_rate)
            .build()
    }
}

// === impl IssuerConfig ===

impl IssuerConfig {
    fn trusted(&self) -> TrustedIssuer {
        let mut trusted = TrustedIssuer::new(&self.name).status_check(match self.status {
            StatusRule::FailClosed => StatusCheck::FailClosed,
            StatusRule::FailOpen => StatusCheck::FailOpen,
            StatusRule::Ignore => StatusCheck::Ignore,
        });
        for audience in &self.audience {
            trusted = trusted.audience(audience.as_str());
        }
        for url in &self.jwks_urls {
            trusted = trusted.jwks_url(url);
        }
        if let Some(algorithms) = &self.algorithms {
            trusted = trusted.algorithms(algorithms.iter().copied());
        }
        trusted.leeway(self.leeway.map_or(Duration::ZERO, |leeway| leeway.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../docs/gate.example.toml");

    /// The settings of a table, as the error about an unknown one lists them.
    fn settings(table: &str) -> Vec<String> {
        let text = format!("{table}\nno_setting = 1\n");
        let error = GateConfig::parse(&text, "gate.toml").unwrap_err();
        let names = error.why.split('`').skip(3).step_by(2);
        names.map(String::from).collect()
    }

    #[test]
    fn the_reference_of_the_gate_has_every_setting() {
        GateConfig::parse(EXAMPLE, "gate.toml").unwrap();
        let tables = ["", "[[issuer]]", "[[rule]]", "[log]"];
        let names: Vec<String> = tables.into_iter().flat_map(settings).collect();
        assert!(names.len() >= 20, "{names:?}");
        for name in names {
            let is_there = EXAMPLE.lines().any(|line| {
                let line = line.trim_start_matches('[');
                let rest = line.strip_prefix(name.as_str());
                rest.is_some_and(|rest| rest.starts_with([' ', ']']))
            });
            assert!(is_there, "{name}");
        }
    }

    #[test]
    fn the_reference_of_the_gate_shows_the_defaults() {
        let shown = GateConfig::parse(EXAMPLE, "gate.toml").unwrap();
        let default = GateConfig::default();
        assert_eq!(shown.listen, default.listen);
        assert_eq!(shown.admin_listen, default.admin_listen);
        assert_eq!(shown.realm, default.realm);
        assert_eq!(shown.when_unavailable, default.when_unavailable);
        assert_eq!(shown.log, default.log);
        let least = "[[issuer]]\nname = \"a\"\naudience = [\"b\"]\n[[rule]]\npath = \"/\"\n";
        let least = GateConfig::parse(least, "gate.toml").unwrap();
        assert_eq!(shown.issuer[0].status, least.issuer[0].status);
        assert_eq!(shown.rule[0].allow, least.rule[0].allow);
    }
}
