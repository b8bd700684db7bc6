//! The settings of signing in: sessions, accounts, the database, and who may ask.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::{Config, Span, in_range};
use crate::issue::{AccountSettings, Argon2Settings, ProfileField, SessionSettings};

/// What browsers enforce about a cookie of such a name (RFC 6265bis §4.1.3): set by this host, for it alone and for every path.
pub(crate) const HOST_PREFIX: &str = "__Host-";
/// Set over https.
pub(crate) const SECURE_PREFIX: &str = "__Secure-";

/// `[sessions]`: how long they last and what their cookie is called.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// From the last renewal.
    pub ttl: Span,
    /// A session in use is renewed once it is this old.
    pub renew_after: Span,
    /// One that ends with the browser lasts no longer than this.
    pub browser_ttl: Span,
    /// Before `.session_token`. One that begins with `__Host-` keeps every other host of the domain from setting it.
    pub cookie_prefix: String,
    /// What the prefix was before: read as well, so that nobody is signed out by the change.
    pub old_cookie_prefix: Option<String>,
    /// Whether pages are given session tokens too, for those who keep them as Better Auth's bearer plugin does.
    pub bearer: bool,
    /// Signs the cookies; made and kept in the database if it is not set.
    pub secret: Option<Secret>,
}

/// `[accounts]`: who may have one.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accounts {
    /// Whether anybody may make one.
    pub sign_up: bool,
    /// Shortest password, in characters.
    pub min_password: usize,
    /// Longest.
    pub max_password: usize,
    /// What a password costs.
    pub argon2: Argon2Settings,
    /// Passwords hashed at once; 0 for one fewer than there are processors, at least one.
    pub hashes_at_once: usize,
    /// Passwords that may wait for that; beyond it the answer is 503.
    pub hashes_waiting: usize,
    /// Attempts from one address that do not succeed.
    #[serde(deserialize_with = "address_limit")]
    pub rate_limit: RateLimit,
    /// Attempts on one account, from one network or known device.
    #[serde(deserialize_with = "account_limit")]
    pub account_rate_limit: RateLimit,
    /// More fields of a user, by name.
    pub fields: BTreeMap<String, ProfileField>,
}

/// So many attempts in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// How long.
    pub window: Span,
    /// How many; 0 for no limit.
    pub attempts: u32,
}

/// A [`RateLimit`] as written: what is left out is as it is by default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLimit {
    window: Option<Span>,
    attempts: Option<u32>,
}

// === impl WrittenLimit ===

impl WrittenLimit {
    fn or(self, usual: RateLimit) -> RateLimit {
        RateLimit {
            window: self.window.unwrap_or(usual.window),
            attempts: self.attempts.unwrap_or(usual.attempts),
        }
    }
}

fn address_limit<'de, D: serde::Deserializer<'de>>(written: D) -> Result<RateLimit, D::Error> {
    Ok(WrittenLimit::deserialize(written)?.or(Accounts::default().rate_limit))
}

fn account_limit<'de, D: serde::Deserializer<'de>>(written: D) -> Result<RateLimit, D::Error> {
    Ok(WrittenLimit::deserialize(written)?.or(Accounts::default().account_rate_limit))
}

/// `[database]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `sqlite://PATH` or `postgres://…`.
    pub url: DatabaseUrl,
}

/// A database's URL, which may hold a password: shows nothing.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(pub String);

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}

/// A secret of at least 32 characters. Shows nothing.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Default for Sessions {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Sessions {
            ttl: Span(7 * day),
            renew_after: Span(day),
            browser_ttl: Span(day),
            cookie_prefix: "better-auth".into(),
            old_cookie_prefix: None,
            bearer: false,
            secret: None,
        }
    }
}

impl Default for Accounts {
    fn default() -> Self {
        let limit = |seconds, attempts| RateLimit {
            window: Span(Duration::from_secs(seconds)),
            attempts,
        };
        Accounts {
            sign_up: true,
            min_password: 8,
            max_password: 128,
            argon2: Argon2Settings::default(),
            hashes_at_once: 0,
            hashes_waiting: 64,
            rate_limit: limit(10, 3),
            account_rate_limit: limit(60, 10),
            fields: BTreeMap::new(),
        }
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        DatabaseConfig {
            url: DatabaseUrl("sqlite://data/keywheel.db".into()),
        }
    }
}

