//! Configuration: a TOML file and the environment become typed values; nothing else reads the environment.
//!
//! Every setting has a default. What is unknown, of the wrong type or unsafe is refused, named with its line.

mod auth;
pub mod gate;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub use auth::{Accounts, DatabaseConfig, DatabaseUrl, Network, RateLimit, Secret, Sessions};

use crate::issue::{Audience, RotationPolicy, TokenSettings};
use crate::jose::Algorithm;
use crate::store::WrappingKeys;

/// `KEYWHEEL_SECTION__KEY` overrides `key` in `[section]`.
const ENVIRONMENT_PREFIX: &str = "KEYWHEEL_";
/// Secrets, and so no setting: they are never part of a [`Config`].
const WRAPPING_KEYS: &str = "KEYWHEEL_WRAPPING_KEYS";
/// The file that is read if it is there and no other is named.
const DEFAULT_FILE: &str = "keywheel.toml";

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
}

/// `[keys]`: where keys are and when they change.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// A folder, or `database`.
    pub store: PathBuf,
    /// A file of wrapping keys that private keys are sealed by; `KEYWHEEL_WRAPPING_KEYS` holds the keys themselves.
    pub wrapping_keys_file: Option<PathBuf>,
    /// The algorithms to sign by; the first is the default.
    pub algorithms: Vec<Algorithm>,
    /// How long a key signs.
    pub rotate_every: Span,
    /// The most that `Cache-Control` of the JWKS promises.
    pub jwks_max_age: Span,
    /// How far clocks may be apart.
    pub clock_skew: Span,
}

/// `[tokens]`: how long they live.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// Unless a token asks for another.
    pub ttl: Span,
    /// The most it may ask for.
    pub max_ttl: Span,
    /// The audience of a token that is asked for without one.
    pub default_audience: String,
    /// The only fields of a user that enter a token.
    pub user_claims: Vec<String>,
}

/// `[[audience]]`: one backend that tokens are meant for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudienceConfig {
    /// `aud`.
    pub name: String,
    /// For verifiers without EdDSA.
    #[serde(default)]
    pub algorithm: Option<Algorithm>,
    /// What it knows.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What a user has to whom no scopes were given; all of them unless set.
    #[serde(default)]
    pub default_scopes: Option<Vec<String>>,
    /// How long its tokens live, if not as all others.
    #[serde(default)]
    pub ttl: Option<Span>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is logged, in `tracing`'s filter syntax.
    pub level: String,
    /// For machines or for people.
    pub format: LogFormat,
    /// Failures a second and reason, then summed.
    pub audit_rate: u32,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Words.
    Pretty,
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
        }
    }
}

impl Default for Keys {
    fn default() -> Self {
        let policy = RotationPolicy::default();
        Keys {
            store: "keys".into(),
            wrapping_keys_file: None,
            algorithms: policy.algorithms,
            rotate_every: Span(policy.rotate_every),
            jwks_max_age: Span(policy.jwks_max_age),
            clock_skew: Span(policy.clock_skew),
        }
    }
}

// === impl Keys ===

impl Keys {
    /// Whether the keys are in the database, and not in a folder.
    pub fn is_database(&self) -> bool {
        self.store == Path::new("database")
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Tokens {
            ttl: Span(Duration::from_secs(15 * 60)),
            max_ttl: Span(RotationPolicy::default().max_token_ttl),
            default_audience: "api".into(),
            user_claims: vec!["email".into()],
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log {
            level: "info".into(),
            format: LogFormat::Json,
            audit_rate: crate::audit::DEFAULT_RATE,
        }
    }
}

// === impl Log ===

impl Log {
    /// For commands that do one thing: warnings, and the audit trail.
    pub(crate) fn for_commands() -> Self {
        Log {
            level: format!("warn,{}=info", crate::audit::TARGET),
            format: LogFormat::Pretty,
            ..Log::default()
        }
    }

