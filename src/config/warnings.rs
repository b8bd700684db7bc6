//! Warnings: settings that work, and that are unsafe or make a promise void. Start and `--check` say each, with the fix.
//!
//! What can never work is no warning but an error of [`Config::check`].

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use super::gate::{GateConfig, StatusRule};
use super::{Config, Log, Network, Span};
use crate::issue::Argon2Settings;

/// A setting that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// As in the file: `section.key`.
    pub setting: String,
    /// What is wrong with it.
    pub why: String,
    /// What to write or do instead.
    pub hint: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.setting, self.why, self.hint)
    }
}

/// The warnings found so far.
#[derive(Default)]
struct Warnings(Vec<Warning>);

// === impl Warnings ===

impl Warnings {
    fn add(&mut self, setting: &str, why: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Warning {
            setting: setting.to_owned(),
            why: why.into(),
            hint: hint.into(),
        });
    }

    fn add_if(&mut self, is_so: bool, setting: &str, why: &str, hint: &str) {
        if is_so {
            self.add(setting, why, hint);
        }
    }

    /// A list that has one entry twice, which is a slip of the pen, or an entry that was meant to be another one.
    fn add_duplicates<'a>(&mut self, setting: &str, entries: impl IntoIterator<Item = &'a String>) {
        let mut seen = BTreeSet::new();
        for entry in entries {
            if !seen.insert(entry) {
                self.add(
                    setting,
                    format!("has `{entry}` twice"),
                    "remove one of them",
                );
            }
        }
    }
}

/// OWASP's recommendations for Argon2id (Password Storage Cheat Sheet): each is as strong as the others.
const OWASP_ARGON2: [(u32, u32); 5] = [
    (47_104, 1),
    (19_456, 2),
    (12_288, 3),
    (9_216, 4),
    (7_168, 5),
];
/// A token that lives longer outlives a sign-out for that long, wherever no status list is followed.
const LONG_TOKEN: Duration = Duration::from_secs(3600);
/// Verifiers fetch the key set as often as it expires.
const SHORT_MAX_AGE: Duration = Duration::from_secs(30);
/// The shortest password that NIST SP 800-63B allows.
const SHORT_PASSWORD: usize = 8;

// === impl Config ===