type Refusal = (&'static str, String);

// === impl Config ===

impl Config {
    pub(super) fn check_auth(&self) -> Result<(), Refusal> {
        let refuse = |setting, why: &str| Err((setting, why.to_owned()));
        for origin in &self.trusted_origins {
            if origin == "*" {
                return refuse(
                    "trusted_origins",
                    "must name origins: a wildcard would let every site act for its visitors",
                );
            }
            if origin.contains('*') {
                return Err((
                    "trusted_origins",
                    format!(
                        "has `{origin}`, which no browser's origin ever equals; name each origin whole, like \"https://app.example.com\""
                    ),
                ));
            }
            if origin_of(origin).as_deref() != Some(origin) {
                return Err((
                    "trusted_origins",
                    format!(
                        "has `{origin}`, which is no origin; write one like \"https://app.example.com\", without a path"
                    ),
                ));
            }
        }
        let day = Duration::from_secs(24 * 3600);
        let sessions = &self.sessions;
        in_range("sessions.ttl", sessions.ttl, "1s", "400d", 400 * day)?;
        in_range(
            "sessions.browser_ttl",
            sessions.browser_ttl,
            "1s",
            "400d",
            400 * day,
        )?;
        if sessions.renew_after.0 >= sessions.ttl.0 {
            return refuse("sessions.renew_after", "must be less than sessions.ttl");
        }
        self.check_cookie_prefix("sessions.cookie_prefix", &sessions.cookie_prefix)?;
        if let Some(old) = &sessions.old_cookie_prefix {
            self.check_cookie_prefix("sessions.old_cookie_prefix", old)?;
            if *old == sessions.cookie_prefix {
                return refuse(
                    "sessions.old_cookie_prefix",
                    "is what sessions.cookie_prefix is today; take it away",
                );
            }
        }
        if sessions
            .secret
            .as_ref()
            .is_some_and(|secret| secret.0.len() < 32)
        {
            return refuse("sessions.secret", "must have at least 32 characters");
        }
        self.check_accounts()?;
        if let Err(error) = crate::store::check_database_url(&self.database.url.0) {
            return Err(("database.url", error));
        }
        self.check_claims()
    }

    fn check_cookie_prefix(&self, setting: &'static str, prefix: &str) -> Result<(), Refusal> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if prefix.is_empty() || !prefix.bytes().all(is_token) {
            return Err((setting, "must be letters, digits, `-`, `_` and `.`".into()));
        }
        for enforced in [HOST_PREFIX, SECURE_PREFIX] {
            let begins = prefix.get(..enforced.len());
            if !begins.is_some_and(|begins| begins.eq_ignore_ascii_case(enforced)) {
                continue;
            }
            if begins != Some(enforced) {
                return Err((setting, format!("must begin with exactly `{enforced}`")));
            }
            // Browsers drop such a cookie without `Secure`: nobody could sign in.
            if !self.is_https() {
                return Err((
                    setting,
                    format!("may begin with `{enforced}` only where issuer is an https URL"),
                ));
            }
        }
        Ok(())
    }

    fn check_accounts(&self) -> Result<(), Refusal> {
        let refuse = |setting, why: &str| Err((setting, why.to_owned()));
        let accounts = &self.accounts;
        if !(1..=1024).contains(&accounts.min_password) {
            return refuse("accounts.min_password", "must be between 1 and 1024");
        }
        if !(accounts.min_password..=4096).contains(&accounts.max_password) {
            return refuse(
                "accounts.max_password",
                "must be between min_password and 4096",
            );
        }
        if let Err(error) = accounts.argon2.params() {
            return Err(("accounts.argon2", format!("is unusable: {error}")));
        }
        if accounts.argon2.memory_kib > 1024 * 1024 {
            return refuse(
                "accounts.argon2",
                "must have a memory_kib of at most 1048576",
            );
        }
        if accounts.hashes_at_once > 1024 {
            return refuse("accounts.hashes_at_once", "must be at most 1024");
        }
        for (setting, limit) in [
            ("accounts.rate_limit", accounts.rate_limit),
            ("accounts.account_rate_limit", accounts.account_rate_limit),
        ] {
            in_range(
                setting,
                limit.window,
                "1s",
                "1d",
                Duration::from_secs(24 * 3600),
            )?;
        }
        for (name, field) in &accounts.fields {
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                return Err((
                    "accounts.fields",
                    format!("`{name}` must be letters, digits and `_`"),
                ));
            }
            if crate::issue::USER_FIELDS.contains(&name.as_str())
                || name == "password"
                || name == "callbackURL"
            {
                return Err((
                    "accounts.fields",
                    format!("`{name}` is a field of every user already"),
                ));
            }
            if let Some(default) = &field.default
                && !field.kind.admits(default)
            {
                return Err((
                    "accounts.fields",
                    format!("the default of `{name}` is of another type"),
                ));
            }
        }
        Ok(())
    }

    fn check_claims(&self) -> Result<(), Refusal> {
        if self.tokens.default_audience.is_empty() {
            return Err(("tokens.default_audience", "is empty".into()));
        }
        for claim in &self.tokens.user_claims {
            let known = crate::issue::CLAIM_FIELDS.contains(&claim.as_str())
                || self.accounts.fields.contains_key(claim);
            if !known {
                return Err((
                    "tokens.user_claims",
                    format!(
                        "`{claim}` is neither one of {} nor in accounts.fields",
                        crate::issue::CLAIM_FIELDS.join(", ")
                    ),
                ));
            }
        }
        for claim in self.accounts.fields.keys() {
            if self.tokens.user_claims.contains(claim)
                && crate::issue::RESERVED_CLAIMS.contains(&claim.as_str())
            {
                return Err((
                    "tokens.user_claims",
                    format!("`{claim}` is a claim that Keywheel sets itself"),
                ));
            }
        }
        for audience in &self.audience {
            if let Some(ttl) = audience.ttl {
                in_range(
                    "audience.ttl",
                    ttl,
                    "1s",
                    "tokens.max_ttl",
                    self.tokens.max_ttl.0,
                )?;
            }
            if audience
                .scopes
                .iter()
                .chain(audience.default_scopes.iter().flatten())
                .any(|scope| {
                    scope.is_empty()
                        || scope
                            .bytes()
                            .any(|b| !(0x21..=0x7e).contains(&b) || b == b'"' || b == b'\\')
                })
            {
                return Err(("audience.scopes", "has a scope that is empty or has spaces, quotes or other than ASCII (RFC 6749 §3.3)".into()));
            }
            for scope in audience.default_scopes.iter().flatten() {
                if !audience.scopes.contains(scope) {
                    return Err((
                        "audience.default_scopes",
                        format!("`{scope}` is not among its scopes"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// What sessions are by this.
    pub fn session_settings(&self) -> SessionSettings {
        SessionSettings {
            ttl: self.sessions.ttl.0,
            renew_after: self.sessions.renew_after.0,
            browser_ttl: self.sessions.browser_ttl.0,
            default_audience: self.tokens.default_audience.clone(),
            user_claims: self.tokens.user_claims.clone(),
        }
    }

    /// What accounts are by this.
    pub fn account_settings(&self) -> AccountSettings {
        AccountSettings {
            sign_up: self.accounts.sign_up,
            password_length: self.accounts.min_password..=self.accounts.max_password,
            fields: self.accounts.fields.clone(),
        }
    }

    /// Whether browsers reach the service by https only: then cookies are `Secure`.
    pub fn is_https(&self) -> bool {
        self.issuer.starts_with("https:")
    }

    /// The origins whose pages may sign in: the configured ones, and the issuer's own.
    pub fn origins(&self) -> Vec<String> {
        let own = origin_of(&self.issuer);
        self.trusted_origins.iter().cloned().chain(own).collect()
    }
}

/// Scheme, host and port, as a browser writes them in `Origin`.
fn origin_of(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Some(url.origin().ascii_serialization()),
        // An app's web view, like capacitor://localhost: no tuple origin by the standard, sent as it is.
        scheme if url.has_host() && matches!(url.path(), "" | "/") => {
            Some(format!("{scheme}://{}", url.host_str()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_settings_of_signing_in_are_refused_by_name() {
        for (text, words) in [
            ("trusted_origins = [\"*\"]", "wildcard"),
            ("trusted_origins = [\"https://a.test/\"]", "no origin"),
            (
                "trusted_origins = [\"https://*.a.test\"]",
                "no browser's origin",
            ),
            (
                "[sessions]\ncookie_prefix = \"__Secure-x\"",
                "only where issuer is an https URL",
            ),
            (
                "[sessions]\ncookie_prefix = \"__secure-x\"",
                "exactly `__Secure-`",
            ),
            (
                "admin_listen = \"127.0.0.1:3001\"",
                "the address of `listen`",
            ),
            ("listen = \"0.0.0.0:9301\"", "the address of `listen`"),
            ("trusted_proxies = [\"10.0.0.0/99\"]", "no network"),
            ("[sessions]\nrenew_after = \"8d\"", "less than sessions.ttl"),
            ("[sessions]\ncookie_prefix = \"a;b\"", "letters"),
            (
                "[sessions]\ncookie_prefix = \"__Host-a\"",
                "only where issuer is an https URL",
            ),
            (
                "issuer = \"https://a.test\"\n[sessions]\ncookie_prefix = \"__host-a\"",
                "exactly `__Host-`",
            ),
            (
                "[sessions]\nold_cookie_prefix = \"better-auth\"",
                "take it away",
            ),
            ("[sessions]\nsecret = \"short\"", "32 characters"),
            ("issuer = \"https://a.test/x//y\"", "two slashes"),
            ("issuer = \"https://a.test//\"", "no slash at its end"),
            ("issuer = \"https://a.test/x%20y\"", "letters, digits"),
            ("issuer = \"https://a.test/x/../y\"", "`.` or `..`"),
            ("issuer = \"https://a.test/{x}\"", "letters, digits"),
            ("issuer = \"https://a.test/x?y\"", "no query"),
            ("issuer = \"https://u:p@a.test/x\"", "no user name"),
            (
                "[accounts]\nargon2 = { memory_kib = 1, iterations = 2, lanes = 1 }",
                "accounts.argon2",
            ),
            ("[accounts.fields.email]\ntype = \"string\"", "already"),
            (
                "[accounts.fields.n]\ntype = \"number\"\ndefault = \"x\"",
                "another type",
            ),
            ("[tokens]\nuser_claims = [\"password\"]", "neither"),
            (
                "[tokens]\nuser_claims = [\"sub\"]\n[accounts.fields.sub]\ntype = \"string\"",
                "sets itself",
            ),
            ("[[audience]]\nname = \"a\"\nscopes = [\"a b\"]", "RFC 6749"),
            ("[[audience]]\nname = \"a\"\nttl = \"3d\"", "audience.ttl"),
            (
                "[[audience]]\nname = \"a\"\ndefault_scopes = [\"x\"]",
                "not among",
            ),
            ("[database]\nurl = \"mysql://x\"", "database.url"),
        ] {
            let error = Config::parse(text, "k.toml", []).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn an_issuer_may_have_a_path_and_a_cookie_the_name_that_browsers_guard() {
        for text in [
            "issuer = \"https://a.test/auth\"",
            "issuer = \"https://a.test/tenants/a-1_b.c~d\"",
            "issuer = \"https://a.test\"\n[sessions]\ncookie_prefix = \"__Host-a\"",
            "issuer = \"https://a.test\"\n[sessions]\ncookie_prefix = \"a\"\nold_cookie_prefix = \"__Secure-b\"",
        ] {
            Config::parse(text, "k.toml", []).unwrap();
        }
    }

    #[test]
    fn the_example_of_the_documentation_is_good() {
        let text = include_str!("../../docs/keywheel.example.toml");
        let config = Config::parse(text, "k.toml", []).unwrap();
        assert!(config.is_https());
        assert_eq!(
            config.origins(),
            ["https://app.example.com", "https://auth.example.com"]
        );
    }
}