    /// For commands that say themselves what was refused: nothing but errors.
    pub(crate) fn quiet() -> Self {
        Log {
            level: "error".into(),
            format: LogFormat::Pretty,
            ..Log::default()
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

/// A setting that cannot be used. One line: where, which, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    place: String,
    why: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

impl std::error::Error for ConfigError {}

// === impl Config ===

impl Config {
    /// As [`load`](Self::load), with the process' own environment.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    #[expect(clippy::disallowed_methods, reason = "here the environment is read")]
    pub fn from_process(named: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load(named, std::env::vars())
    }

    /// The file `named`, or `keywheel.toml` if that is there, or the defaults; then `environment` over it.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the line and the setting, or the variable.
    pub fn load(
        named: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
                String::new()
            }
            Err(error) => {
                return Err(ConfigError {
                    place: path.display().to_string(),
                    why: error.to_string(),
                });
            }
        };
        Self::parse(&text, &path.display().to_string(), environment)
    }

    /// As [`load`](Self::load), from the text of a file called `name`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(
        text: &str,
        name: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let at_line = |error: &toml::de::Error| match error.span() {
            Some(span) => format!("{name}:{}", line_at(text, span.start)),
            None => name.to_owned(),
        };
        let in_file: Config = toml::from_str(text).map_err(|error| ConfigError {
            place: at_line(&error),
            why: one_line(error.message()),
        })?;
        in_file.check().map_err(|(setting, why)| ConfigError {
            place: match line_of(text, setting) {
                Some(line) => format!("{name}:{line}"),
                None => name.to_owned(),
            },
            why: format!("{setting} {why}"),
        })?;

        let mut table: toml::Table = toml::from_str(text).map_err(|error| ConfigError {
            place: at_line(&error),
            why: one_line(error.message()),
        })?;
        let mut config = in_file;
        for (variable, value) in environment {
            let Some(setting) = variable.strip_prefix(ENVIRONMENT_PREFIX) else {
                continue;
            };
            if variable == WRAPPING_KEYS {
                continue;
            }
            let refused = |why: String| ConfigError {
                place: format!("environment variable {variable}"),
                why,
            };
            let path: Vec<String> = setting
                .to_ascii_lowercase()
                .split("__")
                .map(Into::into)
                .collect();
            override_setting(&mut table, &path, &value).map_err(&refused)?;
            config = Config::deserialize(table.clone())
                .map_err(|error| refused(one_line(error.message())))?;
            config
                .check()
                .map_err(|(setting, why)| refused(format!("{setting} {why}")))?;
        }
        Ok(config)
    }

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
        let keys = &self.keys;
        if keys.algorithms.is_empty() {
            return refuse("keys.algorithms", "must name at least one algorithm");
        }
        for (index, algorithm) in keys.algorithms.iter().enumerate() {
            if algorithm.name().starts_with("ES") {
                return Err((
                    "keys.algorithms",
                    format!("has {algorithm}, by which Keywheel does not sign"),
                ));
            }
            if keys.algorithms[..index].contains(algorithm) {
                return Err(("keys.algorithms", format!("has {algorithm} twice")));
            }
        }
        let day = Duration::from_secs(24 * 3600);
        in_range("keys.jwks_max_age", keys.jwks_max_age, "1s", "1d", day)?;
        if keys.clock_skew.0 > Duration::from_secs(3600) {
            return refuse("keys.clock_skew", "must be at most 1h");
        }
        let announced_for = keys.jwks_max_age.0 + keys.clock_skew.0;
        if keys.rotate_every.0 < announced_for {
            return refuse(
                "keys.rotate_every",
                "must be at least jwks_max_age + clock_skew: a key is announced for that long before it signs",
            );
        }
        let month = 31 * day;
        in_range("tokens.max_ttl", self.tokens.max_ttl, "1s", "31d", month)?;
        in_range("tokens.ttl", self.tokens.ttl, "1s", "31d", month)?;
        if self.tokens.ttl.0 > self.tokens.max_ttl.0 {
            return refuse("tokens.ttl", "must be at most tokens.max_ttl");
        }
        for (index, audience) in self.audience.iter().enumerate() {
            if audience.name.is_empty() {
                return refuse("audience.name", "is empty");
            }
            let mut earlier = self.audience[..index].iter();
            if earlier.any(|other| other.name == audience.name) {
                return Err((
                    "audience.name",
                    format!("`{}` is there twice", audience.name),
                ));
            }
            if let Some(algorithm) = audience.algorithm
                && !keys.algorithms.contains(&algorithm)
            {
                return Err((
                    "audience.algorithm",
                    format!("{algorithm} is not among keys.algorithms"),
                ));
            }
        }
        self.check_auth()
    }