impl Config {
    /// What works and should not stay so.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut found = Warnings(self.sources.warnings.clone());
        self.warn_of_addresses(&mut found);
        self.warn_of_keys(&mut found);
        self.warn_of_sessions(&mut found);
        self.warn_of_accounts(&mut found);
        self.warn_of_database(&mut found);
        warn_of_log(&self.log, &mut found);
        found.0
    }

    fn warn_of_addresses(&self, found: &mut Warnings) {
        let is_loopback_host = |url: &str| host(url).is_some_and(|host| is_loopback(&host));
        let is_local = is_loopback_host(&self.issuer) && self.listen.ip().is_loopback();
        if !self.is_https() && !is_local {
            found.add(
                "issuer",
                "is plain http, and others than this machine can reach the service: passwords, cookies and keys cross the \
                 network unprotected, and cookies are not Secure",
                "put TLS before it and write issuer = \"https://…\"; or listen = \"127.0.0.1:3001\" for this machine alone",
            );
        }
        for origin in &self.trusted_origins {
            if self.is_https() && origin.starts_with("http:") {
                found.add(
                    "trusted_origins",
                    format!("has `{origin}`: whoever is on the network between can put scripts into its pages, which may then act for their visitors"),
                    format!("write \"https:{}\"", origin.trim_start_matches("http:")),
                );
            }
        }
        found.add_duplicates("trusted_origins", &self.trusted_origins);
        for network in &self.trusted_proxies {
            if network.is_wide() {
                found.add(
                    "trusted_proxies",
                    format!("has {network}: whoever is in it chooses the address that rate limits and the audit trail see, by X-Forwarded-For"),
                    "name the proxies alone, like trusted_proxies = [\"10.0.3.0/24\"]",
                );
            }
        }
        warn_of_admin(self.admin_listen, found);
    }

    fn warn_of_keys(&self, found: &mut Warnings) {
        found.add_if(
            self.keys.jwks_max_age.0 < SHORT_MAX_AGE,
            "keys.jwks_max_age",
            "is short: every verifier that does not watch fetches the key set that often",
            "write at least jwks_max_age = \"1m\"; \"10m\" is usual",
        );
        let mut long = |setting: &str, ttl: Span| {
            found.add_if(
                ttl.0 > LONG_TOKEN,
                setting,
                "is more than an hour: a token outlives sign-out and a disabled account for that long, wherever no status list \
                 is followed",
                "write ttl = \"15m\"; clients fetch a fresh token by their session",
            );
        };
        long("tokens.ttl", self.tokens.ttl);
        for audience in &self.audience {
            audience
                .ttl
                .into_iter()
                .for_each(|ttl| long("audience.ttl", ttl));
        }
        found.add_duplicates("tokens.user_claims", &self.tokens.user_claims);
        for audience in &self.audience {
            found.add_duplicates("audience.scopes", &audience.scopes);
        }
    }

    fn warn_of_sessions(&self, found: &mut Warnings) {
        let longest = self.audience.iter().filter_map(|audience| audience.ttl);
        let longest = longest.chain([self.tokens.ttl]).map(|ttl| ttl.0).max();
        let shortest = self.sessions.ttl.0.min(self.sessions.browser_ttl.0);
        found.add_if(
            longest.is_some_and(|longest| shortest < longest),
            "sessions.ttl",
            "or sessions.browser_ttl is shorter than the life of a token: a token can outlive the session it came from",
            "make both longer than tokens.ttl and every audience's ttl",
        );
        let secret = self.sessions.secret.as_ref().map(|secret| &secret.0);
        found.add_if(
            secret.is_some_and(|secret| is_guessable(secret)),
            "sessions.secret",
            "repeats itself, or reads like an example: whoever guesses it can sign cookies",
            "make one with `openssl rand -base64 32`, or leave it out: one is made and kept in the database",
        );
    }

    fn warn_of_accounts(&self, found: &mut Warnings) {
        let accounts = &self.accounts;
        found.add_if(
            accounts.min_password < SHORT_PASSWORD,
            "accounts.min_password",
            "allows passwords that are guessed within the rate limits",
            "write min_password = 8 or more",
        );
        found.add_if(
            is_weak(accounts.argon2),
            "accounts.argon2",
            "is below what OWASP recommends: a stolen database gives its passwords up sooner",
            "write argon2 = { memory_kib = 19456, iterations = 2, lanes = 1 }",
        );
        for (setting, limit, usual) in [
            (
                "accounts.rate_limit",
                accounts.rate_limit,
                "window = \"10s\", attempts = 3",
            ),
            (
                "accounts.account_rate_limit",
                accounts.account_rate_limit,
                "window = \"1m\", attempts = 10",
            ),
        ] {
            if limit.attempts == 0 {
                let key = setting.trim_start_matches("accounts.");
                found.add(
                    setting,
                    "has attempts = 0, which is no limit: passwords can be tried as fast as they can be hashed",
                    format!("write {key} = {{ {usual} }}"),
                );
            }
        }
    }

    fn warn_of_database(&self, found: &mut Warnings) {
        let Ok(url) = url::Url::parse(&self.database.url.0) else {
            return;
        };
        if !url.scheme().starts_with("postgres") {
            return;
        }
        let parameter = |name: &str| {
            let mut pairs = url.query_pairs();
            pairs
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        // A folder in place of a host is a Unix socket.
        let host = parameter("host")
            .or(url.host_str().map(str::to_owned))
            .unwrap_or_default();
        let is_local = host.is_empty() || host.starts_with(['/', '%']) || is_loopback(&host);
        let mode = parameter("sslmode")
            .or_else(|| parameter("ssl-mode"))
            .unwrap_or_default();
        let is_encrypted = ["require", "verify-ca", "verify-full"].contains(&&*mode);
        found.add_if(
            !is_local && !is_encrypted,
            "database.url",
            "does not insist on TLS to a server elsewhere: password hashes and sessions can cross the network in the clear",
            "add ?sslmode=verify-full to it",
        );
    }

    /// The warning about private keys that the database holds as they are; `sealed` says whether a wrapping key is there.
    pub fn sealing_warning(&self, sealed: bool) -> Option<Warning> {
        (self.keys.is_database() && !sealed).then(|| Warning {
            setting: "keys.store".into(),
            why: "is \"database\" without a wrapping key: whoever reads the database, or a backup of it, can sign as this issuer".into(),
            hint: "set keys.wrapping_keys_file or KEYWHEEL_WRAPPING_KEYS; make a key with `openssl rand -base64 32`".into(),
        })
    }
}

// === impl GateConfig ===

