//! Configuration: a TOML file and the environment become typed values; nothing else reads the environment.
//!
//! Every setting has a default. What is unknown, of the wrong type or unsafe is refused, named with its line.

mod auth;
mod environment;
pub mod gate;
mod hint;
mod keys;
mod log;
mod network;
mod places;
mod reading;
mod warnings;

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

pub use auth::{Accounts, DatabaseConfig, DatabaseUrl, RateLimit, Secret, Sessions};
pub(crate) use auth::{HOST_PREFIX, SECURE_PREFIX};
pub use keys::{AudienceConfig, Keys, Tokens};
pub use log::{Log, LogFormat};
pub use network::Network;
pub use places::Sources;
pub use reading::ConfigError;
pub use warnings::Warning;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `iss`, exactly, and the base of the URLs in metadata.
    pub issuer: String,
    /// Public listener.
    pub listen: SocketAddr,
    /// Listener for metrics and health; loopback unless told otherwise.
    pub admin_listen: SocketAddr,
    /// Whose pages may sign in, besides the issuer's own.
    pub trusted_origins: Vec<String>,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<Network>,
    /// `[keys]`
    pub keys: Keys,
    /// `[tokens]`
    pub tokens: Tokens,
    /// `[[audience]]`
    pub audience: Vec<AudienceConfig>,
    /// `[sessions]`
    pub sessions: Sessions,
    /// `[accounts]`
    pub accounts: Accounts,
    /// `[database]`
    pub database: DatabaseConfig,
    /// `[log]`
    pub log: Log,
    /// Where all this came from.
    #[serde(skip)]
    pub sources: Sources,
}

/// A length of time, written like `15m`, `30d` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Span).map_err(|error| {
            serde::de::Error::custom(format!("{error}; write a duration like \"15m\" or \"30d\""))
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            issuer: "http://localhost:3001".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 3001)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9301)),
            trusted_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            keys: Keys::default(),
            tokens: Tokens::default(),
            audience: Vec::new(),
            sessions: Sessions::default(),
            accounts: Accounts::default(),
            database: DatabaseConfig::default(),
            log: Log::default(),
            sources: Sources::default(),
        }
    }
}

/// Who runs this program, for the audit trail: the name in the environment, else the number.
#[expect(clippy::disallowed_methods, reason = "here the environment is read")]
pub(crate) fn operator() -> String {
    use std::os::unix::fs::MetadataExt as _;
    let named = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .find(|name| !name.is_empty());
    named.unwrap_or_else(|| match std::fs::metadata("/proc/self") {
        Ok(process) => format!("uid {}", process.uid()),
        Err(_) => "unknown".into(),
    })
}

/// Whether colours are welcome on a terminal, by what the environment says of it.
#[expect(clippy::disallowed_methods, reason = "here the environment is read")]
pub(crate) fn wants_color() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// The variables with our prefix that `keywheel gate`, which reads none, is started with.
#[expect(clippy::disallowed_methods, reason = "here the environment is read")]
pub(crate) fn ignored_variables() -> Vec<String> {
    environment::ignored(std::env::vars_os().map(|(name, _)| name))
}

/// How many threads a runtime is to have: what `TOKIO_WORKER_THREADS` says, which tokio itself would panic over where it is no
/// number.
///
/// # Errors
/// [`ConfigError`] names the variable.
#[expect(clippy::disallowed_methods, reason = "here the environment is read")]
pub(crate) fn worker_threads() -> Result<usize, ConfigError> {
    const NAME: &str = "TOKIO_WORKER_THREADS";
    let Some(value) = std::env::var_os(NAME) else {
        return Ok(std::thread::available_parallelism().map_or(1, |n| n.get()));
    };
    let number = value.to_str().and_then(|text| text.trim().parse().ok());
    match number.filter(|number| (1..=1024).contains(number)) {
        Some(number) => Ok(number),
        None => Err(ConfigError {
            place: format!("environment variable {NAME}"),
            why: "must be a number between 1 and 1024".into(),
        }),
    }
}

// === impl Config ===

impl Config {
    /// What types cannot say. Gives the setting and what is wrong with it.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let refuse = |setting, why: &str| Err((setting, why.to_owned()));
        let issuer = url::Url::parse(&self.issuer);
        if !issuer.is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host()) {
            return refuse("issuer", "must be an http or https URL");
        }
        if self.issuer.ends_with('/') || self.issuer.contains(['?', '#']) {
            return refuse(
                "issuer",
                "must have no slash at its end, no query and no fragment: verifiers compare it letter by letter",
            );
        }
        let rest = self.issuer.split_once("://").map_or("", |(_, rest)| rest);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.contains('@') {
            return refuse("issuer", "must have no user name: everybody reads it");
        }
        // URLs that mean the same would be other issuers to a verifier, and other paths to a proxy.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        let mut segments = path.split('/');
        if !path.bytes().all(is_plain) || segments.any(|part| matches!(part, "." | "..")) {
            return refuse(
                "issuer",
                "may have a path of letters, digits, `-`, `_` and `~`, without `.` or `..` as a part of it",
            );
        }
        if rest.contains("//") {
            return refuse("issuer", "must not have two slashes in its path");
        }
        if self.listen.port() != 0 && overlap(self.listen, self.admin_listen) {
            return refuse(
                "admin_listen",
                "must not be the address of `listen`: the two listeners need a port each",
            );
        }
        self.log.check()?;
        self.check_keys()?;
        self.check_auth()
    }
}

/// Whether two listeners cannot both have their address.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    let same_family = one.is_ipv4() == other.is_ipv4();
    one.port() == other.port() && (one.ip() == other.ip() || (any && same_family))
}

fn in_range(
    setting: &'static str,
    span: Span,
    min: &str,
    max: &str,
    max_duration: Duration,
) -> Result<(), (&'static str, String)> {
    if span.0 < Duration::from_secs(1) || span.0 > max_duration {
        return Err((setting, format!("must be between {min} and {max}")));
    }
    Ok(())
}