    /// The keys that seal private keys: from the environment if they are there, else from the file, else none.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable, or the setting and the file; never a key.
    #[expect(clippy::disallowed_methods, reason = "here the environment is read")]
    pub fn wrapping_keys(&self) -> Result<WrappingKeys, ConfigError> {
        let (place, text) = match (std::env::var(WRAPPING_KEYS), &self.keys.wrapping_keys_file) {
            (Ok(text), _) => (format!("environment variable {WRAPPING_KEYS}"), text),
            (Err(_), None) => return Ok(WrappingKeys::default()),
            (Err(_), Some(path)) => {
                let place = format!("keys.wrapping_keys_file: {}", path.display());
                match std::fs::read_to_string(path) {
                    Ok(text) => (place, text),
                    Err(error) => {
                        let why = error.to_string();
                        return Err(ConfigError { place, why });
                    }
                }
            }
        };
        let text = zeroize::Zeroizing::new(text);
        let keys = WrappingKeys::parse(&text).map_err(|why| ConfigError {
            place: place.clone(),
            why,
        })?;
        match keys.is_empty() {
            true => Err(ConfigError {
                place,
                why: "has no key; make one with `openssl rand -base64 32`".into(),
            }),
            false => Ok(keys),
        }
    }

    /// The rotation policy this comes to.
    pub fn rotation_policy(&self) -> RotationPolicy {
        RotationPolicy {
            algorithms: self.keys.algorithms.clone(),
            rotate_every: self.keys.rotate_every.0,
            jwks_max_age: self.keys.jwks_max_age.0,
            clock_skew: self.keys.clock_skew.0,
            max_token_ttl: self.tokens.max_ttl.0,
        }
    }

    /// What tokens say by this.
    pub fn token_settings(&self) -> TokenSettings {
        let audiences: BTreeMap<String, Audience> = self
            .audience
            .iter()
            .map(|audience| {
                let settings = Audience {
                    algorithm: audience.algorithm,
                    scopes: audience.scopes.clone(),
                    default_scopes: audience.default_scopes.clone(),
                    ttl: audience.ttl.map(|ttl| ttl.0),
                };
                (audience.name.clone(), settings)
            })
            .collect();
        TokenSettings {
            issuer: self.issuer.clone(),
            ttl: self.tokens.ttl.0,
            audiences,
        }
    }
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

/// Puts `value` at `path`, as TOML if it reads as such, else as a string: a bare word needs no quotes in the environment.
fn override_setting(table: &mut toml::Table, path: &[String], value: &str) -> Result<(), String> {
    let (name, sections) = match path.split_last() {
        Some(split) => split,
        None => return Err("names no setting".into()),
    };
    let mut table = table;
    for section in sections {
        table = table
            .entry(section.clone())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(|| format!("`{section}` is not a section"))?;
    }
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"));
    let value = parsed
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.into()));
    table.insert(name.clone(), value);
    Ok(())
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&b| b == b'\n').count()
}