impl GateConfig {
    /// What works and should not stay so.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut found = Warnings::default();
        warn_of_admin(self.admin_listen, &mut found);
        for issuer in &self.issuer {
            if issuer.status != StatusRule::FailClosed {
                found.add(
                    "issuer.status",
                    format!(
                        "of {} lets tokens pass whose session has ended, {}",
                        issuer.name,
                        match issuer.status {
                            StatusRule::Ignore => "always",
                            _ => "while the status list cannot be had",
                        }
                    ),
                    "write status = \"fail_closed\", or leave it out",
                );
            }
            found.add_duplicates("issuer.audience", &issuer.audience);
        }
        warn_of_log(&self.log, &mut found);
        found.0
    }
}

fn warn_of_admin(address: SocketAddr, found: &mut Warnings) {
    let is_private = match address.ip() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    found.add_if(
        !is_private,
        "admin_listen",
        "shows metrics, keys, who watches and audit lines to whoever can reach it, without asking who they are",
        "write a loopback or private address, or let a firewall or network policy admit the monitoring alone",
    );
}

fn warn_of_log(log: &Log, found: &mut Warnings) {
    found.add_if(
        !log.audit,
        "log.audit",
        "is false: nothing of what signs in, is refused or changes a key is written down",
        "write audit = true, or leave it out",
    );
    found.add_if(
        log.hides_warnings(),
        "log.level",
        "hides the program's own warnings",
        "write level = \"warn\" or \"info\"; the audit trail has a switch of its own",
    );
}

fn host(url: &str) -> Option<String> {
    Some(url::Url::parse(url).ok()?.host_str()?.to_owned())
}

/// Whether a host of a URL is this machine, as RFC 6761 and RFC 5735 say.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost"
        || host.ends_with(".localhost")
        || address.is_ok_and(|address| address.is_loopback())
}

fn is_weak(argon2: Argon2Settings) -> bool {
    !OWASP_ARGON2
        .iter()
        .any(|&(memory, iterations)| argon2.memory_kib >= memory && argon2.iterations >= iterations)
}

/// A secret of few different characters, or with the words that examples have.
fn is_guessable(secret: &str) -> bool {
    let lower = secret.to_ascii_lowercase();
    let words = [
        "change",
        "example",
        "secret",
        "password",
        "default",
        "placeholder",
    ];
    let different: BTreeSet<char> = secret.chars().collect();
    different.len() < 10 || words.iter().any(|word| lower.contains(word))
}

// === impl Network ===

