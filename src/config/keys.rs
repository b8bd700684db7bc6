//! `[keys]`, `[tokens]` and `[[audience]]`: what is signed, by what, and for how long.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::environment::{WRAPPING_KEYS, place_of};
use super::reading::ConfigError;
use super::{Config, Span, in_range};
use crate::issue::{Audience, RotationPolicy, TokenSettings};
use crate::jose::Algorithm;
use crate::store::WrappingKeys;

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

// === impl Config ===

impl Config {
    /// As [`check`](Self::check), of what is here.
    pub(super) fn check_keys(&self) -> Result<(), (&'static str, String)> {
        let refuse = |setting, why: &str| Err((setting, why.to_owned()));
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
        Ok(())
    }

    /// The keys that seal private keys: from the environment if they are there, else from the file, else none.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable, or the setting and the file; never a key.
    #[expect(clippy::disallowed_methods, reason = "here the environment is read")]
    pub fn wrapping_keys(&self) -> Result<WrappingKeys, ConfigError> {
        let variable = std::env::var_os(WRAPPING_KEYS).map(std::ffi::OsString::into_string);
        let (place, text) = match (variable, &self.keys.wrapping_keys_file) {
            (Some(Ok(text)), _) => (place_of(WRAPPING_KEYS), text),
            // Not as if it were unset: private keys would then be kept as they are.
            (Some(Err(_)), _) => {
                return Err(ConfigError {
                    place: place_of(WRAPPING_KEYS),
                    why: "its value is not UTF-8".into(),
                });
            }
            (None, None) => return Ok(WrappingKeys::default()),
            (None, Some(path)) => {
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