/// The line on which `section.key` is set, for a message; the last one, if several are.
fn line_of(text: &str, setting: &str) -> Option<usize> {
    let (section, key) = setting.rsplit_once('.').unwrap_or(("", setting));
    let mut current = String::new();
    let mut found = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            current = line.trim_matches(['[', ']', ' ']).to_owned();
        } else if let Some((name, _)) = line.split_once('=')
            && current == section
            && name.trim() == key
        {
            found = Some(index + 1);
        }
    }
    found
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment = environment
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Config::parse(text, "keywheel.toml", environment).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_at_all_is_the_defaults() {
        assert_eq!(parse("", &[]), Ok(Config::default()));
        assert_eq!(
            Config::default().rotation_policy(),
            RotationPolicy::default()
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            (
                "\nlissen = \"x\"",
                "keywheel.toml:2: unknown field `lissen`",
            ),
            (
                "[keys]\nalgoritms = []",
                "keywheel.toml:2: unknown field `algoritms`",
            ),
            (
                "[keys]\n\nalgorithms = [\"HS256\"]",
                "keywheel.toml:3: `HS256` is no signature algorithm",
            ),
            (
                "[keys]\nalgorithms = [\"ES256\"]",
                "keywheel.toml:2: keys.algorithms has ES256",
            ),
            (
                "[keys]\nalgorithms = []",
                "keywheel.toml:2: keys.algorithms must name",
            ),
            (
                "[keys]\njwks_max_age = \"0s\"",
                "keywheel.toml:2: keys.jwks_max_age must be between 1s and 1d",
            ),
            (
                "[keys]\njwks_max_age = 600",
                "keywheel.toml:2: invalid type",
            ),
            ("[keys]\njwks_max_age = \"soon\"", "keywheel.toml:2: "),
            (
                "[keys]\nrotate_every = \"1m\"",
                "keywheel.toml:2: keys.rotate_every must be at least",
            ),
            (
                "[tokens]\nttl = \"2d\"",
                "keywheel.toml:2: tokens.ttl must be at most tokens.max_ttl",
            ),
            (
                "issuer = \"auth.example.com\"",
                "keywheel.toml:1: issuer must be an http or https URL",
            ),
            (
                "issuer = \"https://a.example/\"",
                "keywheel.toml:1: issuer must have no slash",
            ),
            ("listen = \"3001\"", "keywheel.toml:1: "),
            (
                "[log]\nformat = \"xml\"",
                "keywheel.toml:2: unknown variant `xml`, expected `json` or `pretty`",
            ),
            (
                "[[audience]]\nname = \"a\"\n[[audience]]\nname = \"a\"",
                "keywheel.toml:4: audience.name `a` is there twice",
            ),
            (
                "[keys]\nalgorithms=[\"EdDSA\"]\n[[audience]]\nname=\"a\"\nalgorithm=\"RS256\"",
                "keywheel.toml:5: audience.algorithm RS256 is not among",
            ),
            ("a = = b", "keywheel.toml:1: "),
        ] {
            let error = parse(text, &[]).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_environment_overrides_the_file_and_is_named_when_wrong() {
        let config = parse(
            "listen = \"127.0.0.1:1\"\n[keys]\nstore = \"a\"",
            &[
                ("KEYWHEEL_LISTEN", "127.0.0.1:2"),
                ("KEYWHEEL_KEYS__STORE", "b"),
                ("KEYWHEEL_KEYS__ALGORITHMS", "[\"EdDSA\"]"),
                ("KEYWHEEL_LOG__AUDIT_RATE", "7"),
                ("PATH", "/bin"),
            ],
        )
        .unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.keys.store, Path::new("b"));
        assert_eq!(config.keys.algorithms, [Algorithm::EdDSA]);
        assert_eq!(config.log.audit_rate, 7);
        for (variable, value, expected) in [
            (
                "KEYWHEEL_TOKENS__TTL",
                "2d",
                "environment variable KEYWHEEL_TOKENS__TTL: tokens.ttl must be at most",
            ),
            (
                "KEYWHEEL_TOKEN__TTL",
                "2d",
                "environment variable KEYWHEEL_TOKEN__TTL: unknown field `token`",
            ),
            (
                "KEYWHEEL_LISTEN__X",
                "1",
                "environment variable KEYWHEEL_LISTEN__X: ",
            ),
        ] {
            let error = parse("listen = \"127.0.0.1:1\"", &[(variable, value)]).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