impl Network {
    /// Wider than any network of one operator: more than a /8, and more than IPv6's unique local addresses.
    fn is_wide(&self) -> bool {
        self.bits() < if self.is_v4() { 8 } else { 7 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(text: &str) -> Vec<Warning> {
        Config::parse(text, "k.toml", []).unwrap().warnings()
    }

    #[test]
    fn the_defaults_and_careful_settings_warn_of_nothing() {
        for text in [
            "",
            "issuer = \"https://a.test\"\nlisten = \"0.0.0.0:3001\"\ntrusted_origins = [\"https://b.test\", \"capacitor://localhost\"]",
            "trusted_proxies = [\"10.0.0.0/8\", \"fc00::/7\", \"127.0.0.1\", \"::1\"]",
            "issuer = \"http://127.0.0.1:3001\"\ntrusted_origins = [\"http://localhost:3000\"]",
            "issuer = \"http://[::1]:3001\"\nlisten = \"[::1]:3001\"",
            "admin_listen = \"10.0.0.7:9301\"",
            "[accounts]\nargon2 = { memory_kib = 7168, iterations = 5, lanes = 1 }",
            "[accounts]\nargon2 = { memory_kib = 1048576, iterations = 1, lanes = 4 }",
            "[tokens]\nttl = \"1h\"\n[sessions]\nttl = \"1h\"\nrenew_after = \"1m\"\nbrowser_ttl = \"1h\"",
            "[sessions]\nsecret = \"q7zuiD0Xv1qZ2oVwPp3mHkS8tYb5NcRe\"",
            "[database]\nurl = \"postgres://k:p@db.test/k?sslmode=verify-full\"",
            "[database]\nurl = \"postgres://k@localhost/k\"",
            "[database]\nurl = \"postgres://k@%2Fvar%2Frun%2Fpostgresql/k\"",
            "[log]\nlevel = \"warn,keywheel=debug\"",
        ] {
            assert_eq!(warned(text), [], "{text}");
        }
    }

    #[test]
    fn a_setting_that_makes_a_promise_void_is_warned_of_with_what_to_write() {
        for (text, setting, hint) in [
            ("listen = \"0.0.0.0:3001\"", "issuer", "https://"),
            ("issuer = \"http://auth.test\"", "issuer", "https://"),
            ("listen = \"192.168.1.5:3001\"", "issuer", "https://"),
            (
                "trusted_proxies = [\"0.0.0.0/0\"]",
                "trusted_proxies",
                "10.0.3.0/24",
            ),
            (
                "trusted_proxies = [\"::/0\"]",
                "trusted_proxies",
                "10.0.3.0/24",
            ),
            (
                "trusted_proxies = [\"0.0.0.0/1\"]",
                "trusted_proxies",
                "10.0.3.0/24",
            ),
            (
                "admin_listen = \"0.0.0.0:9301\"",
                "admin_listen",
                "loopback",
            ),
            ("admin_listen = \"[::]:9301\"", "admin_listen", "loopback"),
            (
                "admin_listen = \"203.0.113.9:9301\"",
                "admin_listen",
                "loopback",
            ),
            (
                "issuer = \"https://a.test\"\ntrusted_origins = [\"http://b.test\"]",
                "trusted_origins",
                "\"https://b.test\"",
            ),
            (
                "trusted_origins = [\"https://b.test\", \"https://b.test\"]",
                "trusted_origins",
                "remove",
            ),
            (
                "[accounts]\nmin_password = 1",
                "accounts.min_password",
                "min_password = 8",
            ),
            (
                "[accounts]\nargon2 = { memory_kib = 8, iterations = 1, lanes = 1 }",
                "accounts.argon2",
                "19456",
            ),
            (
                "[accounts]\nargon2 = { memory_kib = 7168, iterations = 1, lanes = 1 }",
                "accounts.argon2",
                "19456",
            ),
            (
                "[accounts]\nrate_limit = { window = \"10s\", attempts = 0 }",
                "accounts.rate_limit",
                "rate_limit = { window = \"10s\", attempts = 3 }",
            ),
            (
                "[accounts]\naccount_rate_limit = { window = \"10s\", attempts = 0 }",
                "accounts.account_rate_limit",
                "attempts = 10",
            ),
            ("[keys]\njwks_max_age = \"1s\"", "keys.jwks_max_age", "1m"),
            ("[tokens]\nttl = \"2h\"", "tokens.ttl", "15m"),
            (
                "[[audience]]\nname = \"a\"\nttl = \"2h\"",
                "audience.ttl",
                "15m",
            ),
            (
                "[[audience]]\nname = \"a\"\nscopes = [\"x\", \"x\"]",
                "audience.scopes",
                "remove",
            ),
            (
                "[sessions]\nttl = \"3s\"\nrenew_after = \"1s\"",
                "sessions.ttl",
                "tokens.ttl",
            ),
            (
                "[sessions]\nsecret = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
                "sessions.secret",
                "openssl",
            ),
            (
                "[database]\nurl = \"postgres://k:p@db.test/k\"",
                "database.url",
                "sslmode=verify-full",
            ),
            (
                "[database]\nurl = \"postgres://k:p@db.test/k?sslmode=prefer\"",
                "database.url",
                "sslmode=verify-full",
            ),
            ("[log]\nlevel = \"off\"", "log.level", "warn"),
            ("[log]\nlevel = \"keywheel=off\"", "log.level", "warn"),
            ("[log]\nlevel = \"error\"", "log.level", "warn"),
            ("[log]\naudit = false", "log.audit", "audit = true"),
        ] {
            let found = warned(text);
            let named = found.iter().find(|warning| warning.setting == setting);
            let warning = named.unwrap_or_else(|| panic!("{text}: {found:?}"));
            assert!(warning.hint.contains(hint), "{text}: {warning}");
        }
    }

    #[test]
    fn unsealed_keys_in_a_database_are_warned_of() {
        let config = Config::parse("[keys]\nstore = \"database\"", "k.toml", []).unwrap();
        assert!(config.sealing_warning(false).is_some());
        assert!(config.sealing_warning(true).is_none());
        assert!(Config::default().sealing_warning(false).is_none());
    }

    #[test]
    fn a_gate_warns_of_what_lets_ended_sessions_pass() {
        let issuer = "[[issuer]]\nname = \"https://a.test\"\naudience = [\"api\"]\n";
        let warned = |text: &str| GateConfig::parse(text, "g.toml").unwrap().warnings();
        assert_eq!(warned(issuer), []);
        assert_eq!(warned(&format!("{issuer}status = \"fail_closed\"")), []);
        for status in ["ignore", "fail_open"] {
            let found = warned(&format!("{issuer}status = \"{status}\""));
            assert_eq!(found[0].setting, "issuer.status", "{found:?}");
        }
        let found = warned(&format!("admin_listen = \"0.0.0.0:9302\"\n{issuer}"));
        assert_eq!(found[0].setting, "admin_listen");
    }
}
